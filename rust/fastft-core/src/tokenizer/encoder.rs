//! Row by row: tokens, truncation, special tokens, and what was asked for beside the ids.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::encoded_column::Part;
use super::engine::Engine;
use super::loader::Definition;
use super::post_processor::{self, Blanks, Template};
use super::reference;
use super::scratch::Scratch;
use super::tokens::{Span, Tokens};
use super::truncation::{keep, window, windows};
use super::window::Window;
use super::{EncodeOptions, TextColumn};
use crate::error::{Error, Result};

/// A tokenizer with the options of one call.
#[derive(Debug)]
pub(super) struct Encoder<'a> {
    definition: &'a Definition,
    template: &'a Template,
    options: &'a EncodeOptions,
    /// The room for tokens of the text: `max_length` less the special tokens.
    room: usize,
}

/// The tokens of one text, and where its characters lie.
struct Encoded {
    tokens: Tokens,
    /// Empty when nobody asked for offsets.
    characters: CharacterOffsets,
    /// By token, when the reference encoded the text and offsets are trimmed.
    blanks: Vec<Blanks>,
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
            room,
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
        let mut first = std::mem::replace(&mut scratch.tokens, Tokens::taken());
        let mut second = text_pair.map(|_| Tokens::default());
        for row in rows {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let encoded = self.tokens(text, row, first, &mut scratch)?;
            let pair = match (text_pair, second) {
                (Some(pair), Some(second)) => Some(self.tokens(pair, row, second, &mut scratch)?),
                _ => None,
            };
            self.push_rows(row, &encoded, pair.as_ref(), &mut part)?;
            // The buffers go on to the next row.
            first = encoded.tokens;
            second = pair.map(|pair| pair.tokens);
        }
        scratch.tokens = first;
        definition.give_back(scratch);
        Ok(part)
    }

    /// The tokens of one text, in the buffers of `tokens`.
    fn tokens(
        &self,
        column: &TextColumn<'_>,
        row: usize,
        tokens: Tokens,
        scratch: &mut Scratch,
    ) -> Result<Encoded> {
        let window = column.window(row)?;
        if u32::try_from(window.len()).is_err() {
            return Err(Error::TextTooLong { row });
        }
        let with_spans = self.options.with_spans();
        scratch.tokens = tokens;
        let mut blanks = Vec::new();
        let done = match &self.definition.engine {
            Ok(engine) => self.by_pieces(engine, &window, with_spans, scratch),
            Err(_) => false,
        };
        if !done {
            self.whole(window.text(), row, scratch, &mut blanks)?;
        }
        Ok(Encoded {
            tokens: std::mem::replace(&mut scratch.tokens, Tokens::taken()),
            characters: if self.options.return_offsets_mapping {
                CharacterOffsets::new(window.text())
            } else {
                CharacterOffsets::default()
            },
            blanks,
        })
    }

    fn by_pieces(
        &self,
        engine: &Engine,
        window: &Window<'_>,
        with_spans: bool,
        scratch: &mut Scratch,
    ) -> bool {
        let tokenizer = &self.definition.tokenizer;
        let outcome = if with_spans {
            engine.encode::<true>(tokenizer, window, scratch)
        } else {
            engine.encode::<false>(tokenizer, window, scratch)
        };
        outcome.is_ok()
    }

    fn whole(
        &self,
        text: &str,
        row: usize,
        scratch: &mut Scratch,
        blanks: &mut Vec<Blanks>,
    ) -> Result<()> {
        let with_spans = self.options.with_spans();
        let Scratch { piece, tokens, .. } = scratch;
        piece.clear();
        tokens.clear();
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

    fn push_rows(
        &self,
        row: usize,
        first: &Encoded,
        second: Option<&Encoded>,
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
        part.count_truncated(lengths.0 - keep_first + lengths.1 - keep_second);
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

    /// Adds a row made of a window of each text.
    fn push_row(
        &self,
        row: usize,
        first: &Encoded,
        second: Option<&Encoded>,
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

    fn push_spans(&self, text: &Encoded, range: Range<usize>, part: &mut Part) {
        let words = text.tokens.words().get(range.clone()).unwrap_or_default();
        part.push_words(words);
        if !self.options.return_offsets_mapping {
            return;
        }
        let spans = text.tokens.spans().get(range.clone()).unwrap_or_default();
        let ids = text.tokens.ids().get(range.clone()).unwrap_or_default();
        let trim = self.definition.post_processor.trim.as_ref();
        // Trimming looks at the place of a token in its window, as the crate does.
        let offsets = spans
            .iter()
            .zip(ids)
            .enumerate()
            .map(|(index, (span, &id))| {
                let offsets = text.characters.offsets(*span);
                match trim {
                    None => offsets,
                    Some(trim) => {
                        let known = text.blanks.get(range.start + index).copied();
                        trim.apply(index, known.unwrap_or_else(|| trim.blanks(id)), offsets)
                    }
                }
            });
        part.push_offsets(offsets);
    }
}

/// From bytes to characters of one text.
#[derive(Default)]
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
