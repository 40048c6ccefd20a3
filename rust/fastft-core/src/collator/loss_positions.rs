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
    let mut found = LossPositions::default();
    if width == 0 {
        return found;
    }
    let first_label = usize::from(predicts == Predicts::Next);
    for (row, start) in labels.chunks(width).zip((0_i64..).step_by(width)) {
        let predicted = row.get(first_label..).unwrap_or_default();
        for (&label, position) in predicted.iter().zip(start..) {
            if label != IGNORE_INDEX {
                found.index.push(position);
                found.labels.push(label);
            }
        }
    }
    found
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
            cells in prop::collection::vec(prop_oneof![Just(-100_i64), 0..5_i64], 0..40),
            width in 0_usize..7,
            next: bool,
        ) {
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
