//! One batch: rows gathered from the flat ids, widened to 64 bit and padded to one width.
//!
//! Cost: each output is written once, front to back; about 3 times 8 bytes a padded token, which
//! makes the memory bus the limit and threads useless for the few rows of a batch.

use std::iter::repeat_n;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::token_dataset::{Ids, TokenDataset};
use crate::tokenizer::TypeIdsView;

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
    /// How wide the batch is.
    pub width: Width,
    /// The width is rounded up to a multiple of this.
    pub pad_to_multiple_of: Option<usize>,
    /// Where the padding goes.
    pub padding_side: PaddingSide,
}

/// A batch of shape `(num_rows, width)`, row after row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The token ids.
    pub input_ids: Vec<i64>,
    /// 1 at tokens, 0 at padding.
    pub attention_mask: Vec<i64>,
    /// The token type ids, when they were asked for.
    pub token_type_ids: Option<Vec<i64>>,
    /// The number of rows.
    pub num_rows: usize,
    /// The width of every row.
    pub width: usize,
}

/// Gathers and pads the rows named by `indices`.
///
/// # Errors
///
/// [`Error::IndexOutOfRange`], [`Error::RowTooLong`] for a fixed width, [`Error::Zero`] for a
/// multiple of zero, [`Error::BatchTooLarge`] when there is no memory for it.
pub fn collate(dataset: &TokenDataset<'_>, indices: &[i64], padding: &Padding) -> Result<Batch> {
    let rows = indices
        .iter()
        .map(|&index| dataset.row(index))
        .collect::<Result<Vec<_>>>()?;
    let width = padded_width(&rows, padding)?;
    let layout = Layout {
        num_rows: rows.len(),
        width,
        side: padding.padding_side,
    };
    let ranges = || rows.iter().map(|(_, range)| range.clone());
    let lengths = || rows.iter().map(|(_, range)| range.len());
    let input_ids = match dataset.ids() {
        Ids::U16(ids) => layout.gather(ids, ranges(), padding.pad_token_id)?,
        Ids::U32(ids) => layout.gather(ids, ranges(), padding.pad_token_id)?,
    };
    let attention_mask = layout.fill(lengths().map(|length| (length, repeat_n(1, length))), 0)?;
    let token_type_ids = match padding.pad_token_type_id {
        Some(pad) => Some(layout.type_ids(dataset.type_ids(), &rows, pad)?),
        None => None,
    };
    Ok(Batch {
        input_ids,
        attention_mask,
        token_type_ids,
        num_rows: rows.len(),
        width,
    })
}

fn padded_width(rows: &[(usize, Range<usize>)], padding: &Padding) -> Result<usize> {
    let longest = rows.iter().max_by_key(|(_, range)| range.len());
    let (row, length) = longest.map_or((0, 0), |(row, range)| (*row, range.len()));
    let width = match padding.width {
        Width::Longest => length,
        Width::Fixed(width) => width,
    };
    let width = match padding.pad_to_multiple_of {
        Some(0) => {
            return Err(Error::Zero {
                name: "pad_to_multiple_of",
            });
        }
        Some(multiple) => width
            .checked_next_multiple_of(multiple)
            .ok_or(Error::BatchTooLarge {
                num_rows: rows.len(),
                width: usize::MAX,
            })?,
        None => width,
    };
    if length > width {
        return Err(Error::RowTooLong { row, length, width });
    }
    Ok(width)
}

/// The shape of a batch, and the side that is padded.
struct Layout {
    num_rows: usize,
    width: usize,
    side: PaddingSide,
}

impl Layout {
    /// The values of `source` at each range, padded with `pad`.
    fn gather<T: Copy + Into<i64>>(
        &self,
        source: &[T],
        ranges: impl Iterator<Item = Range<usize>>,
        pad: i64,
    ) -> Result<Vec<i64>> {
        let row = |range: Range<usize>| {
            let values = source.get(range).unwrap_or_default();
            (values.len(), values.iter().map(|&value| value.into()))
        };
        self.fill(ranges.map(row), pad)
    }

    fn type_ids(
        &self,
        type_ids: TypeIdsView<'_>,
        rows: &[(usize, Range<usize>)],
        pad: i64,
    ) -> Result<Vec<i64>> {
        let lengths = rows.iter().map(|(row, range)| (*row, range.len()));
        match type_ids {
            TypeIdsView::Zero => self.fill(lengths.map(|(_, len)| (len, repeat_n(0, len))), pad),
            TypeIdsView::Starts(starts) => {
                let row = |(row, len): (usize, usize)| {
                    let start = starts
                        .get(row)
                        .map_or(len, |&start| start as usize)
                        .min(len);
                    (len, repeat_n(0, start).chain(repeat_n(1, len - start)))
                };
                self.fill(lengths.map(row), pad)
            }
            TypeIdsView::Flat(flat) => {
                self.gather(flat, rows.iter().map(|(_, range)| range.clone()), pad)
            }
        }
    }

    /// Writes each row of `(length, values)` and its padding.
    fn fill<V: Iterator<Item = i64>>(
        &self,
        rows: impl Iterator<Item = (usize, V)>,
        pad: i64,
    ) -> Result<Vec<i64>> {
        let mut output = self.allocate()?;
        for (length, values) in rows {
            let padding = repeat_n(pad, self.width.saturating_sub(length));
            // Not chained: each half is a loop of its own that the compiler makes wide.
            if self.side == PaddingSide::Left {
                output.extend(padding);
                output.extend(values);
            } else {
                output.extend(values);
                output.extend(padding);
            }
        }
        Ok(output)
    }

