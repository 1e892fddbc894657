//! Plugins in C: clang makes a core module of the author's files, the bindings that are generated here,
//! and the glue. Clang needs a linker for WebAssembly and the C library of wasi-libc; what that library
//! would import of WASI is answered by the glue: standard output goes into the host's log, and there are
//! no files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use proxywhirl_core::plugin::PluginKind;
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;

use super::foreign::{Description, Job};
use super::tool::{self, first_line, is_debian, on_path};
use super::{BuildError, componentize, contract};

/// How long the compiler may take.
const LIMIT: Duration = Duration::from_secs(5 * 60);

/// Names of clang that distributions ship, the newest first. Older ones do not know the features that
/// the host expects.
const COMPILERS: [&str; 8] =
    ["clang-23", "clang-22", "clang-21", "clang-20", "clang-19", "clang-18", "clang-17", "clang-16"];

/// The oldest version that serves.
const OLDEST: u32 = 16;

/// Where wasi-libc lies if clang does not find it by itself.
const SYSROOTS: [&str; 5] = [
    "/usr/share/wasi-sysroot",
    "/usr/local/share/wasi-sysroot",
    "/opt/homebrew/share/wasi-sysroot",
    "/opt/wasi-sdk/share/wasi-sysroot",
    "/usr/wasm32-wasi",
];

/// The glue: what authors include, and the functions that the component exports.
pub(crate) const GLUE: [(&str, &str); 10] = [
    ("proxywhirl.h", include_str!("c/proxywhirl.h")),
    ("common.c", include_str!("c/common.c")),
    ("json.c", include_str!("c/json.c")),
    ("wasi.c", include_str!("c/wasi.c")),
    ("strategy.h", include_str!("c/strategy.h")),
    ("strategy.c", include_str!("c/strategy.c")),
    ("parser.h", include_str!("c/parser.h")),
    ("parser.c", include_str!("c/parser.c")),
    ("hook.h", include_str!("c/hook.h")),
    ("hook.c", include_str!("c/hook.c")),
];

/// Source files of one project.
const MAX_FILES: usize = 1_000;

/// A compiler with its C library.
#[derive(Debug)]
pub(crate) struct Clang {
    /// What it is, for people.
    pub(crate) summary: String,
    /// The program, and what makes it a compiler for WebAssembly.
    command: Vec<String>,
}

impl Clang {
    /// Finds a compiler: that of a WASI SDK, one of the system's, or Zig's.
    pub(crate) fn find() -> Result<Self, BuildError> {
        let mut reason = "there is no clang 16 or later".to_owned();
        let sdk = std::env::var_os("WASI_SDK_PATH").map(|path| PathBuf::from(path).join("bin/clang"));
        let named = COMPILERS.into_iter().filter_map(on_path).chain(on_path("clang"));
        for path in sdk.into_iter().filter(|path| path.is_file()).chain(named) {
            match Self::with(&path) {
                Ok(found) => return Ok(found),
                Err(missing) => reason = format!("{}: {missing}", path.display()),
            }
        }
        if let Some(zig) = on_path("zig") {
            let version = first_line(Command::new(&zig).arg("version")).unwrap_or_default();
            let command = ["cc", "-target", "wasm32-wasi"].map(str::to_owned);
            let command = std::iter::once(zig.to_string_lossy().into_owned()).chain(command).collect();
            return Ok(Self { summary: format!("zig cc {version}"), command });
        }
        let hint = if is_debian() {
            "apt-get install clang-19 lld-19 wasi-libc".to_owned()
        } else {
            "install clang 16 or later with lld and wasi-libc, or unpack a WASI SDK and set WASI_SDK_PATH".to_owned()
        };
        Err(BuildError::Toolchain { language: "C", reason, hint })
    }

