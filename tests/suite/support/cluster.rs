//! A private PostgreSQL cluster: a copy of a major's template with a postmaster on it, in a directory named after the owning
//! process. Owns starting, crashing and removing it; `server` owns what listens there and its databases.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Major, oracle, output_of, servers_script};

/// A cluster with its running postmaster; stopped and removed on drop.
pub(super) struct Cluster {
    launch: Launch,
    postmaster: Mutex<Child>,
}

/// All that a postmaster is started with.
struct Launch {
    major: Major,
    /// The server's program; another build of the major than the template's has other extensions.
    program: PathBuf,
    dir: PathBuf,
    port: u16,
    settings: Vec<(String, String)>,
}

impl Cluster {
    /// Copies the template and starts a postmaster; first ends what killed tests have left running.
    pub(super) fn start(major: Major, settings: &[(&str, &str)]) -> Self {
        let program = major.home().join("bin/postgres");
        Self::start_program(major, program, settings)
    }

    /// The same with another build of the major.
    pub(super) fn start_program(major: Major, program: PathBuf, settings: &[(&str, &str)]) -> Self {
        servers_script("--sweep");
        let dir = make_run_dir();
        copy_template(major, &dir);
        Self::start_in(major, program, dir, settings)
    }

    /// Copies this running cluster and starts the copy as a hot standby, which streams all further changes.
    pub(super) fn start_standby(&self, settings: &[(&str, &str)]) -> Self {
        let (major, dir) = (self.launch.major, make_run_dir());
        let mut copy = Command::new(oracle("pg_basebackup"));
        copy.args(["--username=postgres", "--checkpoint=fast", "--no-sync"])
            .args(["--write-recovery-conf", "--wal-method=stream"])
            .args(["--port", &self.port().to_string(), "--host"])
            .arg(self.socket_dir())
            .arg("--pgdata")
            .arg(dir.join("data"));
        output_of(&mut copy);
        let (uid, gid) = template_owner(major).expect("the primary runs from it");
        let owner = format!("{uid}:{gid}");
        output_of(
            Command::new("chown")
                .args(["-R", &owner])
                .arg(dir.join("data")),
        );
        make_socket_dir(major, &dir);
        // The settings that a newer pg_basebackup writes are not all known to an older server.
        let primary = format!(
            "host={} port={} user=postgres",
            self.socket_dir().display(),
            self.port()
        );
        let settings = [settings, &[("primary_conninfo", &primary)]].concat();
        let settings = &*settings;
        Self::start_in(major, self.launch.program.clone(), dir, settings)
    }

    /// Starts a postmaster on a data directory that is complete.
    fn start_in(major: Major, program: PathBuf, dir: PathBuf, settings: &[(&str, &str)]) -> Self {
        let settings = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut launch = Launch {
            major,
            program,
            dir,
            port: 0,
            settings,
        };
        // A port found free may be taken before the server binds it.
        for _ in 0..5 {
            launch.port = free_port();
            if let Some(postmaster) = launch.start() {
                return Self {
                    launch,
                    postmaster: Mutex::new(postmaster),
                };
            }
        }
        panic!(
            "PostgreSQL {major} does not start with {:?}; its log:\n{}",
            launch.settings,
            launch.log_text()
        );
    }

    pub(super) fn port(&self) -> u16 {
        self.launch.port
    }

    pub(super) fn socket_dir(&self) -> PathBuf {
        self.launch.dir.join("s")
    }

    pub(super) fn data_dir(&self) -> PathBuf {
        self.launch.dir.join("data")
    }

    pub(super) fn log_text(&self) -> String {
        self.launch.log_text()
    }

    /// Ends the postmaster without a checkpoint, and with it every connection.
    pub(super) fn crash(&self) {
        let mut postmaster = self
            .postmaster
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if postmaster.try_wait().ok().flatten().is_none() {
            // SIGQUIT is the immediate shutdown, which unlike SIGKILL leaves no shared memory behind.
            let _ = Command::new("sh")
                .args(["-c", &format!("kill -QUIT {}", postmaster.id())])
                .status();
            let _ = postmaster.wait();
        }
    }

