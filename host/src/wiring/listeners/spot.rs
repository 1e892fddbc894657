//! A place to listen at, as the settings want it: a listener with a range of ports is as many of them.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proxywhirl_core::EndpointKey;
use proxywhirl_gateway::access::Access;
use proxywhirl_gateway::wanted::{Grammar, Wanted};
use proxywhirl_gateway::{Door, Rotation, Turns};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::listeners::{ListenAt, ListenerSettings, TlsSection};
use crate::config::{PluginUse, Settings, readable};
use crate::exit::{Exit, Failure};
use crate::wiring::Besides;

/// A place to listen at.
#[derive(Clone)]
pub(super) struct Spot {
    /// What commands call it.
    pub(super) name: String,
    /// The name under which its session is known over restarts.
    door: String,
    pub(super) at: At,
    grammar: Grammar,
    wanted: Wanted,
    pub(super) rotation: Rotation,
    /// The strategy of its listener, if it is not that of the gateway.
    pub(super) strategy: Option<PluginUse>,
    pub(super) tls: Option<Tls>,
}

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum At {
    Tcp(String),
    Unix(PathBuf),
}

/// TLS with clients.
#[derive(Clone)]
pub(super) struct Tls {
    acceptor: TlsAcceptor,
    /// Tells one content of its files from another.
    pub(super) print: u64,
}

impl Spot {
    /// Whether it is the same place of the same name.
    pub(super) fn is(&self, other: &Self) -> bool {
        (&self.name, &self.at) == (&other.name, &other.at)
    }

    /// The one proxy that all requests there go through, if it is one.
    pub(super) fn proxy(&self) -> Option<&EndpointKey> {
        self.wanted.filter.as_ref()?.endpoint()
    }

    /// How clients say there what they want, and what all of them want.
    pub(super) fn wanted(&self, besides: &Besides) -> (Grammar, Wanted) {
        let by = self.strategy.as_ref().and_then(|used| besides.of(used)).cloned();
        (self.grammar, Wanted { by, ..self.wanted.clone() })
    }

    /// What is particular about it, for the gateway, where it listens at this place.
    pub(super) fn door(&self, place: &str, access: &Arc<Access>, turns: Arc<Turns>, besides: &Besides) -> Door {
        let (grammar, wanted) = self.wanted(besides);
        Door {
            grammar,
            wanted,
            access: Arc::clone(access),
            tls: self.tls.as_ref().map(|tls| tls.acceptor.clone()),
            turns,
            listener: Some(place.into()),
        }
    }

    /// Turns that begin now.
    pub(super) fn turns(&self) -> Arc<Turns> {
        Arc::new(Turns::new(self.rotation, &self.door))
    }
}

/// Every place that the settings name.
pub(super) fn all(settings: &Settings) -> Result<Vec<Spot>, Failure> {
    let mut spots = Vec::new();
    if let Some(address) = &settings.listen {
        spots.push(Spot {
            name: address.clone(),
            door: String::new(),
            at: At::Tcp(address.clone()),
            grammar: Grammar::default(),
            wanted: Wanted::default(),
            rotation: Rotation::default(),
            strategy: None,
            tls: None,
        });
    }
    for listener in &settings.listeners {
        spots.extend(of(listener)?);
    }
    Ok(spots)
}

fn of(listener: &ListenerSettings) -> Result<Vec<Spot>, Failure> {
    let tls = listener.tls.as_ref().map(acceptor).transpose()?;
    let spot = |door: &str, at: At, wanted: Wanted| Spot {
        name: listener.name.clone(),
        door: door.to_owned(),
        at,
        grammar: listener.grammar,
        wanted,
        rotation: listener.rotation,
        strategy: listener.strategy.clone(),
        tls: tls.clone(),
    };
    let wanted = || listener.wanted.clone();
    Ok(match &listener.address {
        ListenAt::Tcp(address) => vec![spot(&listener.name, At::Tcp(address.clone()), wanted())],
        ListenAt::Unix(path) => vec![spot(&listener.name, At::Unix(path.clone()), wanted())],
        ListenAt::Ports(host, first, last) => {
            let of = |port: u16| {
                let address = format!("{host}:{port}");
                spot(&address, At::Tcp(address.clone()), wanted())
            };
            (*first..=*last).map(of).collect()
        }
    })
}

/// Why a listener cannot speak TLS, if it is to.
#[must_use]
pub fn tls_refused(listener: &ListenerSettings) -> Option<Failure> {
    acceptor(listener.tls.as_ref()?).err()
}

/// TLS with clients.
fn acceptor(files: &TlsSection) -> Result<Tls, Failure> {
    let wrong = |file: &Path, why: &dyn std::fmt::Display| {
        Failure::new(Exit::Input, format!("{} cannot be used for TLS: {why}", file.display()))
    };
    let read = |file: &Path| {
        readable::again(file).map_err(|what| wrong(file, &format!("it is {what}")))?;
        std::fs::read(file).map_err(|error| wrong(file, &error))
    };
    let (certificate, key) = (read(&files.certificate)?, read(&files.key)?);
    let mut print = DefaultHasher::new();
    (&certificate, &key).hash(&mut print);
    let certificates = CertificateDer::pem_slice_iter(&certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(&files.certificate, &error))?;
    if certificates.is_empty() {
        return Err(wrong(&files.certificate, &"there is no certificate in it"));
    }
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| wrong(&files.key, &no_key(&key, &error)))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
        .map_err(|error| wrong(&files.certificate, &error))?;
    Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)), print: print.finish() })
}

/// Why there is no key in this text.
fn no_key(text: &[u8], error: &pem::Error) -> String {
    let has = |words: &[u8]| text.windows(words.len()).any(|part| part == words);
    // Of PKCS#8, and as OpenSSL wrote it before.
    if has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED") {
        return "its key is locked with a passphrase, for which nobody is asked; `openssl pkey -in OLD -out NEW` writes it \
                without one"
            .to_owned();
    }
    if matches!(error, pem::Error::NoItemsFound) {
        return "there is no private key in it".to_owned();
    }
    error.to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
        let pem = |of: &str, text: &str| format!("-----BEGIN {of}-----\n{text}\n-----END {of}-----\n");
        std::fs::write(&certificate, pem("CERTIFICATE", "AAAA")).unwrap();
        let files = TlsSection { certificate, key: key.clone() };
        let locked = "its key is locked with a passphrase, for which nobody is asked; ";
        for (text, told) in [
            (pem("ENCRYPTED PRIVATE KEY", "AAAA"), locked),
            (pem("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,52D9\n\nAAAA"), locked),
            (pem("CERTIFICATE", "AAAA"), "there is no private key in it"),
            (String::new(), "there is no private key in it"),
        ] {
            std::fs::write(&key, &text).unwrap();
            let why = acceptor(&files).err().unwrap().message;
            assert!(why.contains(&format!("key.pem cannot be used for TLS: {told}")), "{text}: {why}");
        }
        let files = TlsSection { certificate: folder.path().to_owned(), key };
        let why = acceptor(&files).err().unwrap().message;
        assert!(
            why.ends_with(" cannot be used for TLS: it is a directory, and only a file can be read again"),
            "{why}"
        );
    }
}
