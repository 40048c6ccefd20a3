//! Unigram with `▁` for the space (T5, ALBERT, XLM-R and their kin): one word at a time.
//!
//! Where the raw text may be cut: in front of a run of white space, unless a character beside the run
//! forms one grapheme with it (normalizers replace whole graphemes) or is taken away (what then adjoins
//! may form one). A piece is such a run with what follows it up to the next cut. Every step of the
//! normalizers that `metaspace_definition` takes changes characters and graphemes each by itself, or
//! runs of white space, or marks that move no further than a space; so a piece becomes the same alone
//! as in the text. Where this depends on what the white space became, `metaspace_piece` looks.

use tokenizers::Tokenizer;

use super::char_classes::{CharClasses, SPACE_EXTENDER, SPACE_PREPENDER};
use super::lanes::{graphics, leading};
use super::memo::{SHORT, bytes_of, key, text_of};
use super::normalizer::Normalized;
use super::scratch::{Pieces, Reached, Scratch, Whole};
use super::unigram::Unigram;
use super::window::Window;

/// What a definition makes of white space and ASCII.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is asked for by itself")]
pub(super) struct Rules {
    /// By byte: the white space that is cut at. It stays white space, or becomes a space where spaces
    /// are kept.
    pub(super) spaces: [bool; 256],
    /// Words are split at white space, and `▁` is put in front of each; else a space becomes `▁`.
    pub(super) drops_spaces: bool,
    /// A run of spaces becomes `▁` before words are split.
    pub(super) writes_meta: bool,
    /// Runs of white space become one, or go at the end of the text.
    pub(super) merges_spaces: bool,
    pub(super) lowercases: bool,
    /// Two accents or two apostrophes become a quotation mark.
    pub(super) joins_quotes: bool,
}

/// The engine of Unigram tokenizers.
#[derive(Debug)]
pub(super) struct Metaspace {
    pub(super) unigram: Unigram,
    pub(super) rules: Rules,
    pub(super) classes: &'static CharClasses,
}

impl Metaspace {
    /// Adds the tokens of a text from byte `start` on, until there are enough.
    pub(super) fn encode<const SPANS: bool>(
        &self,
        crate_tokenizer: &Tokenizer,
        text: &Window<'_>,
        start: usize,
        scratch: &mut Scratch,
    ) -> Reached {
        let mut at = start;
        while at < text.len() && !scratch.tokens.is_full() {
            let bytes = text.load(at);
            let lead = usize::from(!self.rules.drops_spaces && self.is_space(bytes[0]));
            let len = leading(graphics(bytes) >> lead);
            let next = at + lead + len;
            if len > 0
                && lead + len <= SHORT
                && let Some(dropped) = self.ends_piece(text, next)
            {
                scratch.queue_short(key(u128::from_le_bytes(bytes), lead + len), at);
                if scratch.must_settle() {
                    self.settle::<SPANS>(crate_tokenizer, scratch)?;
                }
                at = next + dropped;
                continue;
            }
            if self.drops_space(text, at) {
                at += 1;
                continue;
            }
            self.settle::<SPANS>(crate_tokenizer, scratch)?;
            let (piece, next) = self.piece(crate_tokenizer, text, at, scratch);
            let is_first = piece == start && scratch.tokens.wants_spans();
            if is_first && self.shifts_offsets(crate_tokenizer, text, piece, scratch) {
                return Err(Whole);
            }
            let raw = text.str(piece, next);
            scratch.add::<SPANS>(raw.as_bytes(), piece, |scratch| {
                self.tokenize(crate_tokenizer, raw, scratch)
            })?;
            at = next;
        }
        self.settle::<SPANS>(crate_tokenizer, scratch)?;
        Ok(at)
    }

    fn settle<const SPANS: bool>(
        &self,
        crate_tokenizer: &Tokenizer,
        scratch: &mut Scratch,
    ) -> Pieces {
        scratch.settle::<SPANS>(|scratch, key| {
            let (bytes, len) = bytes_of(key);
            self.tokenize(crate_tokenizer, text_of(&bytes, len), scratch)
        })
    }

    #[inline(always)]
    pub(super) fn is_space(&self, byte: u8) -> bool {
        self.rules.spaces[usize::from(byte)]
    }

