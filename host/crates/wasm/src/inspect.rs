//! What a file says about itself without being compiled or run: whether it is a component, of which
//! kind, for which version of the contract, what it imports, and its manifest.

use std::fmt;

use proxywhirl_core::plugin::PluginKind;
use semver::Version;
use wasmparser::{Chunk, Parser, Payload};

use crate::manifest::{Manifest, SECTION};

/// The version of the contract that this host speaks.
pub(crate) const CONTRACT: Version = Version::new(0, 1, 0);

/// The contract's package.
const PACKAGE: &str = "proxywhirl:plugin/";

/// Packages of WASI 0.2 that toolchains import by themselves.
const WASI: [&str; 6] = ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];

/// What a component says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inspection {
    pub(crate) kind: PluginKind,
    /// The version of the contract that it was built for.
    pub(crate) contract: Version,
    /// The interfaces that it imports.
    pub(crate) imports: Vec<String>,
    /// Whether one of them is WASI's.
    pub(crate) wasi: bool,
    /// Whether it can hand its state over to its successor.
    pub(crate) handover: bool,
    /// Its manifest, when it carries one.
    pub(crate) manifest: Option<Manifest>,
}

/// Why a file is no plugin for this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unfit {
    /// The fact.
    pub(crate) reason: String,
    /// What to do about it.
    pub(crate) hint: String,
}

impl Unfit {
    pub(crate) fn new(reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { reason: reason.into(), hint: hint.into() }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

const HINT_BUILD: &str =
    "build it with `proxywhirl plugin build`, or see the documentation of your language's toolchain";

/// What a file holds at its outermost level.
#[derive(Default)]
struct Outline<'a> {
    imports: Vec<&'a str>,
    exports: Vec<&'a str>,
    manifest: Option<&'a [u8]>,
}

/// Reads what a file says about itself.
pub(crate) fn inspect(bytes: &[u8]) -> Result<Inspection, Unfit> {
    check_preamble(bytes)?;
    let outline = outline(bytes)?;
    let (kind, contract) = kind(&outline.exports)?;
    check_imports(kind, &outline.imports)?;
    let manifest = outline.manifest.map(Manifest::parse).transpose().map_err(|error| {
        Unfit::new(format!("its manifest is broken: {error}"), "rebuild it with `proxywhirl plugin build`")
    })?;
    if manifest.as_ref().is_some_and(|manifest| manifest.kind != kind.as_str()) {
        let reason = format!("its manifest names another kind than its export, {kind}");
        return Err(Unfit::new(reason, "rebuild it with `proxywhirl plugin build`"));
    }
    Ok(Inspection {
        kind,
        contract,
        imports: outline.imports.iter().map(|name| (*name).to_owned()).collect(),
        wasi: outline.imports.iter().any(|name| name.starts_with("wasi:")),
        handover: hands_over(kind, &outline.exports)?,
        manifest,
    })
}

/// Tells from the first eight bytes what is not a component, and what it is instead.
fn check_preamble(bytes: &[u8]) -> Result<(), Unfit> {
    let hint = HINT_BUILD;
    match bytes {
        [] => Err(Unfit::new("the file is empty", hint)),
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(()),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(Unfit::new(
            "a core WebAssembly module, not a component",
            "make a component of it: `proxywhirl plugin build` does for Rust, `wasm-tools component new` for others",
        )),
        [0, b'a', b's', b'm', version_low, version_high, layer_low, layer_high, ..] => {
            let version = u16::from_le_bytes([*version_low, *version_high]);
            let layer = u16::from_le_bytes([*layer_low, *layer_high]);
            let reason = format!("WebAssembly of an unknown binary format (version {version}, layer {layer})");
            Err(Unfit::new(reason, "build it with a toolchain for version 0x0d of the component format"))
        }
        [0x7f, b'E', b'L', b'F', ..] => Err(Unfit::new(
            "native or precompiled code, which is never taken from a file",
            "put the component itself (.wasm) there; compiled code is cached by the host",
        )),
        _ if b"\0asm".starts_with(bytes) || (bytes.starts_with(b"\0asm") && bytes.len() < 8) => {
            Err(truncated(bytes.len()))
        }
        _ => Err(Unfit::new("not WebAssembly", hint)),
    }
}

fn truncated(length: usize) -> Unfit {
    Unfit::new(format!("the file ends in the middle, after {length} bytes"), "copy or download it again")
}

/// Reads the outermost level. What is nested in it, nearly all of the file, is passed over.
#[expect(clippy::wildcard_enum_match_arm, reason = "of some thirty kinds of sections, these are read")]
fn outline(bytes: &[u8]) -> Result<Outline<'_>, Unfit> {
    let broken = |error: wasmparser::BinaryReaderError| {
        if error.message().contains("unexpected end") || error.offset() >= bytes.len() {
            truncated(bytes.len())
        } else {
            let reason = format!("malformed at byte {}: {}", error.offset(), error.message());
            Unfit::new(reason, "copy or download it again")
        }
    };
    let mut outline = Outline::default();
    let mut parser = Parser::new(0);
    let mut rest = bytes;
    loop {
        let (payload, consumed) = match parser.parse(rest, true).map_err(broken)? {
            Chunk::Parsed { payload, consumed } => (payload, consumed),
            Chunk::NeedMoreData(_) => return Err(truncated(bytes.len())),
        };
        let mut end = consumed;
        match payload {
            Payload::ModuleSection { unchecked_range, .. } | Payload::ComponentSection { unchecked_range, .. } => {
                end += unchecked_range.len();
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    outline.imports.push(import.map_err(broken)?.name.name);
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    outline.exports.push(export.map_err(broken)?.name.name);
                }
            }
            Payload::CustomSection(section) if section.name() == SECTION => outline.manifest = Some(section.data()),
            Payload::End(_) => return Ok(outline),
            _ => {}
        }
        rest = rest.get(end..).ok_or_else(|| truncated(bytes.len()))?;
    }
}

