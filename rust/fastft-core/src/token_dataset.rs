//! Flat token ids, looked at as a dataset of rows.
//!
//! The arrays stay where they are (numpy, a mapped file); this is a view of slices and free to make.
//! Ids are 16 bit when the vocabulary allows, which halves what a gather has to read.
//!
//! Invariant: [`TokenDataset::new`] checks every offset and id once, in O(ids). A view made
//! without that check ([`TokenDataset::view`]) is still safe: each row that is read is checked.

use std::ops::Range;

use crate::checked_blocks::CheckedBlocks;
use crate::column::{Column, NamedColumn, Ragged};
use crate::error::{Error, Result, expect_length};
use crate::tokenizer::TypeIdsView;

/// Token ids in the width that their vocabulary needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids<'a> {
    /// For vocabularies of at most 65,536 tokens.
    U16(&'a [u16]),
    /// For all others.
    U32(&'a [u32]),
}

impl Ids<'_> {
    /// The number of ids.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::U16(ids) => ids.len(),
            Self::U32(ids) => ids.len(),
        }
    }

    /// Whether there is no id.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first position that holds an id of at least `vocab_size`, and that id.
    fn first_not_below(&self, vocab_size: u32) -> Option<(usize, u32)> {
        fn find<T: Copy + Into<u32>>(ids: &[T], vocab_size: u32) -> Option<(usize, u32)> {
            let position = ids.iter().position(|&id| id.into() >= vocab_size)?;
            Some((position, (*ids.get(position)?).into()))
        }
        match self {
            Self::U16(ids) => find(ids, vocab_size),
            Self::U32(ids) => find(ids, vocab_size),
        }
    }
}

/// A dataset of rows of token ids; row `i` is `ids[row_offsets[i]..row_offsets[i + 1]]`.
#[derive(Debug, Clone, Copy)]
pub struct TokenDataset<'a> {
    ids: Ids<'a>,
    row_offsets: &'a [u64],
    type_ids: TypeIdsView<'a>,
    /// The checksums of the ids, when they lie in a file.
    blocks: Option<&'a CheckedBlocks>,
    columns: &'a [NamedColumn<'a>],
}

impl<'a> TokenDataset<'a> {
    /// Looks at the arrays after checking that they fit together.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`], [`Error::InvalidOffset`], and, where `vocab_size` is given,
    /// [`Error::IdOutOfRange`].
    pub fn new(
        ids: Ids<'a>,
        row_offsets: &'a [u64],
        type_ids: TypeIdsView<'a>,
        vocab_size: Option<u32>,
    ) -> Result<Self> {
        let dataset = Self::view(ids, row_offsets, type_ids);
        dataset.check_offsets()?;
        dataset.check_type_ids()?;
        if let Some(vocab_size) = vocab_size {
            dataset.check_ids(vocab_size)?;
        }
        Ok(dataset)
    }

    /// Looks at the arrays as they are: for arrays that [`TokenDataset::new`] has seen before.
    #[must_use]
    pub fn view(ids: Ids<'a>, row_offsets: &'a [u64], type_ids: TypeIdsView<'a>) -> Self {
        Self {
            ids,
            row_offsets,
            type_ids,
            blocks: None,
            columns: &[],
        }
    }

    /// The same dataset, of which no row is read before its blocks are compared with `blocks`.
    #[must_use]
    pub fn with_blocks(self, blocks: Option<&'a CheckedBlocks>) -> Self {
        Self { blocks, ..self }
    }

