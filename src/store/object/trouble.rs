//! What a service's error means: whether another try may help, and what to tell. Of an answer only its code and its message are
//! told: the rest of it may repeat tokens, and addresses may hold signatures.

use std::error::Error as StdError;

use object_store::Error as ServiceError;
use object_store::client::{HttpError, HttpErrorKind};

use super::http;
use super::service::Service;

/// True if another try may succeed.
pub(super) fn may_pass(error: &ServiceError) -> bool {
    if let Some(transport) = transport(error) {
        let text = chain(transport);
        return transport.kind() != HttpErrorKind::Unknown || !is_certificate(&text);
    }
    match status(error) {
        Some(408 | 429 | 500..=599) => true,
        // S3's name for a body that came too slowly.
        Some(400) => code(error).as_deref() == Some("RequestTimeout"),
        _ => false,
    }
}

/// True if the object, or what was asked for, is not there.
pub(super) fn is_missing(error: &ServiceError) -> bool {
    matches!(error, ServiceError::NotFound { .. })
}

/// True if the service says that there is no such bucket. Answers without a body cannot say it.
pub(super) fn lacks_bucket(error: &ServiceError) -> bool {
    matches!(
        code(error).as_deref(),
        Some("NoSuchBucket" | "ContainerNotFound")
    )
}

/// True if a put met another one of the same key that is not finished yet (S3's 409).
pub(super) fn is_conflict(error: &ServiceError) -> bool {
    status(error) == Some(409)
}

/// True if a range begins at the end of the object or after it.
pub(super) fn is_beyond_end(error: &ServiceError) -> bool {
    // The crate looks at the answer's range itself when the service is kinder than to refuse.
    status(error) == Some(416) || chain(error).contains("Wanted range starting at")
}

/// What happened.
pub(super) fn told(error: &ServiceError, service: &Service) -> String {
    service.without_secrets(meaning(error, service).0)
}

/// What happened, and what can be done about it.
pub(super) fn explained(error: &ServiceError, service: &Service) -> String {
    let (text, remedy) = meaning(error, service);
    service.without_secrets(match remedy {
        Some(remedy) => format!("{text} ({remedy})"),
        None => text,
    })
}

fn meaning(error: &ServiceError, service: &Service) -> (String, Option<String>) {
    if let Some(transport) = transport(error) {
        let text = format!("{} cannot be reached: {}", service.host, causes(transport));
        let remedy = if !service.has_keys {
            let keys = service.keys;
            let remedy = format!(
                "no keys are given: set {keys}; on a machine that has keys from its cloud, look at the endpoint and the network"
            );
            return (text, Some(remedy));
        } else if is_certificate(&text) && http::trusts_nobody() {
            "there are no root certificates: install them, or name a file of them with SSL_CERT_FILE"
        } else if is_certificate(&text) {
            "if the service has a certificate of its own authority, name a file with it by SSL_CERT_FILE"
        } else {
            "look at the endpoint, the network and the proxy variables"
        };
        return (text, Some(remedy.to_owned()));
    }
    let Some(status) = status(error) else {
        return unanswered(error, service);
    };
    let code = code(error);
    let message = element(&chain(error), "Message");
    let mut text = format!("{} answered {status}", service.host);
    for part in [&code, &message].into_iter().flatten() {
        text.push_str(": ");
        text.push_str(part);
    }
    let remedy = remedy(status, code.as_deref(), service);
    (text, remedy)
}

/// An error that the service has not answered: of credentials, or of what an answer lacked.
fn unanswered(error: &ServiceError, service: &Service) -> (String, Option<String>) {
    let text = chain(error);
    if text.contains("redirect") {
        let remedy = "the bucket is in another region: set region, or AWS_REGION";
        return (
            format!("{} sends elsewhere", service.host),
            Some(remedy.to_owned()),
        );
    }
    (text, None)
}

fn remedy(status: u16, code: Option<&str>, service: &Service) -> Option<String> {
    let keys = service.keys;
    let remedy = match (status, code.unwrap_or_default()) {
        (_, "SignatureDoesNotMatch" | "AuthenticationFailed") => {
            format!("the secret does not belong to the key: look at {keys}")
        }
        (_, "InvalidAccessKeyId") => format!("the service does not know the key: look at {keys}"),
        (_, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => {
            format!("the session's token is no longer valid: get a new one for {keys}")
        }
        (_, "RequestTimeTooSkewed" | "RequestExpired") => {
            "this machine's clock is wrong: set it right, best by NTP".to_owned()
        }
        (
            _,
            "PermanentRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException",
        ) => "the bucket is in another region: set region, or AWS_REGION".to_owned(),
        (_, "InvalidObjectState" | "BlobArchived") => {
            "the object lies in an archive class: have the service bring it back first".to_owned()
        }
        (_, "InvalidStorageClass") => "give a storage_class that the service has".to_owned(),
        (_, "InvalidRequest") if service.locks() => {
            "if the bucket was made without object lock, leave object_lock out".to_owned()
        }
        (503 | 429, _) => {
            "the service asks for fewer requests: try again later, or with fewer --jobs".to_owned()
        }
        (401 | 403, _) => {
            format!("let the key list, read, write and delete here, or look at {keys}")
        }
        _ => return None,
    };
    Some(remedy)
}

/// The transport's error, where no answer came.
fn transport<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a HttpError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<HttpError>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The answer's status: the crate gives it in words only.
fn status(error: &ServiceError) -> Option<u16> {
    let text = chain(error);
    let after = text.split("status code: ").nth(1)?;
    after.get(..3)?.parse().ok()
}

fn code(error: &ServiceError) -> Option<String> {
    element(&chain(error), "Code")
}

/// The text of an XML element, short and on one line.
fn element(text: &str, name: &str) -> Option<String> {
    let after = text.split_once(&format!("<{name}>"))?.1;
    let inner = after.split_once(&format!("</{name}>"))?.0;
    let plain: String = inner
        .chars()
        .filter(|c| !c.is_control())
        .take(300)
        .collect();
    Some(plain)
}

fn is_certificate(text: &str) -> bool {
    text.contains("certificate") || text.contains("UnknownIssuer")
}

/// The error with its causes, each once.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// The innermost cause, which says it best.
fn causes(error: &dyn StdError) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}
