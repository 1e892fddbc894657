//! Lists that are files in gzip, such as `list.txt.gz`, known by their beginning (RFC 1952 §2.3.1).
//!
//! What HTTP compresses on its way (`Content-Encoding`) is expanded where it is read.

use std::io::{self, Read as _};

use flate2::bufread::MultiGzDecoder;

use super::Cause;

/// The mark of gzip, and of the only method that it has.
const BEGINNING: [u8; 3] = [0x1f, 0x8b, 8];

/// What a file in gzip expands to; any other as it is.
///
/// # Errors
/// When it is damaged, or expands to more than `cap` bytes: reading stops there.
pub fn gunzip(bytes: Vec<u8>, cap: u64) -> Result<Vec<u8>, Cause> {
    if !bytes.starts_with(&BEGINNING) {
        return Ok(bytes);
    }
    let mut expanded = Vec::new();
    let mut decoder = MultiGzDecoder::new(bytes.as_slice()).take(cap.saturating_add(1));
    decoder.read_to_end(&mut expanded).map_err(Cause::Gzip)?;
    if expanded.len() as u64 > cap { Err(Cause::TooLarge { cap }) } else { Ok(expanded) }
}

/// The same, not on a thread that serves others: a large file takes a good part of a second.
pub(super) async fn expanded(bytes: Vec<u8>, cap: u64) -> Result<Vec<u8>, Cause> {
    tokio::task::spawn_blocking(move || gunzip(bytes, cap)).await.map_err(io::Error::from)?
}
