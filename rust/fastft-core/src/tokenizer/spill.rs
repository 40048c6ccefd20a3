//! The tokens of a memo that fit into no slot: a ring whose oldest tokens are overwritten.
//!
//! Tokens are counted on and on, those left out at the end of the ring included; the count, taken
//! modulo the size, is the place. So an entry knows by its count whether its tokens are still there.
//!
//! Invariant: no entry is older than the count, which never wraps: when 32 bits no longer suffice
//! ([`Spill::can_count`]), whoever holds entries forgets them all, and the count begins anew.

use super::tokens::{Piece, Span};

/// Where the tokens of one piece are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// The count at its first token.
    pub(super) start: u32,
    pub(super) num_ids: u32,
    pub(super) num_words: u32,
}

/// The tokens that an entry stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spilled<'a> {
    pub(super) ids: &'a [u32],
    pub(super) spans: &'a [Span],
    pub(super) words: &'a [u32],
}

/// The ring.
#[derive(Debug)]
pub(super) struct Spill {
    ids: Vec<u32>,
    spans: Vec<Span>,
    words: Vec<u32>,
    size: usize,
    /// How many tokens ever went in, and those left out at the end of the ring.
    count: u32,
}

impl Spill {
    /// A ring of at most `size` tokens, which is not zero.
    pub(super) fn new(size: usize) -> Self {
        Self {
            ids: Vec::new(),
            spans: Vec::new(),
            words: Vec::new(),
            size,
            count: 0,
        }
    }

    /// Whether a piece of `num_ids` tokens is worth its room.
    pub(super) fn takes(&self, num_ids: usize) -> bool {
        num_ids <= self.size / 4
    }

    /// Whether the count can go on for `num_ids` more tokens.
    pub(super) fn can_count(&self, num_ids: usize) -> bool {
        self.next(num_ids).is_some()
    }

    /// Keeps the tokens of a piece; `None` when [`Self::takes`] or [`Self::can_count`] says no.
    pub(super) fn push(&mut self, piece: &Piece) -> Option<Entry> {
        if !self.takes(piece.ids.len()) {
            return None;
        }
        let (start, end) = self.next(piece.ids.len())?;
        let place = start as usize % self.size;
        overwrite(&mut self.ids, place, &piece.ids);
        overwrite(&mut self.spans, place, &piece.spans);
        overwrite(&mut self.words, place, &piece.words);
        self.count = end;
        Some(Entry {
            start,
            num_ids: end - start,
            num_words: piece.num_words,
        })
    }

    /// The tokens of an entry, if they have not been overwritten.
    pub(super) fn get(&self, entry: Entry) -> Option<Spilled<'_>> {
        if (self.count - entry.start) as usize > self.size {
            return None;
        }
        let place = entry.start as usize % self.size;
        let range = place..place + entry.num_ids as usize;
        Some(Spilled {
            ids: self.ids.get(range.clone())?,
            spans: self.spans.get(range.clone())?,
            words: self.words.get(range)?,
        })
    }

    /// Forgets all tokens and counts from zero; entries made before must not be asked for again.
    pub(super) fn clear(&mut self) {
        self.ids.clear();
        self.spans.clear();
        self.words.clear();
        self.count = 0;
    }

    /// The count before and behind the next piece: its tokens adjoin each other, so that what is
    /// too long for the end of the ring begins at its front.
    fn next(&self, num_ids: usize) -> Option<(u32, u32)> {
        let place = self.count as usize % self.size;
        let skipped = if place + num_ids > self.size {
            self.size - place
        } else {
            0
        };
        let start = self.count.checked_add(u32::try_from(skipped).ok()?)?;
        let end = start.checked_add(u32::try_from(num_ids).ok()?)?;
        Some((start, end))
    }
}

#[cfg(test)]
impl Spill {
    /// As after `count` tokens that nobody remembers.
    pub(super) fn start_at(&mut self, count: u32) {
        self.clear();
        self.count = count;
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn num_held(&self) -> usize {
        self.ids.len()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(first: u32, num_ids: u32) -> Piece {
        let mut piece = Piece::default();
        for id in first..first + num_ids {
            piece.push(id, Span::new(id as usize, id as usize + 1));
        }
        piece.num_words = 1;
        piece
    }

    #[test]
    fn what_is_not_overwritten_comes_back_whole() {
        let mut spill = Spill::new(16);
        let mut entries: Vec<(Entry, Piece)> = Vec::new();
        for round in 0..200u32 {
            let piece = piece(10 * round, round % 5);
            let entry = spill.push(&piece).unwrap();
            entries.push((entry, piece));
            let known = entries.iter().filter(|(entry, piece)| {
                let Some(found) = spill.get(*entry) else {
                    return false;
                };
                assert_eq!(found.ids, piece.ids);
                assert_eq!(found.spans, piece.spans);
                assert_eq!(found.words, piece.words);
                true
            });
            // 16 places hold at least three pieces of at most four tokens, whatever is left out.
            assert!(known.count() >= entries.len().min(3));
            assert!(spill.num_held() <= 16);
        }
        assert_eq!(spill.get(entries[0].0), None);
    }

    #[test]
    fn a_long_piece_is_not_worth_its_room() {
        let mut spill = Spill::new(16);
        assert_eq!(spill.push(&piece(0, 5)), None);
        assert!(spill.takes(4) && !spill.takes(5));
    }

    #[test]
    fn the_count_ends_with_32_bits() {
        let mut spill = Spill::new(16);
        spill.start_at(u32::MAX - 4);
        assert!(spill.can_count(4));
        let last = spill.push(&piece(7, 4)).unwrap();
        assert_eq!(spill.count(), u32::MAX);
        assert_eq!(spill.get(last).unwrap().ids, [7, 8, 9, 10]);
        // One place is left in the ring: one token fits in it, but cannot be counted.
        assert!(spill.can_count(0) && !spill.can_count(1) && !spill.can_count(2));
        assert_eq!(spill.push(&piece(7, 1)), None);
        spill.clear();
        let first = spill.push(&piece(3, 2)).unwrap();
        assert_eq!(first.start, 0);
        assert_eq!(spill.get(first).unwrap().ids, [3, 4]);
    }
}
