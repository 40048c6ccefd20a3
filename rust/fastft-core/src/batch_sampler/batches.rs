//! Batches that are cut by the lengths of their examples: three policies, one result.
//!
//! `bucketed` and `within_tokens` sort windows of the order by length, so that like meets like while
//! the epoch stays shuffled at large. Every second window runs from long to short: where two windows
//! meet, neighbours are alike too, and a batch may lie across the border. Batches come out in the
//! order in which they were cut; [`super::arrangement`] shuffles them.

use std::num::NonZeroUsize;

use super::as_i64;
use crate::error::{Error, Result};
use crate::length_sort::{Direction, LengthSort};
use crate::packing::{self, Overlong};
use crate::sampler::{Order, OrderedLengths};

/// Batches in the order in which they were cut, with what each costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batches {
    /// The examples of all batches, one batch after the other.
    pub(super) indices: Vec<u32>,
    /// Where each batch begins, and at the end the number of examples.
    pub(super) offsets: Vec<i64>,
    /// The tokens of each batch.
    pub(super) num_tokens: Vec<u64>,
    /// The tokens of each batch with its padding.
    pub(super) num_padded_tokens: Vec<u64>,
    /// Whether the last batch is a shorter one that has to stay the last.
    pub(super) has_remainder: bool,
}

impl Batches {
    /// Batches of `batch_size` examples from windows that are sorted by length.
    ///
    /// What is left over are the last examples of the order, so that their lengths are as random as
    /// those of any others. They make a shorter batch, which stays the last (whoever deals out
    /// batches of a fixed size expects it there), or are left out when `drop_last` is set.
    ///
    /// # Errors
    ///
    /// [`Error::Zero`], or what [`Order::with_lengths`] says.
    pub fn bucketed(
        order: &Order<'_>,
        lengths: &[u32],
        window: usize,
        batch_size: usize,
        drop_last: bool,
    ) -> Result<Self> {
        let size = non_zero(batch_size, "batch_size")?.get();
        let (full, rest) = order
            .with_lengths(lengths)?
            .split_at(lengths.len() / size * size);
        let mut cutter = Cutter::new(lengths.len());
        sorted_windows(full, non_zero(window, "window")?, |index, length| {
            if cutter.rows == size {
                cutter.close();
            }
            cutter.push(index, length);
        });
        cutter.close();
        let num_full = cutter.batches.len();
        if !drop_last {
            for (index, length) in rest.examples() {
                cutter.push(index, length);
            }
        }
        let mut batches = cutter.finish();
        batches.has_remainder = batches.len() > num_full;
        Ok(batches)
    }

    /// Batches of at most `max_tokens` padded tokens (rows times longest) from sorted windows.
    ///
    /// An example without tokens counts as one, so no batch has more rows than `max_tokens`.
    ///
    /// # Errors
    ///
    /// [`Error::AboveLimit`] for an example that is longer and may not be dropped, [`Error::Zero`],
    /// or what [`Order::with_lengths`] says.
    pub fn within_tokens(
        order: &Order<'_>,
        lengths: &[u32],
        window: usize,
        max_tokens: u64,
        overlong: Overlong,
    ) -> Result<Self> {
        packing::check(lengths, max_tokens, overlong, "max_tokens")?;
        let all = order.with_lengths(lengths)?;
        let mut cutter = Cutter::new(lengths.len());
        sorted_windows(all, non_zero(window, "window")?, |index, length| {
            if u64::from(length) > max_tokens {
                return;
            }
            if cutter.padded_with(length) > max_tokens {
                cutter.close();
            }
            cutter.push(index, length);
        });
        Ok(cutter.finish())
    }

    /// Bins of at most `max_tokens` tokens, packed by best-fit decreasing; a batch is a bin.
    ///
    /// # Errors
    ///
    /// What [`packing::pack_in_order`] says.
    pub fn packed(
        order: &Order<'_>,
        lengths: &[u32],
        max_tokens: u64,
        overlong: Overlong,
    ) -> Result<Self> {
        let (bins, num_tokens) = packing::pack_in_order(order, lengths, max_tokens, overlong)?;
        Ok(Self {
            indices: bins.indices,
            offsets: bins.offsets,
            num_padded_tokens: num_tokens.clone(),
            num_tokens,
            has_remainder: false,
        })
    }

    /// The number of batches.
    #[must_use]
    pub fn len(&self) -> usize {
        self.num_tokens.len()
    }

    /// Whether there is no batch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many batches may change places: all but a shorter one that has to stay the last.
    #[must_use]
    pub fn num_movable(&self) -> usize {
        self.len() - usize::from(self.has_remainder)
    }
}

