//! How the work is divided, as it was last told.

use std::collections::HashMap;
use std::sync::Arc;

use proxywhirl_core::shared::{Division, Wish, Work};
use tokio::time::Instant;

use super::TERM;

/// The division as it was last told.
#[derive(Debug, Clone)]
pub(super) struct View {
    /// Whether anything was ever told, or could not be.
    pub(super) is_known: bool,
    /// Until when it holds; then this gateway is alone.
    pub(super) until: Instant,
    pub(super) sources: HashMap<Arc<str>, Turn>,
    /// A bit for each shard.
    pub(super) shards: u64,
    pub(super) checkers: Vec<String>,
}

/// Whose turn it is to read a source.
#[derive(Debug, Clone, Default)]
pub(super) struct Turn {
    pub(super) holder: Option<String>,
    pub(super) is_own: bool,
    /// When it has to be read again, as others say, and as this gateway knows.
    pub(super) due: Option<Instant>,
    pub(super) own_due: Option<Instant>,
}

impl View {
    pub(super) fn is_alone(&self) -> bool {
        self.is_known && Instant::now() >= self.until
    }

    /// When this gateway has to read a source; none when another one does. `otherwise` is when, if nobody can be asked.
    pub(super) fn due(&self, source: &str, otherwise: Instant) -> Option<Instant> {
        let turn = self.sources.get(source)?;
        if self.is_alone() {
            return Some(turn.own_due.unwrap_or(otherwise));
        }
        turn.is_own.then(|| turn.due.max(turn.own_due).unwrap_or_else(Instant::now))
    }

    /// Takes a division that was asked for at that time.
    pub(super) fn take(&mut self, node: &str, division: Division, wishes: &[(Work, Wish)], asked: Instant) {
        (self.is_known, self.until, self.shards) = (true, asked + TERM, 0);
        self.checkers = division.checkers;
        let told = Instant::now();
        for (((work, _), holder), fresh) in wishes.iter().zip(division.holders).zip(division.fresh) {
            let is_own = holder.as_deref() == Some(node);
            match work {
                Work::Checks(shard) => self.shards |= u64::from(is_own) << shard,
                Work::Source(source) => {
                    // Of one that is no longer read nobody wants to know.
                    let Some(turn) = self.sources.get_mut(source) else { continue };
                    (turn.holder, turn.is_own) = (holder, is_own);
                    turn.due = (!fresh.is_zero()).then(|| told + fresh);
                }
            }
        }
    }
}