    /// A clang, if it can build for WebAssembly with a C library; otherwise what it lacks.
    fn with(path: &Path) -> Result<Self, String> {
        let ask = |arguments: &[&str]| first_line(Command::new(path).args(arguments));
        let version = ask(&["--version"]).ok_or("cannot be run")?;
        let major = ask(&["-dumpversion"]).and_then(|text| text.split('.').next()?.parse::<u32>().ok());
        if major.is_none_or(|major| major < OLDEST) {
            return Err(format!("older than {OLDEST}"));
        }
        let mut command = vec![path.to_string_lossy().into_owned(), "--target=wasm32-wasi".to_owned()];
        let is_there = |text: Option<String>| text.is_some_and(|text| Path::new(&text).is_file());
        let library = |more: &[&str]| {
            let mut arguments = vec!["--target=wasm32-wasi"];
            arguments.extend(more);
            arguments.push("-print-file-name=libc.a");
            is_there(ask(&arguments))
        };
        if !library(&[]) {
            let sysroot = SYSROOTS.into_iter().map(|root| format!("--sysroot={root}"));
            let sysroot = sysroot.into_iter().find(|root| library(&[root])).ok_or("no wasi-libc")?;
            command.push(sysroot);
        }
        if !is_there(ask(&["--target=wasm32-wasi", "-print-prog-name=wasm-ld"])) {
            let linkers = super::toolchain::LINKERS.into_iter().find_map(on_path).ok_or("no wasm-ld (lld)")?;
            command.push(format!("-fuse-ld={}", linkers.display()));
        }
        // The compiler's own library is needed only for what plugins hardly do, such as numbers of 128 bits.
        if is_there(ask(&["--target=wasm32-wasi", "-rtlib=compiler-rt", "-print-libgcc-file-name"])) {
            command.push("-rtlib=compiler-rt".to_owned());
        } else {
            command.extend(["-nodefaultlibs", "-lc"].map(str::to_owned));
        }
        Ok(Self { summary: version, command })
    }
}

/// Makes the component.
pub(crate) fn build(clang: &Clang, job: &Job<'_>, told: &mut dyn FnMut(&str)) -> Result<Vec<u8>, BuildError> {
    let at = |source| BuildError::File { path: job.stage.to_owned(), source };
    contract::lay_out(job.file, &job.stage.join("wit")).map_err(at)?;
    let broken = |reason: String| BuildError::Component { library: job.file.name.clone(), reason };
    for (name, text) in bindings(&job.stage.join("wit")).map_err(broken)? {
        fs::write(job.stage.join(name), text).map_err(at)?;
    }
    for (name, text) in GLUE {
        fs::write(job.stage.join(name), text).map_err(at)?;
    }
    fs::write(job.stage.join("about.c"), about(job.description)).map_err(at)?;
    let sources = sources(job)?;
    let out = job.stage.join("module.wasm");
    let mut parts = clang.command.iter();
    let mut command = Command::new(parts.next().map_or("clang", String::as_str));
    command.current_dir(job.stage).args(["-std=gnu11", "-O2", "-mexec-model=reactor", "-Wall"]);
    command.arg(format!("-DPROXYWHIRL_{}", job.file.kind.as_str().to_ascii_uppercase()));
    if job.file.handover {
        command.arg("-DPROXYWHIRL_HANDOVER");
    }
    // The author's paths are no part of the component. Names of functions are: backtraces tell them.
    command.arg(format!("-ffile-prefix-map={}=.", job.project.display())).arg("-Wl,--strip-debug");
    command.arg("-I").arg(job.stage).arg("-I").arg(job.project);
    command.args(["bindings.c", "about.c", "common.c", "json.c", "wasi.c"]).arg(glue_of(job.file.kind));
    command.args(sources).arg(format!("{}_component_type.o", contract::WORLD));
    // Libraries come after what needs them.
    command.args(parts).arg("-o").arg(&out);
    tool::run(&mut command, "clang", LIMIT, told)?;
    let module = fs::read(&out).map_err(|source| BuildError::File { path: out, source })?;
    componentize::componentize(module).map_err(broken)
}

/// The glue's source file of a kind.
const fn glue_of(kind: PluginKind) -> &'static str {
    match kind {
        PluginKind::Strategy => "strategy.c",
        PluginKind::Parser => "parser.c",
        PluginKind::Hook => "hook.c",
    }
}