    /// The same dataset with columns beside the ids, to be checked by [`Column::check`] once.
    #[must_use]
    pub fn with_columns(self, columns: &'a [NamedColumn<'a>]) -> Self {
        Self { columns, ..self }
    }

    /// The column of that name.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchColumn`].
    pub fn column(&self, name: &str) -> Result<&'a NamedColumn<'a>> {
        let mut columns = self.columns.iter();
        columns
            .find(|column| column.name == name)
            .ok_or_else(|| Error::NoSuchColumn {
                name: name.to_owned(),
            })
    }

    /// The column of that name, whose rows are runs.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchColumn`], [`Error::WrongColumn`].
    pub fn ragged(&self, name: &str) -> Result<Ragged<'a>> {
        match self.column(name)?.column {
            Column::Ragged(ragged) => Ok(ragged),
            _ => Err(Error::WrongColumn {
                name: name.to_owned(),
                expected: "a run of numbers in every row",
            }),
        }
    }

    /// Compares all ids with their checksums, if there are any.
    ///
    /// # Errors
    ///
    /// [`Error::DamagedBlock`].
    pub fn check_blocks(&self) -> Result<()> {
        self.check_range(0..self.ids.len())
    }

    fn check_range(&self, range: Range<usize>) -> Result<()> {
        match (self.blocks, self.ids) {
            (None, _) => Ok(()),
            (Some(blocks), Ids::U16(ids)) => blocks.check(ids, range),
            (Some(blocks), Ids::U32(ids)) => blocks.check(ids, range),
        }
    }

    /// The number of rows.
    #[must_use]
    pub fn num_rows(&self) -> usize {
        self.row_offsets.len().saturating_sub(1)
    }

    /// Where each row begins.
    #[must_use]
    pub fn row_offsets(&self) -> &'a [u64] {
        self.row_offsets
    }

    /// The ids of all rows.
    #[must_use]
    pub fn ids(&self) -> Ids<'a> {
        self.ids
    }

    /// The token type ids of all rows.
    #[must_use]
    pub fn type_ids(&self) -> TypeIdsView<'a> {
        self.type_ids
    }

    /// Where the ids of the row named by `index` lie, and its number.
    ///
    /// # Errors
    ///
    /// [`Error::IndexOutOfRange`] for a row that does not exist (there are no negative ones),
    /// [`Error::InvalidOffset`] when unchecked offsets turn out to be wrong, and
    /// [`Error::DamagedBlock`] when a file does not hold what was written.
    pub fn row(&self, index: i64) -> Result<(usize, Range<usize>)> {
        let out_of_range = Error::IndexOutOfRange {
            index,
            num_examples: self.num_rows(),
        };
        let row = usize::try_from(index).map_err(|_| out_of_range.clone())?;
        let ends = row
            .checked_add(1)
            .and_then(|next| self.row_offsets.get(row..=next));
        let Some(&[start, end]) = ends else {
            return Err(out_of_range);
        };
        let high = self.ids.len() as u64;
        if start > end || end > high {
            return Err(invalid_offset(row, end, start, high));
        }
        // Both are at most `ids.len()`, so nothing is cut off.
        let position = |offset| usize::try_from(offset).unwrap_or(usize::MAX);
        let range = position(start)..position(end);
        self.check_range(range.clone())?;
        Ok((row, range))
    }

    /// The length of the longest row among those named by `indices`; zero when there is none.
    ///
    /// # Errors
    ///
    /// Those of [`Self::row`].
    pub fn longest(&self, indices: &[i64]) -> Result<usize> {
        let mut lengths = indices.iter().map(|&index| Ok(self.row(index)?.1.len()));
        lengths.try_fold(0, |longest, length| Ok(length?.max(longest)))
    }

    fn check_offsets(&self) -> Result<()> {
        let high = self.ids.len() as u64;
        let (Some(&first), Some(&last)) = (self.row_offsets.first(), self.row_offsets.last())
        else {
            return Err(Error::LengthMismatch {
                name: "row_offsets",
                found: 0,
                expected: 1,
            });
        };
        if first != 0 {
            return Err(invalid_offset(0, first, 0, 0));
        }
        for (row, ends) in self.row_offsets.windows(2).enumerate() {
            if let &[start, end] = ends
                && (end < start || end > high)
            {
                return Err(invalid_offset(row, end, start, high));
            }
        }
        if last != high {
            return Err(Error::LengthMismatch {
                name: "ids",
                found: self.ids.len(),
                expected: usize::try_from(last).unwrap_or(usize::MAX),
            });
        }
        Ok(())
    }

    fn check_type_ids(&self) -> Result<()> {
        let (name, found, expected) = match self.type_ids {
            TypeIdsView::Zero => return Ok(()),
            TypeIdsView::Starts(starts) => ("second_segment_starts", starts.len(), self.num_rows()),
            TypeIdsView::Flat(flat) => ("token_type_ids", flat.len(), self.ids.len()),
        };
        expect_length(name, found, expected)
    }

    fn check_ids(&self, vocab_size: u32) -> Result<()> {
        let Some((position, id)) = self.ids.first_not_below(vocab_size) else {
            return Ok(());
        };
        // The offsets rise, so the row is found by halving.
        let position = position as u64;
        let row = self
            .row_offsets
            .partition_point(|&offset| offset <= position);
        Err(Error::IdOutOfRange {
            row: row.saturating_sub(1),
            id,
            vocab_size,
        })
    }
}

