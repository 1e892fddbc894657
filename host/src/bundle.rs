//! The plugins that the binary carries: built from `plugins/`, committed under `plugins/dist/`.

/// Name and bytes of each bundled component.
pub const BUNDLE: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/bundle.rs"));
