//! TLS of a judge, on the same port as its HTTP: a client that begins with a handshake record is served TLS.
//!
//! Nobody needs to install the certificate: whoever asks the judge without a proxy is told its SHA-256, and then accepts
//! that certificate alone through proxies. So one that breaks TLS, or signs it anew, is found out.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;

/// The name in a certificate of the judge's own making.
const NAME: &str = "proxywhirl-judge";

/// The first byte of a TLS handshake record (RFC 8446 §5.1); no HTTP method begins with it.
pub(super) const HANDSHAKE: u8 = 22;

/// A certificate and its key.
#[derive(Clone)]
pub struct JudgeTls {
    pub(super) acceptor: TlsAcceptor,
    /// The SHA-256 of the certificate in DER, in hexadecimal digits.
    pub(super) fingerprint: Arc<str>,
}

impl fmt::Debug for JudgeTls {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JudgeTls").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

/// A judge's certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the judge's certificate: {0}")]
pub struct BadCertificate(String);

impl JudgeTls {
    /// A certificate that is made now, and signed by itself.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn self_signed() -> Result<Self, BadCertificate> {
        let bad = |error: rcgen::Error| BadCertificate(error.to_string());
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).map_err(bad)?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
            .map_err(|error| BadCertificate(error.to_owned()))?;
        Self::new(vec![made.cert.der().clone()], key)
    }

    /// A certificate chain and its key, in PEM.
    ///
    /// # Errors
    /// When they are no PEM, or do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, BadCertificate> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
        let chain = chain.map_err(|error| BadCertificate(error.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| BadCertificate(format!("its key: {error}")))?;
        Self::new(chain, key)
    }

    fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, BadCertificate> {
        let first = chain.first().ok_or_else(|| BadCertificate("there is none".to_owned()))?;
        let fingerprint = super::hexadecimal(&Sha256::digest(first)).into();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error| BadCertificate(error.to_string()))?;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), fingerprint })
    }
}
