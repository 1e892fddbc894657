//! `pool import`: what `pool export` has written comes back with all that it says; any other list is read as `pool add` reads it.
//!
//! Whoever imports a file says by that that it is a list of their own. So tags in it are taken over, which steer routing, as well
//! as what is said of uses. A list that a source fetches can give itself none of that.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use clap::Args;
use proxywhirl_core::{Secret, Tag};
use proxywhirl_engine::source::{Cause, Location, Source, gunzip};
use proxywhirl_store::exchange::{self, MAX_BYTES, Rejected, RejectedRow, RowForm, Rows};

use super::super::output::{count, tell};
use super::super::{PluginDirArgs, ReadArgs, sources};
use super::{DbArgs, Joining, ToChange, listed, now, sing_box};
use crate::config::Settings;
use crate::exit::{Exit, Failure};

/// Rejected rows that are shown of a file.
const EXAMPLES: usize = 5;

/// Arguments of `pool import`.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    #[command(flatten)]
    db: DbArgs,
    /// Files that `pool export`, `fetch` or a store has written, or lists in any other form; - is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
    /// Labels for what is imported, beside those in the files
    #[arg(long, value_name = "TAG")]
    tag: Vec<Tag>,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    plugins: PluginDirArgs,
}

/// What a file is.
enum Document {
    /// Rows of ours.
    Rows(RowForm, Vec<u8>),
    /// Some other list.
    List(Box<Source>),
}

/// Carries out `pool import`.
pub(super) async fn import(args: ImportArgs) -> Result<Exit, Failure> {
    let documents = args.files.iter().map(|name| document(name, &args.read)).collect::<Result<Vec<_>, _>>()?;
    let (mut brought, mut all_rejected, mut all_again) = (Vec::new(), 0, 0);
    for (name, document) in args.files.iter().zip(documents) {
        match document {
            Document::Rows(form, bytes) => {
                let Rows { members, rejected, others, again } = exchange::read(&bytes, form, now())
                    .map_err(|error| Failure::new(Exit::Input, format!("{name}: {error}")))?;
                drop(bytes);
                tell_rows(name, form, members.len(), others, &rejected);
                all_rejected += rejected.count;
                all_again += again;
                brought.push(members);
            }
            Document::List(source) => {
                let mut settings = Settings { plugins: args.db.plugins(), ..Settings::default() };
                // As much as of rows is read. A parser that is a plugin may give up before that, with an error of its own: its
                // 256 MiB and 4 bytes for each byte of the document are, near 1 GiB, more than WebAssembly can address.
                settings.fetch.max_size = MAX_BYTES;
                let found = sources::read_sources(&[*source], &settings, &args.plugins, None).await?;
                if let Some(failure) = found.failure() {
                    return Err(failure);
                }
                found.sources.iter().for_each(sources::tell_source);
                all_rejected += found.rejected();
                all_again += found.duplicates;
                brought.push(found.candidates.into_iter().map(listed).collect());
            }
        }
    }
    let ToChange { mut store, members, is_in_use } = args.db.open_or_create(brought.iter().all(Vec::is_empty))?;
    let mut joining = Joining::new(members, &args.tag);
    (joining.rejected, joining.again) = (all_rejected, all_again);
    brought.into_iter().flatten().for_each(|member| joining.member(member));
    joining.save(&mut *store, is_in_use)
}

