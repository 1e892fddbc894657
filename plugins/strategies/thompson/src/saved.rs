//! What was learned, as bytes for the next version of the plugin, or for the next start of the host.
//!
//! Little-endian: the mark `PWTS`, the format's version (2), a count and that many members; a count of
//! sites, and for each its name (a length of two bytes, and the text, as symbols change with each start),
//! when it was used, a count and that many members. A member is its identity (u64), successes and
//! failures (f32), and the moment that they were counted at (u64).

use crate::belief::{Beliefs, Counts};
use proxywhirl_plugin_sdk::symbols;
use std::collections::HashMap;

const MARK: [u8; 5] = *b"PWTS\x02";

/// What the host takes is 4 MiB; the sites that were used last go first.
const MAX_BYTES: usize = 4 << 20;

/// Of that, what members may take at all.
const MAX_OVERALL: usize = 3 << 20;

const BYTES_A_MEMBER: usize = 24;
/// Besides its name and its members.
const BYTES_A_SITE: usize = 14;

/// Everything that fits.
pub(crate) fn write(beliefs: &Beliefs) -> Vec<u8> {
    let mut out = MARK.to_vec();
    members(&mut out, &beliefs.overall, MAX_OVERALL / BYTES_A_MEMBER);
    let mut sites: Vec<_> = beliefs.sites.iter().collect();
    sites.sort_by_key(|(symbol, site)| (std::cmp::Reverse(site.used), **symbol));
    let at = out.len();
    let mut count: u32 = 0;
    out.extend(count.to_le_bytes());
    for (symbol, site) in sites {
        let Some(name) = symbols::resolve(*symbol) else { continue };
        let Ok(length) = u16::try_from(name.len()) else { continue };
        if out.len() + BYTES_A_SITE + name.len() + site.members.len() * BYTES_A_MEMBER > MAX_BYTES {
            continue;
        }
        out.extend(length.to_le_bytes());
        out.extend(name.as_bytes());
        out.extend(site.used.to_le_bytes());
        members(&mut out, &site.members, MAX_BYTES);
        count += 1;
    }
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&count.to_le_bytes());
    }
    out
}

fn members(out: &mut Vec<u8>, members: &HashMap<u64, Counts>, most: usize) {
    // Those that were observed last, when not all fit.
    let mut members: Vec<_> = members.iter().collect();
    members.sort_unstable_by_key(|(id, counts)| (std::cmp::Reverse(counts.at), **id));
    members.truncate(most);
    out.extend(u32::try_from(members.len()).unwrap_or(0).to_le_bytes());
    for (id, counts) in members {
        out.extend(id.to_le_bytes());
        out.extend(counts.good.to_le_bytes());
        out.extend(counts.bad.to_le_bytes());
        out.extend(counts.at.to_le_bytes());
    }
}

/// Reads what another instance wrote. With an error, nothing is learned from it.
pub(crate) fn read(bytes: &[u8], beliefs: &mut Beliefs) -> Result<(), String> {
    if bytes.is_empty() {
        return Ok(());
    }
    let rest = bytes.strip_prefix(&MARK).ok_or("saved by a version that this one does not know")?;
    let mut reader = Reader(rest);
    let parsed = reader.all().filter(|_| reader.0.is_empty());
    let (overall, sites) = parsed.ok_or("saved state is cut off or damaged")?;
    for (id, counts) in overall {
        beliefs.recall(id, counts);
    }
    for (name, used, members) in sites {
        // The host's table of symbols may be full: that site is learned again.
        let symbol = symbols::intern(name);
        if symbol == 0 {
            continue;
        }
        for (id, counts) in members {
            beliefs.recall_at(symbol, used, id, counts);
        }
    }
    Ok(())
}

type Members = Vec<(u64, Counts)>;
type Sites<'a> = Vec<(&'a str, u64, Members)>;

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn all(&mut self) -> Option<(Members, Sites<'a>)> {
        let overall = self.members()?;
        let count = self.u32()?;
        let mut sites = Vec::new();
        for _ in 0..count {
            sites.push((self.name()?, self.u64()?, self.members()?));
        }
        Some((overall, sites))
    }

    fn members(&mut self) -> Option<Members> {
        let count = usize::try_from(self.u32()?).ok()?;
        // What is announced must be there, before room is made for it.
        let room = Some(count).filter(|count| count.saturating_mul(BYTES_A_MEMBER) <= self.0.len())?;
        let mut members = Vec::with_capacity(room);
        for _ in 0..count {
            members.push((self.u64()?, Counts { good: self.count()?, bad: self.count()?, at: self.u64()? }));
        }
        Some(members)
    }

    fn name(&mut self) -> Option<&'a str> {
        let length = u16::from_le_bytes(self.take()?);
        let (name, rest) = self.0.split_at_checked(usize::from(length))?;
        self.0 = rest;
        std::str::from_utf8(name).ok()
    }

    fn count(&mut self) -> Option<f32> {
        let count = f32::from_le_bytes(self.take()?);
        Some(count).filter(|count| count.is_finite() && *count >= 0.0)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn beliefs() -> Beliefs {
        Beliefs::new(Duration::from_secs(60))
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let mut old = beliefs();
        let sites = [0, symbols::intern("a.example"), symbols::intern("b.example")];
        for id in 0..50 {
            old.learn(id, sites[id as usize % 3], id % 2 == 0, id);
        }
        let mut new = beliefs();
        read(&write(&old), &mut new).unwrap();
        assert_eq!(new.overall, old.overall);
        assert_eq!(new.sites.len(), 2);
        for (symbol, site) in &old.sites {
            assert_eq!((new.sites[symbol].used, &new.sites[symbol].members), (site.used, &site.members));
        }
        assert_eq!(write(&new), write(&old));
    }

    #[test]
    fn what_is_too_much_is_left_out_and_the_rest_is_read() {
        let mut old = beliefs();
        let sites: Vec<_> = (0..200).map(|n| symbols::intern(&format!("{n}.example"))).collect();
        (0..200_000).for_each(|id| old.learn(id, sites[id as usize % 200], true, id));
        let bytes = write(&old);
        assert!(bytes.len() <= MAX_BYTES, "{}", bytes.len());
        let mut new = beliefs();
        read(&bytes, &mut new).unwrap();
        assert!(new.overall.contains_key(&199_999) && !new.overall.contains_key(&0));
        assert!(new.sites.len() > 10 && new.sites.len() < 200);
    }

    #[test]
    fn what_cannot_be_read_teaches_nothing() {
        let mut old = beliefs();
        old.learn(1, symbols::intern("a.example"), true, 1);
        let good = write(&old);
        let mut other = good.clone();
        other[4] = 1;
        let mut longer = good.clone();
        longer.push(0);
        for bytes in [&good[..good.len() - 1], &other, &longer, b"PWTS\x02\xff\xff\xff\xff", b"?"] {
            let mut new = beliefs();
            assert!(read(bytes, &mut new).is_err());
            assert!(new.overall.is_empty() && new.sites.is_empty());
        }
        assert_eq!(read(&[], &mut beliefs()), Ok(()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_learn_nonsense(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut new = beliefs();
            let all: Vec<u8> = MARK.iter().copied().chain(bytes).collect();
            if read(&all, &mut new).is_ok() {
                prop_assert!(new.overall.values().all(|counts| counts.good >= 0.0 && counts.bad >= 0.0));
            }
        }
    }
}
