//! What is read of a source: bytes that come in, up to the cap.

use super::Cause;

/// Bytes that come in, up to the cap.
pub(super) struct Body<'a> {
    bytes: Vec<u8>,
    cap: u64,
    on_bytes: &'a (dyn Fn(u64) + Sync),
}

impl<'a> Body<'a> {
    pub(super) fn new(cap: u64, on_bytes: &'a (dyn Fn(u64) + Sync)) -> Self {
        Self { bytes: Vec::new(), cap, on_bytes }
    }

    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<(), Cause> {
        let size = self.bytes.len() as u64 + chunk.len() as u64;
        self.expect(size)?;
        self.bytes.extend_from_slice(chunk);
        (self.on_bytes)(size);
        Ok(())
    }

    /// Hears how large the whole will be, before it comes.
    pub(super) fn expect(&self, size: u64) -> Result<(), Cause> {
        if size > self.cap { Err(Cause::TooLarge { cap: self.cap }) } else { Ok(()) }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
