//! The positions that a loss counts: where a label is supervised, and which.

use super::IGNORE_INDEX;

/// Which label a position predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predicts {
    /// Its own: masked language models, classes of tokens, decoders whose inputs are moved already.
    Own,
    /// The next one in its row: causal language models.
    Next,
}

/// The supervised positions of a batch, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LossPositions {
    /// `row * width + column` of each position whose label counts.
    pub index: Vec<i64>,
    /// The label of each.
    pub labels: Vec<i64>,
}

/// Finds the positions whose label is not [`IGNORE_INDEX`] in a matrix of labels, row after row.
#[must_use]
pub fn loss_positions(labels: &[i64], width: usize, predicts: Predicts) -> LossPositions {
    let total = count(labels);
    let mut found = LossPositions {
        index: Vec::with_capacity(total),
        labels: Vec::with_capacity(total),
    };
    if width == 0 {
        return found;
    }
    let first_label = usize::from(predicts == Predicts::Next);
    for (row, start) in labels.chunks(width).zip((0_i64..).step_by(width)) {
        let predicted = row.get(first_label..).unwrap_or_default();
        for (lane, start) in predicted.chunks(LANE).zip((start..).step_by(LANE)) {
            found.add(lane, start);
        }
    }
    found
}

/// How many labels are looked at together: padding and text come in runs, so that most of the time
/// all of them count, or none.
const LANE: usize = 16;

impl LossPositions {
    /// Adds those of `lane` that count; the first of them is predicted at `start`.
    fn add(&mut self, lane: &[i64], start: i64) {
        let number = count(lane);
        if number == lane.len() {
            self.index.extend((start..).take(number));
            self.labels.extend_from_slice(lane);
        } else if number > 0 {
            let counting = lane.iter().zip(start..);
            for (&label, position) in counting.filter(|&(&label, _)| label != IGNORE_INDEX) {
                self.index.push(position);
                self.labels.push(label);
            }
        }
    }
}

fn count(labels: &[i64]) -> usize {
    let counting = |label: &i64| usize::from(*label != IGNORE_INDEX);
    labels.iter().map(counting).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_position_counts_by_its_own_or_its_next_label() {
        let labels = [-100, 5, -100, 6, 7, -100];
        let own = loss_positions(&labels, 3, Predicts::Own);
        assert_eq!((own.index, own.labels), (vec![1, 3, 4], vec![5, 6, 7]));
        // The 6 begins its row, so no position predicts it.
        let next = loss_positions(&labels, 3, Predicts::Next);
        assert_eq!((next.index, next.labels), (vec![0, 3], vec![5, 7]));
    }

    proptest! {
        #[test]
        fn positions_are_those_of_the_plain_rule(
            runs in prop::collection::vec((prop_oneof![Just(-100_i64), 0..5_i64], 1..40_usize), 0..9),
            width in 0_usize..50,
            next: bool,
        ) {
            let cells: Vec<i64> = runs.iter().flat_map(|&(cell, n)| [cell].repeat(n)).collect();
            let predicts = if next { Predicts::Next } else { Predicts::Own };
            let num_rows = cells.len().checked_div(width).unwrap_or(0);
            let mut expected = LossPositions::default();
            for (row, column) in (0..num_rows).flat_map(|row| (0..width).map(move |c| (row, c))) {
                let from = if next { column + 1 } else { column };
                if from < width && cells[row * width + from] != -100 {
                    expected.index.push(i64::try_from(row * width + column)?);
                    expected.labels.push(cells[row * width + from]);
                }
            }
            let cells = &cells[..num_rows * width];
            prop_assert_eq!(loss_positions(cells, width, predicts), expected);
        }
    }
}
