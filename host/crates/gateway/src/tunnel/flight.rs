//! What the first bytes of a tunnel say, read without decrypting anything: whether a client begins with something that it
//! can be let in with elsewhere, in the same bytes, and whether what comes back can be the answer to that.
//!
//! A ClientHello asks for nothing, so an origin that gets it twice does nothing twice. What follows it in the same
//! flight is early data (RFC 8446 §2.3), a request that an origin may act upon: that is never sent again. A request in
//! clear text that is safe (RFC 9110 §9.2.1) and has no body is as good as a hello.

use std::ops::RangeInclusive;

/// What a client has begun with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flight {
    /// Too few bytes to say.
    Unclear,
    /// The beginning of what can be sent twice.
    Partial(Speech),
    /// What can be sent twice, to its last byte.
    Whole(Speech),
    /// That and more, or something else: only who has it already may have it.
    Other,
}

/// What the first bytes that come back are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// The beginning of an answer.
    Answer,
    /// Too few bytes to say.
    Unclear,
    /// No answer.
    Other,
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    /// A ClientHello.
    Tls,
    /// A safe request without a body.
    Http,
}

const HANDSHAKE: u8 = 0x16;
const ALERT: u8 = 0x15;
/// The high byte of all versions from SSL 3.0 to TLS 1.3.
const VERSION: u8 = 3;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
/// The largest record: what fits a plaintext one (RFC 8446 §5.1).
const MOST_RECORD: usize = 1 << 14;
/// The same of one that is encrypted (RFC 5246 §6.2.3).
const MOST_SEALED: usize = MOST_RECORD + 2_048;
/// The types of records: a change of cipher, alert, handshake, data, heartbeat.
const TYPES: RangeInclusive<u8> = 0x14..=0x18;
/// So much of an answer is waited for, until its last record is whole: a whole flight with a long chain of certificates, or one record of
/// the largest that there are.
const MOST_FLIGHT: usize = 2 * MOST_RECORD;
/// The smallest body of a ServerHello: version, random, an empty session, suite and compression (RFC 5246 §7.4.1.3).
const LEAST_HELLO: usize = 38;
/// The bytes of an alert: level and description.
const ALERT_LENGTH: usize = 2;
/// The level of an alert after which a handshake may go on.
const WARNING: u8 = 1;
const UNRECOGNIZED_NAME: u8 = 112;

/// How safe requests begin.
const SAFE: [&[u8]; 3] = [b"GET ", b"HEAD ", b"OPTIONS "];
/// Fields with which a request has a body, or goes on in another way than with an answer.
const GOES_ON: [&[u8]; 4] = [b"content-length", b"transfer-encoding", b"expect", b"upgrade"];
/// What each request line has.
const VERSION_1: &[u8] = b" HTTP/1.";
/// How each answer to a request begins.
const ANSWER: &[u8] = b"HTTP/1.";
/// How that of a radio does (SHOUTcast).
const RADIO: &[u8] = b"ICY ";

