//! Row by row: tokens, truncation, special tokens, and what was asked for beside the ids.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::encoded_column::{Lost, Part};
use super::encoded_text::EncodedText;
use super::loader::Definition;
use super::post_processor::{self, Template};
use super::scratch::Scratch;
use super::text_encoder::{self, TextEncoder};
use super::tokens::{Reach, Tokens};
use super::truncation::{Length, is_decided, keep, window, windows};
use super::window::Window;
use super::{EncodeOptions, TextColumn};
use crate::error::{Error, Result};

/// A tokenizer with the options of one call.
#[derive(Debug)]
pub(super) struct Encoder<'a> {
    definition: &'a Definition,
    template: &'a Template,
    options: &'a EncodeOptions,
    texts: TextEncoder<'a>,
    /// The room for tokens of the text: `max_length` less the special tokens.
    room: usize,
    /// How far a text is encoded at first.
    reach: Reach,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(
        definition: &'a Definition,
        is_pair: bool,
        options: &'a EncodeOptions,
    ) -> Result<Self> {
        let post_processor = &definition.post_processor;
        let template = post_processor.template(options.add_special_tokens, is_pair);
        let num_special_tokens = template.num_special_tokens();
        let max_length = options.max_length.unwrap_or(usize::MAX);
        let room = max_length
            .checked_sub(num_special_tokens)
            .ok_or(Error::MaxLengthTooSmall {
                max_length,
                num_special_tokens,
            })?;
        if options.stride > 0 && options.stride >= room {
            return Err(Error::StrideTooLarge {
                stride: options.stride,
                room,
            });
        }
        Ok(Self {
            definition,
            template,
            options,
            texts: TextEncoder {
                definition,
                options,
            },
            room,
            reach: text_encoder::reach(options, room),
        })
    }

    pub(super) fn encode_rows(
        &self,
        text: &TextColumn<'_>,
        text_pair: Option<&TextColumn<'_>>,
        rows: Range<usize>,
        stop: &AtomicBool,
    ) -> Result<Part> {
        let definition = self.definition;
        let mut scratch = definition.take_scratch();
        let mut part = Part::new(self.options, rows.len(), text.num_bytes(&rows));
        // New buffers cost more than a short row.
        let first = std::mem::replace(&mut scratch.tokens, Tokens::taken());
        let second = text_pair.map(|_| Tokens::default());
        let mut buffers = (first, second.unwrap_or_else(Tokens::taken));
        for row in rows {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let texts = (text_of(text, row)?, text_of_pair(text_pair, row)?);
            let (first, second) = self.decided(row, texts, buffers, &mut scratch)?;
            self.push_rows(row, &first, second.as_ref(), &mut scratch, &mut part)?;
            // The buffers go on to the next row.
            let second = second.map_or_else(Tokens::taken, |pair| pair.tokens);
            buffers = (first.tokens, second);
        }
        scratch.tokens = buffers.0;
        definition.give_back(scratch);
        Ok(part)
    }

    /// Encodes a text, or a pair, until it is known which tokens are kept.
    fn decided<'b>(
        &self,
        row: usize,
        (text, pair): (Window<'b>, Option<Window<'b>>),
        mut buffers: (Tokens, Tokens),
        scratch: &mut Scratch,
    ) -> Result<(EncodedText<'b>, Option<EncodedText<'b>>)> {
        let mut reach = self.reach;
        loop {
            let first = self.texts.encode(row, &text, reach, buffers.0, scratch)?;
            let second = pair
                .as_ref()
                .map(|pair| self.texts.encode(row, pair, reach, buffers.1, scratch))
                .transpose()?;
            let lengths = (length(&first), second.as_ref().map_or(NO_TOKENS, length));
            let strategy = self.options.truncation_strategy;
            if is_decided(strategy, lengths.0, lengths.1, self.room) {
                return Ok((first, second));
            }
            // Until the shorter one ends; that all rounds together cost little more than the last.
            reach.num_tokens = reach.num_tokens.saturating_mul(4);
            buffers = (
                first.tokens,
                second.map_or_else(Tokens::taken, |pair| pair.tokens),
            );
        }
    }

    fn push_rows(
        &self,
        row: usize,
        first: &EncodedText<'_>,
        second: Option<&EncodedText<'_>>,
        scratch: &mut Scratch,
        part: &mut Part,
    ) -> Result<()> {
        let options = self.options;
        let lengths = (
            first.tokens.len(),
            second.map_or(0, |pair| pair.tokens.len()),
        );
        let kept = keep(options.truncation_strategy, lengths.0, lengths.1, self.room);
        let (keep_first, keep_second) = kept.ok_or(Error::TooLittleToTruncate {
            row,
            num_tokens: lengths.0 + lengths.1,
            room: self.room,
        })?;
        if (keep_first, keep_second) != lengths {
            let texts = [(Some(first), keep_first), (second, keep_second)];
            part.count_truncated(self.lost(row, texts, scratch)?);
        }
        let side = options.truncation_side;
        if !options.return_overflowing_tokens {
            let whole = [
                window(lengths.0, keep_first, 0, side),
                window(lengths.1, keep_second, 0, side),
            ];
            return self.push_row(row, first, second, &whole, [false; 2], part);
        }
        let firsts = windows(lengths.0, keep_first, options.stride, side);
        let seconds = windows(lengths.1, keep_second, options.stride, side);
        // The order of the crate: what did not fit of the first text with all of the second, then
        // the first window of the first text with the rest of the second.
        let order = (1..firsts.len()).flat_map(|a| (0..seconds.len()).map(move |b| (a, b)));
        let rest = (1..seconds.len()).map(|b| (0, b));
        for (a, b) in std::iter::once((0, 0)).chain(order).chain(rest) {
            let chosen = [firsts[a].clone(), seconds[b].clone()];
            self.push_row(row, first, second, &chosen, [a > 0, b > 0], part)?;
        }
        Ok(())
    }

    /// What texts lose of which so many tokens are kept.
    fn lost(
        &self,
        row: usize,
        texts: [(Option<&EncodedText<'_>>, usize); 2],
        scratch: &mut Scratch,
    ) -> Result<Lost> {
        let texts = texts
            .into_iter()
            .filter_map(|(text, kept)| text.map(|text| (text, kept)))
            .filter(|(text, kept)| text.tokens.len() > *kept);
        if self.options.counts_tokens() {
            let lost = texts.map(|(text, kept)| text.tokens.len() - kept);
            return Ok(Lost::Tokens(lost.sum()));
        }
        let mut lost = 0;
        for (text, kept) in texts {
            lost += self.texts.num_lost_characters(row, text, kept, scratch)?;
        }
        Ok(Lost::Characters(lost))
    }

    /// Adds a row made of a window of each text.
    fn push_row(
        &self,
        row: usize,
        first: &EncodedText<'_>,
        second: Option<&EncodedText<'_>>,
        chosen: &[Range<usize>; 2],
        overflows: [bool; 2],
        part: &mut Part,
    ) -> Result<()> {
        part.begin_row(row);
        for &piece in &self.template.parts {
            match piece {
                post_processor::Part::Special { id, type_id } => {
                    part.push_special(row, id, type_id)?;
                }
                post_processor::Part::Text {
                    index,
                    type_id,
                    overflow_type_id,
                } => {
                    let Some(text) = (if index == 0 { Some(first) } else { second }) else {
                        continue;
                    };
                    let range = chosen[index].clone();
                    let type_id = if overflows[index] {
                        overflow_type_id
                    } else {
                        type_id
                    };
                    let ids = text.tokens.ids().get(range.clone()).unwrap_or_default();
                    part.push_text(row, ids, type_id)?;
                    if self.options.with_spans() {
                        self.push_spans(text, range, part);
                    }
                }
            }
        }
        part.end_row();
        Ok(())
    }

    fn push_spans(&self, text: &EncodedText<'_>, range: Range<usize>, part: &mut Part) {
        let words = text.tokens.words().get(range.clone()).unwrap_or_default();
        part.push_words(words);
        if self.options.return_offsets_mapping {
            let trim = self.definition.post_processor.trim.as_ref();
            text.push_offsets(range, trim, part);
        }
    }
}

/// A text that is not there.
const NO_TOKENS: Length = Length {
    num_tokens: 0,
    is_exact: true,
};

fn length(text: &EncodedText<'_>) -> Length {
    Length {
        num_tokens: text.tokens.len(),
        is_exact: text.is_complete,
    }
}

fn text_of<'b>(column: &TextColumn<'b>, row: usize) -> Result<Window<'b>> {
    let window = column.window(row)?;
    if u32::try_from(window.len()).is_err() {
        return Err(Error::TextTooLong { row });
    }
    Ok(window)
}

fn text_of_pair<'b>(column: Option<&TextColumn<'b>>, row: usize) -> Result<Option<Window<'b>>> {
    column.map(|column| text_of(column, row)).transpose()
}
