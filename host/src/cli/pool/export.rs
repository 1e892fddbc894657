//! `pool export`: the proxies of a pool as other programs read them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use proxywhirl_core::store::StoredMember;

use super::super::output::{self, Row, RowWriter, count, tell};
use super::DbArgs;
use super::forms::{Form, Unsaid};
use crate::exit::{Exit, Failure};

/// Arguments of `pool export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    db: DbArgs,
    /// As what
    #[arg(long, value_enum, default_value = "text")]
    format: Form,
    /// Where to write; - is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Only proxies with this tag, such as source:user
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
}

/// What no form but ours says.
const LABELS: Unsaid = "tags and country";

/// Carries out `pool export`.
pub(super) fn export(args: &ExportArgs) -> Result<Exit, Failure> {
    let mut members = args.db.read()?;
    members.retain(|member| args.tag.as_ref().is_none_or(|tag| member.tags.contains(tag)));
    let mut told = Told::default();
    let written = match args.format.rows() {
        Some(format) => rows(&members, format, args)?,
        None => text(&members, args, &mut told)?,
    };
    let used = members.iter().filter(|member| member.statistics != Default::default()).count();
    if used > 0 {
        told.unsaid.insert("statistics", used);
    }
    tell(&count(written, "proxy", "proxies"));
    told.tell();
    Ok(if written == 0 { Exit::NoResult } else { Exit::Done })
}

/// As `fetch` prints them.
fn rows(members: &[StoredMember], format: output::Format, args: &ExportArgs) -> Result<usize, Failure> {
    let mut writer = RowWriter::open(&args.output, format)?;
    for member in members {
        writer.row(&Row::new(&member.clone().into(), None))?;
    }
    writer.finish()
}

/// As another program's configuration.
fn text(members: &[StoredMember], args: &ExportArgs, told: &mut Told) -> Result<usize, Failure> {
    let mut said = Vec::new();
    for member in members {
        match args.format.entry(&member.endpoint, said.len() + 1) {
            Ok((entry, unsaid)) => {
                said.push(entry);
                let is_labelled = member.country.is_some() || member.tags.iter().next().is_some();
                for what in unsaid.into_iter().chain(is_labelled.then_some(LABELS)) {
                    *told.unsaid.entry(what).or_default() += 1;
                }
            }
            Err(reason) => {
                told.left_out.entry(reason).or_insert_with(|| (0, member.endpoint.to_string())).0 += 1;
            }
        }
    }
    let count = said.len();
    output::write(&args.output, &args.format.document(&said))?;
    Ok(count)
}

/// What is not in what was written.
#[derive(Default)]
struct Told {
    /// Why proxies are not there: how many, and the first.
    left_out: BTreeMap<&'static str, (usize, String)>,
    /// What is not said of so many that are.
    unsaid: BTreeMap<Unsaid, usize>,
}

impl Told {
    fn tell(&self) {
        for (reason, (number, first)) in &self.left_out {
            tell(&format!("left out: {}, such as {first}: {reason}", count(*number, "proxy", "proxies")));
        }
        for (what, number) in &self.unsaid {
            tell(&format!("not in this form: {what} of {}", count(*number, "proxy", "proxies")));
        }
    }
}
