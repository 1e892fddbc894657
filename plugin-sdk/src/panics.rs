//! What a plugin says before it traps: the panic's message and place, as one line of the host's log.
//! Without it all that the host sees is `unreachable`.

#[cfg(target_arch = "wasm32")]
pub(crate) fn report() {
    use std::sync::Once;

    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let message = panic.payload_as_str().unwrap_or("no message");
            match panic.location() {
                Some(place) => crate::log::error(format_args!("panicked at {place}: {message}")),
                None => crate::log::error(format_args!("panicked: {message}")),
            }
        }));
    });
}

/// Off WebAssembly the standard library reports panics itself.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) const fn report() {}
