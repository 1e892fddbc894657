//! Definition lists as candidates: the terms are names of fields, as those of columns are.

use crate::page::Definition;
use crate::text::tidy;
use proxywhirl_plugin_sdk::Scheme;
use proxywhirl_plugin_sdk::fields::{Field, Fields};
use proxywhirl_plugin_sdk::parser::Collector;

/// Gives the collector what a list defines, and tells whether that is proxies at all. Where a field
/// comes again, another proxy begins.
pub(crate) fn collect(list: &[Definition<'_>], default: Scheme, collector: &mut Collector) -> bool {
    let named: Vec<_> = list.iter().filter_map(|one| Some((field(one)?, one))).collect();
    let is_list = named.iter().any(|(field, _)| matches!(field, Field::Host | Field::Endpoint));
    if !is_list {
        return false;
    }
    let mut rest = named.as_slice();
    while let Some((first, after)) = rest.split_first() {
        let length = after.iter().position(|(field, _)| *field == first.0).map_or(rest.len(), |again| again + 1);
        let (proxy, others) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        let mut fields = Fields::default();
        let mut picture = false;
        for (field, definition) in proxy {
            let text = tidy(&definition.text.text);
            picture |= *field == Field::Port && definition.text.has_image && text.is_empty();
            fields.set(*field, String::from_utf8_lossy(&text).into_owned().into());
        }
        if picture && fields.names_a_proxy() && !fields.is_complete() {
            collector.reject(first.1.line, &fields.excerpt(), crate::table::PICTURE);
        } else if !fields.is_bare() {
            fields.collect(first.1.line, None, default, collector);
        }
        rest = others;
    }
    true
}

/// The field that a term names; a colon may follow it.
fn field(definition: &Definition<'_>) -> Option<Field> {
    std::str::from_utf8(&tidy(&definition.term.text)).ok().and_then(Field::named)
}
