//! What is measured, and what it may cost.

/// A load, of which the cost for each unit is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    /// Absolute-form GET, one after the other on a connection, over so many connections.
    KeepAlive { clients: usize },
    /// The same for a body of 64 kB.
    Bodies,
    /// Absolute-form GET, each on a connection of its own.
    Connection,
    /// CONNECT and one GET inside, each on a connection of its own.
    Tunnel,
    /// SOCKS 5 and one GET inside, each on a connection of its own.
    Socks,
    /// An endless answer in a tunnel.
    BulkDown,
    /// An endless body in a tunnel.
    BulkUp,
}

/// How a client gets to the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Forward,
    Connect,
    Socks5,
}

impl Case {
    pub(crate) const ALL: [Self; 8] = [
        Self::KeepAlive { clients: 64 },
        Self::KeepAlive { clients: 1000 },
        Self::Connection,
        Self::Bodies,
        Self::Tunnel,
        Self::Socks,
        Self::BulkDown,
        Self::BulkUp,
    ];

    pub(crate) fn name(self) -> String {
        match self {
            Self::KeepAlive { clients } => format!("GET keep-alive, {clients} conns"),
            Self::Bodies => "GET keep-alive, 64 kB".to_owned(),
            Self::Connection => "GET, a connection each".to_owned(),
            Self::Tunnel => "CONNECT, a GET inside".to_owned(),
            Self::Socks => "SOCKS5, a GET inside".to_owned(),
            Self::BulkDown => "bulk down, 8 tunnels".to_owned(),
            Self::BulkUp => "bulk up, 8 tunnels".to_owned(),
        }
    }

    pub(crate) const fn way(self) -> Way {
        match self {
            Self::KeepAlive { .. } | Self::Bodies | Self::Connection => Way::Forward,
            Self::Tunnel | Self::BulkDown | Self::BulkUp => Way::Connect,
            Self::Socks => Way::Socks5,
        }
    }

    pub(crate) const fn clients(self) -> usize {
        match self {
            Self::KeepAlive { clients } => clients,
            Self::Bodies | Self::Connection | Self::Tunnel | Self::Socks => 64,
            Self::BulkDown | Self::BulkUp => 8,
        }
    }

    /// The size of the body that is asked for: small where the request is what is measured.
    pub(crate) const fn body(self) -> usize {
        if matches!(self, Self::Bodies) { 64 * 1024 } else { 128 }
    }

    pub(crate) const fn keeps_alive(self) -> bool {
        matches!(self, Self::KeepAlive { .. } | Self::Bodies)
    }

    /// What its cost is counted in, how much of what was done makes a unit, and how many of the former a second has.
    pub(crate) const fn unit(self) -> (&'static str, f64, f64) {
        match self {
            Self::BulkDown | Self::BulkUp => ("ms/GB", 1e9, 1e3),
            _ => ("µs", 1.0, 1e6),
        }
    }

    /// What it may cost at most, in parts of what it costs HAProxy.
    pub(crate) const fn goal(self) -> f64 {
        match self {
            Self::KeepAlive { .. } | Self::Tunnel | Self::Socks => 1.0,
            Self::Connection => 0.9,
            Self::Bodies => 0.7,
            Self::BulkDown | Self::BulkUp => 0.3,
        }
    }
}
