//! Byte-level BPE (GPT-2, `RoBERTa`, Llama 3, Qwen), word by word.
//!
//! Where the raw text may be cut: where the regular expression of the pre-tokenizer cuts it. A word
//! depends on nothing outside it; its tokens come from our own `Bpe`.

use rustc_hash::FxHashMap;

use super::bpe::{Bpe, Symbol};
use super::byte_pairs::BytePairs;
use super::byte_pattern::Pattern;
use super::char_classes::CharClasses;
use super::lanes::{leading, letters};
use super::memo::{SHORT, bytes_of, key, key_of, text_of};
use super::scratch::{Pieces, Reached, Scratch};
use super::tokens::{Piece, Span, Tokens};
use super::window::Window;

/// The engine of byte-level tokenizers.
#[derive(Debug)]
pub(super) struct ByteLevel {
    pub(super) pattern: Pattern,
    /// The token of each byte.
    pub(super) byte_ids: Box<[u32; 256]>,
    pub(super) bpe: Bpe,
    /// The pairs of bytes that stand beside each other in some merged token: nothing merges across
    /// any other pair, so that long words (a Chinese sentence) fall into short parts.
    pub(super) neighbours: BytePairs,
    /// Words that are one token whatever the merges say (`ignore_merges`).
    pub(super) whole_words: FxHashMap<Box<[u8]>, u32>,
    /// Whether a text that does not begin with a space is given one.
    pub(super) add_prefix_space: bool,
    pub(super) classes: &'static CharClasses,
}

impl ByteLevel {
    /// The text with a space in front, where it must be given one.
    pub(super) fn prefixed(&self, text: &Window<'_>) -> Option<String> {
        let is_missing = self.add_prefix_space && text.len() > 0 && text.byte(0) != b' ';
        is_missing.then(|| format!(" {}", text.text()))
    }

    /// From places in the text with a space in front to places in the text itself.
    pub(super) fn remove_prefix(text: &Window<'_>, tokens: &mut Tokens) {
        // The space that was put in front belongs to the first character.
        let first = text.char(0).map_or(1, |(_, len)| len);
        let first = u32::try_from(first).unwrap_or(1);
        tokens.map_spans(|span| Span {
            start: span.start.saturating_sub(1),
            end: if span.end <= 1 { first } else { span.end - 1 },
        });
    }

    /// Adds the tokens of a text from `at` on, until there are enough.
    pub(super) fn encode<const SPANS: bool>(
        &self,
        text: &Window<'_>,
        mut at: usize,
        scratch: &mut Scratch,
    ) -> Reached {
        while at < text.len() && !scratch.tokens.is_full() {
            let bytes = text.load(at);
            let lead = usize::from(self.pattern.is_lead(bytes[0]));
            let len = lead + leading(letters(bytes) >> lead);
            let next = at + len;
            // Behind the text lies a zero, which is ASCII.
            if len > lead && len <= SHORT && next <= text.len() && text.byte(next).is_ascii() {
                scratch.queue_short(key(u128::from_le_bytes(bytes), len), at);
                at = next;
            } else {
                let next = self.pattern.word_end(self.classes, text, at);
                self.add_word::<SPANS>(text.str(at, next), at, scratch)?;
                at = next;
            }
            if scratch.must_settle() {
                self.settle::<SPANS>(scratch)?;
            }
        }
        self.settle::<SPANS>(scratch)?;
        Ok(at)
    }

    /// Queues a word of any kind, or adds it at once where it is too long for a key.
    fn add_word<const SPANS: bool>(&self, word: &str, at: usize, scratch: &mut Scratch) -> Pieces {
        if let Some(key) = key_of(word.as_bytes()) {
            scratch.queue_short(key, at);
            return Ok(());
        }
        self.settle::<SPANS>(scratch)?;
        scratch.add::<SPANS>(word.as_bytes(), at, |scratch| {
            self.tokenize(word, scratch);
            Ok(())
        })
    }

    fn settle<const SPANS: bool>(&self, scratch: &mut Scratch) -> Pieces {
        scratch.settle::<SPANS>(|scratch, key| {
            let (bytes, len) = bytes_of(key);
            self.tokenize(text_of(&bytes, len), scratch);
            Ok(())
        })
    }

    /// Finds the tokens of one word.
    fn tokenize(&self, word: &str, scratch: &mut Scratch) {
        let piece: &mut Piece = &mut scratch.piece;
        piece.num_words = 1;
        if let Some(&id) = self.whole_words.get(word.as_bytes()) {
            piece.push(id, Span::new(0, word.len()));
            return;
        }
        let symbols = &mut scratch.symbols;
        symbols.clear();
        let mut last = None;
        for (start, character) in word.char_indices() {
            // A token that holds a part of a character spans all of it.
            let span = Span::new(start, start + character.len_utf8());
            for &byte in character.encode_utf8(&mut [0; 4]).as_bytes() {
                if last.is_some_and(|last| !self.neighbours.contain(last, byte)) {
                    self.bpe.tokenize(symbols, piece);
                    symbols.clear();
                }
                last = Some(byte);
                symbols.push(Symbol {
                    id: self.byte_ids[usize::from(byte)],
                    span,
                });
            }
        }
        self.bpe.tokenize(symbols, piece);
    }
}
