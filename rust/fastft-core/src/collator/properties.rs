//! Random batches against plain references, one cell at a time.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the numbers are small"
)]

use proptest::prelude::*;

use crate::column::{Column, NamedColumn, Ragged};
use crate::token_dataset::Ids;
use crate::tokenizer::TypeIdsView;

use super::tests::{FLAT, PADDING, label_column, padded};
use super::*;

/// A value of a row laid into a wider one, one cell at a time; `None` at padding.
fn cell<T: Copy>(row: &[T], width: usize, side: PaddingSide, column: usize) -> Option<(usize, T)> {
    let first = match side {
        PaddingSide::Left => width - row.len(),
        PaddingSide::Right => 0,
    };
    let position = column.checked_sub(first)?;
    row.get(position).map(|&value| (position, value))
}

/// What masking does to a token, written as `counter_random.py` has it, with floats.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
fn plainly_masked(masking: &Masking, number: i64, position: usize, id: i64) -> (i64, i64) {
    fn mix(value: u64) -> u64 {
        let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    let uniform = |bits: u64| (bits >> 11) as f64 * 2_f64.powi(-53);
    let key = mix(mix(masking.seed) ^ masking.epoch);
    let bits = mix(mix(key ^ number.cast_unsigned()) ^ position as u64);
    if masking.special_ids.contains(&id) || uniform(bits) >= masking.probability {
        return (id, IGNORE_INDEX);
    }
    let kind_bits = mix(bits);
    let kind = uniform(kind_bits);
    if kind < masking.mask_replace_prob {
        (masking.mask_token_id, id)
    } else if kind < masking.mask_replace_prob + masking.random_replace_prob {
        let low = mix(kind_bits) % (1 << 32);
        let token = low * u64::from(masking.vocab_size) / (1 << 32);
        (token.cast_signed(), id)
    } else {
        (id, id)
    }
}

fn rows_and_picks() -> impl Strategy<Value = (Vec<Vec<u32>>, Vec<usize>)> {
    let row_of = |length| prop::collection::vec(0_u32..70_000, length);
    // Few are as long as what masking looks at in one go, or longer.
    let row = prop_oneof![9 => row_of(0..9), 1 => row_of(60..200)];
    let rows = prop::collection::vec(row, 1..9);
    rows.prop_flat_map(|rows| {
        let pick = 0..rows.len();
        (Just(rows), prop::collection::vec(pick, 0..9))
    })
}

fn flat_of(rows: &[Vec<u32>]) -> (Vec<u32>, Vec<u64>) {
    let ends = rows.iter().scan(0, |end, row| {
        *end += row.len() as u64;
        Some(*end)
    });
    (rows.concat(), std::iter::once(0).chain(ends).collect())
}

fn indices_of(picks: &[usize]) -> Vec<i64> {
    picks.iter().map(|&pick| pick as i64).collect()
}

fn masking() -> impl Strategy<Value = Masking> {
    let share = || prop_oneof![Just(0.0), Just(1.0), 0.0..1.0_f64];
    (
        any::<u64>(),
        any::<u64>(),
        share(),
        share(),
        share(),
        1..=u32::MAX,
    )
        .prop_map(
            |(seed, epoch, probability, mask, random, vocab_size)| Masking {
                seed,
                epoch,
                probability,
                mask_replace_prob: mask,
                random_replace_prob: random,
                mask_token_id: 103,
                vocab_size,
                special_ids: (0..20_000).rev().step_by(7).collect(),
            },
        )
}

proptest! {
    #[test]
    fn every_cell_is_the_plain_one(
        (rows, picks) in rows_and_picks(),
        multiple in prop::option::of(1_usize..9),
        left: bool,
        masking in masking(),
        base in any::<i64>(),
    ) {
        let (flat, offsets) = flat_of(&rows);
        let dataset = TokenDataset::new(Ids::U32(&flat), &offsets, TypeIdsView::Zero, None)?;
        let (indices, numbers) = (indices_of(&picks), picks.iter().map(|&p| base ^ p as i64));
        let numbers: Vec<i64> = numbers.collect();
        let side = if left { PaddingSide::Left } else { PaddingSide::Right };
        let padding = Padding { pad_to_multiple_of: multiple, padding_side: side, ..PADDING };
        let causal = collate(&dataset, &indices, &padded(padding, Labels::Ids))?;
        let recipe = padded(padding, Labels::Masked(masking.clone()));
        let masked = collate_as(&dataset, &indices, &numbers, &recipe)?;

        let longest = picks.iter().map(|&pick| rows[pick].len()).max().unwrap_or(0);
        let width = longest.next_multiple_of(multiple.unwrap_or(1));
        prop_assert_eq!(causal.width, width);
        prop_assert_eq!(causal.input_ids.len(), picks.len() * width);
        let (mask, labels) = (causal.attention_mask.unwrap(), causal.labels.unwrap().values);
        let masked_labels = masked.labels.unwrap().values;
        for at in 0..picks.len() * width {
            let (line, column) = (at / width, at % width);
            let expected = cell(&rows[picks[line]], width, side, column);
            let id = expected.map(|(_, id)| i64::from(id));
            prop_assert_eq!(causal.input_ids[at], id.unwrap_or(-7));
            prop_assert_eq!(mask[at], i64::from(id.is_some()));
            prop_assert_eq!(labels[at], id.unwrap_or(IGNORE_INDEX));
            let plain = expected.map_or((-7, IGNORE_INDEX), |(position, id)| {
                plainly_masked(&masking, numbers[line], position, id.into())
            });
            prop_assert_eq!((masked.input_ids[at], masked_labels[at]), plain);
        }
    }

    #[test]
    fn labels_of_a_column_are_the_plain_ones(
        (rows, picks) in rows_and_picks(),
        (labels, _) in rows_and_picks(),
        multiple in prop::option::of(1_usize..9),
        left: bool,
    ) {
        let (flat, offsets) = flat_of(&rows);
        // As many rows of labels as of tokens.
        let labels: Vec<&Vec<u32>> = labels.iter().cycle().take(rows.len()).collect();
        let values: Vec<i32> = labels.iter().flat_map(|row| row.iter().map(|&v| v as i32 - 100)).collect();
        let mut ends = vec![0];
        ends.extend(labels.iter().scan(0, |end, row| { *end += row.len() as i64; Some(*end) }));
        let column = Column::Ragged(Ragged { values: &values, offsets: &ends });
        column.check(rows.len())?;
        let columns = [NamedColumn { name: "labels", column }];
        let dataset = TokenDataset::new(Ids::U32(&flat), &offsets, TypeIdsView::Zero, None)?;
        let dataset = dataset.with_columns(&columns);
        let side = if left { PaddingSide::Left } else { PaddingSide::Right };
        let padding = Padding { pad_to_multiple_of: multiple, padding_side: side, ..PADDING };
        let recipe = padded(padding, label_column(LabelWidth::Longest));
        let found = collate(&dataset, &indices_of(&picks), &recipe)?.labels.unwrap();
        let longest = picks.iter().map(|&pick| labels[pick].len()).max().unwrap_or(0);
        prop_assert_eq!(found.width, longest.next_multiple_of(multiple.unwrap_or(1)));
        prop_assert_eq!(found.values.len(), picks.len() * found.width);
        for (at, &value) in found.values.iter().enumerate() {
            let (line, column) = (at / found.width, at % found.width);
            let expected = cell(labels[picks[line]], found.width, side, column);
            prop_assert_eq!(value, expected.map_or(-5, |(_, label)| i64::from(label) - 100));
        }
    }

    #[test]
    fn a_flattened_batch_is_the_plain_one((rows, picks) in rows_and_picks()) {
        let (flat, offsets) = flat_of(&rows);
        let dataset = TokenDataset::new(Ids::U32(&flat), &offsets, TypeIdsView::Zero, None)?;
        let batch = collate(&dataset, &indices_of(&picks), &Recipe::Flattened(FLAT))?;
        let (mut ids, mut labels, mut positions) = (vec![], vec![], vec![]);
        let (mut seq_idx, mut ends, mut longest) = (vec![], vec![0], 0);
        for row in picks.iter().map(|&pick| &rows[pick]).filter(|row| !row.is_empty()) {
            for (position, &id) in row.iter().enumerate() {
                ids.push(i64::from(id));
                labels.push(if position == 0 { -1 } else { i64::from(id) });
                positions.push(position as i64 + 2);
                seq_idx.push(ends.len() as i32 - 1);
            }
            ends.push(ids.len() as i32);
            longest = longest.max(row.len());
        }
        prop_assert_eq!((batch.num_rows, batch.width), (1, ids.len()));
        prop_assert_eq!(batch.input_ids, ids);
        prop_assert_eq!(batch.labels.unwrap().values, labels);
        prop_assert_eq!(batch.position_ids.unwrap(), positions);
        prop_assert_eq!(batch.seq_idx.unwrap(), seq_idx);
        let boundaries = batch.boundaries.unwrap();
        prop_assert_eq!((boundaries.cu_seq_lens, boundaries.max_length), (ends, longest));
    }
}
