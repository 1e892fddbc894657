//! What an error of the operating system or of TLS is called, in one place.

use std::io;

use proxywhirl_core::{Fault, Kind, Side, Stage};

/// The kind of a failure that the operating system or TLS reports.
#[must_use]
pub fn io_kind(error: &io::Error) -> Kind {
    use io::ErrorKind as E;

    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        let certificate = matches!(tls, rustls::Error::InvalidCertificate(_));
        return if certificate { Kind::Certificate } else { Kind::Tls };
    }
    if is_exhausted(error) {
        return Kind::Exhausted;
    }
    let kind = error.kind();
    let is = |kinds: &[E]| kinds.contains(&kind);
    if is(&[E::ConnectionRefused]) {
        Kind::Refused
    } else if is(&[E::HostUnreachable, E::NetworkUnreachable, E::NetworkDown, E::AddrNotAvailable, E::PermissionDenied])
    {
        // Permission is denied by a packet filter, and for broadcast addresses.
        Kind::Unreachable
    } else if is(&[E::TimedOut]) {
        Kind::Timeout
    } else if is(&[E::QuotaExceeded]) {
        Kind::Limited
    } else if is(&[E::ConnectionReset, E::ConnectionAborted, E::BrokenPipe]) {
        Kind::Reset
    } else if is(&[E::UnexpectedEof, E::NotConnected, E::WriteZero]) {
        Kind::Closed
    } else {
        Kind::Io
    }
}

/// The fault of the upstream that an error amounts to; of ours, when we have run out of something.
#[must_use]
#[cold]
pub fn upstream(stage: Stage, error: &io::Error) -> Fault {
    let kind = io_kind(error);
    let side = if kind == Kind::Exhausted { Side::Ours } else { Side::Upstream };
    Fault::new(side, stage, kind, error.to_string())
}

/// Whether we have run out of files or buffers: no upstream is to blame for that.
fn is_exhausted(error: &io::Error) -> bool {
    #[cfg(unix)]
    // ENFILE, EMFILE; ENOBUFS on Linux and on BSD.
    const EXHAUSTED: [i32; 4] = [23, 24, 105, 55];
    #[cfg(not(unix))]
    // WSAEMFILE, WSAENOBUFS.
    const EXHAUSTED: [i32; 2] = [10024, 10055];
    error.kind() == io::ErrorKind::OutOfMemory || error.raw_os_error().is_some_and(|code| EXHAUSTED.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_kind() {
        use io::ErrorKind as E;
        for (error, kind) in [
            (E::ConnectionRefused, Kind::Refused),
            (E::NetworkUnreachable, Kind::Unreachable),
            (E::TimedOut, Kind::Timeout),
            (E::BrokenPipe, Kind::Reset),
            (E::UnexpectedEof, Kind::Closed),
            (E::InvalidData, Kind::Io),
        ] {
            assert_eq!(io_kind(&error.into()), kind, "{error}");
        }
        let certificate = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        assert_eq!(io_kind(&io::Error::new(E::InvalidData, certificate)), Kind::Certificate);
        assert_eq!(io_kind(&io::Error::new(E::InvalidData, rustls::Error::DecryptError)), Kind::Tls);
    }

    #[cfg(unix)]
    #[test]
    fn no_upstream_is_blamed_when_we_are_out_of_files() {
        let fault = upstream(Stage::Connect, &io::Error::from_raw_os_error(24));
        assert_eq!((fault.side, fault.kind), (Side::Ours, Kind::Exhausted));
    }
}
