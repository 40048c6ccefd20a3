//! A bounded memory of pieces already tokenised: raw bytes in, tokens out, nothing in between.
//!
//! A text repeats its words, so that looking a word up *before* normalisation, pre-tokenisation and
//! the model saves all three. Pieces of up to 15 bytes with up to three adjoining tokens fit into a
//! slot of 32 bytes; what does not fit keeps its tokens in `spill`, and what is longer has its bytes
//! in `long`.
//!
//! Invariant: a key stands in the bucket of four slots that its hash names, or nowhere; a bucket is
//! filled from the slot that the hash names, so that an empty slot ends the search. Nothing holds
//! more than [`Memo::new`] allows: a full bucket replaces a slot, and the spill is a ring whose oldest
//! tokens are overwritten. Places in the ring are counted on and on, so that an entry knows whether
//! its tokens are still there.
//!
//! The idea is that of gigatoken and of the word cache of tokenizers 1.0.

use rustc_hash::FxHashMap;

use super::tokens::{INLINE, Piece, Span, Tokens};

/// The longest piece that fits into a key.
pub(super) const SHORT: usize = 15;

/// The slots of one bucket; together they are two cache lines.
const BUCKET: usize = 4;

/// A memory starts with this many slots and doubles when it is a quarter full.
const FIRST_SLOTS: usize = 1 << 13;

/// The most slots of a memory (8 MiB).
pub(super) const MAX_SLOTS: usize = 1 << 18;

/// The value of [`Slot::num_ids`] that says: the tokens are in the spill.
const SPILLED: u8 = u8::MAX;

/// The key of a piece: its first 15 bytes (the rest zero), and its length above them.
///
/// `bytes` may hold anything beyond the first `len`; `len` is 1 to 15.
#[inline(always)]
pub(super) fn key(bytes: u128, len: usize) -> u128 {
    debug_assert!((1..=SHORT).contains(&len));
    let (kept, length) = KEPT[len % 16];
    (bytes & kept) | length
}

/// By length: the bytes of a key that are kept, and the length above them.
static KEPT: [(u128, u128); 16] = {
    let mut kept = [(0, 0); 16];
    let mut len = 1;
    while len < 16 {
        kept[len] = ((1 << (8 * len)) - 1, (len as u128) << 120);
        len += 1;
    }
    kept
};

/// The key of a piece that is at hand as bytes; `None` for one that is empty or too long.
pub(super) fn key_of(piece: &[u8]) -> Option<u128> {
    let mut bytes = [0; 16];
    bytes.get_mut(..piece.len())?.copy_from_slice(piece);
    (1..=SHORT)
        .contains(&piece.len())
        .then(|| key(u128::from_le_bytes(bytes), piece.len()))
}

/// The bytes of a key.
pub(super) fn bytes_of(key: u128) -> ([u8; 16], usize) {
    (
        (key & ((1 << 120) - 1)).to_le_bytes(),
        (key >> 120) as usize,
    )
}

#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(32))]
struct Slot {
    /// Zero in an empty slot.
    key: u128,
    /// The ids; or where the tokens begin in the spill, and how many they and their words are.
    ids: [u32; INLINE],
    num_ids: u8,
    ends: [u8; INLINE],
}

/// Tokens that did not fit into a slot.
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    num_ids: u32,
    num_words: u32,
}

/// The memory of one thread.
#[derive(Debug)]
pub(super) struct Memo {
    slots: Vec<Slot>,
    num_used: usize,
    max_slots: usize,
    /// How many words a piece that fits into a slot has: 0 where the whole text is one word.
    inline_words: u32,
    spill_ids: Vec<u32>,
    spill_spans: Vec<Span>,
    spill_words: Vec<u32>,
    /// How many tokens ever went into the ring, and those left out at its end.
    spilled: u32,
    long: FxHashMap<Box<[u8]>, Entry>,
    num_long_bytes: usize,
    /// Chooses the slot of a full bucket that is replaced.
    victim: usize,
}

