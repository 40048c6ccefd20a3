//! Packing: examples into as few bins of a fixed capacity as best-fit decreasing finds.
//!
//! The rule is the plain one: the longest example first, each into the bin with the least room that
//! still holds it, a new bin where there is none. The work is not done example by example: all
//! examples of one length and all bins with the same room are handled as ranges. A million examples
//! need some two thousand such steps, so the cost is that of the sort before and the copy after.
//!
//! Invariant: a pure function of lengths, order and capacity. Examples of one length are placed in
//! the order that was given, so another order gives other bins of the same fill.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::length_sort::{Direction, LengthSort, Run};
use crate::sampler::Order;

/// What happens to an example that is longer than a bin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlong {
    /// It is an error.
    Error,
    /// It is left out.
    Drop,
}

/// Bins of examples; bin `i` holds `indices[offsets[i]..offsets[i + 1]]`, the longest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bins<Index> {
    /// The examples of all bins, one bin after the other, in the order in which bins were opened.
    pub indices: Vec<Index>,
    /// Where each bin begins, and at the end the number of examples.
    pub offsets: Vec<i64>,
}

/// Packs examples into bins of `capacity` tokens, ties in the order of the dataset.
///
/// Examples without tokens fit anywhere; they lie in the last bin.
///
/// # Errors
///
/// [`Error::Zero`] for a capacity of zero, [`Error::AboveLimit`] for an example that is longer and
/// may not be dropped, [`Error::TooManyExamples`].
pub fn pack(lengths: &[u32], capacity: u64, overlong: Overlong) -> Result<Bins<i64>> {
    check(lengths, capacity, overlong, "max_length")?;
    let num_examples = lengths.len();
    if u32::try_from(num_examples).is_err() {
        return Err(Error::TooManyExamples { num_examples });
    }
    let examples = (0..).zip(lengths.iter().copied());
    let (sort, placement) = place(lengths, examples, capacity);
    Ok(placement.bins(sort.indices()))
}

/// Packs examples into bins of `capacity` tokens, ties in the order that is given.
///
/// Also gives the number of tokens of each bin.
///
/// # Errors
///
/// As [`pack`]; [`Error::LengthMismatch`] for an order of another size.
pub fn pack_in_order(
    order: &Order<'_>,
    lengths: &[u32],
    capacity: u64,
    overlong: Overlong,
) -> Result<(Bins<u32>, Vec<u64>)> {
    check(lengths, capacity, overlong, "max_tokens")?;
    let examples = order.with_lengths(lengths)?.examples();
    let (sort, placement) = place(lengths, examples, capacity);
    Ok((placement.bins(sort.indices()), placement.num_tokens()))
}

/// Looks at what every plan with a limit asks of its lengths.
pub(crate) fn check(
    lengths: &[u32],
    limit: u64,
    overlong: Overlong,
    name: &'static str,
) -> Result<()> {
    if limit == 0 {
        return Err(Error::Zero { name });
    }
    let mut rows = lengths.iter().enumerate();
    match rows.find(|&(_, &length)| u64::from(length) > limit) {
        Some((row, &length)) if overlong == Overlong::Error => {
            Err(Error::AboveLimit { row, length, limit })
        }
        _ => Ok(()),
    }
}

/// Sorts the examples that fit, and says where each goes.
fn place(
    lengths: &[u32],
    examples: impl Iterator<Item = (u32, u32)>,
    capacity: u64,
) -> (LengthSort, Placement) {
    let fits = |length: u32| u64::from(length) <= capacity;
    let mut sort = LengthSort::default();
    sort.sort(
        lengths.iter().copied().filter(|&length| fits(length)),
        examples.filter(|&(_, length)| fits(length)),
        Direction::Falling,
    );
    let placement = Placement::best_fit(sort.runs(), capacity);
    (sort, placement)
}

/// Bins that stand next to each other.
#[derive(Debug, Clone, Copy)]
struct BinRange {
    first: usize,
    count: usize,
}

impl BinRange {
    /// The places one after those of the bins.
    fn after(self) -> Range<usize> {
        self.first + 1..self.first + self.count + 1
    }
}

/// Neighbours in the sorted examples: the next `per_bin` go to the first bin, and so on.
#[derive(Debug, Clone, Copy)]
struct Placed {
    bins: BinRange,
    per_bin: usize,
    /// The tokens that each of the bins gains.
    num_tokens: u64,
}

/// Where the sorted examples lie.
#[derive(Debug, Default)]
struct Placement {
    placed: Vec<Placed>,
    num_bins: usize,
    /// Ranges of bins by the room that they have left; bins without room are gone.
    open: BTreeMap<u64, Vec<BinRange>>,
}

impl Placement {
    /// Places runs of falling length.
    fn best_fit(runs: &[Run], capacity: u64) -> Self {
        let mut placement = Self::default();
        for &Run { length, count } in runs {
            if length == 0 {
                placement.place_empty(count);
                continue;
            }
            let mut left = count;
            while left > 0 {
                left -= placement.place(u64::from(length), left, capacity);
            }
        }
        placement
    }

