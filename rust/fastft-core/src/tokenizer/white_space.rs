//! Unigram behind a white-space splitter (T5): one chunk between white space at a time.
//!
//! Where the raw text may be cut: at ASCII white space, unless a character beside it forms one
//! grapheme with it (a combining mark), because the normalizer replaces whole graphemes. Chunks that
//! the normalizer leaves alone go to our own `Unigram` at once; others pass through the normalizer
//! and pre-tokenizer of the crate first.

use std::cell::RefCell;

use super::char_classes::{CharClasses, LETTER, NUMBER, SPACE_JOINER};
use super::lanes::{graphics, leading};
use super::memo::{SHORT, key};
use super::reference;
use super::scratch::{Pieces, Scratch, Whole};
use super::tokens::Span;
use super::unigram::Unigram;
use super::window::Window;

/// `▁`, which is put in front of every chunk, in bytes.
const PREFIX: usize = 3;

/// The engine of Unigram tokenizers.
#[derive(Debug)]
pub(super) struct WhiteSpace {
    pub(super) unigram: Unigram,
    pub(super) classes: &'static CharClasses,
}

impl WhiteSpace {
    /// Adds the tokens of a text.
    pub(super) fn encode<const SPANS: bool>(
        &self,
        crate_tokenizer: &tokenizers::Tokenizer,
        text: &Window<'_>,
        scratch: &mut Scratch,
    ) -> Pieces {
        let mut at = 0;
        while at < text.len() {
            let bytes = text.load(at);
            if is_space(bytes[0]) {
                at += 1;
                continue;
            }
            let len = leading(graphics(bytes));
            let next = at + len;
            if (1..=SHORT).contains(&len) && Self::ends_chunk(text, next) {
                let key = key(u128::from_le_bytes(bytes), len);
                scratch.add_short::<SPANS>(key, at, |scratch| {
                    self.tokenize(crate_tokenizer, text.str(at, next), scratch)
                })?;
                at = next;
                continue;
            }
            let next = self.chunk_end(crate_tokenizer, text, at, scratch);
            let chunk = text.str(at, next);
            let first = chunk.chars().next();
            if first.is_none_or(|first| self.joins(crate_tokenizer, first, scratch)) {
                // What is taken away shifts the offsets around it, even those of later chunks.
                if at > 0 || SPANS {
                    return Err(Whole);
                }
                scratch.add_unremembered::<SPANS>(at, |scratch| {
                    self.tokenize_any(crate_tokenizer, chunk, scratch)
                })?;
                at = next;
                continue;
            }
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
            || (at < text.len() && is_space(text.byte(at)) && begins_chunk(text.byte(at + 1)))
    }

    /// The first white space behind `at` that may be cut at, or the end of the text.
    fn chunk_end(
        &self,
        crate_tokenizer: &tokenizers::Tokenizer,
        text: &Window<'_>,
        at: usize,
        scratch: &mut Scratch,
    ) -> usize {
        let bytes = text.text().as_bytes();
        let rest = bytes.iter().enumerate().skip(at);
        let mut spaces = rest.filter(|(_, byte)| is_space(**byte));
        let end = spaces.find(|&(space, _)| {
            let before = text.char_before(space);
            let behind = text.char(space + 1).map(|(character, _)| character);
            before.is_none_or(|c| self.classes.of(c) & SPACE_JOINER == 0)
                && !behind.is_some_and(|c| self.joins(crate_tokenizer, c, scratch))
        });
        end.map_or(text.len(), |(space, _)| space)
    }

    /// Whether a character must stay with the space before it: it forms one grapheme with it, or
    /// the normalizer takes it away, which shifts the offsets of what stands before it too.
    fn joins(
        &self,
        crate_tokenizer: &tokenizers::Tokenizer,
        character: char,
        scratch: &mut Scratch,
    ) -> bool {
        if let Ok(byte) = u8::try_from(character)
            && byte.is_ascii()
        {
            return !begins_chunk(byte);
        }
        let became = scratch.characters.get(crate_tokenizer, character);
        let is_blank = became.text().chars().next().is_none_or(char::is_whitespace);
        self.classes.of(character) & SPACE_JOINER != 0 || is_blank
    }

    /// Whether the normalizer leaves a chunk as it is: every character alone, and no two of them
    /// forming one grapheme.
    fn is_plain(
        &self,
        crate_tokenizer: &tokenizers::Tokenizer,
        chunk: &str,
        scratch: &mut Scratch,
    ) -> bool {
        chunk.chars().all(|character| {
            if character.is_ascii() {
                return character.is_ascii_graphic();
            }
            let classes = self.classes.of(character);
            let stands_alone = classes & (LETTER | NUMBER) != 0
                && classes & SPACE_JOINER == 0
                && !is_hangul(character);
            stands_alone
                && scratch
                    .characters
                    .get(crate_tokenizer, character)
                    .is(character)
        })
    }

    fn tokenize(
        &self,
        crate_tokenizer: &tokenizers::Tokenizer,
        chunk: &str,
        scratch: &mut Scratch,
    ) -> Pieces {
        if !self.is_plain(crate_tokenizer, chunk, scratch) {
            return self.tokenize_any(crate_tokenizer, chunk, scratch);
        }
        let Scratch { piece, lattice, .. } = scratch;
        let word = format!("\u{2581}{chunk}");
        let first = chunk.chars().next().map_or(1, char::len_utf8);
        self.unigram
            .tokenize_reversed(&word, lattice, |id, span| piece.push(id, span));
        piece.ids.reverse();
        piece.spans.reverse();
        for span in &mut piece.spans {
            *span = without_prefix(*span, first);
        }
        piece.num_words = 1;
        Ok(())
    }

    /// Tokenises a chunk that the normalizer and the pre-tokenizer of the crate see first.
    fn tokenize_any(
        &self,
        crate_tokenizer: &tokenizers::Tokenizer,
        chunk: &str,
        scratch: &mut Scratch,
    ) -> Pieces {
        let Scratch { piece, lattice, .. } = scratch;
        let lattice = RefCell::new(lattice);
        reference::tokenize_with(crate_tokenizer, chunk, piece, |word| {
            let mut tokens = Vec::new();
            let mut lattice = lattice.borrow_mut();
            self.unigram
                .tokenize_reversed(word, &mut lattice, |id, span| tokens.push((id, span)));
            tokens.reverse();
            tokens
        })
    }
}

/// A span of `▁chunk` in the chunk: what covers the prefix alone covers the first character.
fn without_prefix(span: Span, first: usize) -> Span {
    Span::new(
        (span.start as usize).saturating_sub(PREFIX),
        (span.end as usize - PREFIX).max(first),
    )
}

/// Syllables and their parts, which form graphemes with each other.
fn is_hangul(character: char) -> bool {
    matches!(character, '\u{1100}'..='\u{11FF}' | '\u{A960}'..='\u{A97F}' | '\u{AC00}'..='\u{D7FF}')
}

/// The ASCII that may follow a space that is cut at.
#[inline(always)]
fn begins_chunk(byte: u8) -> bool {
    byte.is_ascii_graphic() || is_space(byte)
}

/// The white space that normalisation leaves white space, wherever it stands.
#[inline(always)]
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}
