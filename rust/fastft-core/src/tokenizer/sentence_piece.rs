//! `SentencePiece` BPE (Llama 2, Mistral): a space and the word behind it at a time.
//!
//! Spaces become `▁`, nothing else is normalised, and the whole text is one word to the model. Where
//! the raw text may be cut: between two characters that stand beside each other in no token that a
//! merge makes, because a merge across the cut would make such a token. For a space behind another
//! character this is checked at load; for letters beside punctuation and digits it is looked up.
//! A character without a token becomes its bytes, which no merge may join.

use rustc_hash::FxHashMap;

use super::bpe::{Bpe, Symbol};
use super::byte_pairs::BytePairs;
use super::lanes::{graphics, leading, letters};
use super::memo::{self, SHORT, key};
use super::scratch::{Pieces, Reached, Scratch, Whole};
use super::tokens::Span;
use super::window::Window;

/// What stands for a space.
pub(super) const META_SPACE: char = '\u{2581}';

/// The engine of `SentencePiece` BPE.
#[derive(Debug)]
pub(super) struct SentencePiece {
    pub(super) bpe: Bpe,
    pub(super) char_ids: FxHashMap<char, u32>,
    /// The tokens `<0x00>` to `<0xFF>`, for characters that have none.
    pub(super) byte_ids: Box<[u32; 256]>,
    pub(super) space_id: u32,
    pub(super) prefix: Prefix,
    /// The pairs of bytes that stand beside each other in some merged token.
    pub(super) neighbours: BytePairs,
}

/// When a text is given a space in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefix {
    Never,
    /// When it does not begin with one.
    Missing,
    Always,
}

impl SentencePiece {
    /// Adds the tokens of a text from `at` on, until there are enough.
    pub(super) fn encode<const SPANS: bool>(
        &self,
        text: &Window<'_>,
        mut at: usize,
        scratch: &mut Scratch,
    ) -> Reached {
        let is_first = at == 0 && text.len() > 0 && !scratch.tokens.is_full();
        if is_first && self.prefix != Prefix::Never {
            at = self.add_first::<SPANS>(text, scratch)?;
        }
        while at < text.len() && !scratch.tokens.is_full() {
            let bytes = text.load(at);
            let lead = usize::from(bytes[0] == b' ');
            let letters = letters(bytes);
            let run = if letters >> lead & 1 == 1 {
                letters
            } else {
                graphics(bytes) & !letters
            };
            let len = lead + leading(run >> lead);
            let next = at + len;
            if len > lead && len <= SHORT && self.ends_piece(text, next) {
                scratch.queue_short(key(u128::from_le_bytes(bytes), len), at);
                at = next;
            } else {
                let next = piece_end(text, at);
                self.add_piece::<SPANS>(text.str(at, next), at, scratch)?;
                at = next;
            }
            if scratch.must_settle() {
                self.settle::<SPANS>(scratch)?;
            }
        }
        self.settle::<SPANS>(scratch)?;
        Ok(at)
    }

    /// Queues a piece of any kind, or adds it at once where it is too long for a key.
    fn add_piece<const SPANS: bool>(
        &self,
        piece: &str,
        at: usize,
        scratch: &mut Scratch,
    ) -> Pieces {
        if let Some(key) = memo::key_of(piece.as_bytes()) {
            scratch.queue_short(key, at);
            return Ok(());
        }
        self.settle::<SPANS>(scratch)?;
        scratch.add::<SPANS>(piece.as_bytes(), at, |scratch| {
            self.tokenize(piece, false, scratch)
        })
    }

    fn settle<const SPANS: bool>(&self, scratch: &mut Scratch) -> Pieces {
        scratch.settle::<SPANS>(|scratch, key| {
            let (bytes, len) = memo::bytes_of(key);
            self.tokenize(memo::text_of(&bytes, len), false, scratch)
        })
    }

    /// Adds the piece that the space in front belongs to, and gives where it ends.
    fn add_first<const SPANS: bool>(&self, text: &Window<'_>, scratch: &mut Scratch) -> Reached {
        let end = piece_end(text, 0);
        let piece = text.str(0, end);
        let has_space = text.byte(0) == b' ';
        if has_space && self.prefix == Prefix::Missing {
            return Ok(0);
        }
        // The space is not there: the same word behind a real space has other spans, but its ids.
        let key = memo::key_of(format!(" {piece}").as_bytes()).filter(|_| !SPANS && !has_space);
        match key {
            Some(key) => scratch.add_short::<SPANS>(key, 0, |scratch| {
                self.tokenize(&format!(" {piece}"), false, scratch)
            })?,
            None => scratch
                .add_unremembered::<SPANS>(0, |scratch| self.tokenize(piece, true, scratch))?,
        }
        Ok(end)
    }

    /// Whether the text may be cut at `at`, which lies behind a printable ASCII character.
    #[inline(always)]
    fn ends_piece(&self, text: &Window<'_>, at: usize) -> bool {
        if at >= text.len() {
            return at == text.len();
        }
        let next = text.byte(at);
        next == b' ' || !self.neighbours.contain(text.byte(at - 1), next)
    }

    fn tokenize(&self, text: &str, prefix: bool, scratch: &mut Scratch) -> Pieces {
        let symbols = &mut scratch.symbols;
        symbols.clear();
        if prefix && let Some(first) = text.chars().next() {
            // The space that was put in front spans the first character.
            let span = Span::new(0, first.len_utf8());
            symbols.push(Symbol {
                id: self.space_id,
                span,
            });
        }
        for (start, character) in text.char_indices() {
            let span = Span::new(start, start + character.len_utf8());
            let id = match character {
                ' ' => Some(self.space_id),
                // The reference takes it for a space.
                META_SPACE => return Err(Whole),
                _ => self.char_ids.get(&character).copied(),
            };
            if let Some(id) = id {
                symbols.push(Symbol { id, span });
                continue;
            }
            let mut buffer = [0; 4];
            let bytes = character.encode_utf8(&mut buffer).as_bytes();
            symbols.extend(bytes.iter().map(|&byte| Symbol {
                id: self.byte_ids[usize::from(byte)],
                span,
            }));
        }
        self.bpe.tokenize(symbols, &mut scratch.piece);
        Ok(())
    }
}

/// Where the spaces at `at`, and what follows them up to the next space, end.
fn piece_end(text: &Window<'_>, at: usize) -> usize {
    let rest = text.str(at, text.len()).as_bytes();
    let spaces = rest.iter().take_while(|&&byte| byte == b' ').count();
    let word = rest.iter().skip(spaces);
    at + spaces + word.take_while(|&&byte| byte != b' ').count()
}
