//! What `wit-bindgen` makes of the contract: what every world has, and one module for what each
//! world exports on top of it. Not the three worlds as they stand: each of them exports `about`, and
//! two export macros of one crate may not have the same name.
//!
//! `pub_export_macro` keeps exports out of a component until the export macro is called. That is what
//! lets one crate hold all three kinds, and each plugin export only its own.

pub mod shared {
    //! The imports, and `about`. What a plugin does not call is not imported by its component.
    wit_bindgen::generate!({
        inline: "
            package proxywhirl:sdk;
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
        path: "../wit",
        world: "proxywhirl:sdk/shared",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_about",
        additional_derives: [PartialEq],
    });
}

pub mod strategy {
    //! The interface `strategy`.
    wit_bindgen::generate!({
        inline: "
            package proxywhirl:sdk;
            world strategy {
                export proxywhirl:plugin/strategy@0.1.0;
            }
        ",
        path: "../wit",
        world: "proxywhirl:sdk/strategy",
        pub_export_macro: true,
        export_macro_name: "export_strategy",
        additional_derives: [PartialEq],
        with: {
            "proxywhirl:plugin/types@0.1.0": crate::bindings::shared::proxywhirl::plugin::types,
            "proxywhirl:plugin/strategy@0.1.0": generate,
        },
    });
}

pub mod parser {
    //! The interface `parser`.
    wit_bindgen::generate!({
        inline: "
            package proxywhirl:sdk;
            world parser {
                export proxywhirl:plugin/parser@0.1.0;
            }
        ",
        path: "../wit",
        world: "proxywhirl:sdk/parser",
        pub_export_macro: true,
        export_macro_name: "export_parser",
        additional_derives: [PartialEq],
        with: {
            "proxywhirl:plugin/types@0.1.0": crate::bindings::shared::proxywhirl::plugin::types,
            "proxywhirl:plugin/parser@0.1.0": generate,
        },
    });
}

pub mod hook {
    //! The interface `hook`.
    wit_bindgen::generate!({
        inline: "
            package proxywhirl:sdk;
            world hook {
                export proxywhirl:plugin/hook@0.1.0;
            }
        ",
        path: "../wit",
        world: "proxywhirl:sdk/hook",
        pub_export_macro: true,
        export_macro_name: "export_hook",
        additional_derives: [PartialEq],
        with: {
            "proxywhirl:plugin/hook@0.1.0": generate,
        },
    });
}

pub mod handover {
    //! The interface `handover`, for the plugins that have something to hand over.
    wit_bindgen::generate!({
        inline: "
            package proxywhirl:sdk;
            world handover {
                export proxywhirl:plugin/handover@0.1.0;
            }
        ",
        path: "../wit",
        world: "proxywhirl:sdk/handover",
        pub_export_macro: true,
        export_macro_name: "export_handover",
        with: {
            "proxywhirl:plugin/handover@0.1.0": generate,
        },
    });
}
