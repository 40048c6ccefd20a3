//! The labels of a padded batch.

use crate::error::{Error, Result};
use crate::token_dataset::TokenDataset;

use super::masking::Masking;
use super::padding::{Frame, Padding};
use super::{IGNORE_INDEX, Matrix, Place};

/// Where the labels of a padded batch come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Labels {
    /// There are none, or they are one of the columns.
    None,
    /// The token ids themselves, [`IGNORE_INDEX`] at padding.
    Ids,
    /// The tokens that were masked, [`IGNORE_INDEX`] elsewhere.
    Masked(Masking),
    /// A column whose rows are runs of labels.
    Column(LabelColumn),
}

/// A column of label sequences, and how it is padded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelColumn {
    /// Its name.
    pub name: String,
    /// What fills it.
    pub pad: i64,
    /// How wide its matrix is.
    pub width: LabelWidth,
}

/// How wide a matrix of labels is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelWidth {
    /// As wide as the ids: a label for each token.
    Inputs,
    /// As wide as its longest row, rounded up like the ids.
    Longest,
}

/// The ids and the labels, which masking makes together.
pub(super) fn ids_and_labels(
    dataset: &TokenDataset<'_>,
    places: &[Place],
    numbers: &[i64],
    frame: &Frame,
    (padding, labels): (&Padding, &Labels),
) -> Result<(Vec<i64>, Option<Matrix>)> {
    let ids = dataset.ids();
    let pad = padding.pad_token_id;
    let of_width = |values| Matrix {
        values,
        width: frame.width,
    };
    if let Labels::Masked(masking) = labels {
        let (ids, labels) = masking.matrices(frame, ids, places, numbers, pad)?;
        return Ok((ids, Some(of_width(labels))));
    }
    let input_ids = frame.input_ids(ids, places, pad)?;
    let labels = match labels {
        Labels::None | Labels::Masked(_) => None,
        Labels::Ids => Some(of_width(frame.input_ids(ids, places, IGNORE_INDEX)?)),
        Labels::Column(column) => Some(column.matrix(dataset, places, frame, padding)?),
    };
    Ok((input_ids, labels))
}

impl LabelColumn {
    fn matrix(
        &self,
        dataset: &TokenDataset<'_>,
        places: &[Place],
        inputs: &Frame,
        padding: &Padding,
    ) -> Result<Matrix> {
        let column = dataset.ragged(&self.name)?;
        let rows = places
            .iter()
            .map(|place| column.row(place.row))
            .collect::<Result<Vec<_>>>()?;
        let longest = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let frame = match self.width {
            LabelWidth::Inputs => *inputs,
            LabelWidth::Longest => padding.frame_of(places.len(), longest)?,
        };
        let too_long = |(_, row): &(&Place, &&[i32])| row.len() > frame.width;
        if let Some((place, row)) = places.iter().zip(&rows).find(too_long) {
            return Err(Error::LabelsDoNotFit {
                row: place.row,
                num_tokens: place.len(),
                num_labels: row.len(),
            });
        }
        Ok(Matrix {
            values: frame.fill_rows(rows.into_iter(), self.pad)?,
            width: frame.width,
        })
    }
}
