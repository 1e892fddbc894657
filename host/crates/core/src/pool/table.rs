//! A persistent table of members: a copy costs a pointer for each chunk, a change costs one chunk.
//!
//! Slots are divided into chunks of 256. A copy of the table (a snapshot) shares all chunks with the
//! original; the first change to a chunk that is shared copies that chunk. At 100,000 members a copy
//! is 391 pointers.

use std::sync::Arc;

use crate::member::Member;

/// Slots in a chunk: large enough that a copy of the table is short, small enough that a change is.
pub(crate) const CHUNK: usize = 256;

#[derive(Debug, Clone)]
struct Chunk {
    members: [Option<Arc<Member>>; CHUNK],
}

impl Default for Chunk {
    fn default() -> Self {
        Self { members: [const { None }; CHUNK] }
    }
}

/// Members by slot.
#[derive(Debug, Clone, Default)]
pub struct Table {
    chunks: Vec<Arc<Chunk>>,
    end: u32,
}

/// A slot as chunk and place in it. Slots are 32 bits wide, and so is `usize` at the least.
const fn divide(slot: u32) -> (usize, usize) {
    let slot = slot as usize;
    (slot / CHUNK, slot % CHUNK)
}

impl Table {
    /// The first slot that was never used.
    #[must_use]
    pub const fn end(&self) -> u32 {
        self.end
    }

    /// The member at a slot.
    #[must_use]
    pub fn get(&self, slot: u32) -> Option<&Arc<Member>> {
        let (chunk, place) = divide(slot);
        self.chunks.get(chunk)?.members.get(place)?.as_ref()
    }

    /// Puts a member at a slot, or nobody; gives back who was there.
    pub fn set(&mut self, slot: u32, member: Option<Arc<Member>>) -> Option<Arc<Member>> {
        let (chunk, place) = divide(slot);
        while self.chunks.len() <= chunk {
            self.chunks.push(Arc::default());
        }
        self.end = self.end.max(slot.saturating_add(1));
        let chunk = Arc::make_mut(self.chunks.get_mut(chunk)?);
        std::mem::replace(chunk.members.get_mut(place)?, member)
    }

    /// Every member, by slot.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.chunks.iter().flat_map(|chunk| chunk.members.iter().flatten())
    }
}
