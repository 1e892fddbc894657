//! Chance. The host seeds it, so that a run can be repeated. Not for secrets.
//!
//! Off WebAssembly it is SplitMix64 (<https://doi.org/10.1145/2714064.2660195>) from a seed that a
//! test can set.

/// 64 random bits.
#[must_use]
pub fn next() -> u64 {
    #[cfg(target_arch = "wasm32")]
    {
        crate::bindings::shared::proxywhirl::plugin::random::next()
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        native::next()
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub use native::seed;

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::cell::Cell;

    thread_local! {
        static STATE: Cell<u64> = const { Cell::new(0) };
    }

    /// Seeds this thread's chance. Only off WebAssembly.
    pub fn seed(seed: u64) {
        STATE.set(seed);
    }

    pub(super) fn next() -> u64 {
        let state = STATE.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        STATE.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
