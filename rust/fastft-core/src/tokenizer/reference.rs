//! Encoding with the `tokenizers` crate, row by row: what every faster route is compared with.
//!
//! The steps are those of the crate's own `encode`: tokenize, cut (`longest_first`, as
//! `truncation=True` means in transformers), post-process. They are taken one by one here, so that
//! the limit travels with the call and the tokens cut off are dropped at once instead of being
//! post-processed as overflow.
//!
//! One deviation from the crate: a limit below the number of special tokens is an error. In the
//! crate the subtraction wraps around and nothing is cut at all.

use std::ops::Range;

use tokenizers::utils::truncation::TruncationDirection;
use tokenizers::{Encoding, PostProcessor};

use super::encoded_column::Part;
use super::{Definition, EncodeOptions, TextColumn, TruncationSide};
use crate::error::{Error, Result};

/// A tokenizer with the options of one call.
#[derive(Debug)]
pub(super) struct Encoder<'a> {
    definition: &'a Definition,
    add_special_tokens: bool,
    /// The room for tokens of the text: `max_length` less the special tokens.
    room: usize,
    direction: TruncationDirection,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(
        definition: &'a Definition,
        is_pair: bool,
        options: &EncodeOptions,
    ) -> Result<Self> {
        let num_special_tokens = match &definition.post_processor {
            Some(processor) if options.add_special_tokens => processor.added_tokens(is_pair),
            _ => 0,
        };
        let max_length = options.max_length.unwrap_or(usize::MAX);
        let room = max_length
            .checked_sub(num_special_tokens)
            .ok_or(Error::MaxLengthTooSmall {
                max_length,
                num_special_tokens,
            })?;
        Ok(Self {
            definition,
            add_special_tokens: options.add_special_tokens,
            room,
            direction: match options.truncation_side {
                TruncationSide::Left => TruncationDirection::Left,
                TruncationSide::Right => TruncationDirection::Right,
            },
        })
    }

    pub(super) fn encode_rows(
        &self,
        text: &TextColumn<'_>,
        text_pair: Option<&TextColumn<'_>>,
        rows: Range<usize>,
    ) -> Result<Part> {
        let mut part = Part::default();
        for row in rows {
            let pair = text_pair.map(|pair| pair.row(row)).transpose()?;
            let (encoding, num_truncated) =
                self.encode(text.row(row)?, pair)
                    .map_err(|error| Error::NotTokenized {
                        row,
                        reason: error.to_string(),
                    })?;
            part.push(
                row,
                encoding.get_ids(),
                encoding.get_type_ids(),
                num_truncated,
            )?;
        }
        Ok(part)
    }

    /// The encoding of one row and the number of tokens that the limit cost it.
    fn encode(&self, text: &str, pair: Option<&str>) -> tokenizers::Result<(Encoding, usize)> {
        let tokenizer = &self.definition.tokenizer;
        let mut first = tokenizer.encode_fast(text, false)?;
        let mut second = match pair {
            Some(pair) => Some(tokenizer.encode_fast(pair, false)?),
            None => None,
        };
        if let Some(second) = &mut second {
            second.set_type_ids(vec![1; second.len()]);
        }
        let num_truncated = self.truncate(&mut first, second.as_mut());
        Ok((self.post_process(first, second)?, num_truncated))
    }

    fn truncate(&self, first: &mut Encoding, second: Option<&mut Encoding>) -> usize {
        let second_length = second.as_ref().map_or(0, |second| second.len());
        let (keep_first, keep_second) = longest_first(first.len(), second_length, self.room);
        let num_truncated = first.len() - keep_first + second_length - keep_second;
        self.cut(first, keep_first);
        if let Some(second) = second {
            self.cut(second, keep_second);
        }
        num_truncated
    }

    fn cut(&self, encoding: &mut Encoding, keep: usize) {
        if keep < encoding.len() {
            encoding.truncate(keep, 0, self.direction);
            encoding.take_overflowing();
        }
    }

    fn post_process(
        &self,
        first: Encoding,
        second: Option<Encoding>,
    ) -> tokenizers::Result<Encoding> {
        if let Some(processor) = &self.definition.post_processor {
            return processor.process(first, second, self.add_special_tokens);
        }
        let encodings = std::iter::once(first).chain(second).collect();
        let merged = <dyn PostProcessor>::default_process(encodings, self.add_special_tokens)?;
        Ok(Encoding::merge(merged, false))
    }
}

/// How many tokens of each text stay, so that both together have at most `room`: the longer one
/// loses first, until both are equal; an odd last token goes to the one that was longer.
fn longest_first(first: usize, second: usize, room: usize) -> (usize, usize) {
    if first.saturating_add(second) <= room {
        return (first, second);
    }
    let (shorter, longer) = (first.min(second), first.max(second));
    let half = room / 2;
    let (keep_shorter, keep_longer) = if shorter <= half {
        (shorter, longer.min(room - shorter))
    } else {
        (half, room - half)
    };
    if first > second {
        (keep_longer, keep_shorter)
    } else {
        (keep_shorter, keep_longer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_text_loses_first() {
        assert_eq!(longest_first(3, 4, 7), (3, 4));
        assert_eq!(longest_first(3, 9, 7), (3, 4));
        assert_eq!(longest_first(9, 3, 7), (4, 3));
        assert_eq!(longest_first(9, 9, 7), (3, 4));
        assert_eq!(longest_first(9, 8, 7), (4, 3));
        assert_eq!(longest_first(9, 0, 7), (7, 0));
        assert_eq!(longest_first(9, 9, 0), (0, 0));
    }
}