    fn allocate(&self) -> Result<Vec<i64>> {
        let too_large = Error::BatchTooLarge {
            num_rows: self.num_rows,
            width: self.width,
        };
        let Some(size) = self.num_rows.checked_mul(self.width) else {
            return Err(too_large);
        };
        let mut output = Vec::new();
        output.try_reserve_exact(size).map_err(|_| too_large)?;
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PADDING: Padding = Padding {
        pad_token_id: -7,
        pad_token_type_id: Some(9),
        width: Width::Longest,
        pad_to_multiple_of: None,
        padding_side: PaddingSide::Right,
    };

    fn dataset() -> TokenDataset<'static> {
        let starts = TypeIdsView::Starts(&[1, 0, 1]);
        TokenDataset::view(Ids::U16(&[1, 2, 3, 4]), &[0, 3, 3, 4], starts)
    }

    #[test]
    fn rows_are_padded_to_the_longest() -> Result<()> {
        let batch = collate(&dataset(), &[2, 0], &PADDING)?;
        assert_eq!((batch.num_rows, batch.width), (2, 3));
        assert_eq!(batch.input_ids, [4, -7, -7, 1, 2, 3]);
        assert_eq!(batch.attention_mask, [1, 0, 0, 1, 1, 1]);
        assert_eq!(batch.token_type_ids, Some(vec![0, 9, 9, 0, 1, 1]));
        Ok(())
    }

    #[test]
    fn padding_goes_to_the_side_and_multiple_asked_for() -> Result<()> {
        let padding = Padding {
            pad_to_multiple_of: Some(2),
            padding_side: PaddingSide::Left,
            pad_token_type_id: None,
            ..PADDING
        };
        let batch = collate(&dataset(), &[2, 1, 0], &padding)?;
        assert_eq!(batch.width, 4);
        assert_eq!(
            batch.input_ids,
            [-7, -7, -7, 4, -7, -7, -7, -7, -7, 1, 2, 3]
        );
        assert_eq!(batch.attention_mask, [0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, 1]);
        assert_eq!(batch.token_type_ids, None);
        Ok(())
    }

    #[test]
    fn what_cannot_be_done_is_an_error() {
        let with = |width, pad_to_multiple_of| Padding {
            width,
            pad_to_multiple_of,
            ..PADDING
        };
        let error = |indices, padding| collate(&dataset(), indices, &padding).err();
        let longest = with(Width::Longest, None);
        assert!(matches!(
            error(&[3], longest),
            Some(Error::IndexOutOfRange { .. })
        ));
        assert!(matches!(
            error(&[-1], longest),
            Some(Error::IndexOutOfRange { .. })
        ));
        let too_long = Error::RowTooLong {
            row: 0,
            length: 3,
            width: 2,
        };
        assert_eq!(error(&[1, 0], with(Width::Fixed(2), None)), Some(too_long));
        let zero = with(Width::Longest, Some(0));
        assert!(matches!(error(&[0], zero), Some(Error::Zero { .. })));
        let huge = with(Width::Fixed(usize::MAX / 2), None);
        assert!(matches!(
            error(&[0, 1, 2], huge),
            Some(Error::BatchTooLarge { .. })
        ));
        let beyond = with(Width::Fixed(usize::MAX), Some(2));
        assert!(matches!(
            error(&[0], beyond),
            Some(Error::BatchTooLarge { .. })
        ));
    }

    #[test]
    fn an_empty_batch_is_empty() -> Result<()> {
        let batch = collate(&dataset(), &[], &PADDING)?;
        assert_eq!((batch.num_rows, batch.width), (0, 0));
        assert!(batch.input_ids.is_empty());
        Ok(())
    }

    /// The plain version: one cell at a time.
    fn cell(row: &[u32], width: usize, side: PaddingSide, column: usize) -> Option<i64> {
        let first = match side {
            PaddingSide::Left => width - row.len(),
            PaddingSide::Right => 0,
        };
        let position = column.checked_sub(first)?;
        row.get(position).map(|&id| i64::from(id))
    }

    proptest! {
        #[test]
        fn every_cell_is_the_plain_one(
            rows in prop::collection::vec(prop::collection::vec(0_u32..70_000, 0..9), 1..9),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..9),
            multiple in prop::option::of(1_usize..9),
            left: bool,
        ) {
            let flat = rows.concat();
            let mut offsets = vec![0];
            offsets.extend(rows.iter().scan(0, |end, row| { *end += row.len() as u64; Some(*end) }));
            let dataset = TokenDataset::new(Ids::U32(&flat), &offsets, TypeIdsView::Zero, None)?;
            let picks: Vec<usize> = picks.iter().map(|pick| pick.index(rows.len())).collect();
            let indices: Vec<i64> = picks.iter().map(|&pick| i64::try_from(pick)).collect::<std::result::Result<_, _>>()?;
            let side = if left { PaddingSide::Left } else { PaddingSide::Right };
            let padding = Padding { pad_to_multiple_of: multiple, padding_side: side, ..PADDING };
            let batch = collate(&dataset, &indices, &padding)?;

            let longest = picks.iter().map(|&pick| rows[pick].len()).max().unwrap_or(0);
            prop_assert_eq!(batch.width, longest.next_multiple_of(multiple.unwrap_or(1)));
            prop_assert_eq!(batch.input_ids.len(), picks.len() * batch.width);
            for (position, &value) in batch.input_ids.iter().enumerate() {
                let (row, column) = (&rows[picks[position / batch.width]], position % batch.width);
                let expected = cell(row, batch.width, side, column);
                prop_assert_eq!(value, expected.unwrap_or(-7));
                prop_assert_eq!(batch.attention_mask[position], i64::from(expected.is_some()));
            }
        }
    }
}