/// Cuts a stream of examples into batches.
struct Cutter {
    batches: Batches,
    rows: usize,
    longest: u32,
    tokens: u64,
}

impl Cutter {
    fn new(num_examples: usize) -> Self {
        Self {
            batches: Batches {
                indices: Vec::with_capacity(num_examples),
                offsets: vec![0],
                num_tokens: Vec::new(),
                num_padded_tokens: Vec::new(),
                has_remainder: false,
            },
            rows: 0,
            longest: 0,
            tokens: 0,
        }
    }

    fn push(&mut self, index: u32, length: u32) {
        self.batches.indices.push(index);
        self.rows += 1;
        self.longest = self.longest.max(length);
        self.tokens += u64::from(length);
    }

    /// What the open batch would come to with one example more; nothing counts as one token.
    fn padded_with(&self, length: u32) -> u64 {
        padded(self.rows + 1, self.longest.max(length).max(1))
    }

    /// Closes the open batch, if there is one.
    fn close(&mut self) {
        if self.rows == 0 {
            return;
        }
        let batches = &mut self.batches;
        batches.offsets.push(as_i64(batches.indices.len()));
        batches.num_tokens.push(self.tokens);
        batches
            .num_padded_tokens
            .push(padded(self.rows, self.longest));
        (self.rows, self.longest, self.tokens) = (0, 0, 0);
    }

    fn finish(mut self) -> Batches {
        self.close();
        self.batches
    }
}

fn padded(rows: usize, longest: u32) -> u64 {
    let rows = u64::try_from(rows).unwrap_or(u64::MAX);
    rows.saturating_mul(longest.into())
}

/// Hands over the examples window by window, each sorted by length, up and down in turn.
fn sorted_windows(
    examples: OrderedLengths<'_>,
    window: NonZeroUsize,
    mut take: impl FnMut(u32, u32),
) {
    let (mut sort, mut gathered) = (LengthSort::default(), Vec::new());
    let directions = [Direction::Rising, Direction::Falling].into_iter().cycle();
    for (window, direction) in examples.windows(window).zip(directions) {
        // The lengths lie far apart: they are fetched once.
        gathered.clear();
        gathered.extend(window.examples());
        let lengths = gathered.iter().map(|&(_, length)| length);
        sort.sort(lengths, gathered.iter().copied(), direction);
        for (index, length) in sort.examples() {
            take(index, length);
        }
    }
}