fn invalid_offset(row: usize, offset: u64, low: u64, high: u64) -> Error {
    Error::InvalidOffset {
        row,
        offset: offset.into(),
        low,
        high,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: Ids<'static> = Ids::U16(&[7, 8, 9]);

    #[test]
    fn rows_are_ranges_of_the_flat_ids() -> Result<()> {
        let dataset = TokenDataset::new(IDS, &[0, 2, 2, 3], TypeIdsView::Zero, Some(10))?;
        assert_eq!(dataset.num_rows(), 3);
        assert_eq!(dataset.row(0), Ok((0, 0..2)));
        assert_eq!(dataset.row(1), Ok((1, 2..2)));
        assert_eq!(dataset.row(2), Ok((2, 2..3)));
        for index in [-1, 3, i64::MAX, i64::MIN] {
            assert!(matches!(
                dataset.row(index),
                Err(Error::IndexOutOfRange { .. })
            ));
        }
        Ok(())
    }

    #[test]
    fn the_longest_of_some_rows_is_found() -> Result<()> {
        let dataset = TokenDataset::view(IDS, &[0, 2, 2, 3], TypeIdsView::Zero);
        assert_eq!(dataset.longest(&[1, 2, 1])?, 1);
        assert_eq!(dataset.longest(&[2, 0, 1])?, 2);
        assert_eq!(dataset.longest(&[])?, 0);
        assert!(dataset.longest(&[0, 3]).is_err());
        Ok(())
    }

    #[test]
    fn offsets_that_do_not_fit_are_refused() {
        for offsets in [
            &[][..],
            &[0],
            &[1, 3],
            &[0, 2],
            &[0, 2, 1, 3],
            &[0, 4],
            &[0, 9, 3],
        ] {
            let dataset = TokenDataset::new(IDS, offsets, TypeIdsView::Zero, None);
            assert!(dataset.is_err(), "{offsets:?}");
        }
    }

    #[test]
    fn unchecked_offsets_cannot_reach_outside() {
        let dataset = TokenDataset::view(IDS, &[0, 9, 3, u64::MAX], TypeIdsView::Zero);
        for index in 0..3 {
            assert!(matches!(
                dataset.row(index),
                Err(Error::InvalidOffset { .. })
            ));
        }
    }

    #[test]
    fn a_row_of_a_damaged_file_is_not_read() {
        let blocks = CheckedBlocks::new(&[7]);
        let dataset = TokenDataset::view(IDS, &[0, 0, 3], TypeIdsView::Zero);
        let checked = dataset.with_blocks(Some(&blocks));
        let damaged = Error::DamagedBlock { block: 0 };
        assert_eq!(checked.row(1), Err(damaged.clone()));
        assert_eq!(checked.check_blocks(), Err(damaged));
        assert_eq!(checked.row(0), Ok((0, 0..0)));
        assert_eq!(dataset.row(1), Ok((1, 0..3)));
    }

    #[test]
    fn an_id_beyond_the_vocabulary_is_named_with_its_row() {
        let result = TokenDataset::new(IDS, &[0, 1, 1, 3], TypeIdsView::Zero, Some(9));
        let error = Error::IdOutOfRange {
            row: 2,
            id: 9,
            vocab_size: 9,
        };
        assert_eq!(result.err(), Some(error));
    }

    #[test]
    fn type_ids_have_one_entry_a_row_or_a_token() {
        let with = |type_ids| TokenDataset::new(IDS, &[0, 3], type_ids, None);
        assert!(with(TypeIdsView::Starts(&[1])).is_ok());
        assert!(with(TypeIdsView::Starts(&[1, 1])).is_err());
        assert!(with(TypeIdsView::Flat(&[0, 0, 1])).is_ok());
        assert!(with(TypeIdsView::Flat(&[0])).is_err());
    }
}
