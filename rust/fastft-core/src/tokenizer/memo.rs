//! A bounded memory of pieces already tokenised: raw bytes in, tokens out, nothing in between.
//!
//! A text repeats its words, so that looking a word up *before* normalisation, pre-tokenisation and
//! the model saves all three. Pieces of up to 15 bytes (`piece_key`) with up to three adjoining
//! tokens fit into a slot of 32 bytes (`slots`); what does not fit keeps its tokens in a ring
//! (`spill`), and what is longer has its bytes in `long`.
//!
//! Invariant: nothing holds more than [`Memo::new`] allows, and what is recalled is what was
//! remembered last.
//!
//! The idea is that of gigatoken and of the word cache of tokenizers 1.0.

use rustc_hash::FxHashMap;

pub(super) use super::piece_key::{SHORT, bytes_of, key, key_of, text_of};
pub(super) use super::slots::MAX_SLOTS;
use super::slots::{BUCKET, SPILLED, Slot, Slots};
use super::spill::{Entry, Spill};
use super::tokens::{INLINE, Piece, Tokens};

/// The memory of one thread.
#[derive(Debug)]
pub(super) struct Memo {
    slots: Slots,
    /// How many words a piece that fits into a slot has: 0 where the whole text is one word.
    inline_words: u32,
    /// Tokens that did not fit into a slot: 4 MiB beside 2^18 slots.
    spill: Spill,
    long: FxHashMap<Box<[u8]>, Entry>,
    num_long_bytes: usize,
    /// 3 MiB beside 2^18 slots.
    max_long_bytes: usize,
}

impl Memo {
    /// A memory of at most `max_slots` short pieces (0 remembers nothing), and of long ones in
    /// proportion. With [`MAX_SLOTS`] it takes at most 16 MiB.
    pub(super) fn new(max_slots: usize, inline_words: u32) -> Self {
        let max_slots = match max_slots {
            0 => 0,
            some => some.min(MAX_SLOTS).next_power_of_two().max(BUCKET),
        };
        Self {
            slots: Slots::new(max_slots),
            inline_words,
            spill: Spill::new(max_slots.max(BUCKET)),
            long: FxHashMap::default(),
            num_long_bytes: 0,
            max_long_bytes: max_slots * 12,
        }
    }

    /// Asks for the place of a short piece, which is looked up soon.
    #[inline(always)]
    pub(super) fn prefetch(&self, key: u128) {
        self.slots.prefetch(key);
    }

