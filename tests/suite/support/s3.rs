//! A real S3 service for tests: the protocol, signatures and checksums of `s3s`, objects in files by `s3s-fs`, on a port of this
//! machine, in a thread of the test. Where `s3s-fs` differs from what S3 promises (conditional puts that race, folders that pass
//! for objects, buckets that come to be by themselves, listings that read everything for each page) it is put right here.
//!
//! The unit tests of the store use it as well; whoever includes this file has `Place` and `Secret` of the configuration in scope.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::auth::SimpleAuth;
use s3s::dto;
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;

use super::{Place, Secret};

/// A running service with one bucket. It ends when it is dropped, and its objects with it.
pub(crate) struct S3Server {
    root: tempfile::TempDir,
    address: SocketAddr,
    files: Arc<Files>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

/// What a put brought along besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenPut {
    /// The key in the bucket.
    pub(crate) key: String,
    /// The storage class.
    pub(crate) storage_class: Option<String>,
    /// Mode and end of its lock, in seconds since 1970.
    pub(crate) lock: Option<(String, i64)>,
    /// Whether a SHA-256, which the server compares, came along.
    pub(crate) has_sha256: bool,
    /// Whether an MD5, which the server compares, came along.
    pub(crate) has_md5: bool,
    /// Whether it was a put of what must not be there yet.
    pub(crate) is_conditional: bool,
}

#[allow(
    dead_code,
    reason = "the unit tests of the store and the tests of the program use different parts"
)]
impl S3Server {
    /// The bucket that is there.
    pub(crate) const BUCKET: &str = "backups";
    /// Who may use the service.
    pub(crate) const KEY_ID: &str = "AKIDPGARKTEST";
    /// The key's secret.
    pub(crate) const SECRET: &str = "secret-of-the-test-key";

    /// Starts a service.
    pub(crate) fn start() -> S3Server {
        S3Server::start_in(None)
    }

    /// Starts a service that keeps its objects below `folder`, else where temporary files are.
    pub(crate) fn start_in(folder: Option<&Path>) -> S3Server {
        let root = match folder {
            Some(folder) => tempfile::tempdir_in(folder).unwrap(),
            None => tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(root.path().join(S3Server::BUCKET)).unwrap();
        let files = Arc::new(Files {
            inner: FileSystem::new(root.path()).unwrap(),
            root: root.path().canonicalize().unwrap(),
            creating: Mutex::default(),
            puts: Mutex::default(),
            n_requests: AtomicU64::new(0),
            n_gets: AtomicU64::new(0),
            delay_ms: AtomicU64::new(0),
        });
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready, listening) = std::sync::mpsc::channel();
        let served = Arc::clone(&files);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                ready.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    () = serve(listener, served) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        });
        S3Server {
            root,
            address: listening.recv().unwrap(),
            files,
            stop: Some(stop),
        }
    }

    /// Where it answers.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `s3://backups/PREFIX`
    pub(crate) fn url(prefix: &str) -> String {
        format!("s3://{}/{prefix}", S3Server::BUCKET)
    }

    /// The place `s3://backups/PREFIX` as a configuration says it; its secret is in the variable `TEST_S3_SECRET`, which
    /// [`S3Server::variables`] has.
    pub(crate) fn place(&self, prefix: &str) -> Place {
        Place {
            name: "s3".to_owned(),
            region: Some("us-east-1".to_owned()),
            endpoint: Some(self.endpoint()),
            access_key_id: Some(Secret::Env("TEST_S3_KEY_ID".to_owned())),
            secret_access_key: Some(Secret::Env("TEST_S3_SECRET".to_owned())),
            ..Place::of(&S3Server::url(prefix))
        }
    }

    /// The environment of a user of the service.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let text = str::to_owned;
        vec![
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_REGION", text("us-east-1")),
            ("AWS_ACCESS_KEY_ID", text(S3Server::KEY_ID)),
            ("AWS_SECRET_ACCESS_KEY", text(S3Server::SECRET)),
            ("TEST_S3_KEY_ID", text(S3Server::KEY_ID)),
            ("TEST_S3_SECRET", text(S3Server::SECRET)),
        ]
    }

    /// Looks a variable up in [`S3Server::variables`].
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let found = self.variables().into_iter().find(|(one, _)| *one == name);
        found.map(|(_, value)| value)
    }

    /// Gives a command the environment of a user of the service, and the repository `s3://backups/PREFIX`.
    pub(crate) fn give(&self, command: &mut Command, prefix: &str) {
        command.envs(self.variables());
        command.env("PGARK_REPO", S3Server::url(prefix));
    }

    /// The folder that holds the bucket's objects as files.
    pub(crate) fn folder(&self) -> PathBuf {
        self.root.path().join(S3Server::BUCKET)
    }

    /// What was put so far.
    pub(crate) fn puts(&self) -> Vec<SeenPut> {
        locked(&self.files.puts).clone()
    }

    /// Requests so far: all of them, and those that read an object.
    pub(crate) fn n_requests(&self) -> (u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        (read(&self.files.n_requests), read(&self.files.n_gets))
    }

    /// Answers each request after this long, as a service far away does.
    pub(crate) fn delay(&self, delay: Duration) {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap();
        self.files.delay_ms.store(delay_ms, Ordering::SeqCst);
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: tokio::net::TcpListener, files: Arc<Files>) {
    let mut builder = S3ServiceBuilder::new(Shared(files));
    builder.set_auth(SimpleAuth::from_single(S3Server::KEY_ID, S3Server::SECRET));
    let service = builder.build();
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            continue;
        };
        socket.set_nodelay(true).unwrap();
        let service = service.clone();
        tokio::spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

