//! How much room a tunnel takes: there are tens of thousands of them, and what grows here grows in all of them.

use std::mem::size_of;

use tokio::net::TcpStream;

use super::*;

/// The size of what a function makes of a tunnel.
fn made<'t, F>(_: impl FnOnce(&'t mut Tunnel<TcpStream>) -> F) -> usize {
    size_of::<F>()
}

/// The same, where it takes the tunnel.
fn made_of<F>(_: impl FnOnce(Tunnel<TcpStream>) -> F) -> usize {
    size_of::<F>()
}

fn going_through<'t, F>(_: impl FnOnce(&'t mut Tunnel<TcpStream>, usize, Box<Begun>) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn what_lasts_of_a_tunnel_is_small() {
    // The classes of the allocator are 224, 256, 320, 640, 1024: what is above one takes the room of the next.
    assert!(made_of(|tunnel| tunnel.serve(Box::default())) <= 320);
    // While nobody has said anything.
    assert!(made(|tunnel| tunnel.open(Box::default())) <= 1024);
    assert!(size_of::<Won<Stream>>() <= 224);
    // While bytes go through it.
    assert!(going_through(Tunnel::go_through) <= 640);
    assert!(size_of::<Begun>() <= 256);
}
