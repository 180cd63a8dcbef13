//! Judges server certificates as libpq's sslmodes ask: nothing, the chain, or the chain and the host name.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_cert::der::Decode;
use x509_cert::der::asn1::{PrintableStringRef, Utf8StringRef};
use x509_cert::der::oid::AssociatedOid;
use x509_cert::ext::pkix::SubjectAltName;

/// What a certificate must prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Demand {
    /// Nothing: the connection is only encrypted.
    Nothing,
    /// That a trusted authority signed it.
    Authority,
    /// Also that it is for the host name.
    Name,
}

/// Whom to trust.
pub(super) struct Trusted {
    /// Authorities.
    pub(super) roots: RootCertStore,
    /// Certificates trusted as they are: a self-signed server certificate in the root file, as OpenSSL accepts it.
    pub(super) exactly: Vec<CertificateDer<'static>>,
}

/// A verifier for one sslmode.
#[derive(Debug)]
pub(super) struct Verifier {
    demand: Demand,
    chain: Option<Arc<WebPkiServerVerifier>>,
    exactly: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// Accepts every certificate.
    pub(super) fn trusting_anybody(provider: &Arc<CryptoProvider>) -> Self {
        Verifier {
            demand: Demand::Nothing,
            chain: None,
            exactly: Vec::new(),
            algorithms: provider.signature_verification_algorithms,
        }
    }

    /// Accepts what the trusted vouch for and the lists do not revoke.
    pub(super) fn new(
        demand: Demand,
        trusted: Trusted,
        revoked: Vec<CertificateRevocationListDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, rustls::client::VerifierBuilderError> {
        let chain = WebPkiServerVerifier::builder_with_provider(
            Arc::new(trusted.roots),
            Arc::clone(provider),
        )
        .with_crls(revoked)
        .build()?;
        Ok(Verifier {
            demand,
            chain: Some(chain),
            exactly: trusted.exactly,
            algorithms: provider.signature_verification_algorithms,
        })
    }

    fn check_name(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
    ) -> Result<(), Error> {
        if self.demand != Demand::Name {
            return Ok(());
        }
        let parsed = ParsedCertificate::try_from(certificate)?;
        match verify_server_name(&parsed, name) {
            Err(_) if common_name_fits(certificate, name) => Ok(()),
            verdict => verdict,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        let verdict =
            chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verdict {
            Ok(verified) => Ok(verified),
            // The name is checked last, so the chain is good.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => {
                self.check_name(end_entity, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            Err(Error::InvalidCertificate(reason))
                if reason != CertificateError::Revoked
                    && self.exactly.iter().any(|cert| cert == end_entity) =>
            {
                check_validity(end_entity, now)?;
                self.check_name(end_entity, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            Err(problem) => Err(problem),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.demand == Demand::Nothing {
            // A certificate that proves nothing gains nothing from a signature, and old X.509 versions cannot be read for one.
            return Ok(HandshakeSignatureValid::assertion());
        }
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.demand == Demand::Nothing {
            return Ok(HandshakeSignatureValid::assertion());
        }
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn check_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let parsed = x509_cert::Certificate::from_der(certificate)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let validity = parsed.tbs_certificate.validity;
    let now = Duration::from_secs(now.as_secs());
    if now < validity.not_before.to_unix_duration() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.to_unix_duration() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

/// libpq's fallback: without alternative names the subject's common name counts.
fn common_name_fits(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    let ServerName::DnsName(host) = name else {
        return false;
    };
    let Ok(parsed) = x509_cert::Certificate::from_der(certificate) else {
        return false;
    };
    let tbs = parsed.tbs_certificate;
    let has_alternatives = tbs
        .extensions
        .iter()
        .flatten()
        .any(|extension| extension.extn_id == SubjectAltName::OID);
    let common_name = tbs.subject.0.iter().rev().find_map(|rdn| {
        let attribute = rdn.0.iter().find(|a| a.oid.to_string() == "2.5.4.3")?;
        let utf8 = attribute.value.decode_as::<Utf8StringRef<'_>>();
        let printable = attribute.value.decode_as::<PrintableStringRef<'_>>();
        utf8.map(|text| text.as_str().to_owned())
            .or_else(|_| printable.map(|text| text.as_str().to_owned()))
            .ok()
    });
    !has_alternatives && common_name.is_some_and(|pattern| name_fits(&pattern, host.as_ref()))
}

/// A leading `*.` stands for exactly one label.
fn name_fits(pattern: &str, host: &str) -> bool {
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    let wild = pattern.strip_prefix("*.").zip(host.split_once('.'));
    wild.is_some_and(|(tail, (label, rest))| !label.is_empty() && tail.eq_ignore_ascii_case(rest))
}

#[cfg(test)]
mod tests {
    use super::name_fits;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        assert!(name_fits("DB.example", "db.example"));
        assert!(name_fits("*.example", "db.example"));
        assert!(!name_fits("*.example", "a.db.example"));
        assert!(!name_fits("*.example", "example"));
        assert!(!name_fits("db.example", "xdb.example"));
    }
}
