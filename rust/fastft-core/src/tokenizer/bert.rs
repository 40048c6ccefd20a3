//! BERT (`BertNormalizer`, `BertPreTokenizer`, `WordPiece`), word by word.
//!
//! Where the raw text may be cut: at white space, and on both sides of a character that is a word of
//! its own after normalisation wherever it stands (punctuation, CJK); which these are was read off
//! the crate (`unicode_tables`). Normalisation changes each character by itself; only decomposition
//! moves marks past each other, never past a cut. Words whose characters are normalised each by
//! itself go to our own `WordPiece`, all others to the crate.
//!
//! Short words of ASCII, nearly all of an English text, are found sixty-four bytes at a time and
//! wait in a queue, so that the memory is asked for many of them at once.

use serde_json::Value;

use super::ascii_block::AsciiBlock;
use super::char_classes::{BERT_CASED_ALONE, BERT_SPACE, BERT_UNCASED_ALONE, CharClasses};
use super::definition::{Reason, expect};
use super::lanes::lowercased;
use super::memo::{SHORT, bytes_of, key};
use super::reference;
use super::scratch::{Pieces, Reached, Scratch};
use super::vocabulary::Vocabulary;
use super::window::Window;
use super::word_piece::WordPiece;

/// The engine of BERT's tokenizers.
#[derive(Debug)]
pub(super) struct Bert {
    word_piece: WordPiece,
    lowercase: bool,
    /// The class of characters that are words of their own.
    alone: u8,
    classes: &'static CharClasses,
}

impl Bert {
    /// The engine for a definition.
    ///
    /// # Errors
    ///
    /// The first part of the definition that it does not know.
    pub(super) fn of(definition: &Value) -> Result<Self, Reason> {
        let (normalizer, model) = (&definition["normalizer"], &definition["model"]);
        expect("normalizer", normalizer, "BertNormalizer")?;
        let pre_tokenizer = &definition["pre_tokenizer"];
        expect("pre-tokenizer", pre_tokenizer, "BertPreTokenizer")?;
        let lowercase = normalizer["lowercase"] == true;
        let strips = normalizer["strip_accents"].as_bool().unwrap_or(lowercase);
        if normalizer["clean_text"] != true || normalizer["handle_chinese_chars"] != true {
            return Err("BertNormalizer leaves control or Chinese characters alone".into());
        }
        if strips != lowercase {
            return Err("BertNormalizer strips accents without lowercasing, or the reverse".into());
        }
        let vocab = Vocabulary::new(&model["vocab"])?;
        let unk_token = model["unk_token"].as_str().unwrap_or_default();
        let prefix = model["continuing_subword_prefix"].as_str().unwrap_or("##");
        let most = model["max_input_chars_per_word"].as_u64().unwrap_or(100);
        let word_piece = WordPiece::new(
            vocab.iter(),
            prefix,
            vocab
                .id(unk_token)
                .ok_or("the unknown token is not in the vocabulary")?,
            usize::try_from(most).unwrap_or(usize::MAX),
        );
        Ok(Self::new(word_piece, lowercase))
    }

    fn new(word_piece: WordPiece, lowercase: bool) -> Self {
        let alone = if lowercase {
            BERT_UNCASED_ALONE
        } else {
            BERT_CASED_ALONE
        };
        Self {
            word_piece,
            lowercase,
            alone,
            classes: CharClasses::get(),
        }
    }

    /// Adds the tokens of a text from `at` on, until there are enough.
    pub(super) fn encode<const SPANS: bool>(
        &self,
        crate_tokenizer: &tokenizers::Tokenizer,
        text: &Window<'_>,
        mut at: usize,
        scratch: &mut Scratch,
    ) -> Reached {
        while at < text.len() && !scratch.tokens.is_full() {
            let ready = self.queue_words(text, at, scratch);
            at += ready;
            if ready == 0 {
                self.settle::<SPANS>(scratch)?;
                at = self.add_word::<SPANS>(crate_tokenizer, text, at, scratch)?;
                at += usize::from(text.byte(at) == b' ');
            } else if scratch.must_settle() {
                self.settle::<SPANS>(scratch)?;
            }
        }
        self.settle::<SPANS>(scratch)?;
        Ok(at)
    }