/// The author's source files: every `.c` right in the project.
fn sources(job: &Job<'_>) -> Result<Vec<PathBuf>, BuildError> {
    let at = |source| BuildError::File { path: job.project.to_owned(), source };
    let mut sources = Vec::new();
    for entry in fs::read_dir(job.project).map_err(at)?.take(MAX_FILES) {
        let path = entry.map_err(at)?.path();
        if path.extension().is_some_and(|extension| extension == "c") {
            sources.push(path);
        }
    }
    if sources.is_empty() {
        let reason = "there is no plugin.c beside it".to_owned();
        return Err(BuildError::Project { path: job.project.join(super::FILE), reason });
    }
    // The order of files is that of functions in the component.
    sources.sort();
    Ok(sources)
}

/// The bindings of the world in a directory: names and contents.
fn bindings(directory: &Path) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(directory).map_err(|error| format!("no bindings in C: {error:#}"))?;
    let world = resolve
        .select_world(&[package], Some(contract::WORLD))
        .map_err(|error| format!("no bindings in C: {error:#}"))?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default()
        .build()
        .generate(&mut resolve, world, &mut files)
        .map_err(|error| format!("no bindings in C: {error:#}"))?;
    Ok(files.iter().map(|(name, content)| (name.to_owned(), content.to_owned())).collect())
}

/// The plugin's description, as a source file.
fn about(description: &Description<'_>) -> String {
    let capabilities: Vec<String> = description.capabilities.iter().map(|it| literal(it)).collect();
    format!(
        "#include \"proxywhirl.h\"\n\nconst char *const pw_description[4] = {{\n    {},\n    {},\n    {},\n    {},\n}};\n\
         const char *const pw_capabilities[] = {{ {}NULL }};\n",
        literal(description.name),
        literal(description.version),
        literal(description.summary),
        literal(description.options_schema),
        capabilities.iter().map(|it| format!("{it}, ")).collect::<String>(),
    )
}

/// A text as a literal of C.
fn literal(text: &str) -> String {
    let mut literal = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => literal.extend(['\\', char::from(byte)]),
            // `?` could begin a trigraph; an octal escape has three digits, so nothing can follow it.
            b' '..=b'~' if byte != b'?' => literal.push(char::from(byte)),
            _ => literal.push_str(&format!("\\{byte:03o}")),
        }
    }
    literal.push('"');
    literal
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::build::contract::tests::project;
    use crate::build::project_file::Language;

    #[test]
    fn a_literal_holds_any_text() {
        assert_eq!(literal("a\"b\\c??=\n1é"), r#""a\"b\\c\077\077=\0121\303\251""#);
    }

    #[test]
    fn the_description_is_a_source_file() {
        let capabilities = ["kv".to_owned(), "metrics".to_owned()];
        let description = Description {
            name: "a",
            version: "1.0.0",
            summary: "An \"a\".",
            options_schema: "{}",
            capabilities: &capabilities,
        };
        let text = about(&description);
        assert!(text.contains(r#""An \"a\".","#), "{text}");
        assert!(text.contains(r#"pw_capabilities[] = { "kv", "metrics", NULL };"#), "{text}");
    }

    #[test]
    fn every_kind_has_bindings_with_its_exports() {
        for kind in [PluginKind::Strategy, PluginKind::Parser, PluginKind::Hook] {
            let directory = tempfile::tempdir().unwrap();
            contract::lay_out(&project(kind, Language::C), directory.path()).unwrap();
            let files = bindings(directory.path()).unwrap();
            let (_, header) = files.iter().find(|(name, _)| name == "bindings.h").unwrap();
            let export = format!("exports_proxywhirl_plugin_{kind}_");
            assert!(String::from_utf8_lossy(header).contains(&export), "{kind}");
            assert!(files.iter().any(|(name, _)| name == "bindings_component_type.o"));
        }
    }

    #[test]
    fn a_compiler_that_lacks_something_says_what() {
        let error = Clang::with(Path::new("/nowhere/clang")).unwrap_err();
        assert_eq!(error, "cannot be run");
    }
}
