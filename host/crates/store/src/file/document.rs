//! A pool as one JSON document, perhaps compressed.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use proxywhirl_core::kv::KeyArchive;
use proxywhirl_core::store::Changes;
use proxywhirl_core::{Timestamp, store::StoredMember};
use serde::{Deserialize, Serialize};

use super::Contents;
use super::disk;
use super::form::{self, KeyRow, MemberRow, SessionRow, Time};

/// The version of the form that this program writes.
const VERSION: u64 = 1;

/// The largest document that is read, decompressed: ten million members. What is larger fits no memory.
const MAX_BYTES: u64 = 4 * 1024 * 1024 * 1024;

#[derive(Serialize)]
struct Written<'a> {
    version: u64,
    pool_name: &'a str,
    last_updated: Time,
    proxies: Vec<MemberRow>,
    config: &'a serde_json::Value,
    sessions: Vec<SessionRow>,
    key_values: Vec<KeyRow>,
}

/// What is read. Who writes one by hand needs the proxies alone.
#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    version: serde_json::Value,
    #[serde(default)]
    pool_name: Option<String>,
    proxies: Vec<FoundMember>,
    #[serde(default)]
    config: serde_json::Value,
    #[serde(default)]
    sessions: Vec<SessionRow>,
    #[serde(default)]
    key_values: Vec<KeyRow>,
}

/// Made into a member while it is read, so that an error names its line.
#[derive(Deserialize)]
#[serde(try_from = "MemberRow")]
struct FoundMember(StoredMember);

impl TryFrom<MemberRow> for FoundMember {
    type Error = String;

    fn try_from(row: MemberRow) -> Result<Self, String> {
        row.try_into().map(Self)
    }
}

/// Reads a document; an empty file is an empty pool.
pub(super) fn read(path: &Path, is_compressed: bool) -> Result<Contents, String> {
    let file = File::open(path).map_err(|error| disk::refusal(&error))?;
    let mut bytes = Vec::new();
    let read = if is_compressed {
        MultiGzDecoder::new(BufReader::new(file)).take(MAX_BYTES + 1).read_to_end(&mut bytes)
    } else {
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes)
    };
    read.map_err(|error| if is_damage(&error) { damaged(&error) } else { disk::refusal(&error) })?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("has more than {MAX_BYTES} bytes; keep so large a pool in sqlite:pool.db"));
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Contents::default());
    }
    // Some editors begin a text with a mark of its order of bytes.
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    if text.trim_ascii_start().starts_with(b"[") {
        // Serde would take its elements for the fields in their order.
        return Err(disk::corrupt("a list, and not an object such as {\"proxies\": []}"));
    }
    let found: Found = serde_json::from_slice(text).map_err(|error| {
        disk::corrupt(&format!("{} at line {} column {}", form::reason(&error), error.line(), error.column()))
    })?;
    meaning(found)
}

fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

fn damaged(error: &io::Error) -> String {
    format!("is not compressed with gzip, or is damaged ({error}); {}", disk::MOVE_AWAY)
}

fn meaning(found: Found) -> Result<Contents, String> {
    if let Some(version) = found.version.as_u64().filter(|version| *version > VERSION) {
        return Err(disk::newer(version, VERSION));
    }
    let mut contents = Contents::default();
    contents.members.apply(&Changes {
        upserts: found.proxies.into_iter().map(|member| member.0).collect(),
        sessions: found.sessions.into_iter().map(Into::into).collect(),
        ..Changes::default()
    });
    for row in found.key_values {
        let record = row.try_into().map_err(|error: String| disk::corrupt(&error))?;
        contents.keys.restore(&record).map_err(|error| error.to_string())?;
    }
    contents.config = found.config;
    contents.name = found.pool_name.unwrap_or(contents.name);
    Ok(contents)
}

/// Writes a document in place of the one before, whole or not at all.
pub(super) fn write(path: &Path, contents: &Contents, is_compressed: bool, now: Timestamp) -> io::Result<()> {
    let config = if contents.config.is_null() { &serde_json::json!({}) } else { &contents.config };
    let keys = contents.keys.records().map_err(io::Error::other)?;
    let written = Written {
        version: VERSION,
        pool_name: &contents.name,
        last_updated: Time(now),
        proxies: contents.members.members().map(MemberRow::new).collect(),
        config,
        sessions: contents.members.sessions().iter().map(Into::into).collect(),
        key_values: keys.into_iter().map(Into::into).collect(),
    };
    disk::replace(path, |out| {
        if !is_compressed {
            serde_json::to_writer_pretty(&mut *out, &written)?;
            return out.write_all(b"\n");
        }
        let mut compressed = GzEncoder::new(out, Compression::fast());
        serde_json::to_writer(&mut compressed, &written)?;
        compressed.finish().map(drop)
    })
}