/// Objects in files.
struct Files {
    inner: FileSystem,
    root: PathBuf,
    /// One put at a time for each key: S3 lets one of several conditional puts win.
    creating: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    puts: Mutex<Vec<SeenPut>>,
    n_requests: AtomicU64,
    n_gets: AtomicU64,
    delay_ms: AtomicU64,
}

struct Shared(Arc<Files>);

impl Files {
    async fn request(&self) {
        self.n_requests.fetch_add(1, Ordering::SeqCst);
        let delay_ms = self.delay_ms.load(Ordering::SeqCst);
        if delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        }
    }

    fn bucket(&self, bucket: &str) -> S3Result<PathBuf> {
        let folder = self.root.join(bucket);
        if folder.is_dir() {
            return Ok(folder);
        }
        Err(s3_error!(
            NoSuchBucket,
            "The specified bucket does not exist"
        ))
    }

    fn object(&self, bucket: &str, key: &str) -> S3Result<()> {
        if self.bucket(bucket)?.join(key).is_file() {
            return Ok(());
        }
        Err(s3_error!(NoSuchKey, "The specified key does not exist"))
    }
}

#[async_trait::async_trait]
impl S3 for Shared {
    async fn get_object(
        &self,
        req: S3Request<dto::GetObjectInput>,
    ) -> S3Result<S3Response<dto::GetObjectOutput>> {
        self.0.request().await;
        self.0.n_gets.fetch_add(1, Ordering::SeqCst);
        self.0.object(&req.input.bucket, &req.input.key)?;
        self.0.inner.get_object(req).await
    }

    async fn head_object(
        &self,
        req: S3Request<dto::HeadObjectInput>,
    ) -> S3Result<S3Response<dto::HeadObjectOutput>> {
        self.0.request().await;
        self.0.object(&req.input.bucket, &req.input.key)?;
        self.0.inner.head_object(req).await
    }

