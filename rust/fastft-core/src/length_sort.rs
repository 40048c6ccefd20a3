//! Examples by length, ties in the order that was given: the first half of every plan by length.
//!
//! A counting sort: two passes over the examples, one counter for each length between the shortest
//! and the longest. Where lengths are spread so widely that the counters would be many more than the
//! examples, a comparison sort takes over; both are stable, so the result is the same.

use std::cmp::Reverse;

/// More counters than this many an example (and [`FREE_COUNTERS`]) are not worth their memory.
const COUNTERS_PER_EXAMPLE: usize = 4;
const FREE_COUNTERS: usize = 1 << 16;

/// Which lengths come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The short ones.
    Rising,
    /// The long ones.
    Falling,
}

/// Neighbours of one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The length that they share.
    pub length: u32,
    /// How many they are.
    pub count: usize,
}

/// Sorted examples; it is used again and again so that its memory is.
#[derive(Debug, Default)]
pub struct LengthSort {
    indices: Vec<u32>,
    runs: Vec<Run>,
    counters: Vec<u32>,
}

impl LengthSort {
    /// Sorts examples, each given as (index, length), in place of those sorted before.
    ///
    /// The iterator is read two or three times and has to give the same examples each time.
    pub fn sort<I>(&mut self, examples: I, direction: Direction)
    where
        I: Iterator<Item = (u32, u32)> + Clone,
    {
        self.indices.clear();
        self.runs.clear();
        let (mut count, mut shortest, mut longest) = (0_usize, u32::MAX, 0);
        for (_, length) in examples.clone() {
            count += 1;
            shortest = shortest.min(length);
            longest = longest.max(length);
        }
        let spread = usize::try_from(longest.saturating_sub(shortest)).unwrap_or(usize::MAX);
        let is_dense = spread < FREE_COUNTERS.max(count.saturating_mul(COUNTERS_PER_EXAMPLE));
        // The counters have 32 bits.
        if is_dense && u32::try_from(count).is_ok() {
            self.sort_by_counting(examples, count, shortest, spread, direction);
        } else {
            self.sort_by_comparing(examples, direction);
        }
    }

    /// The examples in their new order.
    #[must_use]
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// The same examples as runs of one length.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The examples in their new order, each as (index, length).
    pub fn examples(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let lengths = self
            .runs
            .iter()
            .flat_map(|run| std::iter::repeat_n(run.length, run.count));
        self.indices.iter().copied().zip(lengths)
    }

    fn sort_by_counting<I>(
        &mut self,
        examples: I,
        count: usize,
        shortest: u32,
        spread: usize,
        direction: Direction,
    ) where
        I: Iterator<Item = (u32, u32)> + Clone,
    {
        // Falling lengths are counted from the longest, so that the counters always run upwards.
        let slot = |length: u32| {
            let above = usize::try_from(length - shortest).unwrap_or(usize::MAX);
            match direction {
                Direction::Rising => above,
                Direction::Falling => spread.saturating_sub(above),
            }
        };
        self.counters.clear();
        self.counters.resize(spread + 1, 0);
        for (_, length) in examples.clone() {
            if let Some(counter) = self.counters.get_mut(slot(length)) {
                *counter += 1;
            }
        }
        let mut start = 0;
        for (slot, counter) in self.counters.iter_mut().enumerate() {
            let count = std::mem::replace(counter, start);
            start += count;
            if count > 0 {
                let above = match direction {
                    Direction::Rising => slot,
                    Direction::Falling => spread - slot,
                };
                self.runs.push(Run {
                    length: shortest + u32::try_from(above).unwrap_or(u32::MAX),
                    count: usize::try_from(count).unwrap_or(usize::MAX),
                });
            }
        }
        self.indices.resize(count, 0);
        for (index, length) in examples {
            if let Some(counter) = self.counters.get_mut(slot(length)) {
                let position = usize::try_from(*counter).unwrap_or(usize::MAX);
                if let Some(place) = self.indices.get_mut(position) {
                    *place = index;
                }
                *counter += 1;
            }
        }
    }

    fn sort_by_comparing<I>(&mut self, examples: I, direction: Direction)
    where
        I: Iterator<Item = (u32, u32)>,
    {
        let mut sorted: Vec<(u32, u32)> = examples.collect();
        match direction {
            Direction::Rising => sorted.sort_by_key(|&(_, length)| length),
            Direction::Falling => sorted.sort_by_key(|&(_, length)| Reverse(length)),
        }
        for run in sorted.chunk_by(|(_, one), (_, next)| one == next) {
            let length = run.first().map_or(0, |&(_, length)| length);
            let count = run.len();
            self.runs.push(Run { length, count });
        }
        self.indices
            .extend(sorted.into_iter().map(|(index, _)| index));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sorted(lengths: &[u32], direction: Direction) -> (Vec<u32>, Vec<u32>) {
        let mut sort = LengthSort::default();
        // Whatever was sorted before leaves no trace.
        sort.sort((0..9).zip([7; 9]), Direction::Rising);
        sort.sort((0..).zip(lengths.iter().copied()), direction);
        let (indices, of_run): (Vec<u32>, Vec<u32>) = sort.examples().unzip();
        assert_eq!(indices, sort.indices());
        (indices, of_run)
    }

    #[test]
    fn ties_keep_their_order_in_both_directions() {
        let lengths = [5, 2, 5, 0, 2];
        let rising = (vec![3, 1, 4, 0, 2], vec![0, 2, 2, 5, 5]);
        let falling = (vec![0, 2, 1, 4, 3], vec![5, 5, 2, 2, 0]);
        assert_eq!(sorted(&lengths, Direction::Rising), rising);
        assert_eq!(sorted(&lengths, Direction::Falling), falling);
        assert_eq!(sorted(&[], Direction::Falling), (vec![], vec![]));
    }

    proptest! {
        #[test]
        fn it_is_the_stable_sort_of_the_standard_library(
            lengths in prop_oneof![
                prop::collection::vec(0_u32..40, 0..300),
                prop::collection::vec(any::<u32>(), 0..50),
            ],
        ) {
            let mut expected: Vec<u32> = (0..).take(lengths.len()).collect();
            let length = |index: &u32| lengths[*index as usize];
            expected.sort_by_key(length);
            prop_assert_eq!(sorted(&lengths, Direction::Rising).0, expected.clone());
            expected.sort_unstable();
            expected.sort_by_key(|index| Reverse(length(index)));
            let (indices, of_run) = sorted(&lengths, Direction::Falling);
            prop_assert_eq!(of_run, expected.iter().map(length).collect::<Vec<_>>());
            prop_assert_eq!(indices, expected);
        }
    }
}
