//! One text and its tokens: where they lie in it, in characters, and what stands behind them.

use std::ops::Range;

use super::encoded_column::Part;
use super::post_processor::{Blanks, Trim};
use super::tokens::{Span, Tokens};

/// The tokens of one text, and where its characters lie.
#[derive(Debug)]
pub(super) struct EncodedText<'a> {
    text: &'a str,
    pub(super) tokens: Tokens,
    /// Whether these are all tokens of the text.
    pub(super) is_complete: bool,
    /// Only of use when offsets were asked for.
    characters: CharacterOffsets,
    /// By token, when the reference encoded the text and found spans.
    blanks: Vec<Blanks>,
}

impl<'a> EncodedText<'a> {
    pub(super) fn new(
        text: &'a str,
        tokens: Tokens,
        is_complete: bool,
        with_offsets: bool,
        blanks: Vec<Blanks>,
    ) -> Self {
        let characters = if with_offsets {
            // What lies behind the tokens may be long.
            let ends = tokens.spans().iter().map(|span| span.end as usize);
            let end = if is_complete { None } else { ends.max() };
            CharacterOffsets::new(end.and_then(|end| text.get(..end)).unwrap_or(text))
        } else {
            CharacterOffsets::default()
        };
        Self {
            text,
            tokens,
            is_complete,
            characters,
            blanks,
        }
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// Adds the offsets of the tokens `range`, which are a row.
    pub(super) fn push_offsets(&self, range: Range<usize>, trim: Option<&Trim>, part: &mut Part) {
        let spans = self.tokens.spans().get(range.clone()).unwrap_or_default();
        // Trimming looks at the place of a token in its window, as the crate does.
        let offsets = spans.iter().enumerate().map(|(index, span)| {
            let offsets = self.characters.offsets(*span);
            self.trimmed(index, range.start + index, trim, offsets)
        });
        part.push_offsets(offsets);
    }

    /// How many characters stand behind the first `kept` tokens; `None` when it is not known where
    /// the last of them lies.
    pub(super) fn num_characters_behind(&self, kept: usize, trim: Option<&Trim>) -> Option<usize> {
        let Some(last) = kept.checked_sub(1) else {
            return Some(self.text.chars().count());
        };
        let span = self.tokens.span(last)?;
        let (start, end) = (span.start as usize, span.end as usize);
        let num_characters = |bytes: Range<usize>| {
            let text = self.text.get(bytes).unwrap_or_default();
            text.chars().count()
        };
        let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let before = num_characters(0..start);
        let ends_at = before + num_characters(start..end);
        let offsets = [narrow(before), narrow(ends_at)];
        let [_, trimmed] = self.trimmed(last, last, trim, offsets);
        let behind = num_characters(end..self.text.len());
        Some(behind + ends_at.saturating_sub(trimmed as usize))
    }

    /// The offsets of token `token`, which is number `index` of its row, as they are given out.
    fn trimmed(
        &self,
        index: usize,
        token: usize,
        trim: Option<&Trim>,
        offsets: [u32; 2],
    ) -> [u32; 2] {
        let Some(trim) = trim else {
            return offsets;
        };
        let known = self.blanks.get(token).copied();
        let id = self.tokens.ids().get(token).copied();
        let blanks = known.or_else(|| id.map(|id| trim.blanks(id)));
        trim.apply(index, blanks.unwrap_or_default(), offsets)
    }
}

/// From bytes to characters of one text.
#[derive(Debug, Default)]
struct CharacterOffsets {
    /// By byte: the character that it belongs to; empty for ASCII.
    indices: Vec<u32>,
}

impl CharacterOffsets {
    fn new(text: &str) -> Self {
        let mut indices = Vec::new();
        if !text.is_ascii() {
            indices.reserve(text.len() + 1);
            let mut index = u32::MAX;
            indices.extend(text.bytes().map(|byte| {
                // Every byte but the continuing ones begins a character.
                index = index.wrapping_add(u32::from(byte & 0xC0 != 0x80));
                index
            }));
            indices.push(index.wrapping_add(1));
        }
        Self { indices }
    }

    fn offsets(&self, span: Span) -> [u32; 2] {
        if self.indices.is_empty() {
            return [span.start, span.end];
        }
        let index = |byte: u32| self.indices.get(byte as usize).copied().unwrap_or(byte);
        [index(span.start), index(span.end)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::tokens::Reach;

    /// "né" and "é" of "né éa", the first one without a known span.
    fn encoded(text: &str) -> EncodedText<'_> {
        let mut tokens = Tokens::default();
        let reach = Reach {
            num_tokens: 2,
            spans_from: 1,
        };
        tokens.clear(reach, false);
        tokens.push_inline::<false>(&[7, 0, 0], [3, 0, 0], 1, 1, 0);
        tokens.begin_spans();
        tokens.push_inline::<true>(&[8, 0, 0], [2, 0, 0], 1, 1, 4);
        EncodedText::new(text, tokens, false, true, Vec::new())
    }

    #[test]
    fn characters_behind_a_token_are_counted() {
        let encoded = encoded("né éa 中");
        assert_eq!(encoded.num_characters_behind(0, None), Some(7));
        assert_eq!(encoded.num_characters_behind(1, None), None);
        assert_eq!(encoded.num_characters_behind(2, None), Some(3));
    }

    #[test]
    fn offsets_are_found_without_a_look_at_the_rest() {
        let encoded = encoded("né éa 中");
        assert_eq!(encoded.characters.indices.len(), 7);
        assert_eq!(encoded.characters.offsets(Span::new(4, 6)), [3, 4]);
    }
}