    async fn put_object(
        &self,
        mut req: S3Request<dto::PutObjectInput>,
    ) -> S3Result<S3Response<dto::PutObjectOutput>> {
        self.0.request().await;
        self.0.bucket(&req.input.bucket)?;
        let input = &mut req.input;
        let retained = input.object_lock_retain_until_date.clone();
        let seconds = |until: dto::Timestamp| time::OffsetDateTime::from(until).unix_timestamp();
        let put = SeenPut {
            key: input.key.clone(),
            // The server's own storage has fewer classes.
            storage_class: input
                .storage_class
                .take()
                .map(|class| class.as_str().to_owned()),
            lock: input
                .object_lock_mode
                .as_ref()
                .map(|mode| mode.as_str().to_owned())
                .zip(retained.map(seconds)),
            has_sha256: input.checksum_sha256.is_some(),
            has_md5: input.content_md5.is_some(),
            is_conditional: input.if_none_match.is_some(),
        };
        let creating = {
            let mut creating = locked(&self.0.creating);
            Arc::clone(creating.entry(input.key.clone()).or_default())
        };
        let _alone = creating.lock().await;
        let done = self.0.inner.put_object(req).await?;
        locked(&self.0.puts).push(put);
        Ok(done)
    }

    async fn delete_object(
        &self,
        req: S3Request<dto::DeleteObjectInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectOutput>> {
        self.0.request().await;
        self.0.inner.delete_object(req).await
    }

    async fn delete_objects(
        &self,
        req: S3Request<dto::DeleteObjectsInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectsOutput>> {
        self.0.request().await;
        self.0.inner.delete_objects(req).await
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<dto::ListObjectsV2Input>,
    ) -> S3Result<S3Response<dto::ListObjectsV2Output>> {
        self.0.request().await;
        let bucket = self.0.bucket(&req.input.bucket)?;
        let listed = tokio::task::spawn_blocking(move || page(&bucket, req.input)).await;
        Ok(S3Response::new(listed.unwrap()))
    }
}

/// A page of a listing.
fn page(bucket: &Path, input: dto::ListObjectsV2Input) -> dto::ListObjectsV2Output {
    let prefix = input.prefix.clone().unwrap_or_default();
    let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
    let flat = input.delimiter.as_deref() == Some("/");
    let mut found = BTreeSet::new();
    collect(&bucket.join(folder), folder, flat, &mut found);
    let after = input.continuation_token.clone().max(input.start_after);
    let mut names: Vec<String> = found
        .into_iter()
        .filter(|name| name.starts_with(&prefix) && Some(name) > after.as_ref())
        .collect();
    let n_max = usize::try_from(input.max_keys.unwrap_or(1000)).unwrap();
    let is_truncated = names.len() > n_max;
    names.truncate(n_max);
    let next = is_truncated.then(|| names.last().cloned()).flatten();
    let (mut contents, mut common_prefixes) = (Vec::new(), Vec::new());
    for name in names {
        if name.ends_with('/') {
            common_prefixes.push(dto::CommonPrefix { prefix: Some(name) });
        } else if let Ok(metadata) = bucket.join(&name).metadata() {
            contents.push(dto::Object {
                key: Some(name),
                last_modified: metadata.modified().ok().map(dto::Timestamp::from),
                size: i64::try_from(metadata.len()).ok(),
                ..Default::default()
            });
        }
    }
    dto::ListObjectsV2Output {
        is_truncated: Some(is_truncated),
        contents: Some(contents),
        common_prefixes: Some(common_prefixes),
        next_continuation_token: next,
        name: Some(input.bucket),
        prefix: input.prefix,
        ..Default::default()
    }
}

/// Adds the keys of the files below `folder`; a folder of a flat listing ends with a slash.
fn collect(folder: &Path, key: &str, flat: bool, found: &mut BTreeSet<String>) {
    let Ok(children) = std::fs::read_dir(folder) else {
        return;
    };
    for child in children.flatten() {
        let name = child.file_name().into_string().unwrap();
        let key = if key.is_empty() {
            name
        } else {
            format!("{key}/{name}")
        };
        match (child.file_type().unwrap().is_dir(), flat) {
            (true, true) => drop(found.insert(format!("{key}/"))),
            (true, false) => collect(&child.path(), &key, flat, found),
            (false, _) => drop(found.insert(key)),
        }
    }
}
