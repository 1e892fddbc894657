//! What the first bytes of a tunnel say, read without decrypting anything: whether a client begins with TLS and can be
//! let in elsewhere with the same bytes, and whether what comes back can be the answer to that.
//!
//! A ClientHello asks for nothing, so an origin that gets it twice does nothing twice. What follows it in the same
//! flight is early data (RFC 8446 §2.3), a request that an origin may act upon: that is never sent again.

/// What a client has begun with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flight {
    /// Too few bytes to say.
    Unclear,
    /// The beginning of a ClientHello.
    Partial,
    /// A ClientHello, to its last byte.
    Hello,
    /// A ClientHello and more, or no TLS: only who has it already may have it.
    Other,
}

const HANDSHAKE: u8 = 0x16;
const ALERT: u8 = 0x15;
/// The high byte of all versions from SSL 3.0 to TLS 1.3.
const VERSION: u8 = 3;
const CLIENT_HELLO: u8 = 1;

impl Flight {
    /// Reads what a client has sent so far: records (RFC 8446 §5.1) that hold one handshake message (§4).
    pub(super) fn of(mut bytes: &[u8]) -> Self {
        let mut message = Message::default();
        loop {
            bytes = match bytes {
                [] if message.is_whole() => return Self::Hello,
                [] if message.has_begun() => return Self::Partial,
                [] => return Self::Unclear,
                _ if message.is_whole() => return Self::Other,
                [HANDSHAKE] | [HANDSHAKE, VERSION, ..] if bytes.len() < 5 => return message.or_unclear(bytes),
                [HANDSHAKE, VERSION, _, high, low, rest @ ..] => {
                    let length = usize::from(u16::from_be_bytes([*high, *low]));
                    let (fragment, rest) = rest.split_at(length.min(rest.len()));
                    if length == 0 || !message.takes(fragment) {
                        return Self::Other;
                    }
                    if fragment.len() < length {
                        return message.or_unclear(fragment);
                    }
                    rest
                }
                _ => return Self::Other,
            };
        }
    }
}

/// The handshake message in the records that were read.
#[derive(Default)]
struct Message {
    /// Type and length: the first four bytes.
    head: [u8; 4],
    seen: usize,
}

impl Message {
    /// Takes more of it; false when it is no ClientHello, or something follows it in the same record.
    fn takes(&mut self, fragment: &[u8]) -> bool {
        for (byte, place) in fragment.iter().zip(self.head.iter_mut().skip(self.seen)) {
            *place = *byte;
        }
        self.seen += fragment.len();
        let [kind, ..] = self.head;
        self.seen == 0 || (kind == CLIENT_HELLO && (self.seen < 4 || self.seen <= self.length()))
    }

    fn length(&self) -> usize {
        let [_, high, middle, low] = self.head;
        4 + u32::from_be_bytes([0, high, middle, low]) as usize
    }

    const fn has_begun(&self) -> bool {
        self.seen > 0
    }

    fn is_whole(&self) -> bool {
        self.seen >= 4 && self.seen == self.length()
    }

    /// A record has just begun.
    fn or_unclear(&self, rest: &[u8]) -> Flight {
        if self.has_begun() || rest.len() > 1 { Flight::Partial } else { Flight::Unclear }
    }
}

/// Whether an answer to a ClientHello can begin like this: with a handshake or an alert.
pub(super) fn answers_tls(said: &[u8]) -> bool {
    matches!(said, [HANDSHAKE | ALERT] | [HANDSHAKE | ALERT, VERSION, ..])
}

/// Whether an answer to a ClientHello is an alert: the origin does not want the client.
pub(super) fn is_alert(said: &[u8]) -> bool {
    said.first() == Some(&ALERT) && answers_tls(said)
}

