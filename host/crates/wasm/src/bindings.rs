//! What `bindgen!` makes of the contract: the imports and `about`, which every plugin has, one module
//! for what each kind exports, and one for the handover, which is optional.
//!
//! Calls borrow their arguments, so that a document is copied once, into the guest.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::restriction)]

pub(crate) mod shared {
    wasmtime::component::bindgen!({
        inline: "
            package proxywhirl:host;
            world shared {
                import proxywhirl:plugin/types@0.1.0;
                import proxywhirl:plugin/log@0.1.0;
                import proxywhirl:plugin/clock@0.1.0;
                import proxywhirl:plugin/random@0.1.0;
                import proxywhirl:plugin/symbols@0.1.0;
                import proxywhirl:plugin/kv@0.1.0;
                import proxywhirl:plugin/metrics@0.1.0;
                import proxywhirl:plugin/http@0.1.0;
                export proxywhirl:plugin/about@0.1.0;
            }
        ",
        path: "../../../wit",
        world: "proxywhirl:host/shared",
    });
}

pub(crate) mod strategy {
    wasmtime::component::bindgen!({
        inline: "
            package proxywhirl:host;
            world strategy {
                export proxywhirl:plugin/strategy@0.1.0;
            }
        ",
        path: "../../../wit",
        world: "proxywhirl:host/strategy",
        ownership: Borrowing { duplicate_if_necessary: true },
        with: { "proxywhirl:plugin/types@0.1.0": crate::bindings::shared::proxywhirl::plugin::types },
    });
}

/// What a strategy or a hook may export besides.
pub(crate) mod handover {
    wasmtime::component::bindgen!({
        inline: "
            package proxywhirl:host;
            world handover {
                export proxywhirl:plugin/handover@0.1.0;
            }
        ",
        path: "../../../wit",
        world: "proxywhirl:host/handover",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

pub(crate) mod parser {
    wasmtime::component::bindgen!({
        inline: "
            package proxywhirl:host;
            world parser {
                export proxywhirl:plugin/parser@0.1.0;
            }
        ",
        path: "../../../wit",
        world: "proxywhirl:host/parser",
        ownership: Borrowing { duplicate_if_necessary: true },
        with: { "proxywhirl:plugin/types@0.1.0": crate::bindings::shared::proxywhirl::plugin::types },
    });
}

pub(crate) mod hook {
    wasmtime::component::bindgen!({
        inline: "
            package proxywhirl:host;
            world hook {
                export proxywhirl:plugin/hook@0.1.0;
            }
        ",
        path: "../../../wit",
        world: "proxywhirl:host/hook",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}