/// Reads a file, and finds out what it is. Whoever names a parser means that one.
fn document(name: &str, read: &ReadArgs) -> Result<Document, Failure> {
    let input = sources::Input::Named(name.to_owned());
    let source = sources::source(&input, read)?;
    if matches!(source.location, Location::Http(_) | Location::Inline(_)) {
        return Err(Failure::new(Exit::Usage, format!("{} is no file", source.name))
            .hint("a list from elsewhere is read by `proxywhirl pool add --from`, which takes no tags from it"));
    }
    let bytes = bytes(name, MAX_BYTES)?;
    if bytes.starts_with(b"SQLite format 3\0") {
        return Err(Failure::new(Exit::Input, format!("{name}: is an SQLite database, and no list")).hint(format!(
            "`proxywhirl pool export --db sqlite:{name} --format jsonl` writes what is in it as one that can be imported"
        )));
    }
    if read.parser.is_none() {
        if let Some(form) = exchange::form_of(&bytes) {
            return Ok(Document::Rows(form, bytes));
        }
        if let Some(lines) = sing_box::lines(&bytes) {
            let location = Location::Inline(Secret::new(lines));
            let source = Source { location, parser: Some("text".to_owned()), ..source };
            return Ok(Document::List(Box::new(source)));
        }
    }
    if Path::new(name).is_file() && name != "-" {
        return Ok(Document::List(Box::new(source)));
    }
    // It is a pipe, which has been read and cannot be again.
    let text = String::from_utf8(bytes).map_err(|_| {
        let what = if name == "-" { "standard input" } else { name };
        Failure::new(Exit::Input, format!("{what} is not UTF-8")).hint("a file may be in any of the usual encodings")
    })?;
    Ok(Document::List(Box::new(Source { location: Location::Inline(Secret::new(text)), ..source })))
}

/// What is in a file, or comes from standard input, decompressed, if it is no more than `cap` bytes.
fn bytes(name: &str, cap: u64) -> Result<Vec<u8>, Failure> {
    let failed = |reason: String| Failure::new(Exit::Input, format!("{name}: {reason}"));
    let too_large =
        || failed(format!("it has more than {cap} bytes")).hint("divide it, or `proxywhirl pool migrate` a store");
    let mut bytes = Vec::new();
    let read = if name == "-" {
        std::io::stdin().lock().take(cap + 1).read_to_end(&mut bytes)
    } else {
        File::open(Path::new(name)).and_then(|file| file.take(cap + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > cap {
        return Err(too_large());
    }
    gunzip(bytes, cap)
        .map_err(|cause| if matches!(cause, Cause::TooLarge { .. }) { too_large() } else { failed(cause.to_string()) })
}

/// Tells what came of rows, as of other lists.
fn tell_rows(name: &str, form: RowForm, members: usize, others: u64, rejected: &Rejected) {
    let members = count(members, "proxy", "proxies");
    tell(&format!("{name} ({}, with tags): {members}, {} rejected", form.as_str(), rejected.count));
    if others > 0 {
        tell(&format!(
            "  {} of a store are left out: `pool migrate` takes everything",
            count(others, "other line", "other lines")
        ));
    }
    let mut reasons: Vec<_> = rejected.reasons.iter().collect();
    // The sort is stable: among equals the order of their names holds.
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (reason, count) in reasons.into_iter().take(EXAMPLES) {
        tell(&format!("  {count} × {reason}"));
    }
    let shown = rejected.first.iter().take(EXAMPLES);
    let more = rejected.count.saturating_sub(shown.len() as u64);
    for RejectedRow { line, row, reason } in shown {
        let row = row.map_or_else(String::new, |row| format!("row {row}, "));
        tell(&format!("  {row}line {line}: {reason}"));
    }
    sources::tell_more(more);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_told_alike_whether_it_is_compressed_or_not() {
        // A thousand times the same letter.
        let compressed = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03KL\x1c\x05\xa3`\x14\x0cw\0\0\x03\xda8\x9a\xe8\x03\0\0";
        let folder = tempfile::tempdir().unwrap();
        for content in [&[b'a'; 1_000][..], compressed] {
            let file = folder.path().join("list");
            std::fs::write(&file, content).unwrap();
            let name = file.to_str().unwrap();
            assert_eq!(bytes(name, 1_000).unwrap(), [b'a'; 1_000]);
            let failure = bytes(name, 999).unwrap_err();
            assert_eq!(failure.message, format!("{name}: it has more than 999 bytes"));
            assert!(failure.hint.unwrap().contains("divide it"));
        }
    }
}
