//! A column of texts as Arrow lays it out: all bytes in one buffer, and where each row begins.
//!
//! Invariant: the offsets never run backwards and never leave the buffer, checked once in
//! [`TextColumn::new`]; whether a row is UTF-8 is checked when it is read.

use std::ops::Range;

use super::window::Window;
use crate::error::{Error, Result};

/// A borrowed column of texts.
#[derive(Debug, Clone, Copy)]
pub struct TextColumn<'a> {
    bytes: &'a [u8],
    offsets: &'a [i64],
}

impl<'a> TextColumn<'a> {
    /// Row `i` is `bytes[offsets[i]..offsets[i + 1]]`.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`] without a single offset, [`Error::InvalidOffset`] for one that
    /// runs backwards or out of the buffer.
    pub fn new(bytes: &'a [u8], offsets: &'a [i64]) -> Result<Self> {
        if offsets.is_empty() {
            return Err(Error::LengthMismatch {
                name: "offsets",
                found: 0,
                expected: 1,
            });
        }
        let high = bytes.len() as u64;
        let mut low = 0;
        for (index, &offset) in offsets.iter().enumerate() {
            match u64::try_from(offset) {
                Ok(end) if (low..=high).contains(&end) => low = end,
                _ => {
                    return Err(Error::InvalidOffset {
                        row: index.saturating_sub(1),
                        offset: offset.into(),
                        low,
                        high,
                    });
                }
            }
        }
        Ok(Self { bytes, offsets })
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text of one row.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUtf8`], and [`Error::IndexOutOfRange`] for a row that does not exist.
    pub fn row(&self, row: usize) -> Result<&'a str> {
        let bytes = self.row_bytes(row).ok_or(Error::IndexOutOfRange {
            index: i64::try_from(row).unwrap_or(i64::MAX),
            num_examples: self.len(),
        })?;
        std::str::from_utf8(bytes).map_err(|error| Error::InvalidUtf8 {
            row,
            byte: error.valid_up_to(),
        })
    }

    /// How many bytes some rows have together.
    pub(super) fn num_bytes(&self, rows: &Range<usize>) -> usize {
        let offset = |row: usize| usize::try_from(self.offsets.get(row).copied().unwrap_or(0));
        let (start, end) = (offset(rows.start), offset(rows.end));
        end.unwrap_or(0).saturating_sub(start.unwrap_or(0))
    }

    /// The text of one row inside the buffer of the column.
    pub(super) fn window(&self, row: usize) -> Result<Window<'a>> {
        let text = self.row(row)?;
        let start = self.offsets.get(row).copied().unwrap_or(0);
        let rest = usize::try_from(start)
            .ok()
            .and_then(|start| self.bytes.get(start..));
        Ok(Window::new(rest.unwrap_or(text.as_bytes()), text))
    }

    fn row_bytes(&self, row: usize) -> Option<&'a [u8]> {
        let start = usize::try_from(*self.offsets.get(row)?).ok()?;
        let end = usize::try_from(*self.offsets.get(row.checked_add(1)?)?).ok()?;
        self.bytes.get(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_slices_of_the_buffer() -> Result<()> {
        let column = TextColumn::new(b"--abcde", &[2, 5, 5, 7])?;
        assert_eq!(column.len(), 3);
        assert_eq!(column.row(0), Ok("abc"));
        assert_eq!(column.row(1), Ok(""));
        assert_eq!(column.row(2), Ok("de"));
        assert!(matches!(
            column.row(3),
            Err(Error::IndexOutOfRange { index: 3, .. })
        ));
        Ok(())
    }

    #[test]
    fn offsets_are_checked() {
        for offsets in [&[][..], &[0, 3, 2], &[0, 9], &[-1, 2], &[i64::MAX]] {
            assert!(TextColumn::new(b"abc", offsets).is_err(), "{offsets:?}");
        }
    }

    #[test]
    fn a_row_that_is_not_utf8_is_named() -> Result<()> {
        let column = TextColumn::new(b"ok\xc3(", &[0, 2, 4])?;
        assert_eq!(column.row(0), Ok("ok"));
        assert_eq!(column.row(1), Err(Error::InvalidUtf8 { row: 1, byte: 0 }));
        Ok(())
    }
}
