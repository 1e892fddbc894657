//! Lists that are files in gzip, such as `list.txt.gz`, known by their beginning (RFC 1952 §2.3.1).
//!
//! What HTTP compresses on its way (`Content-Encoding`) is expanded where it is read.

use std::io::{self, Read as _};

use flate2::bufread::GzDecoder;

use super::Cause;

/// The mark of gzip, and of the only method that it has.
const BEGINNING: [u8; 3] = [0x1f, 0x8b, 8];

/// Each member costs a decoder, though it may be 20 bytes of nothing. Files of bgzip have one for each 64 KiB, and
/// with so many are of 4 GiB.
const MEMBERS: usize = 65_536;

/// What a file in gzip expands to, all of its members; any other as it is. Zeros at its end are padding, as they are to
/// `gzip -dc`.
///
/// # Errors
/// When it is damaged, something else follows its end, it has more than 65,536 members, or it expands to more than
/// `cap` bytes: reading stops there.
pub fn gunzip(bytes: Vec<u8>, cap: u64) -> Result<Vec<u8>, Cause> {
    if !bytes.starts_with(&BEGINNING) {
        return Ok(bytes);
    }
    let mut expanded = Vec::new();
    let (mut rest, mut members) = (bytes.as_slice(), 0);
    while rest.starts_with(&BEGINNING) {
        members += 1;
        if members > MEMBERS {
            return Err(Cause::Members(MEMBERS));
        }
        let left = cap.saturating_sub(expanded.len() as u64);
        let mut member = GzDecoder::new(rest);
        member.by_ref().take(left.saturating_add(1)).read_to_end(&mut expanded).map_err(Cause::Gzip)?;
        if expanded.len() as u64 > cap {
            return Err(Cause::TooLarge { cap });
        }
        rest = member.into_inner();
    }
    if rest.iter().any(|byte| *byte != 0) {
        return Err(Cause::Trailing);
    }
    Ok(expanded)
}

/// The same, not on a thread that serves others: a large file takes a good part of a second.
pub(super) async fn expanded(bytes: Vec<u8>, cap: u64) -> Result<Vec<u8>, Cause> {
    tokio::task::spawn_blocking(move || gunzip(bytes, cap)).await.map_err(io::Error::from)?
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn members_are_read_one_after_the_other_up_to_padding() {
        let (first, second) = (gzip(b"192.0.2.1:80\n"), gzip(b"192.0.2.2:80\n"));
        let list = b"192.0.2.1:80\n192.0.2.2:80\n";
        for padding in [0, 1, 512] {
            let file = [first.as_slice(), &second, &vec![0; padding]].concat();
            assert_eq!(gunzip(file.clone(), 26).unwrap(), list, "{padding}");
            assert!(matches!(gunzip(file, 25), Err(Cause::TooLarge { cap: 25 })), "{padding}");
        }
    }

    #[test]
    fn what_else_follows_is_an_error_that_says_so() {
        for trailer in [b"192.0.2.3:80".as_slice(), b"\0\0x", b"\x1f\x8b"] {
            let error = gunzip([gzip(b"192.0.2.1:80").as_slice(), trailer].concat(), 100).unwrap_err().to_string();
            assert_eq!(error, "cannot be decompressed: something that is not gzip follows its end");
        }
        let half = [gzip(b"192.0.2.1:80").as_slice(), &BEGINNING].concat();
        assert!(matches!(gunzip(half, 100), Err(Cause::Gzip(_))));
    }

    #[test]
    fn members_of_nothing_are_read_up_to_a_number_of_them() {
        let empty = gzip(b"");
        assert_eq!(gunzip(empty.repeat(MEMBERS), 0).unwrap(), b"");
        let error = gunzip(empty.repeat(MEMBERS + 1), 0).unwrap_err().to_string();
        assert_eq!(error, "cannot be decompressed: it has more than 65536 members");
    }

    proptest! {
        #[test]
        fn whatever_bytes_expand_to_at_most_the_cap_or_are_refused(
            bytes: Vec<u8>, place: usize, byte: u8, cap in 0..200_u64,
        ) {
            let noise = [BEGINNING.as_slice(), &bytes].concat();
            let mut damaged = gzip(&bytes);
            let place = place % damaged.len();
            damaged[place] = byte;
            for file in [noise, damaged] {
                // Without its mark it is no file in gzip, and stays as it is.
                if let Ok(expanded) = gunzip(file.clone(), cap) {
                    prop_assert!(expanded.len() as u64 <= cap || expanded == file);
                }
            }
        }

        #[test]
        fn what_was_compressed_expands_to_what_it_was(bytes: Vec<u8>) {
            prop_assert_eq!(gunzip(gzip(&bytes), bytes.len() as u64).unwrap(), bytes);
        }
    }
}
