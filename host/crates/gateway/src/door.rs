//! A door: what is particular about one of the places where clients come in.

use std::fmt;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;

use crate::access::Access;
use crate::rotation::Turns;
use crate::wanted::{Grammar, Wanted};

/// What is particular about a listener.
#[derive(Clone, Default)]
pub struct Door {
    /// How clients say what they want in their user name or password.
    pub grammar: Grammar,
    /// What every request here wants. Of members, a client gets only those that both admit; else, what it says itself goes
    /// first.
    pub wanted: Wanted,
    /// Who may come in, and for what: shared by all doors.
    pub access: Arc<Access>,
    /// With whom the handshake is, where clients speak TLS to the gateway.
    pub tls: Option<TlsAcceptor>,
    /// When requests that name no session get another member.
    pub turns: Arc<Turns>,
    /// Where its listener listens, for who asks where a request came in.
    pub listener: Option<Arc<str>>,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("grammar", &self.grammar).field("wanted", &self.wanted).finish_non_exhaustive()
    }
}