    /// Places some of `count` examples into the tightest bins and returns how many.
    ///
    /// A bin is filled with as many as it holds before the next one is touched: what it has left is
    /// less than it had, so it stays the tightest until no further example fits.
    fn place(&mut self, length: u64, count: usize, capacity: u64) -> usize {
        let (room, bins) = match self.take_tightest(length) {
            Some(tightest) => tightest,
            None => (capacity, self.new_bins(count, length, capacity)),
        };
        let most = usize::try_from(room / length).unwrap_or(usize::MAX).max(1);
        let full = bins.count.min(count / most);
        self.put(room, bins.first, full, most, length);
        let rest = if full < bins.count {
            count - full * most
        } else {
            0
        };
        let partial = usize::from(rest > 0);
        self.put(room, bins.first + full, partial, rest, length);
        self.keep_open(
            room,
            BinRange {
                first: bins.first + full + partial,
                count: bins.count - full - partial,
            },
        );
        full * most + rest
    }

    /// Puts `per_bin` examples into each of `count` bins that have `room`.
    fn put(&mut self, room: u64, first: usize, count: usize, per_bin: usize, length: u64) {
        if count == 0 {
            return;
        }
        let bins = BinRange { first, count };
        let num_tokens = u64::try_from(per_bin)
            .unwrap_or(u64::MAX)
            .saturating_mul(length);
        self.placed.push(Placed {
            bins,
            per_bin,
            num_tokens,
        });
        self.keep_open(room.saturating_sub(num_tokens), bins);
    }

    fn keep_open(&mut self, room: u64, bins: BinRange) {
        if room > 0 && bins.count > 0 {
            self.open.entry(room).or_default().push(bins);
        }
    }

    fn take_tightest(&mut self, length: u64) -> Option<(u64, BinRange)> {
        let (&room, ranges) = self.open.range_mut(length..).next()?;
        let bins = ranges.pop();
        if ranges.is_empty() {
            self.open.remove(&room);
        }
        bins.map(|bins| (room, bins))
    }

    /// Opens as many bins as `count` examples need.
    fn new_bins(&mut self, count: usize, length: u64, capacity: u64) -> BinRange {
        let most = usize::try_from(capacity / length).unwrap_or(usize::MAX);
        let bins = BinRange {
            first: self.num_bins,
            count: count.div_ceil(most.max(1)),
        };
        self.num_bins += bins.count;
        bins
    }

    fn place_empty(&mut self, count: usize) {
        self.num_bins = self.num_bins.max(1);
        let bins = BinRange {
            first: self.num_bins - 1,
            count: 1,
        };
        self.placed.push(Placed {
            bins,
            per_bin: count,
            num_tokens: 0,
        });
    }

    /// Copies the sorted examples to their bins.
    fn bins<Index: From<u32> + Clone>(&self, sorted: &[u32]) -> Bins<Index> {
        let mut offsets = self.starts();
        let mut indices = vec![Index::from(0); sorted.len()];
        let mut rest = sorted;
        for &Placed { bins, per_bin, .. } in &self.placed {
            for next in offsets.get_mut(bins.after()).unwrap_or_default() {
                let (here, after) = rest.split_at_checked(per_bin).unwrap_or_default();
                let start = usize::try_from(*next).unwrap_or(usize::MAX);
                let places = indices.get_mut(start..).unwrap_or_default();
                for (place, &index) in places.iter_mut().zip(here) {
                    *place = Index::from(index);
                }
                *next += as_i64(per_bin);
                rest = after;
            }
        }
        Bins { indices, offsets }
    }

    /// At `i + 1`, where bin `i` begins. Whoever fills the bins moves each start to the end of its
    /// bin, which is where the next one begins: then these are the offsets.
    fn starts(&self) -> Vec<i64> {
        let mut starts = vec![0; self.num_bins + 1];
        for placed in &self.placed {
            for size in starts.get_mut(placed.bins.after()).unwrap_or_default() {
                *size += as_i64(placed.per_bin);
            }
        }
        let mut start = 0;
        for size in starts.iter_mut().skip(1) {
            start += std::mem::replace(size, start);
        }
        starts
    }

    /// The tokens of each bin.
    fn num_tokens(&self) -> Vec<u64> {
        let mut num_tokens = vec![0; self.num_bins];
        for placed in &self.placed {
            let range = placed.bins.first..placed.bins.first + placed.bins.count;
            for sum in num_tokens.get_mut(range).unwrap_or_default() {
                *sum += placed.num_tokens;
            }
        }
        num_tokens
    }
}

