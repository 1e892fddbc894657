//! Time, from the host's clock, which does not go backwards.
//!
//! Off WebAssembly the clock stands where a test has set it, at 0 in the beginning.

/// Microseconds since the Unix epoch.
#[must_use]
pub fn now() -> u64 {
    #[cfg(target_arch = "wasm32")]
    {
        crate::bindings::shared::proxywhirl::plugin::clock::now()
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        native::NOW.get()
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub use native::set;

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::cell::Cell;

    thread_local! {
        pub(super) static NOW: Cell<u64> = const { Cell::new(0) };
    }

    /// Sets this thread's clock, in microseconds since the Unix epoch. Only off WebAssembly.
    pub fn set(now: u64) {
        NOW.set(now);
    }
}
