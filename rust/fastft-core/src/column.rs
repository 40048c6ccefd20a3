//! Columns beside the token ids: an entry a row (or a vector of one size), or a run of numbers a row.
//!
//! Views of arrays that lie elsewhere, like the dataset itself. [`Column::check`] looks once whether a
//! column fits a dataset; every row that is read is checked again, so a view is safe without it.

use crate::error::{Error, Result, expect_length};

/// A column and the name it goes by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NamedColumn<'a> {
    /// The name.
    pub name: &'a str,
    /// Its values.
    pub column: Column<'a>,
}

/// The values of a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Column<'a> {
    /// Whole numbers, as many a row as the second number says.
    Integers(&'a [i64], usize),
    /// Other numbers, as many a row as the second number says.
    Floats(&'a [f32], usize),
    /// A run of whole numbers a row.
    Ragged(Ragged<'a>),
}

impl Column<'_> {
    /// Whether the column has an entry for each row.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`], [`Error::InvalidOffset`].
    pub fn check(&self, num_rows: usize) -> Result<()> {
        let (found, width) = match *self {
            Column::Integers(values, width) => (values.len(), width),
            Column::Floats(values, width) => (values.len(), width),
            Column::Ragged(ragged) => return ragged.check(num_rows),
        };
        expect_length("a column", found, num_rows.saturating_mul(width))
    }
}

/// Runs of numbers; row `i` is `values[offsets[i]..offsets[i + 1]]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ragged<'a> {
    /// The values of all rows.
    pub values: &'a [i32],
    /// Where each row begins.
    pub offsets: &'a [i64],
}

impl<'a> Ragged<'a> {
    /// The values of a row.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOffset`], [`Error::LengthMismatch`] for a row that it does not have.
    pub fn row(&self, row: usize) -> Result<&'a [i32]> {
        let Some(&[start, end]) = self.offsets.get(row..row.saturating_add(2)) else {
            return Err(Error::LengthMismatch {
                name: "a column",
                found: self.offsets.len().saturating_sub(1),
                expected: row.saturating_add(1),
            });
        };
        let position = |offset: i64| usize::try_from(offset).ok();
        position(start)
            .zip(position(end))
            .and_then(|(start, end)| self.values.get(start..end))
            .ok_or(Error::InvalidOffset {
                row,
                offset: end.into(),
                low: u64::try_from(start).unwrap_or(0),
                high: self.values.len() as u64,
            })
    }

    fn check(&self, num_rows: usize) -> Result<()> {
        let found = self.offsets.len().saturating_sub(1);
        if found != num_rows || self.offsets.is_empty() {
            return Err(Error::LengthMismatch {
                name: "a column",
                found,
                expected: num_rows,
            });
        }
        (0..num_rows).try_for_each(|row| self.row(row).map(|_| ()))
    }
}

/// Some rows of a column that has as many numbers in each, one row after the other.
#[derive(Debug, Clone, PartialEq)]
pub enum Gathered {
    /// Of [`Column::Integers`].
    Integers(Vec<i64>),
    /// Of [`Column::Floats`].
    Floats(Vec<f32>),
}

/// Gathers rows of `column`.
///
/// # Errors
///
/// [`Error::LengthMismatch`] for a row that it does not have, [`Error::WrongColumn`] for a ragged one.
pub fn gather(
    named: &NamedColumn<'_>,
    rows: impl ExactSizeIterator<Item = usize>,
) -> Result<Gathered> {
    match named.column {
        Column::Integers(values, width) => copy_rows(values, width, rows).map(Gathered::Integers),
        Column::Floats(values, width) => copy_rows(values, width, rows).map(Gathered::Floats),
        Column::Ragged(_) => Err(Error::WrongColumn {
            name: named.name.to_owned(),
            expected: "as many numbers in every row",
        }),
    }
}

fn copy_rows<T: Copy>(
    values: &[T],
    width: usize,
    rows: impl ExactSizeIterator<Item = usize>,
) -> Result<Vec<T>> {
    let mut gathered = Vec::with_capacity(rows.len().saturating_mul(width));
    for row in rows {
        let start = row.saturating_mul(width);
        let entry = values.get(start..start.saturating_add(width));
        gathered.extend_from_slice(entry.ok_or(Error::LengthMismatch {
            name: "a column",
            found: values.len(),
            expected: start.saturating_add(width),
        })?);
    }
    Ok(gathered)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAGGED: Ragged<'static> = Ragged {
        values: &[5, 6, -100],
        offsets: &[0, 2, 2, 3],
    };

    #[test]
    fn rows_of_a_ragged_column_are_runs() -> Result<()> {
        assert_eq!(RAGGED.row(0)?, [5, 6]);
        assert!(RAGGED.row(1)?.is_empty());
        assert_eq!(RAGGED.row(2)?, [-100]);
        assert!(RAGGED.row(3).is_err());
        assert!(RAGGED.row(usize::MAX).is_err());
        Ok(())
    }

    #[test]
    fn columns_that_do_not_fit_are_refused() {
        assert!(Column::Ragged(RAGGED).check(3).is_ok());
        assert!(Column::Ragged(RAGGED).check(2).is_err());
        for offsets in [&[][..], &[0], &[-1, 2], &[0, 4], &[2, 1], &[i64::MIN, 0]] {
            let ragged = Ragged { offsets, ..RAGGED };
            assert!(Column::Ragged(ragged).check(1).is_err(), "{offsets:?}");
        }
        assert!(Column::Integers(&[1, 2, 3, 4], 2).check(2).is_ok());
        assert!(Column::Floats(&[1.0, 2.0, 3.0], 2).check(2).is_err());
    }

    #[test]
    fn rows_are_gathered_in_the_order_asked_for() -> Result<()> {
        let named = |column| NamedColumn { name: "a", column };
        let pairs = named(Column::Integers(&[1, 2, 3, 4], 2));
        let rows = gather(&pairs, [1, 0, 1].into_iter())?;
        assert_eq!(rows, Gathered::Integers(vec![3, 4, 1, 2, 3, 4]));
        assert!(gather(&pairs, [2].into_iter()).is_err());
        let floats = gather(&named(Column::Floats(&[0.5, 1.5], 1)), [1].into_iter())?;
        assert_eq!(floats, Gathered::Floats(vec![1.5]));
        assert!(gather(&named(Column::Ragged(RAGGED)), [0].into_iter()).is_err());
        Ok(())
    }
}