    /// Adds the tokens of a short piece to `tokens`, if they are remembered.
    #[inline(always)]
    pub(super) fn recall<const SPANS: bool>(
        &self,
        key: u128,
        base: u32,
        tokens: &mut Tokens,
    ) -> bool {
        let Some(slot) = self.slots.find(key) else {
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
        if self.slots.is_off() {
            return;
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
        self.slots.insert(slot);
    }

    /// Remembers the tokens of a piece of any length.
    pub(super) fn remember_long(&mut self, bytes: &[u8], piece: &Piece) {
        // What a hash map and a box cost beside the bytes.
        const OVERHEAD: usize = 48;
        let cost = bytes.len() + OVERHEAD;
        if cost > self.max_long_bytes / 4 {
            return;
        }
        if self.num_long_bytes + cost > self.max_long_bytes {
            self.long.clear();
            self.num_long_bytes = 0;
        }
        if let Some(entry) = self.spill(piece) {
            self.num_long_bytes += cost;
            self.long.insert(bytes.into(), entry);
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
        let num_ids = piece.ids.len();
        if self.spill.takes(num_ids) && !self.spill.can_count(num_ids) {
            self.forget();
        }
        self.spill.push(piece)
    }

    /// After four thousand million spilled tokens everything is learned anew.
    #[cold]
    fn forget(&mut self) {
        self.slots.clear();
        self.long.clear();
        self.num_long_bytes = 0;
        self.spill.clear();
    }

    /// Adds the tokens of an entry, if they have not been overwritten.
    fn push_spilled<const SPANS: bool>(
        &self,
        entry: Entry,
        base: u32,
        tokens: &mut Tokens,
    ) -> bool {
        let Some(found) = self.spill.get(entry) else {
            return false;
        };
        let words = entry.num_words;
        tokens.push_piece::<SPANS>(found.ids, found.spans, found.words, words, base);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokens::Span;
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

    fn remember(memo: &mut Memo, text: &[u8], piece: &Piece) {
        match key_of(text) {
            Some(key) => memo.remember(key, piece),
            None => memo.remember_long(text, piece),
        }
    }

    #[test]
    fn short_pieces_of_either_kind_come_back() {
        let mut memo = Memo::new(MAX_SLOTS, 1);
        let adjoining = piece(&[1, 2], &[(0, 2), (2, 3)]);
        let apart = piece(&[3, 4], &[(0, 2), (1, 3)]);
        let many = piece(&[5; 4], &[(0, 1), (1, 2), (2, 3), (3, 4)]);
        for (text, piece) in [("abc", &adjoining), ("abd", &apart), ("abcd", &many)] {
            assert_eq!(recalled(&memo, text.as_bytes()), None);
            remember(&mut memo, text.as_bytes(), piece);
            let spans = piece.spans.iter();
            let moved = spans.map(|s| Span {
                start: s.start + 100,
                end: s.end + 100,
            });
            let expected = (piece.ids.clone(), moved.collect());
            assert_eq!(recalled(&memo, text.as_bytes()), Some(expected));
        }
        assert_eq!(recalled(&memo, b"ab"), None);
        assert_eq!(recalled(&memo, b"\0"), None);
    }

    #[test]
    fn a_small_memory_forgets_and_never_mixes_up() {
        for max_slots in [0, 4, 16, 64] {
            let mut memo = Memo::new(max_slots, 1);
            for round in 0..2000u32 {
                let text = format!("w{}", round * 7919 % 701);
                let id = round * 7919 % 701;
                if let Some((ids, _)) = recalled(&memo, text.as_bytes()) {
                    assert_eq!(ids, vec![id; if id % 2 == 0 { 1 } else { 2 }]);
                }
                let spans = [(0, 1), (0, 2)];
                let count = if id % 2 == 0 { 1 } else { 2 };
                let piece = piece(&vec![id; count], &spans[..count]);
                remember(&mut memo, text.as_bytes(), &piece);
                assert_eq!(
                    recalled(&memo, text.as_bytes()).is_some(),
                    max_slots > 4 || (max_slots == 4 && count == 1)
                );
            }
            assert!(memo.spill.num_held() <= max_slots);
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
            assert!(memo.num_long_bytes <= memo.max_long_bytes);
        }
        memo.remember_long(&[b'a'; 5000], &piece(&[1], &[(0, 1)]));
        assert_eq!(recalled(&memo, &[b'a'; 5000]), None);
    }

    /// The text of a round, short or long, and its tokens, which fit into a slot or do not.
    fn learned(round: u32) -> (String, Piece) {
        let number = round * 7919 % 97;
        let long = "a piece beyond a key, ".repeat(usize::from(number.is_multiple_of(3)));
        let spans = [(0, 1), (0, 2), (1, 2), (1, 3)];
        let count = 1 + number as usize % spans.len();
        (
            format!("{long}{number}"),
            piece(&[number; 4][..count], &spans[..count]),
        )
    }

    #[test]
    fn tokens_stay_right_when_the_count_of_32_bits_begins_anew() {
        for tokens_left in 0..200 {
            let mut memo = Memo::new(64, 1);
            memo.spill.start_at(u32::MAX - tokens_left);
            for round in 0..300 {
                let (text, piece) = learned(round);
                if let Some((ids, spans)) = recalled(&memo, text.as_bytes()) {
                    assert_eq!(ids, piece.ids, "{text} with {tokens_left} left");
                    let starts = spans.iter().map(|span| span.start - 100);
                    assert!(starts.eq(piece.spans.iter().map(|span| span.start)));
                }
                remember(&mut memo, text.as_bytes(), &piece);
                assert!(
                    recalled(&memo, text.as_bytes()).is_some(),
                    "{text} is not kept"
                );
            }
            assert!(memo.spill.count() < 2000, "the count did not begin anew");
        }
    }
}
