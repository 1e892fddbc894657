//! What a SOCKS server answers: a decoder asks for more only if there is more to come, and what it has understood does
//! not depend on what follows.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxywhirl_net::socks::{Decoded, MAX_MESSAGE, NotSocks};
use proxywhirl_net::{socks4, socks5};

/// Reads no more bytes than are needed. Says what was understood, and from how many.
fn read<T: Copy + PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<Decoded<T>, NotSocks>,
) -> Option<(T, usize)> {
    let mut have = 0;
    loop {
        match decode(&bytes[..have]).ok()? {
            Decoded::Complete(answer, length) => {
                assert_eq!(decode(bytes), Ok(Decoded::Complete(answer, length)), "what follows changes the answer");
                assert!(length <= have, "{length} of {have}");
                return Some((answer, length));
            }
            Decoded::Needs(total) => {
                assert!(total > have && total <= MAX_MESSAGE, "{total} after {have}");
                if total > bytes.len() {
                    return None;
                }
                have = total;
            }
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Some((code, length)) = read(bytes, socks4::decode_reply) {
        assert!(length == 8 || socks4::judge(code).is_err(), "granted in {length} bytes");
    }
    if let Some((code, length)) = read(bytes, socks5::decode_reply) {
        assert!(length >= 10 || socks5::judge(code).is_err() || bytes[3] == 3, "granted in {length} bytes");
    }
    read(bytes, socks5::decode_choice);
    read(bytes, socks5::decode_password_status);
});
