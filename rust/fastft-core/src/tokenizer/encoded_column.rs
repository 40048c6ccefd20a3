//! A column after encoding: flat ids, and where each row begins.
//!
//! Cost: 4 bytes a token and 8 a row; attention masks and padding are derived later, never kept.

use super::EncodeOptions;
use super::type_ids::{self, TypeIds};
use crate::error::Result;

/// The ids of all rows in one array; row `i` is `ids[row_offsets[i]..row_offsets[i + 1]]`.
///
/// What was not asked for is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncodedColumn {
    /// The token ids of all rows, one row after the other.
    pub ids: Vec<u32>,
    /// Where each row begins, and at the end the number of ids.
    pub row_offsets: Vec<u64>,
    /// The token type ids.
    pub type_ids: TypeIds,
    /// The characters of its text that each token covers, as start, end; 0, 0 for special tokens.
    pub offset_mapping: Vec<[u32; 2]>,
    /// The word of its text that each token belongs to; -1 for special tokens.
    pub word_ids: Vec<i32>,
    /// 1 for the tokens that the post-processor added.
    pub special_tokens_mask: Vec<u8>,
    /// The text that each row comes from.
    pub overflow_to_sample_mapping: Vec<i64>,
    /// How many texts lost tokens to `max_length`.
    pub num_truncated_rows: u64,
    /// How many tokens they lost; zero unless [`EncodeOptions::counts_tokens`].
    pub num_truncated_tokens: u64,
    /// How many of their characters stand behind the end of the last token that was kept (all of
    /// them where none was), that end as `offset_mapping` has it; zero where tokens are counted.
    pub num_truncated_characters: u64,
}

/// What a row lost to the limit.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lost {
    Tokens(usize),
    Characters(usize),
}

/// The encoded rows of one range, before all ranges are put together.
#[derive(Debug)]
pub(super) struct Part {
    columns: EncodedColumn,
    lengths: Vec<u64>,
    type_ids: type_ids::Builder,
    row_start: usize,
    wants: Wants,
}

/// What was asked for.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is asked for by itself")]
struct Wants {
    offsets: bool,
    words: bool,
    special: bool,
    samples: bool,
}

impl Part {
    /// Room for rows of texts of so many bytes, with four of them a token as in English.
    pub(super) fn new(options: &EncodeOptions, num_rows: usize, num_bytes: usize) -> Self {
        let most = options.max_length.unwrap_or(usize::MAX);
        let num_ids = (num_bytes / 4 + 2 * num_rows).min(most.saturating_mul(num_rows));
        Self {
            columns: EncodedColumn {
                ids: Vec::with_capacity(num_ids),
                ..EncodedColumn::default()
            },
            lengths: Vec::with_capacity(num_rows),
            type_ids: type_ids::Builder::default(),
            row_start: 0,
            wants: Wants {
                offsets: options.return_offsets_mapping,
                words: options.return_word_ids,
                special: options.return_special_tokens_mask,
                samples: options.return_overflowing_tokens,
            },
        }
    }

    /// Begins a row that comes from the text `sample`.
    pub(super) fn begin_row(&mut self, sample: usize) {
        self.row_start = self.columns.ids.len();
        self.type_ids.begin_row();
        if self.wants.samples {
            let sample = i64::try_from(sample).unwrap_or(i64::MAX);
            self.columns.overflow_to_sample_mapping.push(sample);
        }
    }

    pub(super) fn push_special(&mut self, row: usize, id: u32, type_id: u32) -> Result<()> {
        self.columns.ids.push(id);
        if self.wants.offsets {
            self.columns.offset_mapping.push([0, 0]);
        }
        if self.wants.words {
            self.columns.word_ids.push(-1);
        }
        if self.wants.special {
            self.columns.special_tokens_mask.push(1);
        }
        self.type_ids.push(row, type_id, 1)
    }

    pub(super) fn push_text(&mut self, row: usize, ids: &[u32], type_id: u32) -> Result<()> {
        self.columns.ids.extend_from_slice(ids);
        if self.wants.special {
            let mask = &mut self.columns.special_tokens_mask;
            mask.resize(mask.len() + ids.len(), 0);
        }
        self.type_ids.push(row, type_id, ids.len())
    }

    pub(super) fn push_words(&mut self, words: &[u32]) {
        if self.wants.words {
            let words = words.iter();
            let words = words.map(|&word| i32::try_from(word).unwrap_or(i32::MAX));
            self.columns.word_ids.extend(words);
        }
    }

    pub(super) fn push_offsets(&mut self, offsets: impl Iterator<Item = [u32; 2]>) {
        self.columns.offset_mapping.extend(offsets);
    }

    pub(super) fn end_row(&mut self) {
        let length = self.columns.ids.len() - self.row_start;
        self.lengths.push(length as u64);
        self.type_ids.end_row();
    }

    /// Counts what one text, or one pair, lost to the limit.
    pub(super) fn count_truncated(&mut self, lost: Lost) {
        self.columns.num_truncated_rows += 1;
        match lost {
            Lost::Tokens(count) => self.columns.num_truncated_tokens += count as u64,
            Lost::Characters(count) => self.columns.num_truncated_characters += count as u64,
        }
    }
}

impl EncodedColumn {
    /// Puts the parts together, in their order.
    pub(super) fn concatenate(parts: Vec<Part>) -> Self {
        let mut whole = Self {
            row_offsets: vec![0],
            ..Self::default()
        };
        let num_ids = parts.iter().map(|part| part.columns.ids.len()).sum();
        whole.ids.reserve_exact(num_ids);
        let mut type_ids = Vec::with_capacity(parts.len());
        let mut end = 0;
        for part in parts {
            whole.row_offsets.extend(part.lengths.iter().map(|length| {
                end += length;
                end
            }));
            type_ids.push(part.type_ids);
            whole.append(&part.columns);
        }
        whole.type_ids = type_ids::Builder::finish(type_ids);
        whole
    }

    fn append(&mut self, part: &Self) {
        self.ids.extend_from_slice(&part.ids);
        self.offset_mapping.extend_from_slice(&part.offset_mapping);
        self.word_ids.extend_from_slice(&part.word_ids);
        self.special_tokens_mask
            .extend_from_slice(&part.special_tokens_mask);
        self.overflow_to_sample_mapping
            .extend_from_slice(&part.overflow_to_sample_mapping);
        self.num_truncated_rows += part.num_truncated_rows;
        self.num_truncated_tokens += part.num_truncated_tokens;
        self.num_truncated_characters += part.num_truncated_characters;
    }
}