/// Whether a server may begin like this before its client has said anything: with a line of text (SSH, SMTP, FTP, POP3,
/// IMAP, IRC, VNC), options of Telnet, or the greeting of MySQL. An HTTP answer and a page are text, and nobody's greeting.
pub(super) fn may_greet(said: &[u8]) -> bool {
    const IAC: u8 = 0xff;
    let is_text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\r' | b'\n' | b'\t');
    match said {
        [IAC, 0xfb..=0xfe, ..] | [_, _, 0, 0, 9 | 10, ..] => true,
        [b'<', ..] => false,
        _ if said.starts_with(b"HTTP/") => false,
        _ => said.iter().take(16).all(is_text),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A ClientHello of this many bytes of body, in records of at most so many bytes.
    fn hello(body: usize, record: usize) -> Vec<u8> {
        let length = u32::try_from(body).unwrap_or_default().to_be_bytes();
        let message = [&[CLIENT_HELLO], &length[1..], &vec![7; body]].concat();
        let mut bytes = Vec::new();
        for fragment in message.chunks(record) {
            let length = u16::try_from(fragment.len()).unwrap_or_default().to_be_bytes();
            bytes.extend([HANDSHAKE, VERSION, 1]);
            bytes.extend(length);
            bytes.extend(fragment);
        }
        bytes
    }

    #[test]
    fn a_hello_is_whole_at_its_last_byte_and_not_before() {
        for bytes in [hello(300, 16_384), hello(1_800, 500), hello(40, 1)] {
            for length in 0..bytes.len() {
                let flight = Flight::of(&bytes[..length]);
                assert!(matches!(flight, Flight::Unclear | Flight::Partial), "{length}: {flight:?}");
                assert!(length < 10 || flight == Flight::Partial, "{length}");
            }
            assert_eq!(Flight::of(&bytes), Flight::Hello);
        }
    }

    #[test]
    fn early_data_behind_a_hello_is_not_sent_twice() {
        let mut bytes = hello(300, 16_384);
        bytes.extend([0x14, 3, 3, 0, 1, 1]);
        assert_eq!(Flight::of(&bytes), Flight::Other);
    }

    #[test]
    fn what_is_no_tls_is_told_by_its_first_bytes() {
        for bytes in
            [&b"G"[..], b"SSH-2.0", b"\x05", b"\x16\x02", b"\x16\x03\x01\0\0", b"\x16\x03\x01\0\x05\x02", b"\x80"]
        {
            assert_eq!(Flight::of(bytes), Flight::Other, "{bytes:?}");
        }
        assert_eq!(Flight::of(b""), Flight::Unclear);
        assert_eq!(Flight::of(b"\x16"), Flight::Unclear);
    }

    #[test]
    fn an_answer_to_tls_is_a_handshake_or_an_alert() {
        for (said, answers) in [
            (&b"\x16\x03\x03"[..], true),
            (b"\x15\x03", true),
            (b"\x16", true),
            (b"\x17\x03", false),
            (b"\x16G", false),
            (b"HTTP/1.1 400 Bad Request", false),
            (b"\xde\xad", false),
            (b"", false),
        ] {
            assert_eq!(answers_tls(said), answers, "{said:?}");
            assert_eq!(is_alert(said), answers && said[0] == ALERT, "{said:?}");
        }
    }

    #[test]
    fn a_greeting_is_told_from_what_no_server_begins_with() {
        for said in [
            &b"SSH-2.0-OpenSSH"[..],
            b"220 ready\r\n",
            b"+OK\r\n",
            b"* OK IMAP4rev1",
            b"RFB 003.008\n",
            b"\xff\xfd\x18\xff\xfd\x20",
            b"J\0\0\0\n8.0.36\0",
        ] {
            assert!(may_greet(said), "{said:?}");
        }
        for said in [&b"HTTP/1.1 200 OK"[..], b"<!doctype html>", b"\xde\xad\xbe\xef 220 ready", b"\x16\x03\x03\0\x7a"]
        {
            assert!(!may_greet(said), "{said:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_a_longer_flight_never_becomes_unclear(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            may_greet(&bytes);
            answers_tls(&bytes);
            let mut began = false;
            for length in 0..=bytes.len() {
                let flight = Flight::of(&bytes[..length]);
                prop_assert!(!(began && flight == Flight::Unclear));
                began = flight != Flight::Unclear;
            }
        }
    }
}
