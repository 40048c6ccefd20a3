//! What a thread keeps while it encodes: its memo, and buffers that every text uses again.

use std::sync::Mutex;

use super::bpe::Symbol;
use super::memo::{self, Memo};
use super::normalizer::{Characters, NormalizedPiece};
use super::tokens::{Piece, Span, Tokens};
use super::unigram::Lattice;

/// This text cannot be cut into pieces: the reference must encode it as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole;

/// The outcome of encoding by pieces.
pub(super) type Pieces = std::result::Result<(), Whole>;

/// The memory of one thread.
#[derive(Debug)]
pub(super) struct Scratch {
    memo: Memo,
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
            tokens: Tokens::default(),
            piece: Piece::default(),
            symbols: Vec::new(),
            lattice: Lattice::default(),
            characters: Characters::default(),
            normalized: NormalizedPiece::default(),
        }
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
