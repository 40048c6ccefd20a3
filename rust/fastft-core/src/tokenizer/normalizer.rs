//! What a normalizer of the crate makes of single characters, asked once for each and remembered.
//!
//! Asking the crate itself, character by character, keeps both sides the same for every
//! configuration and every version of Unicode. It says how a whole piece is normalised only where
//! no character changes what becomes of its neighbours; which those are, the engines say.

use rustc_hash::FxHashMap;
use tokenizers::Tokenizer;
use unicode_normalization_alignments::char::canonical_combining_class;

use super::reference;
use super::tokens::Span;

/// More characters than this are forgotten all at once (2 MiB).
const MAX_REMEMBERED: usize = 1 << 16;

/// The longest text that one character becomes and that is remembered.
const MAX_LEN: usize = 11;

/// What one character becomes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Normalized {
    len: u8,
    bytes: [u8; MAX_LEN],
    /// Whether it must be normalised together with its neighbours.
    pub(super) is_odd: bool,
}

impl Normalized {
    pub(super) fn text(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len));
        std::str::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
    }

    fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; MAX_LEN];
        bytes
            .get_mut(..text.len())?
            .copy_from_slice(text.as_bytes());
        // What has a combining class may change places with a neighbour.
        let moves = text.chars().any(|c| canonical_combining_class(c) != 0);
        Some(Self {
            len: u8::try_from(text.len()).ok()?,
            bytes,
            is_odd: moves,
        })
    }
}

/// The characters that were asked for.
#[derive(Debug, Default)]
pub(super) struct Characters {
    known: FxHashMap<char, Normalized>,
}

impl Characters {
    pub(super) fn get(&mut self, tokenizer: &Tokenizer, character: char) -> Normalized {
        if let Some(&normalized) = self.known.get(&character) {
            return normalized;
        }
        let mut buffer = [0; 4];
        let text: &str = character.encode_utf8(&mut buffer);
        let normalized = reference::normalize(tokenizer, text);
        let normalized = normalized.ok().and_then(|text| Normalized::new(text.get()));
        let normalized = normalized.unwrap_or(Normalized {
            len: 0,
            bytes: [0; MAX_LEN],
            is_odd: true,
        });
        if self.known.len() >= MAX_REMEMBERED {
            self.known.clear();
        }
        self.known.insert(character, normalized);
        normalized
    }
}

/// A piece after normalisation, and where in the piece each of its bytes comes from.
#[derive(Debug, Default)]
pub(super) struct NormalizedPiece {
    pub(super) text: String,
    origins: Vec<Span>,
}

impl NormalizedPiece {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.origins.clear();
    }

    /// Adds what the character at `start..end` of the piece became.
    pub(super) fn push(&mut self, normalized: &str, start: usize, end: usize) {
        self.text.push_str(normalized);
        let origin = Span::new(start, end);
        self.origins.resize(self.text.len(), origin);
    }

    /// The bytes of the piece that `span` of the normalised text comes from.
    pub(super) fn origin(&self, span: Span) -> Span {
        let first = self.origins.get(span.start as usize);
        let last = self.origins.get((span.end as usize).saturating_sub(1));
        match (first, last) {
            (Some(first), Some(last)) => Span {
                start: first.start,
                end: last.end,
            },
            _ => span,
        }
    }
}
