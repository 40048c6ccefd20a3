//! A batch without padding: its rows laid end to end in one, with what tells attention where each begins.

use std::iter::repeat_n;
use std::ops::Range;

use crate::column::Ragged;
use crate::error::{Error, Result};
use crate::token_dataset::{Ids, TokenDataset};

use super::padding::{allocate, values};
use super::{Batch, Matrix, Place};

/// How rows are laid end to end. Rows without tokens are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flattening {
    /// The label of the first token of each row, which no other token predicts.
    pub separator_id: i64,
    /// The position of the first token of each row; `None` for no `position_ids`.
    pub position_ids_start: Option<i64>,
    /// Whether each token knows the number of its row.
    pub seq_idx: bool,
    /// Whether the batch knows where each row begins.
    pub cu_seq_lens: bool,
    /// A column with a label for each token; the labels are the tokens themselves when `None`.
    pub labels: Option<String>,
}

/// Where rows begin in a flattened batch, as kernels of attention want it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundaries {
    /// Where each row begins, and where the last one ends.
    pub cu_seq_lens: Vec<i32>,
    /// The length of the longest row.
    pub max_length: usize,
}

impl Flattening {
    pub(super) fn batch(&self, dataset: &TokenDataset<'_>, places: &[Place]) -> Result<Batch> {
        let kept: Vec<&Place> = places.iter().filter(|place| place.len() > 0).collect();
        let row = Row::of(&kept)?;
        let ranges = || kept.iter().map(|place| place.ids.clone());
        let lengths = || kept.iter().map(|place| place.len());
        let (input_ids, own) = match dataset.ids() {
            Ids::U16(ids) => self.ids_and_labels(&row, ids, ranges())?,
            Ids::U32(ids) => self.ids_and_labels(&row, ids, ranges())?,
        };
        let labels = match (own, &self.labels) {
            (None, Some(name)) => self.column(&row, dataset.ragged(name)?, &kept)?,
            (own, _) => own.unwrap_or_default(),
        };
        let from = |start: i64, length| (0..).take(length).map(move |at| start.wrapping_add(at));
        let positions = |start| row.fill(lengths().map(|length| from(start, length)));
        let position_ids = self.position_ids_start.map(positions).transpose()?;
        let numbers = || row.fill((0..).zip(lengths()).map(|(at, len)| repeat_n(at, len)));
        let seq_idx = self.seq_idx.then(numbers).transpose()?;
        Ok(Batch {
            num_rows: 1,
            width: row.width,
            input_ids,
            labels: Some(Matrix {
                values: labels,
                width: row.width,
            }),
            position_ids,
            seq_idx,
            boundaries: self.cu_seq_lens.then(|| boundaries(lengths())),
            ..Batch::default()
        })
    }

    /// The ids, and the labels where these are the ids.
    fn ids_and_labels<T: Copy + Into<i64>>(
        &self,
        row: &Row,
        source: &[T],
        ranges: impl Iterator<Item = Range<usize>> + Clone,
    ) -> Result<(Vec<i64>, Option<Vec<i64>>)> {
        let mut ids = row.allocate()?;
        for range in ranges.clone() {
            ids.extend(values(source, &range).iter().map(|&id| id.into()));
        }
        let labels = match self.labels {
            Some(_) => None,
            None => Some(self.separated(row, ranges.map(|range| values(source, &range)))?),
        };
        Ok((ids, labels))
    }

    /// Labels laid end to end, the separator in place of the first of each row.
    fn separated<'s, T: Copy + Into<i64> + 's>(
        &self,
        row: &Row,
        rows: impl Iterator<Item = &'s [T]>,
    ) -> Result<Vec<i64>> {
        let mut labels = row.allocate()?;
        for line in rows {
            labels.push(self.separator_id);
            let behind = line.split_first().map_or(&[][..], |(_, behind)| behind);
            labels.extend(behind.iter().map(|&label| label.into()));
        }
        Ok(labels)
    }

    fn column(&self, row: &Row, column: Ragged<'_>, places: &[&Place]) -> Result<Vec<i64>> {
        let labels_of = |place: &&Place| match column.row(place.row)? {
            labels if labels.len() == place.len() => Ok(labels),
            labels => Err(Error::LabelsDoNotFit {
                row: place.row,
                num_tokens: place.len(),
                num_labels: labels.len(),
            }),
        };
        let rows = places.iter().map(labels_of).collect::<Result<Vec<_>>>()?;
        self.separated(row, rows.into_iter())
    }
}

/// The one row that all are laid into.
struct Row {
    width: usize,
}

impl Row {
    /// Every position must fit in the 32 bits that kernels of attention count with.
    fn of(places: &[&Place]) -> Result<Self> {
        let width = places
            .iter()
            .try_fold(0_usize, |sum, place| sum.checked_add(place.len()));
        match width.filter(|&width| i32::try_from(width).is_ok()) {
            Some(width) => Ok(Self { width }),
            None => Err(Error::BatchTooLarge {
                num_rows: 1,
                width: width.unwrap_or(usize::MAX),
            }),
        }
    }

    fn allocate<T>(&self) -> Result<Vec<T>> {
        allocate(self.width).ok_or(Error::BatchTooLarge {
            num_rows: 1,
            width: self.width,
        })
    }

    fn fill<T>(&self, rows: impl Iterator<Item = impl Iterator<Item = T>>) -> Result<Vec<T>> {
        let mut output = self.allocate()?;
        rows.for_each(|row| output.extend(row));
        Ok(output)
    }
}

fn boundaries(lengths: impl Iterator<Item = usize> + Clone) -> Boundaries {
    let ends = lengths.clone().scan(0_i32, |end, length| {
        // The sum was seen to fit.
        *end = end.saturating_add(i32::try_from(length).unwrap_or(i32::MAX));
        Some(*end)
    });
    Boundaries {
        cu_seq_lens: std::iter::once(0).chain(ends).collect(),
        max_length: lengths.max().unwrap_or(0),
    }
}
