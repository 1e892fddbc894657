//! The head of a client's request: the same however the bytes arrive, and the same after it was written anew.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use proxywhirl_fuzz::{Slow, run};
use proxywhirl_net::http1::{MAX_HEAD, RequestHead, read_request};

fn read(bytes: &[u8], step: usize) -> (Option<RequestHead>, BytesMut) {
    let mut buffer = BytesMut::new();
    let head = run(read_request(&mut Slow(bytes, step), &mut buffer, MAX_HEAD));
    (head.ok().flatten(), buffer)
}

fuzz_target!(|bytes: &[u8]| {
    let (head, rest) = read(bytes, usize::MAX);
    let (again, _) = read(bytes, 1);
    assert_eq!(head.is_some(), again.is_some(), "it matters how the bytes arrive");
    let Some(head) = head else { return };
    assert!(bytes.ends_with(&rest), "what follows the head was changed");
    let mut written = Vec::new();
    head.write_to(&mut written);
    for step in [usize::MAX, 1] {
        let (same, rest) = read(&written, step);
        let same = same.unwrap_or_else(|| panic!("{:?} is not read again", String::from_utf8_lossy(&written)));
        assert!(rest.is_empty(), "a head became two");
        assert_eq!((&head.method, &head.target, head.minor_version), (&same.method, &same.target, same.minor_version));
        assert!(head.headers.iter().eq(same.headers.iter()));
        assert_eq!(head.body().ok(), same.body().ok());
        assert_eq!(head.keeps_alive(), same.keeps_alive());
    }
});