    fn settle<const SPANS: bool>(&self, scratch: &mut Scratch) -> Pieces {
        scratch.settle::<SPANS>(|scratch, key| {
            let (bytes, len) = bytes_of(key);
            let word = bytes.get(..len).unwrap_or_default();
            self.word_piece.tokenize(word, &mut scratch.piece);
            Ok(())
        })
    }

    /// Queues the short words of ASCII characters at `at`, and gives how many bytes they take; none
    /// where something else begins.
    #[inline(always)]
    fn queue_words(&self, text: &Window<'_>, at: usize, scratch: &mut Scratch) -> usize {
        if !text.byte(at).is_ascii() {
            return 0;
        }
        let block = AsciiBlock::new(text, at);
        for (start, len) in block.words() {
            if len > SHORT {
                return start;
            }
            let raw = text.load(at + start);
            let bytes = if self.lowercase { lowercased(raw) } else { raw };
            scratch.queue_short(key(u128::from_le_bytes(bytes), len), at + start);
        }
        block.len()
    }

    /// Adds the word, or skips the space, that begins at `at`, and gives where it ends.
    fn add_word<const SPANS: bool>(
        &self,
        crate_tokenizer: &tokenizers::Tokenizer,
        text: &Window<'_>,
        at: usize,
        scratch: &mut Scratch,
    ) -> Reached {
        let mut end = at;
        while let Some((character, len)) = text.char(end) {
            let classes = self.classes.of(character);
            let is_space = classes & BERT_SPACE != 0;
            if is_space || classes & self.alone != 0 {
                if end == at {
                    end += len;
                    if is_space {
                        return Ok(end);
                    }
                }
                break;
            }
            end += len;
        }
        let word = text.str(at, end);
        scratch.add::<SPANS>(word.as_bytes(), at, |scratch| {
            if !self.normalize(crate_tokenizer, word, scratch) {
                return reference::tokenize(crate_tokenizer, word, &mut scratch.piece);
            }
            let Scratch {
                piece, normalized, ..
            } = scratch;
            if !normalized.text.is_empty() {
                self.word_piece.tokenize(normalized.text.as_bytes(), piece);
            }
            for span in &mut piece.spans {
                *span = normalized.origin(*span);
            }
            Ok(())
        })?;
        Ok(end)
    }

    /// Normalises a word character by character; false where that is not what the crate does.
    fn normalize(
        &self,
        crate_tokenizer: &tokenizers::Tokenizer,
        word: &str,
        scratch: &mut Scratch,
    ) -> bool {
        let Scratch {
            characters,
            normalized,
            ..
        } = scratch;
        normalized.clear();
        let cuts = BERT_SPACE | self.alone;
        for (start, character) in word.char_indices() {
            let end = start + character.len_utf8();
            let is_alone = self.classes.of(character) & self.alone != 0;
            let became = characters.get(crate_tokenizer, character);
            // Spaces around a word of its own are the normalizer's way of saying so.
            let text = if is_alone {
                became.text().trim()
            } else {
                became.text()
            };
            let cuts_within = !is_alone && text.chars().any(|c| self.classes.of(c) & cuts != 0);
            // Only decomposition moves characters.
            if cuts_within || (became.is_odd && (self.lowercase || text.is_empty())) {
                return false;
            }
            normalized.push(text, start, end);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_is_cut_where_a_block_cuts_it() {
        for alone in [BERT_UNCASED_ALONE, BERT_CASED_ALONE] {
            for byte in 0..128u8 {
                let classes = CharClasses::get().of(char::from(byte));
                let is_alone = byte.is_ascii_punctuation();
                assert_eq!(classes & alone != 0, is_alone, "{byte}");
                let is_space = b" \t\n\r".contains(&byte);
                assert_eq!(classes & BERT_SPACE != 0, is_space, "{byte}");
            }
        }
    }
}
