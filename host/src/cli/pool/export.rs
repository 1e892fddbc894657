//! `pool export`: the proxies of a pool as other programs read them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use proxywhirl_core::store::StoredMember;
use proxywhirl_store::exchange::{RowForm, RowsWriter};

use super::super::output::{self, count, tell};
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
const STATISTICS: Unsaid = "statistics";

/// Carries out `pool export`.
pub(super) fn export(args: &ExportArgs) -> Result<Exit, Failure> {
    let (mut members, is_whole) = args.db.read()?;
    members.retain(|member| args.tag.as_ref().is_none_or(|tag| member.tags.contains(tag)));
    let mut told = Told::default();
    let written = match args.format.rows() {
        Some(form) => rows(&members, form, args)?,
        None => text(&members, args, &mut told)?,
    };
    tell(&count(written, "proxy", "proxies"));
    told.tell();
    Ok(match (is_whole, written) {
        (false, _) => Exit::Environment,
        (true, 0) => Exit::NoResult,
        (true, _) => Exit::Done,
    })
}

/// With all that is known of them.
fn rows(members: &[StoredMember], form: RowForm, args: &ExportArgs) -> Result<usize, Failure> {
    let out = output::create(&args.output)?;
    let written = RowsWriter::new(form, out).and_then(|mut writer| {
        members.iter().try_for_each(|member| writer.row(member))?;
        writer.finish()
    });
    // A reader that has seen enough has seen them all, for all that it cares.
    written.or_else(|error| output::ignore_closed(&args.output, &error).map(|()| members.len()))
}

/// As another program's configuration.
fn text(members: &[StoredMember], args: &ExportArgs, told: &mut Told) -> Result<usize, Failure> {
    let mut said = Vec::new();
    for member in members {
        match args.format.entry(&member.endpoint, said.len() + 1) {
            Ok((entry, unsaid)) => {
                said.push(entry);
                let is_labelled = member.country.is_some() || member.tags.iter().next().is_some();
                let is_used = member.statistics != Default::default();
                let unsaid =
                    unsaid.into_iter().chain(is_labelled.then_some(LABELS)).chain(is_used.then_some(STATISTICS));
                for what in unsaid {
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
