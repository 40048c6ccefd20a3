//! BERT (`BertNormalizer`, `BertPreTokenizer`, `WordPiece`), word by word.
//!
//! Where the raw text may be cut: at white space, and on both sides of a character that is a word of
//! its own after normalisation wherever it stands (punctuation, CJK); which these are was read off
//! the crate (`unicode_tables`). Normalisation changes each character by itself; only decomposition
//! moves marks past each other, never past a cut. Words of ASCII letters and digits go to our own
//! `WordPiece`, all others to the crate.

use super::char_classes::{BERT_CASED_ALONE, BERT_SPACE, BERT_UNCASED_ALONE, CharClasses};
use super::memo::{SHORT, bytes_of, key};
use super::reference;
use super::scratch::{Pieces, Scratch};
use super::window::{Window, leading, lowercased, mask};
use super::word_piece::WordPiece;

/// What an ASCII byte is to BERT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Space,
    /// A word of its own.
    Alone,
    Alphanumeric,
    /// A control character, or part of a character beyond ASCII.
    Other,
}

/// The engine of BERT's tokenizers.
#[derive(Debug)]
pub(super) struct Bert {
    word_piece: WordPiece,
    lowercase: bool,
    /// The class of characters that are words of their own.
    alone: u8,
    classes: &'static CharClasses,
    kinds: [Kind; 256],
}

impl Bert {
    pub(super) fn new(word_piece: WordPiece, lowercase: bool) -> Self {
        let classes = CharClasses::get();
        let alone = if lowercase {
            BERT_UNCASED_ALONE
        } else {
            BERT_CASED_ALONE
        };
        let kind = |byte: usize| match u8::try_from(byte).map(char::from) {
            Ok(ascii) if ascii.is_ascii_alphanumeric() => Kind::Alphanumeric,
            Ok(ascii) if ascii.is_ascii() && classes.of(ascii) & BERT_SPACE != 0 => Kind::Space,
            Ok(ascii) if ascii.is_ascii() && classes.of(ascii) & alone != 0 => Kind::Alone,
            _ => Kind::Other,
        };
        Self {
            word_piece,
            lowercase,
            alone,
            classes,
            kinds: std::array::from_fn(kind),
        }
    }

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
            let raw = text.load(at);
            let bytes = if self.lowercase { lowercased(raw) } else { raw };
            let len = leading(mask(raw, |byte| byte.is_ascii_alphanumeric()));
            let next = at + len;
            if len == 0 {
                match self.kind(raw[0]) {
                    Kind::Space => {
                        at += 1;
                        continue;
                    }
                    Kind::Alone => {
                        let key = key(u128::from_le_bytes(raw), 1);
                        self.add_ascii::<SPANS>(key, at, scratch)?;
                        at += 1;
                        continue;
                    }
                    _ => {}
                }
            } else if len <= SHORT && self.ends_word(text, next) {
                let key = key(u128::from_le_bytes(bytes), len);
                self.add_ascii::<SPANS>(key, at, scratch)?;
                at = next + usize::from(text.byte(next) == b' ');
                continue;
            }
            at = self.add_word::<SPANS>(crate_tokenizer, text, at, scratch)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn kind(&self, byte: u8) -> Kind {
        self.kinds[usize::from(byte)]
    }

    /// Whether a word of ASCII letters and digits ends at `at`, which a text shorter than what was
    /// read may lie before.
    #[inline(always)]
    fn ends_word(&self, text: &Window<'_>, at: usize) -> bool {
        at == text.len() || (at < text.len() && self.kind(text.byte(at)) != Kind::Other)
    }

    /// Adds a word of ASCII characters that need no more normalisation.
    #[inline(always)]
    fn add_ascii<const SPANS: bool>(&self, key: u128, at: usize, scratch: &mut Scratch) -> Pieces {
        scratch.add_short::<SPANS>(key, at, |scratch| {
            let (bytes, len) = bytes_of(key);
            let word = bytes.get(..len).unwrap_or_default();
            self.word_piece.tokenize(word, &mut scratch.piece);
            Ok(())
        })
    }

    /// Adds the word, or skips the space, that begins at `at`, and gives where it ends.
    fn add_word<const SPANS: bool>(
        &self,
        crate_tokenizer: &tokenizers::Tokenizer,
        text: &Window<'_>,
        at: usize,
        scratch: &mut Scratch,
    ) -> std::result::Result<usize, super::scratch::Whole> {
        let mut end = at;
        let mut is_plain = true;
        while let Some((character, len)) = text.char(end) {
            let classes = self.classes.of(character);
            let is_space = classes & BERT_SPACE != 0;
            if is_space || classes & self.alone != 0 {
                if end == at {
                    end += len;
                    if is_space {
                        return Ok(end);
                    }
                    is_plain = character.is_ascii();
                }
                break;
            }
            is_plain &= character.is_ascii_alphanumeric();
            end += len;
        }
        let word = text.str(at, end);
        scratch.add::<SPANS>(word.as_bytes(), at, |scratch| {
            if !is_plain {
                return reference::tokenize(crate_tokenizer, word, &mut scratch.piece);
            }
            let lower = word.to_ascii_lowercase();
            let normalized = if self.lowercase { &lower } else { word };
            self.word_piece
                .tokenize(normalized.as_bytes(), &mut scratch.piece);
            Ok(())
        })?;
        Ok(end)
    }
}
