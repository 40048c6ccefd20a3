//! What a thread keeps while it encodes: its memo, and buffers that every text uses again.

use std::sync::Mutex;

use super::bpe::Symbol;
use super::memo::{self, Memo};
use super::normalizer::{Characters, NormalizedPiece};
use super::tokens::{Piece, Reach, Span, Tokens};
use super::unigram::Lattice;

/// This text cannot be cut into pieces: the reference must encode it as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole;

/// The outcome of encoding by pieces.
pub(super) type Pieces = std::result::Result<(), Whole>;

/// The byte of a text that was reached by pieces.
pub(super) type Reached = std::result::Result<usize, Whole>;

/// Short pieces that wait to be looked up, in the order of the text.
///
/// Looking up one after the other waits for the memory each time; asking for the places of all of
/// them first lets the memory answer while the text is cut.
#[derive(Debug)]
pub(super) struct Queue {
    keys: [u128; Self::SIZE],
    bases: [u32; Self::SIZE],
    len: usize,
    /// With so many it is time to look them up.
    most: usize,
}

impl Queue {
    const SIZE: usize = 128;
    /// What is left must take the words of 64 bytes.
    const MOST: usize = Self::SIZE - 63;
    /// So many are looked up together even where few tokens are missing.
    const LEAST: usize = 8;

    fn new() -> Self {
        Self {
            keys: [0; Self::SIZE],
            bases: [0; Self::SIZE],
            len: 0,
            most: Self::MOST,
        }
    }

    /// Half of the tokens that are missing, so that pieces of two tokens bring no more than these.
    fn wait_for(&mut self, num_missing: usize) {
        self.most = (num_missing / 2).clamp(Self::LEAST, Self::MOST);
    }
}

/// The memory of one thread.
#[derive(Debug)]
pub(super) struct Scratch {
    memo: Memo,
    /// Boxed, because a scratch is handed from call to call by value.
    queue: Box<Queue>,
    /// The tokens of the text, added piece by piece.
    pub(super) tokens: Tokens,
    /// The tokens of the piece that a memo did not know.
    pub(super) piece: Piece,
    pub(super) symbols: Vec<Symbol>,
    pub(super) lattice: Lattice,
    pub(super) characters: Characters,
    pub(super) normalized: NormalizedPiece,
}

impl Scratch {
    pub(super) fn new(max_slots: usize, inline_words: u32) -> Self {
        Self {
            memo: Memo::new(max_slots, inline_words),
            queue: Box::new(Queue::new()),
            tokens: Tokens::default(),
            piece: Piece::default(),
            symbols: Vec::new(),
            lattice: Lattice::default(),
            characters: Characters::default(),
            normalized: NormalizedPiece::default(),
        }
    }

    /// Forgets the tokens of the text before, and what waits from one that had to be whole.
    pub(super) fn begin_text(&mut self, reach: Reach, with_spans: bool) {
        self.tokens.clear(reach, with_spans);
        self.queue.len = 0;
        self.queue.wait_for(self.tokens.num_missing());
    }

    /// The tokens that follow have spans; nothing must wait.
    pub(super) fn begin_spans(&mut self) {
        self.tokens.begin_spans();
        self.queue.wait_for(self.tokens.num_missing());
    }

    /// Adds the tokens of a piece that fits into a key; `miss` finds them if the memo cannot.
    #[inline(always)]
    pub(super) fn add_short<const SPANS: bool>(
        &mut self,
        key: u128,
        base: usize,
        miss: impl FnOnce(&mut Self) -> Pieces,
    ) -> Pieces {
        if self
            .memo
            .recall::<SPANS>(key, narrow(base), &mut self.tokens)
        {
            return Ok(());
        }
        self.learn_short::<SPANS>(key, base, miss)
    }

    /// Whether so many pieces wait that 64 more might find no room, or that the text may soon have
    /// as many tokens as are needed.
    #[inline(always)]
    pub(super) fn must_settle(&self) -> bool {
        self.queue.len >= self.queue.most
    }

    /// Puts a piece that fits into a key behind those that wait.
    #[inline(always)]
    pub(super) fn queue_short(&mut self, key: u128, base: usize) {
        self.memo.prefetch(key);
        let at = self.queue.len % Queue::SIZE;
        self.queue.keys[at] = key;
        self.queue.bases[at] = narrow(base);
        self.queue.len = at + 1;
    }

    /// Adds the tokens of all that wait; `miss` finds those of a key if the memo cannot.
    #[inline(always)]
    pub(super) fn settle<const SPANS: bool>(
        &mut self,
        miss: impl Fn(&mut Self, u128) -> Pieces,
    ) -> Pieces {
        let len = std::mem::take(&mut self.queue.len);
        for index in 0..len.min(Queue::SIZE) {
            let (key, base) = (self.queue.keys[index], self.queue.bases[index]);
            if !self.memo.recall::<SPANS>(key, base, &mut self.tokens) {
                self.learn_short::<SPANS>(key, base as usize, |scratch| miss(scratch, key))?;
            }
        }
        self.queue.wait_for(self.tokens.num_missing());
        Ok(())
    }