/// The kind and the version that a component's exports tell.
fn kind(exports: &[&str]) -> Result<(PluginKind, Version), Unfit> {
    let mut found: Option<(PluginKind, Version)> = None;
    for (interface, version) in exports.iter().filter_map(|name| ours(name)) {
        let kind = match interface {
            "strategy" => PluginKind::Strategy,
            "parser" => PluginKind::Parser,
            "hook" => PluginKind::Hook,
            _ => continue,
        };
        if let Some((other, _)) = found.replace((kind, version?)) {
            let reason = format!("exports both {other} and {kind}, but a plugin is of one kind");
            return Err(Unfit::new(reason, "make two plugins of it"));
        }
    }
    let Some((kind, version)) = found else {
        return Err(Unfit::new(
            "not a ProxyWhirl plugin: it exports none of the interfaces strategy, parser and hook of proxywhirl:plugin",
            "is it for another program?",
        ));
    };
    check_version(kind.as_str(), &version)?;
    if !exports.iter().filter_map(|name| ours(name)).any(|(interface, _)| interface == "about") {
        return Err(Unfit::new(format!("exports {kind}, but not about"), HINT_BUILD));
    }
    Ok((kind, version))
}

/// The interface's name and version, when it is of the contract's package.
fn ours(name: &str) -> Option<(&str, Result<Version, Unfit>)> {
    let rest = name.strip_prefix(PACKAGE)?;
    let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
    let version =
        Version::parse(version).map_err(|_| Unfit::new(format!("{name} has no version that can be read"), HINT_BUILD));
    Some((interface, version))
}

/// Before 1.0.0 a change of the minor version may break plugins, after it one of the major version.
fn check_version(interface: &str, version: &Version) -> Result<(), Unfit> {
    let line = |version: &Version| if version.major == 0 { (0, version.minor) } else { (version.major, 0) };
    let (theirs, own) = (line(version), line(&CONTRACT));
    if theirs == own {
        return Ok(());
    }
    let reason =
        format!("built for version {version} of the contract ({interface}), but this host speaks version {CONTRACT}");
    Err(Unfit::new(
        reason,
        if theirs > own {
            "update the host: the plugin is newer"
        } else {
            "update the plugin, or rebuild it with the current SDK: it is older than the host"
        },
    ))
}

