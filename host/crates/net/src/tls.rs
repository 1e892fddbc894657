//! TLS with an upstream, and with whatever else is fetched.
//!
//! The certificates that are trusted are the system's; where it has none, as in a container without any, Mozilla's
//! from the binary. ring is the provider: it needs no C compiler beyond what the standard library needs.

use std::io;
use std::sync::Arc;

use proxywhirl_core::{Endpoint, Fault, Host, Kind, Side, Stage};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::dial::within;
use crate::fault;
use crate::stream::Stream;

/// What is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Whether certificates are verified. Without, anybody on the way can pose as the upstream and read the
    /// credentials; it is for proxies with certificates of their own making.
    pub verify: bool,
    /// Certificate authorities, in PEM, that are trusted besides the system's; and certificates that a server shows itself.
    pub extra_ca_pem: Option<Vec<u8>>,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self { verify: true, extra_ca_pem: None }
    }
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The additional authorities are not PEM.
    #[error("additional certificate authorities: not PEM: {0}")]
    Pem(rustls_pki_types::pem::Error),
    /// The additional authorities hold no certificate.
    #[error("additional certificate authorities: no certificate in them")]
    NoCertificate,
    /// A certificate among the additional authorities cannot be used, or the provider cannot.
    #[error("TLS cannot be set up")]
    Rustls(#[source] rustls::Error),
}

/// A configuration for clients of one server, which is known by its certificate alone: by the SHA-256 of its DER form.
///
/// # Errors
/// [`TlsError`] when the provider cannot be used.
pub fn pinned_client_config(certificate: [u8; 32]) -> Result<Arc<ClientConfig>, TlsError> {
    trusting(ring(), Trusted::Only(certificate))
}

fn ring() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A configuration that takes the certificates that are trusted.
fn trusting(provider: Arc<CryptoProvider>, trusted: Trusted) -> Result<Arc<ClientConfig>, TlsError> {
    let verifier = Arc::new(Verifier { provider: Arc::clone(&provider), trusted });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Rustls)?;
    Ok(Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
}

/// TLS with a server at the far end of a tunnel. What goes wrong is told as the fault of the upstream that carries it: it
/// has broken the stream, or answers in the server's place.
///
/// # Errors
/// The fault; [`Kind::Certificate`] when the certificate is not the server's.
pub async fn through(
    stream: Stream,
    config: &Arc<ClientConfig>,
    host: &Host,
    deadline: Instant,
) -> Result<TlsStream<Stream>, Fault> {
    let connector = TlsConnector::from(Arc::clone(config));
    let name = server_name(host)?;
    within(deadline, Side::Upstream, Stage::Tls, async {
        connector.connect(name, stream).await.map_err(|error| {
            let mut fault = fault::upstream(Stage::Tls, &error);
            fault.detail = error.to_string().into();
            fault
        })
    })
    .await
}

/// A configuration for clients, without ALPN: whoever uses it adds the protocols that it speaks.
///
/// # Errors
/// [`TlsError`] when the additional authorities cannot be used.
pub fn client_config(config: &TlsConfig) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = ring();
    let trusted = if config.verify {
        let (roots, own) = roots(config)?;
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
        let usual = usual.map_err(|error| TlsError::Rustls(rustls::Error::General(error.to_string())))?;
        Trusted::Usual { usual, own }
    } else {
        Trusted::All
    };
    trusting(provider, trusted)
}

/// All that is trusted, and of it what the user has added.
fn roots(config: &TlsConfig) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), TlsError> {
    let (mut roots, mut own) = (RootCertStore::empty(), Vec::new());
    // A system's bundle often holds a certificate that no library reads; the others are good.
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if let Some(pem) = &config.extra_ca_pem {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(TlsError::Pem)?;
            roots.add(certificate.clone()).map_err(TlsError::Rustls)?;
            own.push(certificate);
        }
        if own.is_empty() {
            return Err(TlsError::NoCertificate);
        }
    }
    Ok((roots, own))
}

/// A connector for upstreams, which speak HTTP/1.1.
pub(crate) fn connector(config: &TlsConfig) -> Result<TlsConnector, TlsError> {
    let mut client = Arc::unwrap_or_clone(client_config(config)?);
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(client)))
}

/// The TLS handshake with an upstream.
pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    connector: &TlsConnector,
    upstream: &Endpoint,
    below: S,
) -> Result<TlsStream<S>, Fault> {
    connector.connect(server_name(&upstream.host)?, below).await.map_err(|error| refused(upstream, &error))
}

fn server_name(host: &Host) -> Result<ServerName<'static>, Fault> {
    match host {
        Host::V4(address) => Ok(ServerName::from(*address)),
        Host::V6(address) => Ok(ServerName::from(*address)),
        Host::Zoned(zoned) => Ok(ServerName::from(zoned.addr)),
        Host::Name(name) => ServerName::try_from(name.to_string()).map_err(|_| {
            let words = format!("{name} is no name that a certificate can have");
            Fault::new(Side::Upstream, Stage::Tls, Kind::Unsupported, words)
        }),
    }
}

fn refused(upstream: &Endpoint, error: &io::Error) -> Fault {
    let mut fault = fault::upstream(Stage::Tls, error);
    fault.detail = format!("{}:{}: {error}", upstream.host, upstream.port).into();
    fault
}

/// Whose certificates are taken. Whoever it is, the peer has to show that it has the key.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    trusted: Trusted,
}

#[derive(Debug)]
enum Trusted {
    /// What leads to an authority. One of the user's own certificates is taken also from the server itself, though it says that it
    /// is an authority's, which a server's must not: those that `openssl req -x509` makes say so, and other programs take them.
    Usual { usual: Arc<WebPkiServerVerifier>, own: Vec<CertificateDer<'static>> },
    /// The only certificate with this SHA-256.
    Only([u8; 32]),
    /// Every one.
    All,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.trusted {
            Trusted::Usual { usual, own } => match usual.verify_server_cert(certificate, chain, name, ocsp, now) {
                // Its time is right, as that is looked at before; its name would have been looked at later.
                Err(error) if is_for_authority(&error) && own.iter().any(|own| own == certificate) => {
                    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                    Ok(ServerCertVerified::assertion())
                }
                verified => verified,
            },
            Trusted::Only(only) if Sha256::digest(certificate) != *only => {
                Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
            Trusted::Only(_) | Trusted::All => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Whether all that is wrong so far is that a server shows an authority's certificate. It has no variant of its own.
fn is_for_authority(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::InvalidCertificate(CertificateError::Other(other)) if other.to_string() == "CaUsedAsEndEntity")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn additional_authorities_that_are_none_are_an_error() {
        let config = |pem: &str| TlsConfig { verify: true, extra_ca_pem: Some(pem.into()) };
        assert!(matches!(client_config(&config("")), Err(TlsError::NoCertificate)));
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(client_config(&config(garbage)), Err(TlsError::Rustls(_))));
        let broken = "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n";
        assert!(matches!(client_config(&config(broken)), Err(TlsError::Pem(_))));
    }

    #[test]
    fn the_configuration_for_others_leaves_alpn_to_them() {
        assert!(client_config(&TlsConfig::default()).unwrap().alpn_protocols.is_empty());
        assert!(client_config(&TlsConfig { verify: false, extra_ca_pem: None }).is_ok());
    }
}