    /// Adds the tokens of a piece of any length.
    pub(super) fn add<const SPANS: bool>(
        &mut self,
        piece: &[u8],
        base: usize,
        miss: impl FnOnce(&mut Self) -> Pieces,
    ) -> Pieces {
        if let Some(key) = memo::key_of(piece) {
            return self.add_short::<SPANS>(key, base, miss);
        }
        if self
            .memo
            .recall_long::<SPANS>(piece, narrow(base), &mut self.tokens)
        {
            return Ok(());
        }
        self.piece.clear();
        miss(self)?;
        self.memo.remember_long(piece, &self.piece);
        self.push_piece::<SPANS>(base);
        Ok(())
    }

    /// Adds the tokens of a piece that must not be remembered.
    pub(super) fn add_unremembered<const SPANS: bool>(
        &mut self,
        base: usize,
        miss: impl FnOnce(&mut Self) -> Pieces,
    ) -> Pieces {
        self.piece.clear();
        miss(self)?;
        self.push_piece::<SPANS>(base);
        Ok(())
    }

    /// Adds a token that is a word of its own.
    pub(super) fn add_token<const SPANS: bool>(&mut self, id: u32, span: Span) {
        self.tokens.push_piece::<SPANS>(&[id], &[span], &[0], 1, 0);
    }

    #[cold]
    #[inline(never)]
    fn learn_short<const SPANS: bool>(
        &mut self,
        key: u128,
        base: usize,
        miss: impl FnOnce(&mut Self) -> Pieces,
    ) -> Pieces {
        self.piece.clear();
        miss(self)?;
        self.memo.remember(key, &self.piece);
        self.push_piece::<SPANS>(base);
        Ok(())
    }

    fn push_piece<const SPANS: bool>(&mut self, base: usize) {
        let piece = &self.piece;
        let base = narrow(base);
        self.tokens.push_piece::<SPANS>(
            &piece.ids,
            &piece.spans,
            &piece.words,
            piece.num_words,
            base,
        );
    }
}

/// A place in a text; the encoder refuses texts of 4 GiB.
#[inline]
fn narrow(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// The scratches of all threads that ever encoded at the same time; a call borrows one a thread,
/// so that what a call learns, the next one knows.
#[derive(Debug, Default)]
pub(super) struct ScratchPool {
    idle: Mutex<Vec<Scratch>>,
}

impl ScratchPool {
    /// A scratch that nobody uses, or a new one. The lock is only tried: a fork may have copied
    /// it while a thread of the parent held it.
    pub(super) fn take(&self, new: impl FnOnce() -> Scratch) -> Scratch {
        let idle = self.idle.try_lock().ok().and_then(|mut idle| idle.pop());
        idle.unwrap_or_else(new)
    }

    /// Keeps a scratch for the next call.
    pub(super) fn give_back(&self, scratch: Scratch) {
        if let Ok(mut idle) = self.idle.try_lock() {
            idle.push(scratch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::memo::{MAX_SLOTS, key_of};
    use crate::tokenizer::tokens::Span;

    #[test]
    fn pieces_that_wait_are_added_in_their_order_known_or_not() {
        for max_slots in [0, 4, MAX_SLOTS] {
            let mut scratch = Scratch::new(max_slots, 1);
            for round in 0..3u8 {
                scratch.begin_text(Reach::WHOLE, true);
                let texts: Vec<u8> = (0..128).map(|index| index % 50 + 30 * round).collect();
                for (base, &text) in texts.iter().enumerate() {
                    assert_eq!(scratch.must_settle(), base > 64);
                    scratch.queue_short(key_of(&[text]).unwrap_or(0), base);
                }
                let settled = scratch.settle::<true>(|scratch, key| {
                    let id = u32::try_from(key & 0xFF).unwrap_or(0);
                    scratch.piece.push(id, Span::new(0, 1));
                    scratch.piece.num_words = 1;
                    Ok(())
                });
                assert_eq!(settled, Ok(()));
                assert!(!scratch.must_settle());
                let ids = texts.iter().map(|&text| u32::from(text));
                assert_eq!(scratch.tokens.ids(), ids.collect::<Vec<_>>());
                let starts = scratch.tokens.spans().iter().map(|span| span.start);
                assert!(starts.eq(0..128));
            }
        }
    }

    #[test]
    fn fewer_pieces_wait_where_fewer_tokens_are_missing() {
        let mut scratch = Scratch::new(0, 1);
        let reach = Reach {
            num_tokens: 100,
            spans_from: 60,
        };
        scratch.begin_text(reach, false);
        let mut settled = Vec::new();
        for base in 0..100 {
            scratch.queue_short(key_of(b"a").unwrap_or(0), base);
            if !scratch.must_settle() {
                continue;
            }
            let outcome = scratch.settle::<false>(|scratch, _| {
                scratch.piece.push(7, Span::new(0, 1));
                Ok(())
            });
            assert_eq!(outcome, Ok(()));
            settled.push(scratch.tokens.len());
            if scratch.tokens.is_full() {
                scratch.begin_spans();
            }
        }
        assert_eq!(settled, [30, 45, 53, 61, 80, 90, 98]);
    }

    #[test]
    fn a_text_that_must_be_whole_leaves_nothing_waiting() {
        let mut scratch = Scratch::new(0, 1);
        scratch.queue_short(key_of(b"a").unwrap_or(0), 0);
        scratch.queue_short(key_of(b"b").unwrap_or(0), 1);
        assert_eq!(scratch.settle::<false>(|_, _| Err(Whole)), Err(Whole));
        assert_eq!(scratch.settle::<false>(|_, _| Err(Whole)), Ok(()));
        assert_eq!(scratch.tokens.len(), 0);
    }
}
