//! The texts behind symbols: tags, countries, sites.
//!
//! Off WebAssembly the thread has a table of its own.

use crate::Symbol;

/// The symbol of a text; 0 when the host's table is full.
#[must_use]
pub fn intern(text: &str) -> Symbol {
    #[cfg(target_arch = "wasm32")]
    {
        crate::bindings::shared::proxywhirl::plugin::symbols::intern(text)
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        native::intern(text)
    }
}

/// The text of a symbol; none when there is no such symbol.
#[must_use]
pub fn resolve(symbol: Symbol) -> Option<String> {
    #[cfg(target_arch = "wasm32")]
    {
        crate::bindings::shared::proxywhirl::plugin::symbols::resolve(symbol)
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        native::resolve(symbol)
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use crate::Symbol;
    use std::cell::RefCell;

    thread_local! {
        static TEXTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn intern(text: &str) -> Symbol {
        TEXTS.with_borrow_mut(|texts| {
            let place = texts.iter().position(|known| known == text).unwrap_or_else(|| {
                texts.push(text.to_owned());
                texts.len() - 1
            });
            Symbol::try_from(place + 1).unwrap_or(0)
        })
    }

    pub(super) fn resolve(symbol: Symbol) -> Option<String> {
        let place = usize::try_from(symbol).ok()?.checked_sub(1)?;
        TEXTS.with_borrow(|texts| texts.get(place).cloned())
    }
}
