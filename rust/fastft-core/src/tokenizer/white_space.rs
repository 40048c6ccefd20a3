//! Unigram behind a white-space splitter (T5): one chunk between white space at a time.
//!
//! Where the raw text may be cut: at ASCII white space, unless a character beside it forms one
//! grapheme with it (a combining mark), because the normalizer replaces whole graphemes. Chunks of
//! printable ASCII, which the normalizer leaves alone (checked by the loader), go to our own
//! `Unigram` at once; others pass through the normalizer and pre-tokenizer of the crate first.

use std::cell::RefCell;

use super::char_classes::{CharClasses, SPACE_JOINER};
use super::memo::{SHORT, key};
use super::reference;
use super::scratch::{Pieces, Scratch};
use super::tokens::Span;
use super::unigram::Unigram;
use super::window::{Window, leading, mask};

/// `▁`, which is put in front of every chunk, in bytes.
const PREFIX: usize = 3;

/// The engine of Unigram tokenizers.
#[derive(Debug)]
pub(super) struct WhiteSpace {
    pub(super) unigram: Unigram,
    pub(super) classes: &'static CharClasses,
}

impl WhiteSpace {
    /// Adds the tokens of a text, until there are more than `limit`.
    pub(super) fn encode<const SPANS: bool>(
        &self,
        crate_tokenizer: &tokenizers::Tokenizer,
        text: &Window<'_>,
        limit: usize,
        scratch: &mut Scratch,
    ) -> Pieces {
        let mut at = 0;
        while at < text.len() && scratch.tokens.len() <= limit {
            let bytes = text.load(at);
            if is_space(bytes[0]) {
                at += 1;
                continue;
            }
            let len = leading(mask(bytes, |byte| byte.is_ascii_graphic()));
            let next = at + len;
            if (1..=SHORT).contains(&len) && Self::ends_chunk(text, next) {
                let key = key(u128::from_le_bytes(bytes), len);
                scratch.add_short::<SPANS>(key, at, |scratch| {
                    self.tokenize(crate_tokenizer, text.str(at, next), scratch)
                })?;
                at = next;
                continue;
            }
            let next = self.chunk_end(text, at);
            let chunk = text.str(at, next);
            scratch.add::<SPANS>(chunk.as_bytes(), at, |scratch| {
                self.tokenize(crate_tokenizer, chunk, scratch)
            })?;
            at = next;
        }
        Ok(())
    }

    /// Whether a chunk of printable ASCII ends here: at the end, or at a space before more ASCII.
    #[inline(always)]
    fn ends_chunk(text: &Window<'_>, at: usize) -> bool {
        at == text.len()
            || (at < text.len() && is_space(text.byte(at)) && text.byte(at + 1).is_ascii())
    }

    /// The first white space behind `at` that may be cut at, or the end of the text.
    fn chunk_end(&self, text: &Window<'_>, at: usize) -> usize {
        let bytes = text.text().as_bytes();
        let rest = bytes.iter().enumerate().skip(at);
        let mut spaces = rest.filter(|(_, byte)| is_space(**byte));
        let joins = |character: char| self.classes.of(character) & SPACE_JOINER != 0;
        let end = spaces.find(|&(space, _)| {
            let before = text.char_before(space);
            let behind = text.char(space + 1).map(|(character, _)| character);
            !before.into_iter().chain(behind).any(joins)
        });
        end.map_or(text.len(), |(space, _)| space)
    }

    fn tokenize(
        &self,
        crate_tokenizer: &tokenizers::Tokenizer,
        chunk: &str,
        scratch: &mut Scratch,
    ) -> Pieces {
        let Scratch { piece, lattice, .. } = scratch;
        if !chunk.bytes().all(|byte| byte.is_ascii_graphic()) {
            let lattice = RefCell::new(lattice);
            return reference::tokenize_with(crate_tokenizer, chunk, piece, |word| {
                let mut tokens = Vec::new();
                let mut lattice = lattice.borrow_mut();
                self.unigram
                    .tokenize_reversed(word, &mut lattice, |id, span| tokens.push((id, span)));
                tokens.reverse();
                tokens
            });
        }
        let word = format!("\u{2581}{chunk}");
        self.unigram
            .tokenize_reversed(&word, lattice, |id, span| piece.push(id, span));
        piece.ids.reverse();
        piece.spans.reverse();
        for span in &mut piece.spans {
            *span = without_prefix(*span);
        }
        piece.num_words = 1;
        Ok(())
    }
}

/// A span of `▁chunk` in the chunk: what covers the prefix alone covers the first character.
fn without_prefix(span: Span) -> Span {
    Span::new(
        (span.start as usize).saturating_sub(PREFIX),
        (span.end as usize - PREFIX).max(1),
    )
}

/// The white space that normalisation leaves white space, wherever it stands.
#[inline(always)]
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}