/// Whether a component exports the handover, which parsers have no use for.
fn hands_over(kind: PluginKind, exports: &[&str]) -> Result<bool, Unfit> {
    for (interface, version) in exports.iter().filter_map(|name| ours(name)) {
        if interface == "handover" {
            check_version(interface, &version?)?;
            return Ok(kind != PluginKind::Parser);
        }
    }
    Ok(false)
}

/// The interfaces of the contract that a world imports.
const fn world(kind: PluginKind) -> &'static [&'static str] {
    match kind {
        PluginKind::Parser => &["types", "log", "clock", "random"],
        PluginKind::Strategy => &["types", "log", "clock", "random", "symbols"],
        PluginKind::Hook => &["types", "log", "clock", "random", "symbols", "kv", "metrics", "http"],
    }
}

/// What a kind's world has not, a component of that kind may not import.
fn check_imports(kind: PluginKind, imports: &[&str]) -> Result<(), Unfit> {
    for name in imports {
        let hint = match ours(name) {
            Some((interface, version)) => {
                check_version(interface, &version?)?;
                if world(kind).contains(&interface) {
                    continue;
                }
                lacking(interface)
            }
            None if WASI.iter().any(|package| name.starts_with(package)) && name.contains("@0.2.") => continue,
            None if name.starts_with("wasi:") => {
                format!("this host has, of WASI, {} in version 0.2; build it without that import", WASI.join(", "))
            }
            None => {
                "build it without that import: a plugin imports only the contract and what its toolchain needs of WASI"
                    .to_owned()
            }
        };
        return Err(Unfit::new(format!("imports {name}, which a {kind} plugin is not given"), hint));
    }
    Ok(())
}