impl Memo {
    /// A memory of at most `max_slots` short pieces (0 remembers nothing), and of long ones in
    /// proportion. With [`MAX_SLOTS`] it takes at most 16 MiB.
    pub(super) fn new(max_slots: usize, inline_words: u32) -> Self {
        let max_slots = match max_slots {
            0 => 0,
            some => some.next_power_of_two().clamp(BUCKET, MAX_SLOTS),
        };
        Self {
            slots: vec![Slot::default(); max_slots.min(FIRST_SLOTS)],
            num_used: 0,
            max_slots,
            inline_words,
            spill_ids: Vec::new(),
            spill_spans: Vec::new(),
            spill_words: Vec::new(),
            spilled: 0,
            long: FxHashMap::default(),
            num_long_bytes: 0,
            victim: 0,
        }
    }

    /// Adds the tokens of a short piece to `tokens`, if they are remembered.
    #[inline(always)]
    pub(super) fn recall<const SPANS: bool>(
        &self,
        key: u128,
        base: u32,
        tokens: &mut Tokens,
    ) -> bool {
        let Some(slot) = self.find(key) else {
            return false;
        };
        if slot.num_ids == SPILLED {
            let [start, num_ids, num_words] = slot.ids;
            let entry = Entry {
                start,
                num_ids,
                num_words,
            };
            return self.push_spilled::<SPANS>(entry, base, tokens);
        }
        let words = self.inline_words;
        tokens.push_inline::<SPANS>(&slot.ids, slot.ends, slot.num_ids, words, base);
        true
    }

    /// Adds the tokens of a piece of any length to `tokens`, if they are remembered.
    pub(super) fn recall_long<const SPANS: bool>(
        &self,
        piece: &[u8],
        base: u32,
        tokens: &mut Tokens,
    ) -> bool {
        match self.long.get(piece) {
            Some(&entry) => self.push_spilled::<SPANS>(entry, base, tokens),
            None => false,
        }
    }

    /// Remembers the tokens of a short piece.
    pub(super) fn remember(&mut self, key: u128, piece: &Piece) {
        if self.slots.is_empty() {
            return;
        }
        if 4 * self.num_used >= self.slots.len() && self.slots.len() < self.max_slots {
            self.double();
        }
        let slot = match self.inline_slot(key, piece) {
            Some(slot) => slot,
            None => match self.spill(piece) {
                Some(entry) => Slot {
                    key,
                    ids: [entry.start, entry.num_ids, entry.num_words],
                    num_ids: SPILLED,
                    ends: [0; INLINE],
                },
                None => return,
            },
        };
        self.place(slot);
    }

    /// Remembers the tokens of a piece of any length.
    pub(super) fn remember_long(&mut self, bytes: &[u8], piece: &Piece) {
        // What a hash map and a box cost beside the bytes.
        const OVERHEAD: usize = 48;
        let cost = bytes.len() + OVERHEAD;
        if cost > self.max_long_bytes() / 4 {
            return;
        }
        if self.num_long_bytes + cost > self.max_long_bytes() {
            self.long.clear();
            self.num_long_bytes = 0;
        }
        if let Some(entry) = self.spill(piece) {
            self.num_long_bytes += cost;
            self.long.insert(bytes.into(), entry);
        }
    }

