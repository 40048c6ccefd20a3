//! From a piece of text to its tokens, for the engine of Unigram.
//!
//! A piece whose characters are normalised each by itself goes to our own `Unigram` at once; others
//! pass through the normalizer and pre-tokenizer of the crate first.

use std::cell::RefCell;

use tokenizers::Tokenizer;

use super::char_classes::{LETTER, NUMBER, SPACE_EXTENDER, SPACE_PREPENDER};
use super::metaspace::{Metaspace, became};
use super::normalizer::Normalized;
use super::reference;
use super::scratch::{Pieces, Scratch, Whole};
use super::sentence_piece::META_SPACE;

/// `▁` as text.
const PREFIX: &str = "\u{2581}";

impl Metaspace {
    /// Tokenises a piece.
    pub(super) fn tokenize(
        &self,
        crate_tokenizer: &Tokenizer,
        piece: &str,
        scratch: &mut Scratch,
    ) -> Pieces {
        if !self.normalize(crate_tokenizer, piece, scratch) {
            return self.tokenize_any(crate_tokenizer, piece, scratch);
        }
        let Scratch {
            piece,
            lattice,
            normalized,
            ..
        } = scratch;
        self.unigram
            .tokenize_reversed(&normalized.text, lattice, |id, span| {
                piece.push(id, normalized.origin(span));
            });
        piece.ids.reverse();
        piece.spans.reverse();
        piece.num_words = 1;
        Ok(())
    }

    /// Normalises a piece character by character; false where that is not what the crate does.
    fn normalize(&self, crate_tokenizer: &Tokenizer, piece: &str, scratch: &mut Scratch) -> bool {
        scratch.normalized.clear();
        let first = piece.chars().next().unwrap_or(' ');
        // A `▁` that stands for no space covers the first character.
        scratch.normalized.push(PREFIX, 0, first.len_utf8());
        let is_space = u8::try_from(first).is_ok_and(|byte| self.is_space(byte));
        if is_space && (self.rules.drops_spaces || piece.len() <= 1) {
            return false;
        }
        for (start, character) in piece.char_indices().skip(usize::from(is_space)) {
            let end = start + character.len_utf8();
            if let Some(ascii) = self.ascii(character) {
                let mut buffer = [0; 4];
                let text = ascii.encode_utf8(&mut buffer);
                scratch.normalized.push(text, start, end);
            } else if let Some(became) = self.alone(crate_tokenizer, character, scratch) {
                scratch.normalized.push(became.text(), start, end);
            } else {
                return false;
            }
        }
        let text = &scratch.normalized.text;
        !(self.rules.joins_quotes && (text.contains("``") || text.contains("''")))
    }

    /// What printable ASCII becomes.
    fn ascii(&self, character: char) -> Option<char> {
        let lower = self.rules.lowercases && character.is_ascii_uppercase();
        let became = if lower {
            character.to_ascii_lowercase()
        } else {
            character
        };
        character.is_ascii_graphic().then_some(became)
    }

    /// What a character becomes, if it becomes that whatever stands beside it.
    fn alone(
        &self,
        crate_tokenizer: &Tokenizer,
        character: char,
        scratch: &mut Scratch,
    ) -> Option<Normalized> {
        let keeps_to_itself = |character: char| {
            let joins = SPACE_EXTENDER | SPACE_PREPENDER;
            self.classes.of(character) & joins == 0
                && !is_hangul(character)
                && !character.is_whitespace()
                && character != META_SPACE
        };
        let is_word = self.classes.of(character) & (LETTER | NUMBER) != 0;
        if character.is_ascii() || !is_word || !keeps_to_itself(character) {
            return None;
        }
        let became = became(crate_tokenizer, character, scratch);
        let text = became.text();
        (!became.is_odd && !text.is_empty() && text.chars().all(keeps_to_itself)).then_some(became)
    }

    /// Tokenises a piece that the normalizer and the pre-tokenizer of the crate see first.
    fn tokenize_any(
        &self,
        crate_tokenizer: &Tokenizer,
        piece: &str,
        scratch: &mut Scratch,
    ) -> Pieces {
        let normalized = reference::normalize(crate_tokenizer, piece)?;
        if !self.stands_alone(crate_tokenizer, piece, normalized.get())? {
            return Err(Whole);
        }
        let Scratch { piece, lattice, .. } = scratch;
        let lattice = RefCell::new(lattice);
        reference::tokenize_with(crate_tokenizer, normalized, piece, |word| {
            let mut tokens = Vec::new();
            let mut lattice = lattice.borrow_mut();
            self.unigram
                .tokenize_reversed(word, &mut lattice, |id, span| tokens.push((id, span)));
            tokens.reverse();
            tokens
        })
    }

    /// Whether a piece became what it becomes inside its text: it begins as its white space does, and
    /// where runs of white space become one, it does not end in any.
    fn stands_alone(
        &self,
        crate_tokenizer: &Tokenizer,
        piece: &str,
        normalized: &str,
    ) -> std::result::Result<bool, Whole> {
        if piece.bytes().all(|byte| self.is_space(byte)) {
            // Only the end of a text is such a piece.
            return Ok(true);
        }
        let begins = self.rules.drops_spaces
            || !piece.bytes().next().is_some_and(|byte| self.is_space(byte))
            || normalized.starts_with([' ', META_SPACE]);
        if !self.rules.merges_spaces || !begins {
            return Ok(begins);
        }
        let longer = reference::normalize(crate_tokenizer, &format!("{piece}x"))?;
        let is_prefix = longer.get().strip_suffix('x') == Some(normalized);
        Ok(is_prefix && !normalized.ends_with(char::is_whitespace))
    }
}

/// Syllables and their parts, which form graphemes with each other.
fn is_hangul(character: char) -> bool {
    matches!(character, '\u{1100}'..='\u{11FF}' | '\u{A960}'..='\u{A97F}' | '\u{AC00}'..='\u{D7FF}')
}