fn as_i64(position: usize) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bins_of<Index: Copy + Into<i64>>(bins: &Bins<Index>) -> Vec<Vec<usize>> {
        let at = |index: i64| usize::try_from(index).unwrap();
        let indices: Vec<usize> = bins.indices.iter().map(|&index| at(index.into())).collect();
        let cut = |pair: &[i64]| indices[at(pair[0])..at(pair[1])].to_vec();
        bins.offsets.windows(2).map(cut).collect()
    }

    /// The rule as it is told, one example at a time: the fill of each bin.
    fn plain(lengths: &[u32], capacity: u64) -> Vec<u64> {
        let mut falling: Vec<u64> = lengths.iter().map(|&length| length.into()).collect();
        falling.sort_by_key(|&length| std::cmp::Reverse(length));
        let mut fill: Vec<u64> = Vec::new();
        for length in falling {
            let fitting = fill.iter_mut().filter(|fill| **fill + length <= capacity);
            match fitting.max_by_key(|fill| **fill) {
                Some(tightest) => *tightest += length,
                None => fill.push(length),
            }
        }
        fill
    }

    #[test]
    fn the_tightest_bin_is_filled_first() -> Result<()> {
        let bins = pack(&[3, 7, 2, 5, 3, 8], 10, Overlong::Error)?;
        assert_eq!(bins_of(&bins), [vec![5], vec![1, 0], vec![3, 4, 2]]);
        Ok(())
    }

    #[test]
    fn another_order_gives_other_bins_of_the_same_fill() -> Result<()> {
        let lengths = [5; 6];
        let order = [4, 0, 2, 5, 1, 3];
        let order = Order::permutation(&order, 6)?;
        let (bins, num_tokens) = pack_in_order(&order, &lengths, 10, Overlong::Error)?;
        assert_eq!(num_tokens, [10; 3]);
        assert_eq!(bins_of(&bins), [[4, 0], [2, 5], [1, 3]]);
        let natural = pack(&lengths, 10, Overlong::Error)?;
        assert_eq!(bins_of(&natural), [[0, 1], [2, 3], [4, 5]]);
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_an_error_or_left_out() -> Result<()> {
        let (row, length, limit) = (1, 11, 10);
        let error = Error::AboveLimit { row, length, limit };
        assert_eq!(pack(&[3, 11, 12], 10, Overlong::Error), Err(error));
        assert_eq!(
            bins_of(&pack(&[3, 11, 12, 10], 10, Overlong::Drop)?),
            [[3], [0]]
        );
        assert!(bins_of(&pack(&[11], 10, Overlong::Drop)?).is_empty());
        let name = "max_length";
        assert_eq!(pack(&[3], 0, Overlong::Drop), Err(Error::Zero { name }));
        Ok(())
    }

    #[test]
    fn nothing_and_examples_without_tokens() -> Result<()> {
        let pack = |lengths: &[u32]| Ok(bins_of(&pack(lengths, 4, Overlong::Error)?));
        assert!(pack(&[])?.is_empty());
        assert_eq!(pack(&[0, 0])?, [[0, 1]]);
        assert_eq!(pack(&[0, 4, 3, 0])?, [vec![1], vec![2, 0, 3]]);
        Ok(())
    }

    #[test]
    fn no_capacity_is_too_large() -> Result<()> {
        let bins = pack(&[u32::MAX, 1, u32::MAX], u64::MAX, Overlong::Error)?;
        assert_eq!(bins_of(&bins), [[0, 2, 1]]);
        Ok(())
    }

    proptest! {
        #[test]
        fn it_is_best_fit_decreasing(
            (capacity, lengths) in prop_oneof![1_u32..60, 1_u32..2_000_000].prop_flat_map(
                |capacity| (Just(u64::from(capacity)), prop::collection::vec(0..=capacity, 0..400))
            ),
        ) {
            let bins = bins_of(&pack(&lengths, capacity, Overlong::Error)?);
            let fill = bins.iter().map(|bin| bin.iter().map(|&row| u64::from(lengths[row])).sum());
            let mut fill: Vec<u64> = fill.collect();
            prop_assert!(fill.iter().all(|&fill| fill <= capacity));
            let order: Vec<i64> = (0..).take(lengths.len()).collect();
            let order = Order::permutation(&order, lengths.len())?;
            let (same, num_tokens) = pack_in_order(&order, &lengths, capacity, Overlong::Error)?;
            prop_assert_eq!(&bins_of(&same), &bins);
            prop_assert_eq!(&num_tokens, &fill);
            let mut expected = plain(&lengths, capacity);
            fill.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(fill, expected);
            prop_assert!(bins.iter().all(|bin| !bin.is_empty()));
            let mut seen = bins.concat();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
        }

        #[test]
        fn a_shuffled_order_packs_as_tightly(
            lengths in prop::collection::vec(0_u32..30, 200),
            order in Just((0..200).collect::<Vec<i64>>()).prop_shuffle(),
        ) {
            let order = Order::permutation(&order, 200)?;
            let drop = Overlong::Drop;
            let shuffled = bins_of(&pack_in_order(&order, &lengths, 25, drop)?.0);
            let natural = bins_of(&pack(&lengths, 25, drop)?);
            let lengths_of = |bins: &[Vec<usize>]| -> Vec<Vec<u32>> {
                bins.iter().map(|bin| bin.iter().map(|&row| lengths[row]).collect()).collect()
            };
            prop_assert_eq!(lengths_of(&shuffled), lengths_of(&natural));
        }
    }
}
