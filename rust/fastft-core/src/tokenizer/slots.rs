//! The short pieces of a memo: a hash table of bounded size whose entries are 32 bytes.
//!
//! Invariant: a key stands in the bucket of four slots that its hash names, or nowhere; a bucket is
//! filled from the slot that the hash names, so that an empty slot ends the search. A full bucket
//! replaces a slot.

use super::lanes::prefetch;
use super::tokens::INLINE;

/// The slots of one bucket; together they are two cache lines.
pub(super) const BUCKET: usize = 4;

/// A table starts with this many slots and doubles when it is a quarter full.
pub(super) const FIRST_SLOTS: usize = 1 << 13;

/// The most slots of a table (8 MiB).
pub(super) const MAX_SLOTS: usize = 1 << 18;

/// The value of [`Slot::num_ids`] that says: the tokens are in the spill.
pub(super) const SPILLED: u8 = u8::MAX;

/// One short piece.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(32))]
pub(super) struct Slot {
    /// Zero in an empty slot.
    pub(super) key: u128,
    /// The ids; or where the tokens begin in the spill, and how many they and their words are.
    pub(super) ids: [u32; INLINE],
    pub(super) num_ids: u8,
    pub(super) ends: [u8; INLINE],
}

/// The table.
#[derive(Debug)]
pub(super) struct Slots {
    table: Vec<Slot>,
    num_used: usize,
    max_len: usize,
    /// Chooses the slot of a full bucket that is replaced.
    victim: usize,
}

impl Slots {
    /// A table of at most `max_slots` pieces, a power of two of at least [`BUCKET`], or 0.
    pub(super) fn new(max_slots: usize) -> Self {
        Self {
            table: vec![Slot::default(); max_slots.min(FIRST_SLOTS)],
            num_used: 0,
            max_len: max_slots,
            victim: 0,
        }
    }

    /// Whether the table takes no piece at all.
    pub(super) fn is_off(&self) -> bool {
        self.table.is_empty()
    }

    #[inline(always)]
    pub(super) fn prefetch(&self, key: u128) {
        if let Some(slot) = self.table.get(hash(key) & self.table.len().wrapping_sub(1)) {
            prefetch(slot);
        }
    }

    #[inline(always)]
    pub(super) fn find(&self, key: u128) -> Option<&Slot> {
        let hash = hash(key);
        let start = hash & self.table.len().wrapping_sub(1) & !(BUCKET - 1);
        let bucket: &[Slot; BUCKET] = self.table.get(start..start + BUCKET)?.try_into().ok()?;
        for step in 0..BUCKET {
            let slot = &bucket[(hash + step) % BUCKET];
            if slot.key == key {
                return Some(slot);
            }
            if slot.key == 0 {
                return None;
            }
        }
        None
    }

    /// Adds a piece, or replaces what is known of it.
    pub(super) fn insert(&mut self, slot: Slot) {
        if 4 * self.num_used >= self.table.len() && self.table.len() < self.max_len {
            self.double();
        }
        self.place(slot);
    }

    pub(super) fn clear(&mut self) {
        self.table.fill(Slot::default());
        self.num_used = 0;
    }

    fn place(&mut self, slot: Slot) {
        let hash = hash(slot.key);
        let start = hash & self.table.len().wrapping_sub(1) & !(BUCKET - 1);
        let Some(bucket) = self.table.get_mut(start..start + BUCKET) else {
            return;
        };
        for step in 0..BUCKET {
            let place = &mut bucket[(hash + step) % BUCKET];
            if place.key == 0 || place.key == slot.key {
                self.num_used += usize::from(place.key == 0);
                *place = slot;
                return;
            }
        }
        self.victim = self.victim.wrapping_add(1);
        bucket[self.victim % BUCKET] = slot;
    }

    fn double(&mut self) {
        let size = 2 * self.table.len();
        let old = std::mem::replace(&mut self.table, vec![Slot::default(); size]);
        self.num_used = 0;
        for slot in old.into_iter().filter(|slot| slot.key != 0) {
            self.place(slot);
        }
    }
}

/// Mixes all 16 bytes of a key; the low bits choose the bucket and the slot to begin with.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a hash keeps what fits")]
fn hash(key: u128) -> usize {
    let low = key as u64 ^ 0x9E37_79B9_7F4A_7C15;
    let high = (key >> 64) as u64 ^ 0xD6E8_FEB8_6659_FD93;
    let product = u128::from(low) * u128::from(high | 1);
    ((product >> 64) as u64 ^ product as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(key: u128, id: u32) -> Slot {
        Slot {
            key,
            ids: [id, 0, 0],
            num_ids: 1,
            ends: [0; INLINE],
        }
    }

    fn id(slots: &Slots, key: u128) -> Option<u32> {
        slots.find(key).map(|slot| slot.ids[0])
    }

    #[test]
    fn a_full_bucket_replaces_and_never_mixes_up() {
        let mut slots = Slots::new(BUCKET);
        for key in 1..100u32 {
            slots.insert(slot(key.into(), 7 * key));
            assert_eq!(id(&slots, key.into()), Some(7 * key));
            let known: Vec<u32> = (1..=key)
                .filter(|&key| slots.find(key.into()).is_some())
                .collect();
            assert_eq!(known.len(), BUCKET.min(key as usize));
            assert!(
                known
                    .iter()
                    .all(|&key| id(&slots, key.into()) == Some(7 * key))
            );
        }
        slots.insert(slot(99, 5));
        assert_eq!(id(&slots, 99), Some(5));
        slots.clear();
        assert_eq!(id(&slots, 99), None);
    }

    #[test]
    fn a_table_without_slots_is_off() {
        let mut slots = Slots::new(0);
        slots.insert(slot(1, 1));
        assert!(slots.is_off());
        assert_eq!(id(&slots, 1), None);
    }

    #[test]
    fn a_table_grows_when_it_fills_and_keeps_what_it_knew() {
        let mut slots = Slots::new(MAX_SLOTS);
        for key in 1..=20_000u32 {
            slots.insert(slot(key.into(), key));
        }
        assert!(slots.table.len() > FIRST_SLOTS);
        assert!(slots.num_used <= slots.table.len());
        let known = (1..=20_000u32).filter(|&key| id(&slots, key.into()) == Some(key));
        assert!(known.count() > 19_000);
    }
}
