//! Examples by length, ties in the order that was given: the first half of every plan by length.
//!
//! A counting sort: one pass over the examples and two over their lengths, one counter for each length between the shortest
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

/// Which counter counts which length: they are in the order that is asked for.
#[derive(Clone, Copy)]
struct Slots {
    shortest: u32,
    spread: usize,
    direction: Direction,
}

impl Slots {
    fn of(self, length: u32) -> usize {
        let above = length.saturating_sub(self.shortest);
        self.turned(usize::try_from(above).unwrap_or(usize::MAX))
    }

    fn length(self, slot: usize) -> u32 {
        let above = u32::try_from(self.turned(slot)).unwrap_or(u32::MAX);
        self.shortest.saturating_add(above)
    }

    fn turned(self, slot: usize) -> usize {
        match self.direction {
            Direction::Rising => slot,
            Direction::Falling => self.spread.saturating_sub(slot),
        }
    }
}

impl LengthSort {
    /// Sorts examples, each given as (index, length), in place of those sorted before.
    ///
    /// `lengths` are the lengths of the same examples in any order, and are read twice: where the
    /// examples are an order of a dataset, those of the dataset are read much faster.
    pub fn sort(
        &mut self,
        lengths: impl Iterator<Item = u32> + Clone,
        examples: impl Iterator<Item = (u32, u32)>,
        direction: Direction,
    ) {
        self.indices.clear();
        self.runs.clear();
        let (mut count, mut shortest, mut longest) = (0_usize, u32::MAX, 0);
        for length in lengths.clone() {
            count += 1;
            shortest = shortest.min(length);
            longest = longest.max(length);
        }
        let spread = usize::try_from(longest.saturating_sub(shortest)).unwrap_or(usize::MAX);
        let is_dense = spread < FREE_COUNTERS.max(count.saturating_mul(COUNTERS_PER_EXAMPLE));
        // The counters have 32 bits.
        if is_dense && u32::try_from(count).is_ok() {
            let slots = Slots {
                shortest,
                spread,
                direction,
            };
            self.count(lengths, slots);
            self.indices.resize(count, 0);
            self.place(examples, slots);
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

    /// Counts lengths and turns the counters into where each length starts.
    fn count(&mut self, lengths: impl Iterator<Item = u32>, slots: Slots) {
        self.counters.clear();
        self.counters.resize(slots.spread + 1, 0);
        for length in lengths {
            if let Some(counter) = self.counters.get_mut(slots.of(length)) {
                *counter += 1;
            }
        }
        let mut start = 0;
        for (slot, counter) in self.counters.iter_mut().enumerate() {
            let count = std::mem::replace(counter, start);
            start += count;
            if count > 0 {
                self.runs.push(Run {
                    length: slots.length(slot),
                    count: usize::try_from(count).unwrap_or(usize::MAX),
                });
            }
        }
    }

    /// Puts each example where its length starts, and moves the start on.
    fn place(&mut self, examples: impl Iterator<Item = (u32, u32)>, slots: Slots) {
        for (index, length) in examples {
            if let Some(counter) = self.counters.get_mut(slots.of(length)) {
                let position = usize::try_from(*counter).unwrap_or(usize::MAX);
                if let Some(place) = self.indices.get_mut(position) {
                    *place = index;
                }
                *counter += 1;
            }
        }
    }

    fn sort_by_comparing(
        &mut self,
        examples: impl Iterator<Item = (u32, u32)>,
        direction: Direction,
    ) {
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
        sort.sort([7; 9].into_iter(), (0..9).zip([7; 9]), Direction::Rising);
        let backwards = lengths.iter().rev().copied();
        sort.sort(backwards, (0..).zip(lengths.iter().copied()), direction);
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
