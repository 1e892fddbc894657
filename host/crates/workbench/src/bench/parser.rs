//! What a parser costs: bytes and rows a second, against a native loop that looks at each byte once.

use std::hint::black_box;

use proxywhirl_core::plugin::Document;

use super::documents;
use super::{BenchError, Measured, Measurement, tolerate};
use crate::fixture;

pub(super) fn measure(it: &Measured<'_>) -> Result<Vec<Measurement>, BenchError> {
    let parser = it.loaded.plugins.parser(it.loaded.name())?;
    let nothing = fixture::document("empty.txt", b"", it.options);
    let mut measurements = vec![it.alone("sniff, an empty document", &mut || tolerate(parser.sniff(&nothing)))?];
    let mut known = 0;
    for list in documents::all(it.effort.document) {
        let document = fixture::document(list.name, list.text.as_bytes(), it.options);
        let sure = parser.sniff(&document)?;
        // What it cannot read would be measured as very fast.
        let found = parser.parse(&document).map_or(0, |parsed| parsed.entries.len());
        if sure == 0 || found < list.rows / 2 {
            continue;
        }
        known += 1;
        let mut call = || tolerate(parser.parse(&document));
        let mut baseline = || {
            black_box(walk(&document));
            Ok(())
        };
        let name = format!("parse {}, {} rows", list.name, list.rows);
        let measured = it.against(&name, &mut call, "a native look at each byte", &mut baseline)?;
        measurements.push(measured.doing("bytes", list.text.len()).doing("rows", list.rows));
        measurements.push(it.alone(&format!("sniff {}", list.name), &mut || tolerate(parser.sniff(&document)))?);
    }
    if known == 0 {
        return Err(BenchError::Plugin(
            "it reads none of the lists that are made here: text, CSV, JSON, HTML".to_owned(),
        ));
    }
    Ok(measurements)
}

/// FNV-1a over the body: nothing that reads a document can do with less than a look at each byte.
fn walk(document: &Document) -> u64 {
    document
        .body
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
