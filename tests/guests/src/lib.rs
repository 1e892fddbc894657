//! Guests for tests: plugins in the text format of WebAssembly, written against the canonical ABI by hand, so that they
//! can misbehave in ways that no SDK allows, and made components as any toolchain does.
//!
//! It depends on nothing of ours but the contract in `wit/`: what the host is tested with must not be built by the host.
#![allow(clippy::expect_used, clippy::panic, reason = "a guest that cannot be built is a mistake in its test")]

use std::fmt::Write as _;
use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{PackageId, Resolve, SourceMap, WorldId};

/// Never ends. The body of any function.
pub const LOOP: &str = "(loop $again (br $again)) unreachable";

/// Takes memory, a mebibyte at a time, and never ends. The body of any function.
pub const BOMB: &str = "(loop $again (drop (memory.grow (i32.const 16))) (br $again)) unreachable";

/// The version of the contract in `wit/`.
const CONTRACT: &str = "0.1.0";

/// Where the description of a guest lies in its memory.
const DESCRIPTION: usize = 1_024;

/// A plugin in the making: every function does the least that is valid, unless it is replaced.
#[derive(Debug, Clone)]
pub struct Guest {
    world: &'static str,
    name: String,
    functions: Vec<(&'static str, &'static str, String)>,
    extra: String,
    imports: String,
    capabilities: Vec<String>,
    wasi: bool,
    handover: bool,
    contract: String,
}

/// What every plugin exports.
const ABOUT: (&str, &str, &str) = ("about@0.1.0#describe", "(result i32)", "i32.const 1024");

/// What a plugin may export besides. By default it hands over nothing, and takes whatever it gets.
const HANDOVER: [(&str, &str, &str); 2] =
    [("handover@0.1.0#save", "(result i32)", OK), ("handover@0.1.0#restore", "(param i32 i32) (result i32)", OK)];

/// Answers `ok(_)` of a result without a payload: the zeros at 16.
const OK: &str = "i32.const 16";

const STRATEGY: [(&str, &str, &str); 5] = [
    ("strategy@0.1.0#configure", "(param i32 i32) (result i32)", OK),
    ("strategy@0.1.0#apply", "(param i64 i32 i32 i32 i32 i32)", ""),
    ("strategy@0.1.0#observe", "(param i32 i32) (result i32)", "i32.const 0"),
    ("strategy@0.1.0#make-plan", "(param i32 i32 i32 i32 i32 i64 i64) (result i32)", OK),
    ("strategy@0.1.0#select", "(param i32 i32 i64 i32 i64 i64) (result i32)", "i32.const -1"),
];

const PARSER: [(&str, &str, &str); 2] = [
    ("parser@0.1.0#sniff", "(param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)", "i32.const 50"),
    ("parser@0.1.0#parse", "(param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)", OK),
];

const HOOK: [(&str, &str, &str); 3] = [
    ("hook@0.1.0#configure", "(param i32 i32) (result i32)", OK),
    ("hook@0.1.0#topics", "(result i32)", OK),
    ("hook@0.1.0#handle", "(param i32 i32) (result i32)", OK),
];

impl Guest {
    /// A strategy that asks to be asked, and then chooses nobody.
    #[must_use]
    pub fn strategy(name: &str) -> Self {
        Self::new("strategy-plugin", name, &STRATEGY)
    }

    /// A parser that is half certain of every document and finds nothing in it.
    #[must_use]
    pub fn parser(name: &str) -> Self {
        Self::new("parser-plugin", name, &PARSER)
    }

    /// A hook that hears everything and does nothing.
    #[must_use]
    pub fn hook(name: &str) -> Self {
        Self::new("hook-plugin", name, &HOOK)
    }

