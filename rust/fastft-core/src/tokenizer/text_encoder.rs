//! One text to its tokens: by the engine as far as they are needed, else by the reference.

use super::EncodeOptions;
use super::encoded_text::EncodedText;
use super::engine::Engine;
use super::loader::Definition;
use super::post_processor::Blanks;
use super::reference;
use super::scratch::Scratch;
use super::tokens::{Reach, Tokens};
use super::window::Window;
use crate::error::{Error, Result};

/// How many tokens before the last one that is kept are encoded with spans: a piece may have more
/// than one, and which of them is the last is not known before.
const NUM_SPANNED: usize = 32;

/// How far texts are encoded that are cut to `room` tokens.
pub(super) fn reach(options: &EncodeOptions, room: usize) -> Reach {
    if options.counts_tokens() {
        return Reach::WHOLE;
    }
    Reach {
        // One more shows that something is cut.
        num_tokens: room.saturating_add(1),
        spans_from: room.saturating_sub(NUM_SPANNED),
    }
}

/// A tokenizer with the options of one call.
#[derive(Debug)]
pub(super) struct TextEncoder<'a> {
    pub(super) definition: &'a Definition,
    pub(super) options: &'a EncodeOptions,
}

impl TextEncoder<'_> {
    /// The tokens of one text as far as `reach` asks, in the buffers of `tokens`.
    ///
    /// # Errors
    ///
    /// [`Error::NotTokenized`].
    pub(super) fn encode<'b>(
        &self,
        row: usize,
        window: &Window<'b>,
        reach: Reach,
        tokens: Tokens,
        scratch: &mut Scratch,
    ) -> Result<EncodedText<'b>> {
        scratch.tokens = tokens;
        let mut blanks = Vec::new();
        let by_pieces = match &self.definition.engine {
            Ok(engine) => self.by_pieces(engine, window, reach, scratch),
            Err(_) => None,
        };
        if by_pieces.is_none() {
            self.whole(window.text(), row, reach, scratch, &mut blanks)?;
        }
        Ok(EncodedText::new(
            window.text(),
            std::mem::replace(&mut scratch.tokens, Tokens::taken()),
            by_pieces.unwrap_or(true),
            self.options.return_offsets_mapping,
            blanks,
        ))
    }

    /// Whether the text was encoded to its end; `None` when it cannot be cut into pieces.
    fn by_pieces(
        &self,
        engine: &Engine,
        window: &Window<'_>,
        reach: Reach,
        scratch: &mut Scratch,
    ) -> Option<bool> {
        let tokenizer = &self.definition.tokenizer;
        let outcome = if self.options.with_spans() || reach.spans_from == 0 {
            engine.encode::<true>(tokenizer, window, reach, scratch)
        } else {
            engine.encode::<false>(tokenizer, window, reach, scratch)
        };
        outcome.ok()
    }

    fn whole(
        &self,
        text: &str,
        row: usize,
        reach: Reach,
        scratch: &mut Scratch,
        blanks: &mut Vec<Blanks>,
    ) -> Result<()> {
        // A text so long will probably be cut.
        let is_long = reach.wants_spans() && text.len() / 4 >= reach.spans_from;
        let with_spans = self.options.with_spans() || is_long;
        let Scratch { piece, tokens, .. } = scratch;
        piece.clear();
        tokens.clear(Reach::WHOLE, with_spans);
        reference::encode(&self.definition.tokenizer, text, with_spans, piece, blanks).map_err(
            |error| Error::NotTokenized {
                row,
                reason: error.to_string(),
            },
        )?;
        if with_spans {
            tokens.push_piece::<true>(&piece.ids, &piece.spans, &piece.words, 0, 0);
        } else {
            tokens.push_piece::<false>(&piece.ids, &[], &[], 0, 0);
        }
        Ok(())
    }

    /// The characters behind the first `kept` tokens; these are encoded once more where nobody
    /// looked where the last one lies.
    ///
    /// # Errors
    ///
    /// [`Error::NotTokenized`].
    pub(super) fn num_lost_characters(
        &self,
        row: usize,
        text: &EncodedText<'_>,
        kept: usize,
        scratch: &mut Scratch,
    ) -> Result<usize> {
        let trim = self.definition.post_processor.trim.as_ref();
        if let Some(lost) = text.num_characters_behind(kept, trim) {
            return Ok(lost);
        }
        let window = Window::alone(text.text());
        let near = match self.definition.engine {
            Ok(_) => kept.saturating_sub(NUM_SPANNED),
            Err(_) => 0,
        };
        for spans_from in [near, 0] {
            let reach = Reach {
                num_tokens: kept,
                spans_from,
            };
            let again = self.encode(row, &window, reach, Tokens::default(), scratch)?;
            if let Some(lost) = again.num_characters_behind(kept, trim) {
                return Ok(lost);
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::loader::{LoadOptions, load};

    const DEFINITION: &str = r###"{
        "version": "1.0", "added_tokens": [], "post_processor": null, "decoder": null,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "lowercase": true,
                       "handle_chinese_chars": true, "strip_accents": null},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "max_input_chars_per_word": 100,
                  "continuing_subword_prefix": "##",
                  "vocab": {"[UNK]": 0, "a": 1, "b": 2, "##b": 3}}
    }"###;

    #[test]
    fn a_text_is_left_where_enough_tokens_are_known() {
        let definition = load(DEFINITION, LoadOptions::default()).unwrap();
        let text = "a ab ".repeat(1000);
        let window = Window::alone(&text);
        // Words of 64 bytes are looked up together.
        for (count_truncated_tokens, room, most) in
            [(false, 10, 74), (false, 300, 364), (true, 40, 3000)]
        {
            let options = EncodeOptions {
                max_length: Some(room),
                count_truncated_tokens,
                ..EncodeOptions::default()
            };
            let texts = TextEncoder {
                definition: &definition,
                options: &options,
            };
            let mut scratch = definition.take_scratch();
            let reach = reach(&options, room);
            let tokens = Tokens::default();
            let encoded = texts.encode(0, &window, reach, tokens, &mut scratch);
            let encoded = encoded.unwrap();
            let found = encoded.tokens.len();
            assert!(room < found && found <= most, "{room}: {found}");
            assert_eq!(found == 3000, count_truncated_tokens);
            assert_eq!(encoded.is_complete, count_truncated_tokens);
        }
    }

    #[test]
    fn lost_characters_are_found_wherever_a_text_is_cut() {
        let definition = load(DEFINITION, LoadOptions::default()).unwrap();
        // One word of 90 tokens, so that no piece ends shortly before the last token that is kept.
        let text = format!("a {} b", "b".repeat(90));
        let options = EncodeOptions {
            max_length: Some(60),
            ..EncodeOptions::default()
        };
        let texts = TextEncoder {
            definition: &definition,
            options: &options,
        };
        let mut scratch = definition.take_scratch();
        let reach = reach(&options, 60);
        let window = Window::alone(&text);
        let encoded = texts.encode(0, &window, reach, Tokens::default(), &mut scratch);
        let encoded = encoded.unwrap();
        for (kept, expected) in [(0, 94), (1, 93), (2, 91), (60, 33), (91, 2)] {
            let lost = texts.num_lost_characters(0, &encoded, kept, &mut scratch);
            assert_eq!(lost, Ok(expected), "{kept}");
        }
    }
}
