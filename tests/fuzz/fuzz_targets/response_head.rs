//! The head of an upstream's answer, to a request and to CONNECT: the same however the bytes arrive, and the same after
//! it was written anew.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use proxywhirl_fuzz::{Slow, run};
use proxywhirl_net::connect;
use proxywhirl_net::http1::{MAX_HEAD, ResponseHead, read_response, strip_hop_by_hop};

fn read(bytes: &[u8], step: usize) -> (Option<ResponseHead>, BytesMut) {
    let mut buffer = BytesMut::new();
    let head = run(read_response(&mut Slow(bytes, step), &mut buffer, MAX_HEAD));
    (head.ok(), buffer)
}

fuzz_target!(|bytes: &[u8]| {
    let (head, rest) = read(bytes, usize::MAX);
    let (again, _) = read(bytes, 1);
    assert_eq!(head.is_some(), again.is_some(), "it matters how the bytes arrive");
    let Some(mut head) = head else { return };
    assert!(bytes.ends_with(&rest), "what follows the head was changed");
    assert_eq!(connect::judge(&head).is_ok(), (200..300).contains(&head.status));
    let mut written = Vec::new();
    head.write_to(&mut written);
    let (same, rest) = read(&written, 1);
    let same = same.unwrap_or_else(|| panic!("{:?} is not read again", String::from_utf8_lossy(&written)));
    assert!(rest.is_empty(), "a head became two");
    assert_eq!((head.status, head.minor_version), (same.status, same.minor_version));
    assert!(head.headers.iter().eq(same.headers.iter()));
    for method in ["GET", "HEAD", "CONNECT", "POST"] {
        assert_eq!(head.body(method).ok(), same.body(method).ok());
    }
    strip_hop_by_hop(&mut head.headers);
    assert!(!head.headers.contains("connection"));
});