    /// Starts a postmaster on the same data and port after a crash.
    pub(super) fn restart(&self) {
        self.crash();
        let postmaster = self.launch.start();
        *self
            .postmaster
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = postmaster
            .unwrap_or_else(|| panic!("the server does not start again:\n{}", self.log_text()));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.crash();
        let _ = fs::remove_dir_all(&self.launch.dir);
    }
}

impl Launch {
    fn log_text(&self) -> String {
        let bytes = fs::read(self.dir.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Starts a postmaster and waits until it takes connections; `None` when it ended or hung instead.
    fn start(&self) -> Option<Child> {
        let mut postmaster = self
            .command()
            .spawn()
            .unwrap_or_else(|error| panic!("PostgreSQL {} does not start: {error}", self.major));
        let patience = Instant::now() + Duration::from_secs(60);
        while Instant::now() < patience {
            if self.is_ready(postmaster.id()) {
                return Some(postmaster);
            }
            if postmaster.try_wait().is_ok_and(|status| status.is_some()) {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = postmaster.kill();
        let _ = postmaster.wait();
        None
    }

    /// Line 1 of postmaster.pid is the process and line 8 its state (`pidfile.h`, since 10); a crash leaves an old file.
    fn is_ready(&self, pid: u32) -> bool {
        let text = fs::read_to_string(self.dir.join("data/postmaster.pid")).unwrap_or_default();
        let mut lines = text.lines().map(str::trim);
        lines.next() == Some(pid.to_string().as_str()) && lines.nth(6) == Some("ready")
    }

    fn command(&self) -> Command {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("log"))
            .expect("the directory was just made");
        let error_log = log.try_clone().expect("a file handle is to be had");
        let mut command = Command::new(&self.program);
        command
            .arg("-D")
            .arg(self.dir.join("data"))
            .arg("-k")
            .arg(self.dir.join("s"));
        command.args(["-p", &self.port.to_string()]);
        for (name, value) in &self.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .current_dir("/");
        command.stdin(Stdio::null()).stdout(log).stderr(error_log);
        let (uid, gid) = template_owner(self.major).expect("the template was just copied");
        if uid != own_uid() {
            command.uid(uid).gid(gid);
        }
        command
    }
}

/// Makes the directory of one cluster, named after this process so that a sweep can tell whether its owner lives.
fn make_run_dir() -> PathBuf {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let stat = fs::read_to_string("/proc/self/stat").expect("the tests run on Linux");
    // Field 22, the start time; fields are counted after the program's name, which may hold spaces.
    let born = stat
        .rsplit_once(") ")
        .and_then(|(_, fields)| fields.split(' ').nth(19))
        .expect("proc(5) gives a process 52 fields");
    let pid = std::process::id();
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    // Not below TMPDIR: a socket's path is limited to 107 bytes, and the server's user must be able to enter.
    let dir = PathBuf::from(format!("/tmp/pgark-pg-{}/{pid}.{born}.{serial}", own_uid()));
    fs::create_dir_all(&dir)
        .unwrap_or_else(|error| panic!("cannot make {}: {error}", dir.display()));
    dir
}

fn own_uid() -> u32 {
    fs::metadata("/proc/self")
        .expect("the tests run on Linux")
        .uid()
}

fn copy_template(major: Major, dir: &Path) {
    if let Err(error) = template_owner(major) {
        panic!("PostgreSQL {major} is not installed ({error}); run scripts/servers {major}");
    }
    output_of(
        Command::new("cp")
            .arg("-a")
            .arg(major.home().join("template"))
            .arg(dir.join("data")),
    );
    make_socket_dir(major, dir);
}

fn make_socket_dir(major: Major, dir: &Path) {
    let (uid, gid) = template_owner(major).expect("the template was just read");
    let sockets = dir.join("s");
    fs::create_dir(&sockets).expect("the directory was just made");
    chown(&sockets, Some(uid), Some(gid))
        .expect("root may give away, others own the template themselves");
}

/// The user and group that own the template, which are those the server runs as: PostgreSQL refuses root.
fn template_owner(major: Major) -> io::Result<(u32, u32)> {
    let metadata = fs::metadata(major.home().join("template"))?;
    Ok((metadata.uid(), metadata.gid()))
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("this machine has a free port")
        .port()
}
