//! A certificate authority that lives as long as a test. Clients trust its certificate ([`TestCa::ca_pem`]),
//! servers get a certificate that it signed, so TLS is verified for real and nothing is switched off.

use std::io;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Every server certificate names these, whatever else it was asked for.
const LOOPBACK_NAMES: [&str; 3] = ["127.0.0.1", "::1", "localhost"];

/// A certificate authority made on the spot; its key never leaves memory.
pub struct TestCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl TestCa {
    /// Makes a new authority with a fresh key.
    ///
    /// # Errors
    /// When the system's randomness fails.
    pub fn new() -> io::Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "ProxyWhirl loopback world CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(failed("making the authority's key"))?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(failed("making the authority's certificate"))?;
        Ok(Self { issuer })
    }

    /// The authority's certificate in PEM, as `curl --cacert` wants it.
    #[must_use]
    pub fn ca_pem(&self) -> String {
        self.issuer.pem()
    }

    /// The authority's certificate in DER.
    #[must_use]
    pub fn ca_der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// A server configuration with a new certificate for `127.0.0.1`, `::1`, `localhost` and `names`
    /// (DNS names or IP addresses), offering `http/1.1` by ALPN.
    ///
    /// # Errors
    /// When a name is not a valid DNS name.
    pub fn server_config(&self, names: &[&str]) -> io::Result<Arc<ServerConfig>> {
        let subjects: Vec<String> = LOOPBACK_NAMES.iter().chain(names).map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(subjects).map_err(failed("naming the server's certificate"))?;
        params.distinguished_name.push(DnType::CommonName, "ProxyWhirl loopback world");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(failed("making the server's key"))?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed("signing the server's certificate"))?;
        serving(certificate.der().clone(), &key)
    }

    /// A client configuration that trusts this authority and no other.
    ///
    /// # Errors
    /// When the TLS library refuses the authority's certificate.
    pub fn client_config(&self) -> io::Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca_der()).map_err(failed("trusting the authority"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(failed("choosing TLS versions"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

/// A server that shows a certificate of its own for `name`, which says that it is an authority's, as one of `openssl req -x509`
/// does, and is over with the year `until`; and that certificate in PEM.
///
/// # Errors
/// When the name is not a valid DNS name.
pub fn self_signed_server(name: &str, until: i32) -> io::Result<(Arc<ServerConfig>, String)> {
    let mut params = CertificateParams::new([name.to_owned()]).map_err(failed("naming the server's certificate"))?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = date_time_ymd(until, 12, 31);
    let key = KeyPair::generate().map_err(failed("making the server's key"))?;
    let certificate = params.self_signed(&key).map_err(failed("signing the server's certificate"))?;
    Ok((serving(certificate.der().clone(), &key)?, certificate.pem()))
}

/// A server that shows a certificate, offering `http/1.1` by ALPN.
fn serving(certificate: CertificateDer<'static>, key: &KeyPair) -> io::Result<Arc<ServerConfig>> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed("choosing TLS versions"))?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .map_err(failed("loading the server's certificate"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

impl std::fmt::Debug for TestCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestCa").finish_non_exhaustive()
    }
}

fn failed<E: std::fmt::Display>(place: &'static str) -> impl FnOnce(E) -> io::Error {
    move |error| io::Error::other(format!("{place} failed: {error}"))
}