    fn new(world: &'static str, name: &str, functions: &[(&'static str, &'static str, &'static str)]) -> Self {
        Self {
            world,
            name: name.to_owned(),
            functions: [ABOUT]
                .iter()
                .chain(functions)
                .map(|(export, ty, body)| (*export, *ty, (*body).to_owned()))
                .collect(),
            extra: String::new(),
            imports: String::new(),
            capabilities: Vec::new(),
            wasi: false,
            handover: false,
            contract: CONTRACT.to_owned(),
        }
    }

    /// Replaces the body of an export, named by what stands behind the `#`.
    ///
    /// # Panics
    /// When the kind has no such export.
    #[must_use]
    pub fn with(mut self, export: &str, body: &str) -> Self {
        let function = self.functions.iter_mut().find(|(name, ..)| name.ends_with(&format!("#{export}")));
        body.clone_into(&mut function.expect("an export of that name").2);
        self
    }

    /// Adds fields of the core module.
    #[must_use]
    pub fn extra(mut self, text: &str) -> Self {
        self.extra.push_str(text);
        self
    }

    /// Adds an import of the core module.
    #[must_use]
    pub fn import(mut self, text: &str) -> Self {
        self.imports.push_str(text);
        self
    }

    /// Lets its description ask for a capability.
    #[must_use]
    pub fn wants(mut self, capability: &str) -> Self {
        self.capabilities.push(capability.to_owned());
        self
    }

    /// Lets it export the handover.
    #[must_use]
    pub fn handover(mut self) -> Self {
        self.handover = true;
        self.functions.extend(HANDOVER.map(|(export, ty, body)| (export, ty, body.to_owned())));
        self
    }

    /// Lets it import the clock and the wait of WASI.
    #[must_use]
    pub fn wasi(mut self) -> Self {
        self.wasi = true;
        self
    }

    /// Builds it for another version of the contract, with the same functions.
    #[must_use]
    pub fn contract(mut self, version: &str) -> Self {
        version.clone_into(&mut self.contract);
        self
    }

    /// The core module: what a compiler makes before it makes a component.
    ///
    /// # Panics
    /// When the text of a part is wrong.
    #[must_use]
    pub fn module(&self) -> Vec<u8> {
        wat::parse_str(self.text()).expect("the module's text")
    }

    /// The component.
    ///
    /// # Panics
    /// When the text of a part is wrong, or does not fit the contract.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let mut module = self.module();
        let (resolve, world) = self.resolve();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("metadata");
        let encoder = ComponentEncoder::default().validate(true).module(&module).expect("a module of the world");
        let mut encoder = encoder;
        encoder.encode().expect("a component")
    }

    fn resolve(&self) -> (Resolve, WorldId) {
        let mut resolve = Resolve::default();
        let contract = push_contract(&mut resolve, &self.contract);
        if !self.wasi && !self.handover {
            let world = resolve.select_world(&[contract], Some(self.world)).expect("a world of the contract");
            return (resolve, world);
        }
        let mut also = String::new();
        if self.wasi {
            also.push_str("import wasi:clocks/monotonic-clock@0.2.6; import wasi:cli/stdout@0.2.6;");
        }
        if self.handover {
            write!(also, "export proxywhirl:plugin/handover@{};", self.contract).expect("writing to a string");
        }
        let text = format!(
            "package test:guest;
             world guest {{
                 {also}
                 include proxywhirl:plugin/{}@{};
             }}
             package wasi:io@0.2.6 {{
                 interface poll {{ resource pollable {{ block: func(); }} }}
                 interface error {{ resource error; }}
                 interface streams {{
                     use error.{{error}};
                     variant stream-error {{ last-operation-failed(error), closed }}
                     resource output-stream {{
                         blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
                     }}
                 }}
             }}
             package wasi:clocks@0.2.6 {{
                 interface monotonic-clock {{
                     use wasi:io/poll@0.2.6.{{pollable}};
                     subscribe-duration: func(when: u64) -> pollable;
                 }}
             }}
             package wasi:cli@0.2.6 {{
                 interface stdout {{
                     use wasi:io/streams@0.2.6.{{output-stream}};
                     get-stdout: func() -> output-stream;
                 }}
             }}",
            self.world, self.contract
        );
        let package = resolve.push_str("guest.wit", &text).expect("the guest's world");
        let world = resolve.select_world(&[package], Some("guest")).expect("the guest's world");
        (resolve, world)
    }

    fn text(&self) -> String {
        let strings = [self.name.as_str(), "1.0.0", "a guest for tests", r#"{"type":"object"}"#];
        let mut record = Vec::new();
        let mut bytes = Vec::new();
        for text in strings {
            record.extend_from_slice(&number(DESCRIPTION + 64 + bytes.len()));
            record.extend_from_slice(&number(text.len()));
            bytes.extend_from_slice(text.as_bytes());
        }
        // The list of the capabilities comes after all texts, and after them what it consists of.
        for capability in &self.capabilities {
            bytes.extend_from_slice(capability.as_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        record.extend_from_slice(&number(DESCRIPTION + 64 + bytes.len()));
        record.extend_from_slice(&number(self.capabilities.len()));
        let mut at = DESCRIPTION + 64 + strings.iter().map(|text| text.len()).sum::<usize>();
        for capability in &self.capabilities {
            bytes.extend_from_slice(&number(at));
            bytes.extend_from_slice(&number(capability.len()));
            at += capability.len();
        }
        record.resize(64, 0);
        record.extend_from_slice(&bytes);
        let data: String = record.iter().fold(String::new(), |mut text, byte| {
            write!(text, "\\{byte:02x}").expect("writing to a string");
            text
        });
        let mut text = format!(
            "(module {}
                (memory (export \"memory\") 2)
                (global $heap (mut i32) (i32.const 65536))
                (data (i32.const {DESCRIPTION}) \"{data}\")
                (func (export \"cabi_realloc\") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
                    (local $at i32)
                    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
                    (global.set $heap (i32.add (local.get $at) (local.get $size)))
                    (block $enough
                        (br_if $enough (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
                        (drop (memory.grow (i32.add (i32.const 1) (i32.div_u (local.get $size) (i32.const 65536))))))
                    (local.get $at))
                {}",
            self.imports, self.extra
        );
        for (export, ty, body) in &self.functions {
            write!(text, "(func (export \"proxywhirl:plugin/{export}\") {ty} {body})").expect("writing to a string");
        }
        text.push(')');
        text.replace(&format!("@{CONTRACT}"), &format!("@{}", self.contract))
    }
}

/// Adds the contract as it is in `wit/`, under a version.
fn push_contract(resolve: &mut Resolve, version: &str) -> PackageId {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit"));
    let mut sources = SourceMap::new();
    for entry in std::fs::read_dir(folder).expect("the contract's folder") {
        let path = entry.expect("the contract's folder").path();
        if path.extension().is_some_and(|extension| extension == "wit") {
            let text = std::fs::read_to_string(&path).expect("a file of the contract");
            sources.push(&path, text.replace(&format!("@{CONTRACT};"), &format!("@{version};")));
        }
    }
    let group = sources.parse().unwrap_or_else(|error| panic!("the contract: {error:?}"));
    resolve.push_group(group).expect("the contract")
}

fn number(value: usize) -> [u8; 4] {
    u32::try_from(value).expect("a small number").to_le_bytes()
}