impl Flight {
    /// Reads what a client has sent so far.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let begins = |method: &&[u8]| bytes.iter().zip(*method).all(|(byte, expected)| byte == expected);
        match SAFE.iter().find(|method| begins(method)) {
            None => Self::of_tls(bytes),
            Some(method) if bytes.len() < method.len() => Self::Unclear,
            Some(_) => Self::of_http(bytes),
        }
    }

    /// Reads a request: what ends with its head has no body, unless a field says so. Where a line ends is read as the most
    /// lenient reader would.
    fn of_http(bytes: &[u8]) -> Self {
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
        // RTSP and others have lines that look alike, and answers that do not.
        match lines.next() {
            Some(line) if !line.ends_with(b"\n") => return Self::Partial(Speech::Http),
            Some(line) if !line.windows(VERSION_1.len()).any(|part| part == VERSION_1) => return Self::Other,
            _ => {}
        }
        while let Some(line) = lines.next() {
            let name =
                line.split(|byte| matches!(byte, b':' | b' ' | b'\t' | b'\r' | b'\n')).next().unwrap_or_default();
            match line {
                b"\r\n" | b"\n" if lines.next().is_none() => return Self::Whole(Speech::Http),
                b"\r\n" | b"\n" => return Self::Other,
                _ if GOES_ON.iter().any(|field| field.eq_ignore_ascii_case(name)) => return Self::Other,
                _ => {}
            }
        }
        Self::Partial(Speech::Http)
    }

    /// Reads records (RFC 8446 §5.1) that hold one handshake message (§4).
    fn of_tls(mut bytes: &[u8]) -> Self {
        let mut message = Message::default();
        loop {
            bytes = match bytes {
                [] if message.is_whole() => return Self::Whole(Speech::Tls),
                [] if message.has_begun() => return Self::Partial(Speech::Tls),
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
        if self.has_begun() || rest.len() > 1 { Flight::Partial(Speech::Tls) } else { Flight::Unclear }
    }
}

impl Speech {
    /// What came back: the answer to a hello is a whole ServerHello, or what one record holds of it, or an alert; that to a request
    /// begins with a version. A server that ends in the middle of that has not answered, and neither has one that ends in the middle of
    /// a later record of its flight, with which the client can do nothing: none of it is lost when all of it is asked for elsewhere.
    pub(super) fn reply(self, said: &[u8]) -> Reply {
        match self {
            Self::Tls => reply_in_tls(said),
            Self::Http => {
                let begins = |like: &[u8]| said.iter().zip(like).all(|(byte, expected)| byte == expected);
                match [ANSWER, RADIO].into_iter().find(|like| begins(like)) {
                    None => Reply::Other,
                    Some(like) if said.len() < like.len() => Reply::Unclear,
                    Some(_) => Reply::Answer,
                }
            }
        }
    }

    /// Whether the answer has begun: the rest of it may be to come.
    pub(super) fn is_begun_in(self, said: &[u8]) -> bool {
        match self {
            Self::Tls => hello_in(said).0 == Reply::Answer,
            Self::Http => self.is_answered_by(said),
        }
    }

    /// Whether it is the answer.
    pub(super) fn is_answered_by(self, said: &[u8]) -> bool {
        self.reply(said) == Reply::Answer
    }

    /// Whether the answer is a refusal: to a hello an alert.
    pub(super) fn is_refused_by(self, said: &[u8]) -> bool {
        self == Self::Tls && is_alert(said)
    }

    /// Its name, as errors say it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "TLS",
            Self::Http => "HTTP",
        }
    }
}

/// Reads the records with which a server answers a hello.
fn reply_in_tls(said: &[u8]) -> Reply {
    match hello_in(said) {
        (Reply::Answer, records) if said.len() < MOST_FLIGHT && is_cut(records) => Reply::Unclear,
        (reply, _) => reply,
    }
}

/// Reads the first of them (RFC 8446 §5.1), which says what they are; and which follow a warning, if there is one.
fn hello_in(said: &[u8]) -> (Reply, &[u8]) {
    let records = behind_warning(said);
    (hello(records), records)
}

fn hello(records: &[u8]) -> Reply {
    let (kind, length, fragment) = match records {
        [] | [HANDSHAKE | ALERT] => return Reply::Unclear,
        [HANDSHAKE | ALERT, VERSION] | [HANDSHAKE | ALERT, VERSION, _] | [HANDSHAKE | ALERT, VERSION, _, _] => {
            return Reply::Unclear;
        }
        [kind @ (HANDSHAKE | ALERT), VERSION, _, high, low, fragment @ ..] => {
            (*kind, usize::from(u16::from_be_bytes([*high, *low])), fragment)
        }
        _ => return Reply::Other,
    };
    let needed = match (kind, fragment) {
        (ALERT, _) if length == ALERT_LENGTH => length,
        (HANDSHAKE, _) if !(1..=MOST_RECORD).contains(&length) => return Reply::Other,
        (HANDSHAKE, [SERVER_HELLO, high, middle, low, body @ ..]) => {
            let hello = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
            if hello < LEAST_HELLO || body.first().is_some_and(|version| *version != VERSION) {
                return Reply::Other;
            }
            length.min(4 + hello)
        }
        (HANDSHAKE, [] | [SERVER_HELLO, ..]) => length.min(4),
        _ => return Reply::Other,
    };
    if fragment.len() < needed { Reply::Unclear } else { Reply::Answer }
}

/// Whether the last of these records is not whole. What no record begins with is for the client to refuse.
fn is_cut(mut records: &[u8]) -> bool {
    loop {
        records = match records {
            [] => return false,
            [kind, ..] if !TYPES.contains(kind) => return false,
            [_, VERSION, _, high, low, rest @ ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                match rest.get(length..) {
                    Some(next) => next,
                    None => return length <= MOST_SEALED,
                }
            }
            [_] | [_, VERSION, ..] => return true,
            _ => return false,
        };
    }
}

/// Whether an answer to a ClientHello is an alert: the origin does not want the client.
pub(super) fn is_alert(said: &[u8]) -> bool {
    behind_warning(said).first() == Some(&ALERT) && Speech::Tls.is_answered_by(said)
}