/// What to do about an import of the contract's package that a world has not.
fn lacking(interface: &str) -> String {
    let kinds = [PluginKind::Strategy, PluginKind::Parser, PluginKind::Hook];
    let given: Vec<_> =
        kinds.into_iter().filter(|kind| world(*kind).contains(&interface)).map(PluginKind::as_str).collect();
    if given.is_empty() {
        return format!(
            "version {CONTRACT} of the contract has no interface {interface}; update the host if a later one has"
        );
    }
    format!("build it without that import; {interface} is given to: {}", given.join(", "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A component with these imports and exports, all of them empty instances.
    fn component(imports: &[&str], exports: &[&str]) -> Vec<u8> {
        use std::fmt::Write as _;
        let mut text = "(component (instance $empty)".to_owned();
        for name in imports {
            write!(text, "(import \"{name}\" (instance))").unwrap();
        }
        for name in exports {
            write!(text, "(export \"{name}\" (instance $empty))").unwrap();
        }
        wat::parse_str(text + ")").unwrap()
    }

    fn refusal(bytes: &[u8]) -> Unfit {
        inspect(bytes).unwrap_err()
    }

    const ABOUT: &str = "proxywhirl:plugin/about@0.1.0";

    #[test]
    fn the_kind_is_told_from_the_exports() {
        for kind in [PluginKind::Strategy, PluginKind::Parser, PluginKind::Hook] {
            let export = format!("proxywhirl:plugin/{kind}@0.1.0");
            let found = inspect(&component(&["proxywhirl:plugin/log@0.1.0", "wasi:io/poll@0.2.6"], &[ABOUT, &export]));
            let found = found.unwrap();
            assert_eq!((found.kind, found.wasi, found.imports.len()), (kind, true, 2));
        }
    }

    #[test]
    fn what_is_no_component_is_called_what_it_is() {
        assert_eq!(refusal(b"").reason, "the file is empty");
        assert_eq!(refusal(b"1.2.3.4:8080\n").reason, "not WebAssembly");
        assert_eq!(refusal(b"\0asm\x0d\0").reason, "the file ends in the middle, after 6 bytes");
        assert!(refusal(b"\x7fELF....").reason.starts_with("native or precompiled code"));
        let module = refusal(&wat::parse_str("(module)").unwrap());
        assert_eq!(module.reason, "a core WebAssembly module, not a component");
        assert!(module.hint.contains("proxywhirl plugin build"));
        assert!(refusal(b"\0asm\x0e\0\x01\0").reason.contains("version 14, layer 1"));
        assert!(refusal(&component(&[], &[])).reason.starts_with("not a ProxyWhirl plugin"));
    }

    #[test]
    fn an_unknown_version_says_which_side_to_update() {
        let of = |version: &str| refusal(&component(&[], &[ABOUT, &format!("proxywhirl:plugin/hook@{version}")]));
        for newer in ["0.2.0", "1.0.0"] {
            let unfit = of(newer);
            assert!(unfit.reason.contains(newer) && unfit.reason.contains("0.1.0"), "{unfit}");
            assert!(unfit.hint.starts_with("update the host"));
        }
        assert!(of("0.0.9").hint.starts_with("update the plugin"));
        assert!(inspect(&component(&[], &[ABOUT, "proxywhirl:plugin/hook@0.1.7"])).is_ok());
    }

    #[test]
    fn an_import_that_the_world_has_not_is_named() {
        for (import, kind) in [
            ("proxywhirl:plugin/symbols@0.1.0", "parser"),
            ("proxywhirl:plugin/http@0.1.0", "strategy"),
            ("proxywhirl:plugin/kv@0.1.0", "parser"),
            ("proxywhirl:plugin/telepathy@0.1.0", "hook"),
            ("wasi:http/outgoing-handler@0.2.0", "hook"),
            ("wasi:cli/environment@0.3.0", "strategy"),
            ("other:package/thing", "strategy"),
        ] {
            let unfit = refusal(&component(&[import], &[ABOUT, &format!("proxywhirl:plugin/{kind}@0.1.0")]));
            assert_eq!(unfit.reason, format!("imports {import}, which a {kind} plugin is not given"));
        }
    }

    #[test]
    fn what_to_do_about_an_import_depends_on_who_has_it() {
        let hint = |import: &str, kind: &str| {
            refusal(&component(&[import], &[ABOUT, &format!("proxywhirl:plugin/{kind}@0.1.0")])).hint
        };
        assert!(hint("proxywhirl:plugin/http@0.1.0", "strategy").ends_with("http is given to: hook"));
        assert!(hint("proxywhirl:plugin/symbols@0.1.0", "parser").ends_with("symbols is given to: strategy, hook"));
        assert!(hint("proxywhirl:plugin/telepathy@0.1.0", "hook").contains("0.1.0 of the contract has no interface"));
        assert!(hint("proxywhirl:plugin/kv@0.2.0", "hook").starts_with("update the host"));
        assert!(hint("wasi:http/types@0.2.0", "hook").contains("wasi:cli/"));
    }

    #[test]
    fn a_handover_is_for_those_that_live_long() {
        let hands_over = |kind: &str| {
            let exports = [ABOUT, &format!("proxywhirl:plugin/{kind}@0.1.0"), "proxywhirl:plugin/handover@0.1.0"];
            inspect(&component(&[], &exports)).unwrap().handover
        };
        assert_eq!(["strategy", "hook", "parser"].map(hands_over), [true, true, false]);
        let newer = [ABOUT, "proxywhirl:plugin/hook@0.1.0", "proxywhirl:plugin/handover@0.3.0"];
        assert!(refusal(&component(&[], &newer)).reason.contains("0.3.0"));
    }

    #[test]
    fn a_plugin_is_of_one_kind_and_describes_itself() {
        let both = component(&[], &[ABOUT, "proxywhirl:plugin/hook@0.1.0", "proxywhirl:plugin/parser@0.1.0"]);
        assert!(refusal(&both).reason.starts_with("exports both hook and parser"));
        assert_eq!(refusal(&component(&[], &["proxywhirl:plugin/hook@0.1.0"])).reason, "exports hook, but not about");
    }

    #[test]
    fn an_interface_inside_a_nested_component_does_not_count() {
        let text = format!(
            "(component (component (instance $i) (export \"{ABOUT}\" (instance $i)) (export \"proxywhirl:plugin/hook@0.1.0\" (instance $i))))"
        );
        assert!(refusal(&wat::parse_str(text).unwrap()).reason.starts_with("not a ProxyWhirl plugin"));
    }
}
