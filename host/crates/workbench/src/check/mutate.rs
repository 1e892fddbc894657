//! Documents with something wrong in them, one after the other, the same in every run.

use proxywhirl_core::select::random::Random;

/// The longest mutated document, in bytes: what breaks a parser does so in a short text, and short ones are quick.
const MAX: usize = 64 * 1024;

/// What stands in lists, and what does not belong there.
const TOKENS: [&[u8]; 24] = [
    b"\0",
    b"\n",
    b"\r\n",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xf0\x9f\xa6\x80",
    b"[",
    b"{",
    b"\"",
    b"'",
    b",",
    b":",
    b";",
    b"<td>",
    b"</tr>",
    b"<!--",
    b"]]>",
    b"&#x110000;",
    b"\\u0000",
    b"99999999999999999999",
    b"-1",
    b"://",
    b"@",
    b"\t",
];

/// One document more, made of one that is as it should be.
pub(super) fn mutate(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes: Vec<u8> = seed.iter().copied().take(MAX).collect();
    for _ in 0..=random.below(8) {
        step(&mut bytes, random);
    }
    bytes.truncate(MAX);
    bytes
}

fn step(bytes: &mut Vec<u8>, random: &mut Random) {
    let length = bytes.len();
    let (at, other) = (random.below(length + 1), random.below(length + 1));
    let (start, end) = (at.min(other), at.max(other));
    match random.below(8) {
        0 => bytes.truncate(at),
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = u8::try_from(random.below(256)).unwrap_or(0);
            }
        }
        // A small part leaves.
        3 => drop(bytes.drain(start..end.min(start + 64))),
        // A part comes twice.
        4 => {
            let part = bytes.get(start..end.min(start + 4_096)).unwrap_or_default().to_vec();
            insert(bytes, other, &part);
        }
        // The same thing again and again: depth, width, length.
        5 => {
            let token = token(random).repeat(random.below(2_000) + 1);
            insert(bytes, at, &token);
        }
        _ => insert(bytes, at, token(random)),
    }
}

fn token(random: &mut Random) -> &'static [u8] {
    TOKENS.get(random.below(TOKENS.len())).copied().unwrap_or_default()
}

fn insert(bytes: &mut Vec<u8>, at: usize, part: &[u8]) {
    let at = at.min(bytes.len());
    bytes.splice(at..at, part.iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutations_differ_from_each_other_and_come_again_with_the_same_seed() {
        let seed = b"1.2.3.4:80\n5.6.7.8:3128\n";
        let run = || {
            let mut random = Random::new(7);
            (0..500).map(|_| mutate(seed, &mut random)).collect::<Vec<_>>()
        };
        let mut one = run();
        assert_eq!(one, run());
        assert!(one.iter().all(|document| document.len() <= MAX));
        one.sort();
        one.dedup();
        assert!(one.len() > 400, "only {} are different", one.len());
    }
}
