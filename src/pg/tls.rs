//! TLS set-up: the rustls configuration for given settings, and channel binding. Judging certificates is in `verify`, the handshake in `wire`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_cert::der::Decode;

use super::settings::{RootCert, SslCertMode, SslMode, SslNegotiation, TlsSettings};
use super::verify::{Demand, Trusted, Verifier};

/// Why TLS cannot be set up as asked.
#[derive(Debug)]
pub(super) struct TlsProblem {
    pub(super) problem: String,
    pub(super) remedy: String,
}

fn problem(problem: impl Into<String>, remedy: &str) -> TlsProblem {
    TlsProblem {
        problem: problem.into(),
        remedy: remedy.to_owned(),
    }
}

/// Builds the client's configuration; reads the certificate files.
pub(super) fn client_config(settings: &TlsSettings) -> Result<Arc<ClientConfig>, TlsProblem> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = verifier(settings, &provider)?;
    let versions: Vec<_> = [
        (settings.tls13, &rustls::version::TLS13),
        (settings.tls12, &rustls::version::TLS12),
    ]
    .into_iter()
    .filter_map(|(allowed, version)| allowed.then_some(version))
    .collect();
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|e| problem(e.to_string(), "allow TLSv1.2 or TLSv1.3"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match client_certificate(settings)? {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|e| {
            problem(
                format!("the client certificate and key do not fit: {e}"),
                "check sslcert and sslkey",
            )
        })?,
        None => builder.with_no_client_auth(),
    };
    config.enable_sni = settings.sni;
    if settings.negotiation == SslNegotiation::Direct {
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(Arc::new(config))
}

/// What must be proved: libpq's rule makes `require` with a root certificate file `verify-ca` (manual 34.19.1).
fn demand(settings: &TlsSettings) -> Demand {
    let has_root = match &settings.root {
        RootCert::System => true,
        RootCert::Default(path) => path.as_deref().is_some_and(Path::exists),
        RootCert::File(path) => path.exists(),
    };
    match settings.mode {
        SslMode::VerifyFull => Demand::Name,
        SslMode::VerifyCa => Demand::Authority,
        SslMode::Require if has_root => Demand::Authority,
        _ => Demand::Nothing,
    }
}

fn verifier(
    settings: &TlsSettings,
    provider: &Arc<CryptoProvider>,
) -> Result<Verifier, TlsProblem> {
    let demand = demand(settings);
    if demand == Demand::Nothing {
        return Ok(Verifier::trusting_anybody(provider));
    }
    let trusted = trusted(&settings.root)?;
    let revoked = revocation_lists(settings)?;
    Verifier::new(demand, trusted, revoked, provider)
        .map_err(|e| problem(e.to_string(), "check sslrootcert and sslcrl"))
}

fn trusted(root: &RootCert) -> Result<Trusted, TlsProblem> {
    let path = match root {
        RootCert::System => return system_roots(),
        RootCert::File(path) | RootCert::Default(Some(path)) => path,
        RootCert::Default(None) => {
            return Err(problem(
                "no root certificate file is known",
                "name it with sslrootcert, or use sslrootcert=system",
            ));
        }
    };
    let named = |what: &str| {
        problem(
            format!("root certificate file \"{}\" {what}", path.display()),
            "name the authority's file with sslrootcert, use sslrootcert=system, or choose an sslmode without verification",
        )
    };
    if !path.exists() {
        return Err(named("does not exist"));
    }
    let certificates = certificates(path).map_err(|e| named(&format!("cannot be read: {e}")))?;
    let mut roots = RootCertStore::empty();
    let (n_added, _) = roots.add_parsable_certificates(certificates.iter().cloned());
    if n_added == 0 {
        return Err(named("holds no usable certificate"));
    }
    Ok(Trusted {
        roots,
        exactly: certificates,
    })
}

fn system_roots() -> Result<Trusted, TlsProblem> {
    let loaded = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (n_added, _) = roots.add_parsable_certificates(loaded.certs);
    if n_added == 0 {
        let reasons: Vec<String> = loaded.errors.iter().map(ToString::to_string).collect();
        return Err(problem(
            format!("the system has no root certificates {}", reasons.join("; ")).trim_end(),
            "install them (the package is usually ca-certificates), set SSL_CERT_FILE, or name a file with sslrootcert",
        ));
    }
    Ok(Trusted {
        roots,
        exactly: Vec::new(),
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|e| e.to_string())
}

fn revocation_lists(
    settings: &TlsSettings,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsProblem> {
    let Some(path) = chosen(settings.crl.as_ref()) else {
        return Ok(Vec::new());
    };
    CertificateRevocationListDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|e| {
            problem(
                format!(
                    "revocation list file \"{}\" cannot be read: {e}",
                    path.display()
                ),
                "check sslcrl",
            )
        })
}

/// A file that was named, or a default one that exists.
fn chosen(file: Option<&(PathBuf, bool)>) -> Option<&Path> {
    file.filter(|(path, named)| *named || path.exists())
        .map(|(path, _)| path.as_path())
}

type ClientCertificate = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn client_certificate(settings: &TlsSettings) -> Result<Option<ClientCertificate>, TlsProblem> {
    if settings.cert_mode == SslCertMode::Disable {
        return Ok(None);
    }
    let Some(cert) = chosen(settings.cert.as_ref()) else {
        return match settings.cert_mode {
            SslCertMode::Require => Err(problem(
                "sslcertmode=require, but there is no client certificate",
                "name it with sslcert and sslkey",
            )),
            _ => Ok(None),
        };
    };
    let chain = certificates(cert).map_err(|e| {
        problem(
            format!(
                "client certificate \"{}\" cannot be read: {e}",
                cert.display()
            ),
            "check sslcert",
        )
    })?;
    let Some(key) = &settings.key else {
        return Err(problem(
            format!("client certificate \"{}\" has no key", cert.display()),
            "name the key with sslkey",
        ));
    };
    check_key_mode(key)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|e| {
        problem(
            format!("client key \"{}\" cannot be read: {e}", key.display()),
            "check sslkey; the key must be PEM and not encrypted",
        )
    })?;
    Ok(Some((chain, key)))
}

/// Refuses a key that others can read; a key of root may be readable by its group (libpq's rule).
fn check_key_mode(key: &Path) -> Result<(), TlsProblem> {
    let meta = fs::metadata(key).map_err(|e| {
        problem(
            format!("client key \"{}\" cannot be read: {e}", key.display()),
            "check sslkey",
        )
    })?;
    let forbidden = if meta.uid() == 0 { 0o037 } else { 0o077 };
    if meta.is_file() && meta.mode() & forbidden != 0 {
        return Err(problem(
            format!(
                "client key \"{}\" may be read by group or others",
                key.display()
            ),
            "chmod 0600 it",
        ));
    }
    Ok(())
}

/// The `tls-server-end-point` binding: a hash of the server's certificate by the hash of its signature (RFC 5929, 4.1).
///
/// `None` for signatures without a single hash (Ed25519) and RSA-PSS: there SCRAM goes without binding.
pub(super) fn server_end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let parsed = x509_cert::Certificate::from_der(certificate).ok()?;
    let hash = match parsed.signature_algorithm.oid.to_string().as_str() {
        // MD5 and SHA-1 are raised to SHA-256.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2" => Sha256::digest(certificate).to_vec(),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Sha384::digest(certificate).to_vec(),
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Sha512::digest(certificate).to_vec(),
        _ => return None,
    };
    Some(hash)
}
