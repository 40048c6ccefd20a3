//! Rows in a rectangle: how wide it is, and how it is written.

use std::iter::repeat_n;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::token_dataset::Ids;
use crate::tokenizer::TypeIdsView;

use super::Place;

/// How wide a batch is, before it is rounded up to a multiple.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// As wide as its longest row.
    Longest,
    /// As wide as this; a longer row is an error.
    Fixed(usize),
}

/// Where the padding goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaddingSide {
    /// Before the tokens.
    Left,
    /// After the tokens.
    Right,
}

/// How rows are padded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Padding {
    /// What fills `input_ids`.
    pub pad_token_id: i64,
    /// What fills `token_type_ids`; `None` when the batch has none.
    pub pad_token_type_id: Option<i64>,
    /// Whether the batch has an `attention_mask`.
    pub attention_mask: bool,
    /// How wide the batch is.
    pub width: Width,
    /// The width is rounded up to a multiple of this.
    pub pad_to_multiple_of: Option<usize>,
    /// Where the padding goes.
    pub padding_side: PaddingSide,
}

impl Padding {
    /// The rectangle that holds `places`.
    pub(super) fn frame(&self, places: &[Place]) -> Result<Frame> {
        let longest = places.iter().max_by_key(|place| place.len());
        let (row, length) = longest.map_or((0, 0), |place| (place.row, place.len()));
        let width = match self.width {
            Width::Longest => length,
            Width::Fixed(width) => width,
        };
        let frame = self.frame_of(places.len(), width)?;
        if length > frame.width {
            let width = frame.width;
            return Err(Error::RowTooLong { row, length, width });
        }
        Ok(frame)
    }

    /// A rectangle of `num_rows` rows that holds `width` values in each, rounded up.
    pub(super) fn frame_of(&self, num_rows: usize, width: usize) -> Result<Frame> {
        let rounded = match self.pad_to_multiple_of {
            None => Some(width),
            Some(0) => {
                return Err(Error::Zero {
                    name: "pad_to_multiple_of",
                });
            }
            Some(multiple) => width.checked_next_multiple_of(multiple),
        };
        Ok(Frame {
            num_rows,
            width: rounded.ok_or(Error::BatchTooLarge {
                num_rows,
                width: usize::MAX,
            })?,
            side: self.padding_side,
        })
    }
}

/// The shape of a matrix, and the side that is padded. Each matrix is written once, front to back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) num_rows: usize,
    pub(super) width: usize,
    pub(super) side: PaddingSide,
}

impl Frame {
    pub(super) fn input_ids(&self, ids: Ids<'_>, places: &[Place], pad: i64) -> Result<Vec<i64>> {
        match ids {
            Ids::U16(ids) => self.gather(ids, places, pad),
            Ids::U32(ids) => self.gather(ids, places, pad),
        }
    }

    pub(super) fn attention_mask(&self, places: &[Place]) -> Result<Vec<i64>> {
        self.fill(
            places
                .iter()
                .map(|place| (place.len(), repeat_n(1, place.len()))),
            0,
        )
    }

    pub(super) fn type_ids(
        &self,
        type_ids: TypeIdsView<'_>,
        places: &[Place],
        pad: i64,
    ) -> Result<Vec<i64>> {
        let rows = places.iter().map(|place| (place.row, place.len()));
        match type_ids {
            TypeIdsView::Zero => self.fill(rows.map(|(_, len)| (len, repeat_n(0, len))), pad),
            TypeIdsView::Starts(starts) => {
                let row = |(row, len): (usize, usize)| {
                    let start = starts.get(row).map_or(len, |&start| start as usize);
                    let start = start.min(len);
                    (len, repeat_n(0, start).chain(repeat_n(1, len - start)))
                };
                self.fill(rows.map(row), pad)
            }
            TypeIdsView::Flat(flat) => self.gather(flat, places, pad),
        }
    }

    /// The values of `source` at each place, padded with `pad`.
    fn gather<T: Copy + Into<i64>>(
        &self,
        source: &[T],
        places: &[Place],
        pad: i64,
    ) -> Result<Vec<i64>> {
        self.fill_rows(places.iter().map(|place| values(source, &place.ids)), pad)
    }

    /// Writes rows that lie somewhere as they are.
    pub(super) fn fill_rows<'s, T: Copy + Into<i64> + 's>(
        &self,
        rows: impl Iterator<Item = &'s [T]>,
        pad: i64,
    ) -> Result<Vec<i64>> {
        let row = |row: &'s [T]| (row.len(), row.iter().map(|&value| value.into()));
        self.fill(rows.map(row), pad)
    }

    /// Writes each row of `(length, values)` and its padding.
    fn fill<V: Iterator<Item = i64>>(
        &self,
        rows: impl Iterator<Item = (usize, V)>,
        pad: i64,
    ) -> Result<Vec<i64>> {
        let mut output = self.allocate()?;
        for (length, values) in rows {
            self.push(&mut output, length, values, pad);
        }
        Ok(output)
    }

    /// Writes one row and its padding; gives the columns in which its values stand.
    pub(super) fn push(
        &self,
        output: &mut Vec<i64>,
        length: usize,
        values: impl Iterator<Item = i64>,
        pad: i64,
    ) -> Range<usize> {
        let padding = repeat_n(pad, self.width.saturating_sub(length));
        // Not chained: each half is a loop of its own that the compiler makes wide.
        if self.side == PaddingSide::Left {
            output.extend(padding);
            let start = output.len();
            output.extend(values);
            start..output.len()
        } else {
            let start = output.len();
            output.extend(values);
            let end = output.len();
            output.extend(padding);
            start..end
        }
    }

    /// Memory for the whole matrix.
    pub(super) fn allocate(&self) -> Result<Vec<i64>> {
        let size = self.num_rows.checked_mul(self.width);
        allocate(size.unwrap_or(usize::MAX)).ok_or(Error::BatchTooLarge {
            num_rows: self.num_rows,
            width: self.width,
        })
    }
}

/// Memory for `size` values, if there is as much.
pub(super) fn allocate<T>(size: usize) -> Option<Vec<T>> {
    let mut output = Vec::new();
    output.try_reserve_exact(size).ok()?;
    Some(output)
}

/// The part of `source` that `range` names; it was checked when the row was looked up.
pub(super) fn values<'s, T>(source: &'s [T], range: &Range<usize>) -> &'s [T] {
    source.get(range.clone()).unwrap_or_default()
}