fn non_zero(value: usize, name: &'static str) -> Result<NonZeroUsize> {
    NonZeroUsize::new(value).ok_or(Error::Zero { name })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(batches: &Batches) -> Vec<Vec<usize>> {
        let at = |offset: i64| usize::try_from(offset).unwrap();
        let indices: Vec<usize> = batches.indices.iter().map(|&row| at(row.into())).collect();
        let cut = |pair: &[i64]| indices[at(pair[0])..at(pair[1])].to_vec();
        batches.offsets.windows(2).map(cut).collect()
    }

    fn natural(num_examples: usize) -> Vec<i64> {
        (0..).take(num_examples).collect()
    }

    /// A window after the other by the sort of the standard library, every second one reversed.
    fn sorted(order: &[i64], lengths: &[u32], window: usize) -> Vec<usize> {
        let length = |&row: &usize| i64::from(lengths[row]);
        let sort = |(number, window): (usize, &[i64])| {
            let mut rows: Vec<usize> = window.iter().map(|&row| row.try_into().unwrap()).collect();
            let sign = if number % 2 == 0 { 1 } else { -1 };
            rows.sort_by_key(|row| sign * length(row));
            rows
        };
        order.chunks(window).enumerate().flat_map(sort).collect()
    }

    #[test]
    fn windows_run_up_and_down_in_turn() -> Result<()> {
        let lengths = [3, 1, 2, 1, 3, 2];
        let order = natural(6);
        let order = Order::permutation(&order, 6)?;
        let batches = Batches::bucketed(&order, &lengths, 3, 2, false)?;
        assert_eq!(rows(&batches), [[1, 2], [0, 4], [5, 3]]);
        assert_eq!(batches.num_tokens, [3, 6, 3]);
        assert_eq!(batches.num_padded_tokens, [4, 6, 4]);
        assert_eq!(batches.num_movable(), 3);
        Ok(())
    }

    #[test]
    fn what_is_left_over_stays_last_or_goes() -> Result<()> {
        let order = [2, 0, 1];
        let order = Order::permutation(&order, 3)?;
        let batches = |drop_last| Batches::bucketed(&order, &[9, 1, 5], 8, 2, drop_last);
        assert_eq!(rows(&batches(false)?), [vec![2, 0], vec![1]]);
        assert_eq!(batches(false)?.num_movable(), 1);
        assert_eq!(rows(&batches(true)?), [vec![2, 0]]);
        let above = Batches::bucketed(&order, &[9, 1, 5], 8, 4, false)?;
        assert_eq!(
            (rows(&above), above.num_movable()),
            (vec![vec![2, 0, 1]], 0)
        );
        Ok(())
    }

    #[test]
    fn a_budget_counts_padding_and_empty_rows() -> Result<()> {
        let order = natural(5);
        let order = Order::permutation(&order, 5)?;
        let cut = |lengths: &[u32], limit, overlong| {
            Batches::within_tokens(&order, lengths, 8, limit, overlong).map(|it| rows(&it))
        };
        let error = Overlong::Error;
        assert_eq!(
            cut(&[2, 3, 4, 4, 1], 8, error)?,
            [vec![4, 0], vec![1, 2], vec![3]]
        );
        assert_eq!(cut(&[0; 5], 2, error)?, [vec![0, 1], vec![2, 3], vec![4]]);
        let (row, length, limit) = (2, 9, 8);
        let above = Error::AboveLimit { row, length, limit };
        assert_eq!(cut(&[1, 1, 9, 10, 1], 8, error), Err(above));
        assert_eq!(cut(&[1, 1, 9, 10, 1], 8, Overlong::Drop)?, [[0, 1, 4]]);
        Ok(())
    }

    #[test]
    fn settings_of_zero_and_no_examples() -> Result<()> {
        let order = Order::permutation(&[], 0)?;
        let drop = Overlong::Drop;
        let zero = |name| Some(Error::Zero { name });
        assert_eq!(
            Batches::bucketed(&order, &[], 1, 0, false).err(),
            zero("batch_size")
        );
        assert_eq!(
            Batches::bucketed(&order, &[], 0, 1, false).err(),
            zero("window")
        );
        assert_eq!(
            Batches::within_tokens(&order, &[], 0, 1, drop).err(),
            zero("window")
        );
        assert_eq!(
            Batches::within_tokens(&order, &[], 1, 0, drop).err(),
            zero("max_tokens")
        );
        assert_eq!(
            Batches::packed(&order, &[], 0, drop).err(),
            zero("max_tokens")
        );
        assert!(Batches::bucketed(&order, &[], 1, 1, false)?.is_empty());
        assert!(Batches::within_tokens(&order, &[], 1, 1, drop)?.is_empty());
        assert!(Batches::packed(&order, &[], 1, drop)?.is_empty());
        Ok(())
    }

    proptest! {
        #[test]
        fn batches_of_a_size_are_the_sorted_windows(
            lengths in prop::collection::vec(0_u32..20, 0..150),
            window in 1_usize..40,
            size in 1_usize..9,
        ) {
            let order: Vec<i64> = natural(lengths.len()).into_iter().rev().collect();
            let checked = Order::permutation(&order, lengths.len())?;
            let batches = rows(&Batches::bucketed(&checked, &lengths, window, size, false)?);
            let (full, rest) = order.split_at(order.len() / size * size);
            let mut expected: Vec<Vec<usize>> =
                sorted(full, &lengths, window).chunks(size).map(<[usize]>::to_vec).collect();
            expected.extend((!rest.is_empty()).then(|| sorted(rest, &[0; 150], 150)));
            prop_assert_eq!(batches, expected);
        }

        #[test]
        fn a_budget_is_kept_and_filled_greedily(
            (lengths, order) in prop::collection::vec(0_u32..20, 0..150).prop_flat_map(|lengths| {
                let order = natural(lengths.len());
                (Just(lengths), Just(order).prop_shuffle())
            }),
            window in 1_usize..200,
            limit in 20_u64..90,
        ) {
            let checked = Order::permutation(&order, lengths.len())?;
            let drop = Overlong::Drop;
            let batches = Batches::within_tokens(&checked, &lengths, window, limit, drop)?;
            let cost = |rows: &[usize]| {
                let longest = rows.iter().map(|&row| lengths[row].max(1)).max().unwrap_or(1);
                u64::try_from(rows.len()).unwrap() * u64::from(longest)
            };
            let mut expected: Vec<Vec<usize>> = Vec::new();
            for row in sorted(&order, &lengths, window) {
                let with = |batch: &Vec<usize>| [&batch[..], &[row]].concat();
                match expected.last_mut() {
                    Some(batch) if cost(&with(batch)) <= limit => batch.push(row),
                    _ => expected.push(vec![row]),
                }
            }
            prop_assert_eq!(rows(&batches), expected);
        }
    }
}