    /// How many spaces are dropped at `at`, behind printable ASCII, if a piece ends there: at the end
    /// of the text, at its last space, or at one or two spaces before more printable ASCII.
    #[inline(always)]
    fn ends_piece(&self, text: &Window<'_>, at: usize) -> Option<usize> {
        if at >= text.len() {
            return (at == text.len()).then_some(0);
        }
        let (second, third) = (text.byte(at + 1), text.byte(at + 2));
        if !self.is_space(text.byte(at)) {
            return None;
        }
        if second.is_ascii_graphic() || at + 1 == text.len() {
            return Some(usize::from(self.rules.drops_spaces));
        }
        (self.is_space(second) && third.is_ascii_graphic()).then_some(0)
    }

    /// Whether the byte at `at` is a space that matters to nothing: all are dropped, and what follows
    /// is another one or printable ASCII.
    #[inline(always)]
    fn drops_space(&self, text: &Window<'_>, at: usize) -> bool {
        let (first, second) = (text.byte(at), text.byte(at + 1));
        self.rules.drops_spaces
            && !self.rules.writes_meta
            && self.is_space(first)
            && (self.is_space(second) || second.is_ascii_graphic())
    }

    /// Where the piece begins that stands at `at`, and where it ends. Spaces that are dropped are left
    /// out where the character behind them keeps its place without them.
    fn piece(
        &self,
        crate_tokenizer: &Tokenizer,
        text: &Window<'_>,
        at: usize,
        scratch: &mut Scratch,
    ) -> (usize, usize) {
        let word = self.run_end(text, at);
        let mut cut = word;
        while let Some((_, len)) = text.char(cut) {
            let is_cut = cut > word
                && self.is_space(text.byte(cut))
                && self.may_cut(crate_tokenizer, text, cut, scratch);
            if is_cut {
                break;
            }
            cut = self.run_end(text, cut).max(cut + len);
        }
        let leaves_out = self.rules.drops_spaces
            && (word - at <= 1 || !self.rules.writes_meta)
            && self.begins_word(crate_tokenizer, text, word, scratch);
        (if leaves_out { word } else { at }, cut)
    }

    /// The end of the run of white space at `at`.
    fn run_end(&self, text: &Window<'_>, at: usize) -> usize {
        let bytes = text.text().as_bytes().iter().skip(at);
        at + bytes.take_while(|&&byte| self.is_space(byte)).count()
    }

    /// Whether the text may be cut in front of the run of white space at `at`.
    fn may_cut(
        &self,
        crate_tokenizer: &Tokenizer,
        text: &Window<'_>,
        at: usize,
        scratch: &mut Scratch,
    ) -> bool {
        let before = text.char_before(at);
        let behind = text.char(self.run_end(text, at));
        let mut stays = |character: char, joins: u8| {
            character.is_ascii_graphic()
                || (character != '\r'
                    && self.classes.of(character) & joins == 0
                    && !became(crate_tokenizer, character, scratch)
                        .text()
                        .is_empty())
        };
        before.is_some_and(|character| stays(character, SPACE_PREPENDER))
            && behind.is_none_or(|(character, _)| stays(character, SPACE_EXTENDER))
    }

    /// Whether the character at `at` begins a word, with white space before it or without.
    fn begins_word(
        &self,
        crate_tokenizer: &Tokenizer,
        text: &Window<'_>,
        at: usize,
        scratch: &mut Scratch,
    ) -> bool {
        text.char(at).is_some_and(|(character, _)| {
            let became = became(crate_tokenizer, character, scratch);
            let first = became.text().chars().next();
            self.classes.of(character) & SPACE_EXTENDER == 0
                && first.is_some_and(|first| !first.is_whitespace())
        })
    }

    /// Whether a text begins with a character that is taken away, which shifts all offsets behind it.
    fn shifts_offsets(
        &self,
        crate_tokenizer: &Tokenizer,
        text: &Window<'_>,
        at: usize,
        scratch: &mut Scratch,
    ) -> bool {
        text.char(at).is_some_and(|(character, _)| {
            !character.is_ascii_graphic()
                && !self.is_space(text.byte(at))
                && became(crate_tokenizer, character, scratch)
                    .text()
                    .is_empty()
        })
    }
}

/// What the normalizer makes of a character.
pub(super) fn became(
    crate_tokenizer: &Tokenizer,
    character: char,
    scratch: &mut Scratch,
) -> Normalized {
    scratch.characters.get(crate_tokenizer, character)
}
