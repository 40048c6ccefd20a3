//! Texts that were just encoded, as a padded batch: no dataset in between.

use crate::error::{Error, Result};
use crate::tokenizer::EncodedColumn;

use super::{Batch, Padding, Place};

/// Pads the rows of an encoded column.
///
/// # Errors
///
/// [`Error::RowTooLong`] for a fixed width, [`Error::Zero`] for a multiple of zero,
/// [`Error::BatchTooLarge`] when there is no memory for it; [`Error::InvalidOffset`] for rows that lie
/// outside the ids.
pub fn pad_texts(texts: &EncodedColumn, padding: &Padding) -> Result<Batch> {
    let places = places(texts)?;
    let frame = padding.frame(&places)?;
    let rows = || {
        let rows = places.iter().map(|place| texts.ids.get(place.ids.clone()));
        rows.map(Option::unwrap_or_default)
    };
    let type_ids = |pad| frame.type_ids(texts.type_ids.view(), &places, pad);
    let mask = padding.attention_mask;
    Ok(Batch {
        num_rows: places.len(),
        width: frame.width,
        input_ids: frame.fill_rows(rows(), padding.pad_token_id)?,
        token_type_ids: padding.pad_token_type_id.map(type_ids).transpose()?,
        attention_mask: mask.then(|| frame.attention_mask(&places)).transpose()?,
        ..Batch::default()
    })
}

fn places(texts: &EncodedColumn) -> Result<Vec<Place>> {
    let high = texts.ids.len() as u64;
    let ends = texts.row_offsets.windows(2).enumerate();
    ends.map(|(row, ends)| match *ends {
        [start, end] if start <= end && end <= high => Ok(Place {
            row,
            // Both fit: they lie within a slice.
            ids: usize::try_from(start).unwrap_or(usize::MAX)
                ..usize::try_from(end).unwrap_or(usize::MAX),
        }),
        _ => Err(Error::InvalidOffset {
            row,
            offset: i128::from(ends.last().copied().unwrap_or_default()),
            low: 0,
            high,
        }),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collator::{PaddingSide, Width};
    use crate::tokenizer::TypeIds;

    fn padding(side: PaddingSide) -> Padding {
        Padding {
            pad_token_id: 9,
            pad_token_type_id: Some(3),
            attention_mask: true,
            width: Width::Longest,
            pad_to_multiple_of: Some(2),
            padding_side: side,
        }
    }

    fn texts() -> EncodedColumn {
        EncodedColumn {
            ids: vec![1, 2, 3, 4],
            row_offsets: vec![0, 3, 3, 4],
            type_ids: TypeIds::Starts(vec![2, 0, 0]),
            ..EncodedColumn::default()
        }
    }

    #[test]
    fn rows_are_padded_on_either_side() {
        let right = pad_texts(&texts(), &padding(PaddingSide::Right)).expect("three rows");
        assert_eq!((right.num_rows, right.width), (3, 4));
        assert_eq!(right.input_ids, [1, 2, 3, 9, 9, 9, 9, 9, 4, 9, 9, 9]);
        assert_eq!(
            right.token_type_ids,
            Some(vec![0, 0, 1, 3, 3, 3, 3, 3, 1, 3, 3, 3])
        );
        assert_eq!(
            right.attention_mask,
            Some(vec![1, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0])
        );
        let left = pad_texts(&texts(), &padding(PaddingSide::Left)).expect("three rows");
        assert_eq!(left.input_ids, [9, 1, 2, 3, 9, 9, 9, 9, 9, 9, 9, 4]);
    }

    #[test]
    fn nothing_is_a_batch_of_nothing() {
        let none = EncodedColumn::default();
        let batch = pad_texts(&none, &padding(PaddingSide::Right)).expect("no rows");
        assert_eq!((batch.num_rows, batch.width), (0, 0));
    }

    #[test]
    fn rows_outside_the_ids_are_refused() {
        for row_offsets in [vec![0, 5], vec![3, 2], vec![0, 3, 2]] {
            let texts = EncodedColumn {
                row_offsets,
                ..texts()
            };
            assert!(pad_texts(&texts, &padding(PaddingSide::Right)).is_err());
        }
    }
}