/// What follows behind a warning that a server goes on after: that it has no such name (RFC 6066 §3). One says it once.
fn behind_warning(said: &[u8]) -> &[u8] {
    match said {
        [ALERT, VERSION, _, 0, 2, WARNING, UNRECOGNIZED_NAME, rest @ ..] => rest,
        _ => said,
    }
}

/// Whether a server is known to begin like this before its client has said anything: SSH, FTP, SMTP and all that begins with
/// a code of three digits, POP3, IMAP, VNC, rsync, IRC, NNTP; options of Telnet; the greeting of MySQL. Other text may be a
/// page, or what a proxy has to say.
pub(super) fn is_greeting(said: &[u8]) -> bool {
    const IAC: u8 = 0xff;
    const WORDS: [&[u8]; 8] = [b"SSH-", b"+OK", b"* ", b"RFB ", b"@RSYNCD:", b":", b"NOTICE ", b"PING "];
    match said {
        [IAC, 0xfb..=0xfe, ..]
        | [_, _, 0, 0, 9 | 10, ..]
        | [b'1'..=b'5', b'0'..=b'9', b'0'..=b'9', b' ' | b'-', ..] => true,
        _ => WORDS.iter().any(|word| said.starts_with(word)),
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
                assert!(matches!(flight, Flight::Unclear | Flight::Partial(Speech::Tls)), "{length}: {flight:?}");
                assert!(length < 10 || flight == Flight::Partial(Speech::Tls), "{length}");
            }
            assert_eq!(Flight::of(&bytes), Flight::Whole(Speech::Tls));
        }
    }

    #[test]
    fn early_data_behind_a_hello_is_not_sent_twice() {
        let mut bytes = hello(300, 16_384);
        bytes.extend([0x14, 3, 3, 0, 1, 1]);
        assert_eq!(Flight::of(&bytes), Flight::Other);
    }

    #[test]
    fn what_can_not_be_sent_twice_is_told_by_its_first_bytes() {
        for bytes in [
            &b"POST / HTTP/1.1\r\n"[..],
            b"get / ",
            b"SSH-2.0",
            b"\x05",
            b"\x16\x02",
            b"\x16\x03\x01\0\0",
            b"\x16\x03\x01\0\x05\x02",
            b"\x80",
            b"OPTIONS rtsp://x/ RTSP/1.0\r\n",
            b"GET /\r\n",
        ] {
            assert_eq!(Flight::of(bytes), Flight::Other, "{bytes:?}");
        }
        for bytes in [&b""[..], b"\x16", b"G", b"OPTIONS"] {
            assert_eq!(Flight::of(bytes), Flight::Unclear, "{bytes:?}");
        }
    }

    #[test]
    fn a_safe_request_is_whole_at_the_end_of_its_head_if_nothing_follows() {
        for head in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HEAD / HTTP/1.0\r\n\r\n", "OPTIONS * HTTP/1.1\nHost: x\n\n"]
        {
            for length in 8..head.len() {
                assert_eq!(Flight::of(&head.as_bytes()[..length]), Flight::Partial(Speech::Http), "{head:?} {length}");
            }
            assert_eq!(Flight::of(head.as_bytes()), Flight::Whole(Speech::Http), "{head:?}");
            assert_eq!(Flight::of(format!("{head}GET").as_bytes()), Flight::Other, "{head:?}");
        }
        for field in [
            "Content-Length: 5",
            "content-length : 0",
            "Transfer-Encoding:chunked",
            "UPGRADE: h2c",
            "Expect: 100-continue",
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n");
            assert_eq!(Flight::of(head.as_bytes()), Flight::Other, "{head:?}");
        }
    }

    #[test]
    fn an_answer_to_a_request_begins_with_a_version() {
        for (said, answers) in [
            (&b"HTTP/1.1 200 OK"[..], Reply::Answer),
            (b"ICY 200 OK", Reply::Answer),
            (b"H", Reply::Unclear),
            (b"HTTP/1", Reply::Unclear),
            (b"", Reply::Unclear),
            (b"\xde\xad", Reply::Other),
            (b"Hello", Reply::Other),
        ] {
            assert_eq!(Speech::Http.reply(said), answers, "{said:?}");
        }
    }

    #[test]
    fn an_answer_to_tls_is_a_hello_or_an_alert() {
        let alert = b"\x15\x03\x03\0\x02\x02\x28";
        let body: Vec<u8> = [VERSION, 3].into_iter().chain(0..70).collect();
        let server = [&b"\x16\x03\x03\0\x4c\x02\0\0\x48"[..], &body].concat();
        // Older servers say more in the same record, and one may cut its hello into several.
        let more = [&b"\x16\x03\x01\0\x4f\x02\0\0\x48"[..], &body, b"\x0b\0\0"].concat();
        let part = b"\x16\x03\x03\0\x01\x02";
        for answer in [&alert[..], &server, &more, part] {
            let first = (0..=answer.len()).find(|length| Speech::Tls.reply(&answer[..*length]) != Reply::Unclear);
            let needed = first.unwrap();
            assert_eq!(Speech::Tls.reply(answer), Reply::Answer, "{answer:?}");
            assert!(
                needed + 1 >= answer.len() && Speech::Tls.is_answered_by(&answer[..needed]),
                "{answer:?}: {needed}"
            );
            assert_eq!(is_alert(answer), answer == alert);
        }
        let warned = [b"\x15\x03\x03\0\x02\x01\x70", &server[..]].concat();
        let first = (0..=warned.len()).find(|length| Speech::Tls.reply(&warned[..*length]) != Reply::Unclear);
        assert!(first.is_some_and(|needed| needed > 7) && Speech::Tls.is_answered_by(&warned) && !is_alert(&warned));
        assert!(is_alert(&warned[..7].repeat(2)), "a second one is all that comes");
        for other in [
            &b"\x17\x03"[..],
            b"\x16G",
            b"HTTP/1.1 400 Bad Request",
            b"\xde\xad",
            // What came is sent back; another message; a record or a hello that cannot be.
            b"\x16\x03\x01\x02\0\x01",
            b"\x16\x03\x03\0\x7a\xa5",
            b"\x16\x03\x03\xff\xff\x02",
            b"\x16\x03\x03\0\0",
            b"\x16\x03\x03\0\x7a\x02\0\0\x10",
            b"\x16\x03\x03\0\x7a\x02\0\0\x76\x07",
            b"\x15\x03\x03\0\x40",
        ] {
            assert_eq!(Speech::Tls.reply(other), Reply::Other, "{other:?}");
        }
    }

    #[test]
    fn an_answer_in_tls_goes_on_to_the_end_of_its_last_record() {
        let body: Vec<u8> = [VERSION, 3].into_iter().chain(0..70).collect();
        let hello = [&b"\x16\x03\x03\0\x4c\x02\0\0\x48"[..], &body].concat();
        let rest = [&b"\x14\x03\x03\0\x01\x01"[..], b"\x17\x03\x03\x04\0", &[7; 1024]].concat();
        let flight = [&hello[..], &rest].concat();
        for length in 0..=flight.len() {
            let is_whole = [hello.len(), hello.len() + 6, flight.len()].contains(&length);
            let expected = if is_whole { Reply::Answer } else { Reply::Unclear };
            assert_eq!(Speech::Tls.reply(&flight[..length]), expected, "{length}");
        }
        // Whatever it is, the client gets it: what begins no record, and what never comes to an end.
        for odd in [&b"\0"[..], b"HTTP/1.1", b"\x17\x05\x03", b"\x17\x03\x03\xff\xff\0"] {
            assert_eq!(Speech::Tls.reply(&[&flight[..], odd].concat()), Reply::Answer, "{odd:?}");
        }
        let endless = [&flight[..], &[&b"\x17\x03\x03\0\x01\x07"[..]; MOST_FLIGHT / 6].concat(), b"\x17"].concat();
        assert_eq!(Speech::Tls.reply(&endless), Reply::Answer);
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
            assert!(is_greeting(said), "{said:?}");
        }
        for said in [
            &b"HTTP/1.1 200 OK"[..],
            b"<!doctype html>",
            b"Access denied by policy\n",
            b"{\"error\":\"blocked\"}",
            b"404",
            b"999 no code",
            b"\xde\xad\xbe\xef 220 ready",
            b"\x16\x03\x03\0\x7a",
        ] {
            assert!(!is_greeting(said), "{said:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_a_longer_flight_never_becomes_unclear(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            is_greeting(&bytes);
            Speech::Tls.is_answered_by(&bytes);
            Speech::Http.is_answered_by(&bytes);
            let mut began = false;
            for length in 0..=bytes.len() {
                let flight = Flight::of(&bytes[..length]);
                prop_assert!(!(began && flight == Flight::Unclear));
                began = flight != Flight::Unclear;
            }
        }
    }
}