    #[inline(always)]
    fn find(&self, key: u128) -> Option<&Slot> {
        let hash = hash(key);
        let start = hash & self.slots.len().wrapping_sub(1) & !(BUCKET - 1);
        let bucket: &[Slot; BUCKET] = self.slots.get(start..start + BUCKET)?.try_into().ok()?;
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

    fn place(&mut self, slot: Slot) {
        let hash = hash(slot.key);
        let start = hash & (self.slots.len() - 1) & !(BUCKET - 1);
        let Some(bucket) = self.slots.get_mut(start..start + BUCKET) else {
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
        let size = 2 * self.slots.len();
        let old = std::mem::replace(&mut self.slots, vec![Slot::default(); size]);
        self.num_used = 0;
        for slot in old.into_iter().filter(|slot| slot.key != 0) {
            self.place(slot);
        }
    }

    /// The slot of a piece whose tokens adjoin each other and make the usual number of words.
    fn inline_slot(&self, key: u128, piece: &Piece) -> Option<Slot> {
        let mut slot = Slot {
            key,
            ids: [0; INLINE],
            num_ids: u8::try_from(piece.ids.len()).ok()?,
            ends: [0; INLINE],
        };
        let fits = piece.ids.len() <= INLINE
            && piece.num_words == self.inline_words
            && piece.words.iter().all(|&word| word == 0);
        let mut end = 0;
        for (index, (&id, span)) in piece.ids.iter().zip(&piece.spans).enumerate() {
            if !fits || span.start != end {
                return None;
            }
            end = span.end;
            slot.ids[index] = id;
            slot.ends[index] = u8::try_from(end).ok()?;
        }
        fits.then_some(slot)
    }

    /// Puts the tokens of a piece into the ring; `None` when they are too many to keep.
    fn spill(&mut self, piece: &Piece) -> Option<Entry> {
        let size = self.max_spilled();
        let count = piece.ids.len();
        if count > size / 4 {
            return None;
        }
        let mut place = self.spilled as usize % size;
        let skipped = if place + count > size {
            size - place
        } else {
            0
        };
        if u32::try_from(self.spilled as usize + skipped + count).is_err() {
            // After four thousand million tokens the count begins anew.
            self.forget();
        } else {
            self.spilled += u32::try_from(skipped).ok()?;
        }
        let start = self.spilled;
        place = start as usize % size;
        overwrite(&mut self.spill_ids, place, &piece.ids);
        overwrite(&mut self.spill_spans, place, &piece.spans);
        overwrite(&mut self.spill_words, place, &piece.words);
        let num_ids = u32::try_from(count).ok()?;
        self.spilled += num_ids;
        Some(Entry {
            start,
            num_ids,
            num_words: piece.num_words,
        })
    }

    fn forget(&mut self) {
        self.slots.fill(Slot::default());
        self.num_used = 0;
        self.long.clear();
        self.num_long_bytes = 0;
        self.spill_ids.clear();
        self.spill_spans.clear();
        self.spill_words.clear();
        self.spilled = 0;
    }

    /// Adds the tokens of an entry, if they have not been overwritten.
    fn push_spilled<const SPANS: bool>(
        &self,
        entry: Entry,
        base: u32,
        tokens: &mut Tokens,
    ) -> bool {
        let size = self.max_spilled();
        if (self.spilled - entry.start) as usize > size {
            return false;
        }
        let place = entry.start as usize % size;
        let range = place..place + entry.num_ids as usize;
        tokens.push_piece::<SPANS>(
            self.spill_ids.get(range.clone()).unwrap_or_default(),
            self.spill_spans.get(range.clone()).unwrap_or_default(),
            self.spill_words.get(range).unwrap_or_default(),
            entry.num_words,
            base,
        );
        true
    }

    /// The tokens that the ring holds: 4 MiB beside 2^18 slots.
    fn max_spilled(&self) -> usize {
        self.max_slots.max(BUCKET)
    }

    /// 3 MiB beside 2^18 slots.
    fn max_long_bytes(&self) -> usize {
        self.max_slots * 12
    }
}

/// Writes `values` at `place` of a ring that may still be growing.
fn overwrite<T: Copy + Default>(ring: &mut Vec<T>, place: usize, values: &[T]) {
    let end = place + values.len();
    if ring.len() < end {
        ring.resize(end, T::default());
    }
    if let Some(target) = ring.get_mut(place..end) {
        target.copy_from_slice(values);
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

    fn piece(ids: &[u32], spans: &[(usize, usize)]) -> Piece {
        let mut piece = Piece::default();
        for (&id, &(start, end)) in ids.iter().zip(spans) {
            piece.push(id, Span::new(start, end));
        }
        piece.num_words = 1;
        piece
    }

    fn recalled(memo: &Memo, text: &[u8]) -> Option<(Vec<u32>, Vec<Span>)> {
        let mut tokens = Tokens::default();
        let found = match key_of(text) {
            Some(key) => memo.recall::<true>(key, 100, &mut tokens),
            None => memo.recall_long::<true>(text, 100, &mut tokens),
        };
        found.then(|| (tokens.ids().to_vec(), tokens.spans().to_vec()))
    }

    #[test]
    fn short_pieces_of_either_kind_come_back() {
        let mut memo = Memo::new(MAX_SLOTS, 1);
        let adjoining = piece(&[1, 2], &[(0, 2), (2, 3)]);
        let apart = piece(&[3, 4], &[(0, 2), (1, 3)]);
        let many = piece(&[5; 4], &[(0, 1), (1, 2), (2, 3), (3, 4)]);
        for (text, piece) in [("abc", &adjoining), ("abd", &apart), ("abcd", &many)] {
            assert_eq!(recalled(&memo, text.as_bytes()), None);
            memo.remember(key_of(text.as_bytes()).unwrap_or(0), piece);
            let spans = piece.spans.iter();
            let moved = spans.map(|s| Span {
                start: s.start + 100,
                end: s.end + 100,
            });
            let expected = (piece.ids.clone(), moved.collect());
            assert_eq!(recalled(&memo, text.as_bytes()), Some(expected));
        }
        assert_eq!(recalled(&memo, b"ab"), None);
    }

    #[test]
    fn a_text_of_zero_bytes_is_not_an_empty_slot() {
        let memo = Memo::new(16, 1);
        assert_eq!(recalled(&memo, b"\0"), None);
        assert_ne!(key_of(b"\0"), key_of(b"\0\0"));
        assert_eq!(key_of(b""), None);
        assert_eq!(key_of(&[b'a'; 16]), None);
    }

    #[test]
    fn a_small_memory_forgets_and_never_mixes_up() {
        for max_slots in [0, 4, 16, 64] {
            let mut memo = Memo::new(max_slots, 1);
            for round in 0..2000u32 {
                let text = format!("w{}", round * 7919 % 701);
                let id = round * 7919 % 701;
                let key = key_of(text.as_bytes()).unwrap_or(0);
                if let Some((ids, _)) = recalled(&memo, text.as_bytes()) {
                    assert_eq!(ids, vec![id; if id % 2 == 0 { 1 } else { 2 }]);
                }
                let spans = [(0, 1), (0, 2)];
                let count = if id % 2 == 0 { 1 } else { 2 };
                memo.remember(key, &piece(&vec![id; count], &spans[..count]));
            }
            assert!(memo.num_used <= memo.slots.len());
            assert!(memo.slots.len() <= max_slots);
            assert!(memo.spill_ids.len() <= max_slots);
        }
    }

    #[test]
    fn long_pieces_are_bounded_too() {
        let mut memo = Memo::new(256, 1);
        for round in 0..500u32 {
            let text = format!("a long piece of text, number {round}");
            memo.remember_long(text.as_bytes(), &piece(&[round], &[(0, 9)]));
            let (ids, _) = recalled(&memo, text.as_bytes()).unwrap_or_default();
            assert_eq!(ids, [round]);
            assert!(memo.num_long_bytes <= memo.max_long_bytes());
        }
        memo.remember_long(&[b'a'; 5000], &piece(&[1], &[(0, 1)]));
        assert_eq!(recalled(&memo, &[b'a'; 5000]), None);
    }

    #[test]
    fn a_memory_grows_when_it_fills_and_keeps_what_it_knew() {
        let mut memo = Memo::new(MAX_SLOTS, 1);
        for round in 0..20_000u32 {
            let key = key_of(&round.to_le_bytes()).unwrap_or(0);
            memo.remember(key, &piece(&[round], &[(0, 4)]));
        }
        assert!(memo.slots.len() > FIRST_SLOTS);
        let known = (0..20_000u32).filter(|round| recalled(&memo, &round.to_le_bytes()).is_some());
        assert!(known.count() > 19_000);
    }
}
