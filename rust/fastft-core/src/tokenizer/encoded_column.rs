//! A column after encoding: flat ids, and where each row begins.
//!
//! Cost: 4 bytes a token and 8 a row; attention masks and padding are derived later, never kept.

use super::type_ids::{self, TypeIds};
use crate::error::Result;

/// The ids of all rows in one array; row `i` is `ids[row_offsets[i]..row_offsets[i + 1]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedColumn {
    /// The token ids of all rows, one row after the other.
    pub ids: Vec<u32>,
    /// Where each row begins, and at the end the number of ids.
    pub row_offsets: Vec<u64>,
    /// The token type ids.
    pub type_ids: TypeIds,
    /// How many rows lost tokens to `max_length`.
    pub num_truncated_rows: u64,
    /// How many tokens they lost.
    pub num_truncated_tokens: u64,
}

/// The encoded rows of one range, before all ranges are put together.
#[derive(Debug, Default)]
pub(super) struct Part {
    ids: Vec<u32>,
    lengths: Vec<u64>,
    type_ids: type_ids::Builder,
    num_truncated_rows: u64,
    num_truncated_tokens: u64,
}

impl Part {
    /// Adds a row, which lost `num_truncated_tokens` to the limit.
    pub(super) fn push(
        &mut self,
        row: usize,
        ids: &[u32],
        type_ids: &[u32],
        num_truncated_tokens: usize,
    ) -> Result<()> {
        self.ids.extend_from_slice(ids);
        self.lengths.push(ids.len() as u64);
        self.num_truncated_rows += u64::from(num_truncated_tokens > 0);
        self.num_truncated_tokens += num_truncated_tokens as u64;
        self.type_ids.push(row, type_ids)
    }
}

impl EncodedColumn {
    /// Puts the parts together, in their order.
    pub(super) fn concatenate(parts: Vec<Part>) -> Self {
        let mut ids = Vec::with_capacity(parts.iter().map(|part| part.ids.len()).sum());
        let mut row_offsets = vec![0];
        let mut type_ids = Vec::with_capacity(parts.len());
        let (mut num_truncated_rows, mut num_truncated_tokens, mut end) = (0, 0, 0);
        for part in parts {
            ids.extend_from_slice(&part.ids);
            row_offsets.extend(part.lengths.iter().map(|length| {
                end += length;
                end
            }));
            type_ids.push(part.type_ids);
            num_truncated_rows += part.num_truncated_rows;
            num_truncated_tokens += part.num_truncated_tokens;
        }
        Self {
            ids,
            row_offsets,
            type_ids: type_ids::Builder::finish(type_ids),
            num_truncated_rows,
            num_truncated_tokens,
        }
    }
}
