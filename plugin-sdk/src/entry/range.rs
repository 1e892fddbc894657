//! Ranges of addresses: `1.2.3.0/24:8080`, in any form of an entry. The bits behind the prefix do not
//! matter, and the first and last address count too: providers route them like the others.

use super::{Entry, Fault, Host, parse};
use crate::Scheme;
use std::net::Ipv4Addr;

/// How many addresses the ranges of one document may bring: those of one /16, a few megabytes.
pub(super) const MAX: u32 = 65_536;

/// How many addresses the ranges of a document may still bring. One for each document.
#[derive(Debug, Clone)]
pub struct Ranges {
    left: u32,
}

impl Default for Ranges {
    fn default() -> Self {
        Self { left: MAX }
    }
}

impl Ranges {
    /// Takes so many addresses, if there are as many left.
    pub(super) fn take(&mut self, addresses: u32) -> Result<(), Fault> {
        self.left = self.left.checked_sub(addresses).ok_or(Fault::RangeTooLarge(addresses))?;
        Ok(())
    }
}

/// An entry whose host may be a range.
#[derive(Debug, Clone)]
pub(super) struct Ranged<'a> {
    /// With the first address of a range.
    pub(super) entry: Entry<'a>,
    /// How many addresses there are: one, when the host is no range.
    pub(super) addresses: u32,
}

impl<'a> Ranged<'a> {
    /// Reads an entry whose host may be a range.
    pub(super) fn parse(text: &'a str, default: Scheme) -> Result<Self, Fault> {
        match parse(text.as_bytes(), default) {
            Ok(entry) => Ok(entry.into()),
            Err(fault @ (Fault::Space | Fault::TooLong(_) | Fault::Empty)) => Err(fault),
            Err(fault) => range(text, default).unwrap_or(Err(fault)),
        }
    }

    /// The same, of a text that does not last.
    pub(super) fn into_owned(self) -> Ranged<'static> {
        Ranged { entry: self.entry.into_owned(), addresses: self.addresses }
    }

    /// Its entries, in order.
    pub(super) fn entries(self) -> impl Iterator<Item = Entry<'a>> {
        let Self { entry, addresses } = self;
        (0..addresses).map(move |place| match entry.host {
            Host::Ipv4(first) => Entry { host: Host::Ipv4(first | place), ..entry.clone() },
            Host::Ipv6(..) | Host::Text(_) => entry.clone(),
        })
    }
}

impl<'a> From<Entry<'a>> for Ranged<'a> {
    fn from(entry: Entry<'a>) -> Self {
        Self { entry, addresses: 1 }
    }
}

/// An entry with `IPV4/NN:` in it, for its host. None when it is no such entry.
fn range(text: &str, default: Scheme) -> Option<Result<Ranged<'static>, Fault>> {
    let (slash, prefix, end) = text.match_indices('/').find_map(|(slash, _)| {
        let digits = text.get(slash + 1..)?;
        let length = digits.bytes().take(3).take_while(u8::is_ascii_digit).count();
        let is_range =
            digits.get(length..)?.starts_with(':') && text.get(..slash)?.ends_with(|last: char| last.is_ascii_digit());
        is_range.then_some((slash, digits.get(..length)?, slash + 1 + length))
    })?;
    let before = text.get(..slash)?;
    let start = before.rfind(|letter: char| !letter.is_ascii_digit() && letter != '.').map_or(0, |last| last + 1);
    let address = u32::from(before.get(start..)?.parse::<Ipv4Addr>().ok()?);
    let Some(prefix) = prefix.parse::<u32>().ok().filter(|prefix| (16..=32).contains(prefix)) else {
        return Some(Err(Fault::Prefix));
    };
    let addresses = 1_u32 << (32 - prefix);
    let plain = format!("{before}{}", text.get(end..)?);
    match parse(plain.as_bytes(), default) {
        Ok(entry) if entry.host == Host::Ipv4(address) => {
            let entry = Entry { host: Host::Ipv4(address & !(addresses - 1)), ..entry.into_owned() };
            Some(Ok(Ranged { entry, addresses }))
        }
        // The range stands in a password.
        Ok(_) => None,
        Err(fault) => Some(Err(fault.hide())),
    }
}
