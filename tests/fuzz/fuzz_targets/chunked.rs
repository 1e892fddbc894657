//! The framing of a chunked body: the end is where it is, however the bytes arrive, and nothing behind it is taken.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxywhirl_net::http1::ChunkedFraming;

/// The body's length, if it ends and is one.
fn length(bytes: &[u8], step: usize) -> Option<usize> {
    let mut framing = ChunkedFraming::new();
    let mut taken = 0;
    for piece in bytes.chunks(step) {
        let here = framing.advance(piece).ok()?;
        assert!(here <= piece.len() && (here == piece.len() || framing.is_complete()));
        taken += here;
        if framing.is_complete() {
            assert_eq!(framing.advance(b"0\r\n\r\n").ok(), Some(0), "bytes behind the end were taken");
            return Some(taken);
        }
    }
    None
}

fuzz_target!(|bytes: &[u8]| {
    let whole = length(bytes, bytes.len().max(1));
    for step in [1, 2, 7] {
        assert_eq!(length(bytes, step), whole, "it matters how the bytes arrive");
    }
    let Some(end) = whole else { return };
    assert_eq!(length(&bytes[..end], 3), Some(end));
    assert!(bytes[..end].ends_with(b"\r\n"));
});
