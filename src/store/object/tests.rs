//! Buckets of a real S3 service: the contract, keys, what goes along with a put, broken connections, and what is told of trouble.

use super::*;
use crate::config::{ObjectLock, ObjectLockMode, Period, Secret};
use crate::progress::Silent;
use crate::store::contract;

#[path = "../../../tests/suite/support/cut.rs"]
mod cut;
#[path = "../../../tests/suite/support/proxy.rs"]
mod proxy;
#[path = "../../../tests/suite/support/s3.rs"]
mod s3;

use cut::{Cut, CutProxy};
use s3::S3Server;

async fn open(s3: &S3Server, place: &Place) -> Result<BucketStore> {
    BucketStore::open(place, &|name| s3.variable(name), Arc::new(Silent)).await
}

/// The text of an error with its causes.
fn told(error: &Error) -> String {
    let mut text = format!("{error}");
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[tokio::test]
async fn a_bucket_keeps_the_contract() {
    let s3 = S3Server::start();
    for prefix in ["", "one", "deep/down"] {
        let store = open(&s3, &s3.place(prefix)).await.unwrap();
        contract::check(&store).await;
    }
    let puts = s3.puts();
    assert!(
        puts.iter()
            .all(|put| put.has_sha256 && put.is_conditional && put.lock.is_none()),
        "{puts:?}"
    );
}

#[tokio::test]
async fn what_is_too_large_is_not_fetched() {
    let s3 = S3Server::start();
    let store = open(&s3, &s3.place("p")).await.unwrap();
    let key = Key::new("large");
    store.put_new(&key, Bytes::from_static(b"x")).await.unwrap();
    let large = s3.folder().join("p/large");
    let file = std::fs::File::options().write(true).open(large).unwrap();
    file.set_len(0).unwrap();
    file.set_len(crate::store::OBJECT_BYTES_MAX + 1).unwrap();
    contract::refuses_what_is_too_large(&store, &key).await;
}

#[tokio::test]
async fn keys_come_from_the_configuration_or_from_the_usual_variables() {
    let s3 = S3Server::start();
    let by_variables = Place::of(&S3Server::url("p"));
    assert!(open(&s3, &by_variables).await.is_ok());
    // A configured key is never mixed with a token of somebody else's.
    let mixed = |name: &str| match name {
        "AWS_SESSION_TOKEN" => Some("token of another key".to_owned()),
        "AWS_ACCESS_KEY_ID" => Some("AKIDOTHER".to_owned()),
        name => s3.variable(name),
    };
    let configured = BucketStore::open(&s3.place("p"), &mixed, Arc::new(Silent)).await;
    assert!(configured.is_ok(), "{:?}", configured.err());
    let without = Place {
        secret_access_key: Some(Secret::Env("NOT_SET".to_owned())),
        ..s3.place("p")
    };
    let error = told(&open(&s3, &without).await.unwrap_err());
    assert!(error.contains("environment variable NOT_SET"), "{error}");
}

#[tokio::test]
async fn what_is_wrong_with_a_bucket_is_named_with_a_remedy_and_without_secrets() {
    let s3 = S3Server::start();
    let place = s3.place("p");
    let wrong_key = |name: &str| match name {
        "TEST_S3_SECRET" => Some("not-the-secret-of-this-key".to_owned()),
        name => s3.variable(name),
    };
    let error = BucketStore::open(&place, &wrong_key, Arc::new(Silent))
        .await
        .unwrap_err();
    let text = told(&error);
    for part in [
        "s3://backups/p",
        "open failed after 1 tries",
        "SignatureDoesNotMatch",
        "the secret does not belong to the key",
        "the keys that the configuration names",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert!(!text.contains("not-the-secret-of-this-key"), "{text}");

    let no_bucket = Place {
        place: "s3://nothing-here/p".to_owned(),
        ..place.clone()
    };
    let error = open(&s3, &no_bucket).await.unwrap_err();
    assert!(
        matches!(&error, Error::NotFound { what, .. } if what.contains("has no bucket nothing-here")),
        "{error:?}"
    );

    let nobody = Place {
        endpoint: Some("http://127.0.0.1:1".to_owned()),
        ..place.clone()
    };
    let text = told(&open(&s3, &nobody).await.unwrap_err());
    for part in ["after 3 tries", "127.0.0.1:1 cannot be reached", "endpoint"] {
        assert!(text.contains(part), "{part:?} in {text}");
    }

    for url in [
        "s3://",
        "s3:///p",
        "s3://key:secret@bucket/p",
        "s3://b/p?sig=x",
    ] {
        let error = open(&s3, &Place::of(url)).await.unwrap_err();
        assert!(matches!(error, Error::Usage(_)), "{url}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let locked = Place {
        object_lock: Some(lock(ObjectLockMode::Governance)),
        ..Place::of("gs://b/p")
    };
    let error = open(&s3, &locked).await.unwrap_err();
    assert!(error.to_string().contains("object_lock"), "{error}");
}

fn lock(mode: ObjectLockMode) -> ObjectLock {
    ObjectLock {
        mode,
        period: Period::parse("30d").unwrap(),
    }
}

#[tokio::test]
async fn locks_and_storage_classes_go_along_with_what_they_are_for() {
    let s3 = S3Server::start();
    let place = Place {
        storage_class: Some("GLACIER_IR".to_owned()),
        object_lock: Some(lock(ObjectLockMode::Compliance)),
        ..s3.place("")
    };
    let store = open(&s3, &place).await.unwrap();
    let now = jiff::Timestamp::now().as_second();
    for key in [
        "chunks/ab/abcd",
        "archives/a.json",
        "leases/x.json",
        "trash/chunks/ab/abcd",
    ] {
        let key = Key::new(key);
        let put = store.put_new(&key, Bytes::from_static(b"x"));
        assert_eq!(put.await.unwrap(), Put::Stored);
    }
    let puts = s3.puts();
    let classes: Vec<_> = puts
        .iter()
        .map(|put| put.storage_class.as_deref())
        .collect();
    assert_eq!(classes, [Some("GLACIER_IR"), None, None, None]);
    for put in &puts[..2] {
        let (mode, until) = put.lock.clone().unwrap();
        assert_eq!(mode, "COMPLIANCE");
        let lasts = until - now - 30 * 86_400;
        assert!((-2..60).contains(&lasts), "{lasts}");
        assert!(put.has_md5 && put.has_sha256, "{put:?}");
    }
    assert!(puts[2].lock.is_none() && puts[3].lock.is_none());
}

#[tokio::test]
async fn a_put_whose_connection_breaks_is_repeated_and_known_as_its_own() {
    let s3 = S3Server::start();
    let body = Bytes::from(vec![7_u8; 3 << 20]);
    for (n, cut) in [Cut::AfterSent(1 << 20), Cut::AfterAnswers(1)]
        .into_iter()
        .enumerate()
    {
        let proxy = CutProxy::start(s3.address(), &[cut]);
        let place = Place {
            endpoint: Some(proxy.endpoint()),
            ..s3.place("p")
        };
        let store = open(&s3, &place).await.unwrap();
        let key = Key::new(format!("chunks/{n}"));
        // With the answer lost, the repeated put meets its own object: that is no other one's.
        let put = store.put_new(&key, body.clone()).await.unwrap();
        assert_eq!((put, proxy.n_cut()), (Put::Stored, 1), "{cut:?}");
        assert_eq!(store.get(&key).await.unwrap(), Some(body.clone()));
        let other = store.put_new(&key, Bytes::from_static(b"other"));
        assert_eq!(other.await.unwrap(), Put::Exists);
    }
    // A key that holds something else is still somebody else's after a lost connection.
    let proxy = CutProxy::start(s3.address(), &[Cut::AfterAnswers(1)]);
    let place = Place {
        endpoint: Some(proxy.endpoint()),
        ..s3.place("p")
    };
    let store = open(&s3, &place).await.unwrap();
    let other = Bytes::from(vec![8_u8; 3 << 20]);
    let put = store.put_new(&Key::new("chunks/0"), other).await.unwrap();
    assert_eq!((put, proxy.n_cut()), (Put::Exists, 1));
}

#[tokio::test]
async fn reads_and_lists_whose_connection_breaks_are_repeated() {
    let s3 = S3Server::start();
    let direct = open(&s3, &s3.place("p")).await.unwrap();
    let body = Bytes::from(vec![1_u8; 2 << 20]);
    direct
        .put_new(&Key::new("big"), body.clone())
        .await
        .unwrap();
    let proxy = CutProxy::start(s3.address(), &[Cut::AfterAnswers(1), Cut::AfterAnswers(0)]);
    let place = Place {
        endpoint: Some(proxy.endpoint()),
        ..s3.place("p")
    };
    let store = open(&s3, &place).await.unwrap();
    assert_eq!(store.get(&Key::new("big")).await.unwrap(), Some(body));
    assert_eq!(store.list("").await.unwrap().len(), 1);
    assert_eq!(proxy.n_cut(), 2);
}

#[tokio::test]
async fn long_listings_come_whole_and_foreign_names_are_left_out() {
    let s3 = S3Server::start();
    let folder = s3.folder().join("p/archives");
    std::fs::create_dir_all(folder.join("sub")).unwrap();
    for i in 0..2345 {
        std::fs::write(folder.join(format!("a{i}.json")), b"x").unwrap();
    }
    std::fs::write(folder.join("with space"), b"?").unwrap();
    std::fs::write(folder.join("sub/.hidden"), b"?").unwrap();
    std::fs::write(s3.folder().join("elsewhere"), b"?").unwrap();
    let store = open(&s3, &s3.place("p")).await.unwrap();
    let listed = store.list("archives").await.unwrap();
    assert_eq!(listed.len(), 2345);
    assert!(listed.is_sorted_by(|a, b| a.key < b.key));
    assert_eq!(listed[0].key, Key::new("archives/a0.json"));
}

/// Nobody answers, so this shows only that their settings are understood, and that a key is not shown.
#[tokio::test]
async fn other_clouds_are_asked_with_their_own_keys() {
    let account_key = "bm90LXRoZS1rZXktb2YtYW55Ym9keQ==";
    let service_account = r#"{"gcs_base_url": "http://127.0.0.1:1", "disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": ""}"#;
    let variable = |name: &str| match name {
        "AZURE_STORAGE_ACCOUNT_NAME" => Some("account".to_owned()),
        "AZURE_STORAGE_ACCOUNT_KEY" => Some(account_key.to_owned()),
        "GOOGLE_SERVICE_ACCOUNT_KEY" => Some(service_account.to_owned()),
        _ => None,
    };
    for (url, service) in [("az://c/p", "Azure"), ("gs://b/p", "Google")] {
        let place = Place {
            endpoint: (service == "Azure").then(|| "http://127.0.0.1:1".to_owned()),
            ..Place::of(url)
        };
        let error = BucketStore::open(&place, &variable, Arc::new(Silent))
            .await
            .unwrap_err();
        let text = told(&error);
        assert!(text.contains(url) && text.contains(service), "{text}");
        assert!(text.contains("cannot be reached"), "{text}");
        assert!(!text.contains(account_key), "{text}");
    }
}
