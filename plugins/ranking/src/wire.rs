//! What is handed over to the next version of a plugin, as bytes: little-endian numbers, no framing.
//!
//! A reader never panics and never allocates by what the bytes claim: the predecessor may have been
//! another plugin of the same name.

/// Makes the bytes.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Begins with a version of the plugin's own choice, so that its successor can tell what follows.
    #[must_use]
    pub fn new(version: u32) -> Self {
        let mut writer = Self::default();
        writer.u32(version);
        writer
    }

    /// Appends a number.
    pub fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a number.
    pub fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a number.
    pub fn f64(&mut self, value: f64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a text.
    pub fn text(&mut self, value: &str) {
        self.u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(value.as_bytes());
    }

    /// The bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads the bytes.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Begins to read; none when the version is another.
    #[must_use]
    pub fn new(bytes: &'a [u8], version: u32) -> Option<Self> {
        let mut reader = Self(bytes);
        (reader.u32()? == version).then_some(reader)
    }

    /// Whether everything has been read.
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads a number.
    pub fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    /// Reads a number.
    pub fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// Reads a finite number.
    pub fn f64(&mut self) -> Option<f64> {
        self.take().map(f64::from_le_bytes).filter(|value| value.is_finite())
    }

    /// Reads a text.
    pub fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (value, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*value)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_written_is_read() {
        let mut writer = Writer::new(3);
        writer.u64(u64::MAX);
        writer.text("EUR");
        writer.f64(0.5);
        let bytes = writer.finish();
        let mut reader = Reader::new(&bytes, 3).unwrap();
        assert_eq!(reader.u64(), Some(u64::MAX));
        assert_eq!(reader.text(), Some("EUR"));
        assert_eq!(reader.f64(), Some(0.5));
        assert!(reader.is_at_end());
        assert_eq!(reader.u32(), None);
        assert!(Reader::new(&bytes, 4).is_none());
    }

    proptest! {
        #[test]
        fn bytes_of_any_kind_never_panic(bytes in any::<Vec<u8>>()) {
            if let Some(mut reader) = Reader::new(&bytes, 0) {
                prop_assert!(reader.text().is_none_or(|text| text.len() < bytes.len()));
                prop_assert!(reader.f64().is_none_or(f64::is_finite));
            }
        }
    }
}
