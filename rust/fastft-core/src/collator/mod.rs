//! One batch, made as a [`Recipe`] says: gathered from the flat ids, widened to 64 bit, padded or laid end
//! to end, with its labels and columns.
//!
//! A recipe is a plain value that knows nothing of the dataset but the names of columns: it is made once
//! and serves every batch, on any thread.
//!
//! Cost: each output is written once, front to back; 8 bytes a padded token and matrix, which makes
//! the memory bus the limit and threads useless for the few rows of a batch.

mod counter_random;
mod flattening;
mod labels;
mod loss_positions;
mod masking;
mod padding;
mod texts;

use std::ops::Range;

use crate::column::{Gathered, gather};
use crate::error::{Result, expect_length};
use crate::token_dataset::TokenDataset;

pub use flattening::{Boundaries, Flattening};
pub use labels::{LabelColumn, LabelWidth, Labels};
pub use loss_positions::{LossPositions, Predicts, loss_positions};
pub use masking::Masking;
pub use padding::{Padding, PaddingSide, Width};
pub use texts::pad_texts;

/// The label that no loss counts.
pub const IGNORE_INDEX: i64 = -100;

/// How a batch is made.
#[derive(Debug, Clone, PartialEq)]
pub enum Recipe {
    /// A row of the batch for each row of the dataset.
    Padded(PaddedRecipe),
    /// One row that holds them all.
    Flattened(Flattening),
}

/// How a padded batch is made.
#[derive(Debug, Clone, PartialEq)]
pub struct PaddedRecipe {
    /// How its rows are padded.
    pub padding: Padding,
    /// Where its labels come from.
    pub labels: Labels,
    /// The columns that are gathered, by name; each has as many numbers in every row.
    pub columns: Vec<String>,
}

/// A batch; what its recipe did not ask for is `None`. Matrices lie row after row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// The number of rows: one when flattened.
    pub num_rows: usize,
    /// The width of every row of all matrices but the labels.
    pub width: usize,
    /// The token ids.
    pub input_ids: Vec<i64>,
    /// The token type ids.
    pub token_type_ids: Option<Vec<i64>>,
    /// 1 at tokens, 0 at padding.
    pub attention_mask: Option<Vec<i64>>,
    /// The columns that the recipe names.
    pub columns: Vec<Gathered>,
    /// The labels.
    pub labels: Option<Matrix>,
    /// Flattened: the position of each token in its row.
    pub position_ids: Option<Vec<i64>>,
    /// Flattened: the number of each token's row.
    pub seq_idx: Option<Vec<i32>>,
    /// Flattened: where each row begins.
    pub boundaries: Option<Boundaries>,
}

/// A matrix of a width of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    /// Its values.
    pub values: Vec<i64>,
    /// The width of every row.
    pub width: usize,
}

/// Where a row of the dataset lies.
struct Place {
    row: usize,
    ids: Range<usize>,
}

impl Place {
    fn len(&self) -> usize {
        self.ids.len()
    }
}

/// Makes a batch of the rows named by `indices`.
///
/// # Errors
///
/// [`Error::IndexOutOfRange`], [`Error::RowTooLong`] for a fixed width, [`Error::Zero`] for a multiple of
/// zero, [`Error::BatchTooLarge`] when there is no memory for it; [`Error::NoSuchColumn`],
/// [`Error::WrongColumn`] and [`Error::LabelsDoNotFit`] when dataset and recipe do not fit together.
pub fn collate(dataset: &TokenDataset<'_>, indices: &[i64], recipe: &Recipe) -> Result<Batch> {
    collate_as(dataset, indices, indices, recipe)
}

/// As [`collate`], of rows that draw their masks by other numbers: those which they have in the dataset
/// that they were copied from.
///
/// # Errors
///
/// Those of [`collate`], and [`Error::LengthMismatch`].
pub fn collate_as(
    dataset: &TokenDataset<'_>,
    indices: &[i64],
    numbers: &[i64],
    recipe: &Recipe,
) -> Result<Batch> {
    expect_length("the numbers of rows", numbers.len(), indices.len())?;
    let place = |&index| dataset.row(index).map(|(row, ids)| Place { row, ids });
    let places = indices.iter().map(place).collect::<Result<Vec<_>>>()?;
    match recipe {
        Recipe::Padded(recipe) => recipe.batch(dataset, &places, numbers),
        Recipe::Flattened(flattening) => flattening.batch(dataset, &places),
    }
}

impl PaddedRecipe {
    fn batch(
        &self,
        dataset: &TokenDataset<'_>,
        places: &[Place],
        numbers: &[i64],
    ) -> Result<Batch> {
        let padding = &self.padding;
        let frame = padding.frame(places)?;
        let how = (padding, &self.labels);
        let (input_ids, labels) = labels::ids_and_labels(dataset, places, numbers, &frame, how)?;
        let type_ids = |pad| frame.type_ids(dataset.type_ids(), places, pad);
        let mask = padding.attention_mask;
        let column = |name: &String| {
            let rows = places.iter().map(|place| place.row);
            gather(dataset.column(name)?, rows)
        };
        Ok(Batch {
            num_rows: places.len(),
            width: frame.width,
            input_ids,
            token_type_ids: padding.pad_token_type_id.map(type_ids).transpose()?,
            attention_mask: mask.then(|| frame.attention_mask(places)).transpose()?,
            columns: self.columns.iter().map(column).collect::<Result<_>>()?,
            labels,
            ..Batch::default()
        })
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
