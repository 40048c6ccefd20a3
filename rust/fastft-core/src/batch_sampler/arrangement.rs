//! The order in which cut batches are trained: shuffled, in steps of equal work for all ranks.
//!
//! Invariant: without steps, the batches are those of the permutation that was drawn. With steps of
//! M micro-batches their number is a multiple of M, and within a step the dear ones come first: when
//! rank r of W takes micro-batches r, r + W, ... of a step, the ranks take about the same.

use std::cmp::Reverse;
use std::num::NonZeroUsize;

use super::batches::Batches;
use super::{BatchPlan, as_i64};
use crate::error::{Error, Result, expect_length};
use crate::sampler::Order;

/// What happens to batches that do not fill a last step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// They are left out.
    Drop,
    /// The first batches are repeated until the step is full.
    Pad,
}

/// The most micro-batches of a step: a tail may have to be filled with as many.
const MOST_MICRO_BATCHES: usize = 1 << 16;

/// Steps of as many micro-batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    micro_batches: NonZeroUsize,
    tail: Tail,
}

impl Steps {
    /// Steps of `micro_batches`, over all ranks; with 1 the plan stays as it is drawn.
    ///
    /// # Errors
    ///
    /// [`Error::Zero`], [`Error::AboveMost`].
    pub fn new(micro_batches: usize, tail: Tail) -> Result<Self> {
        let name = "micro_batches_per_step";
        if micro_batches > MOST_MICRO_BATCHES {
            return Err(Error::AboveMost {
                name,
                found: micro_batches,
                most: MOST_MICRO_BATCHES,
            });
        }
        let micro_batches = NonZeroUsize::new(micro_batches).ok_or(Error::Zero { name })?;
        Ok(Self {
            micro_batches,
            tail,
        })
    }
}

/// A plan, and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrangedPlan {
    /// The batches in the order of training.
    pub plan: BatchPlan,
    /// Whether each batch repeats an earlier one, in which case it must have no weight.
    pub repeated: Vec<bool>,
    /// The tokens of all batches, repeated ones included.
    pub num_tokens: u64,
    /// The tokens of all batches with their padding.
    pub num_padded_tokens: u64,
}

/// A place in the plan.
#[derive(Clone, Copy)]
struct Place {
    batch: usize,
    is_repeated: bool,
}

impl Batches {
    /// Puts the batches into the order that was drawn; a shorter one that has to be last stays it.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`] when the order is not one of [`Batches::num_movable`] batches.
    pub fn arranged(&self, order: &Order<'_>, steps: Steps) -> Result<ArrangedPlan> {
        let num_movable = self.num_movable();
        expect_length("batch_order", order.indices().len(), num_movable)?;
        let drawn = order.indices().iter();
        let drawn = drawn.map(|&batch| usize::try_from(batch).unwrap_or(usize::MAX));
        let last = num_movable..self.len();
        let mut places: Vec<Place> = drawn.chain(last).map(Place::new).collect();
        if steps.micro_batches.get() > 1 {
            fit_tail(&mut places, steps);
            for step in places.chunks_mut(steps.micro_batches.get()) {
                step.sort_by_key(|place| Reverse(self.cost(place.batch)));
            }
        }
        Ok(self.plan_of(&places))
    }

    /// What a batch costs beside those of its step; a shorter last one counts as the cheapest.
    fn cost(&self, batch: usize) -> u64 {
        if batch >= self.num_movable() {
            return 0;
        }
        self.num_padded_tokens.get(batch).copied().unwrap_or(0)
    }

    fn plan_of(&self, places: &[Place]) -> ArrangedPlan {
        let mut indices = Vec::with_capacity(self.indices.len());
        let mut batch_offsets = Vec::with_capacity(places.len() + 1);
        batch_offsets.push(0);
        for place in places {
            indices.extend(
                self.batch(place.batch)
                    .iter()
                    .map(|&index| i64::from(index)),
            );
            batch_offsets.push(as_i64(indices.len()));
        }
        let total = |costs: &[u64]| {
            let costs = places.iter().filter_map(|place| costs.get(place.batch));
            costs.fold(0_u64, |sum, &cost| sum.saturating_add(cost))
        };
        ArrangedPlan {
            plan: BatchPlan {
                indices,
                batch_offsets,
            },
            repeated: places.iter().map(|place| place.is_repeated).collect(),
            num_tokens: total(&self.num_tokens),
            num_padded_tokens: total(&self.num_padded_tokens),
        }
    }

    /// The examples of a batch.
    fn batch(&self, batch: usize) -> &[u32] {
        let offset = |at: usize| {
            self.offsets
                .get(at)
                .and_then(|&at| usize::try_from(at).ok())
        };
        let (start, end) = (offset(batch), offset(batch + 1));
        let range = start.zip(end).map(|(start, end)| start..end);
        range
            .and_then(|range| self.indices.get(range))
            .unwrap_or_default()
    }
}

impl Place {
    fn new(batch: usize) -> Self {
        Self {
            batch,
            is_repeated: false,
        }
    }
}

/// Makes the number of batches a multiple of those of a step.
fn fit_tail(places: &mut Vec<Place>, steps: Steps) {
    let over = places.len() % steps.micro_batches;
    if over == 0 {
        return;
    }
    if steps.tail == Tail::Drop {
        places.truncate(places.len() - over);
        return;
    }
    let missing = steps.micro_batches.get() - over;
    let first = places.iter().cycle().take(missing);
    let repeated: Vec<Place> = first
        .map(|&place| Place {
            is_repeated: true,
            ..place
        })
        .collect();
    places.extend(repeated);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packing::Overlong;

    const LENGTHS: [u32; 5] = [4, 1, 3, 2, 5];

    fn arranged(batch_order: &[i64], micro_batches: usize, tail: Tail) -> Result<ArrangedPlan> {
        // Each example is a batch of its own: [1], [3], [2], [0], [4].
        let order = Order::permutation(&[0, 1, 2, 3, 4], 5)?;
        let batches = Batches::bucketed(&order, &LENGTHS, 8, 1, false)?;
        let order = Order::permutation(batch_order, batch_order.len())?;
        batches.arranged(&order, Steps::new(micro_batches, tail)?)
    }

    #[test]
    fn without_steps_the_order_is_the_one_that_was_drawn() -> Result<()> {
        let arranged = arranged(&[4, 0, 3, 1, 2], 1, Tail::Pad)?;
        assert_eq!(arranged.plan.indices, [4, 1, 0, 3, 2]);
        assert_eq!(arranged.plan.batch_offsets, [0, 1, 2, 3, 4, 5]);
        assert_eq!(arranged.repeated, [false; 5]);
        assert_eq!((arranged.num_tokens, arranged.num_padded_tokens), (15, 15));
        Ok(())
    }

    #[test]
    fn the_tail_is_dropped_or_filled_with_repeated_batches() -> Result<()> {
        let order = [4, 0, 3, 1, 2];
        let dropped = arranged(&order, 2, Tail::Drop)?;
        assert_eq!(dropped.plan.indices, [4, 1, 0, 3]);
        assert_eq!(dropped.num_tokens, 12);
        let padded = arranged(&order, 4, Tail::Pad)?;
        assert_eq!(padded.plan.indices, [4, 0, 3, 1, 4, 0, 2, 1]);
        let repeated = [false, false, false, false, true, true, false, true];
        assert_eq!(padded.repeated, repeated);
        let larger = arranged(&order, 12, Tail::Pad)?;
        assert_eq!(larger.plan.indices, [4, 4, 4, 0, 0, 2, 2, 3, 3, 1, 1, 1]);
        assert!(arranged(&order, 12, Tail::Drop)?.plan.is_empty());
        Ok(())
    }

    #[test]
    fn a_shorter_batch_stays_the_last_of_its_step() -> Result<()> {
        let order = Order::permutation(&[1, 0, 2], 3)?;
        let batches = Batches::bucketed(&order, &[1, 1, 9], 8, 2, false)?;
        let steps = Steps::new(2, Tail::Pad)?;
        let arranged = batches.arranged(&Order::permutation(&[0], 1)?, steps)?;
        assert_eq!(arranged.plan.indices, [1, 0, 2]);
        let error = batches.arranged(&Order::permutation(&[0, 1], 2)?, steps);
        assert!(matches!(error, Err(Error::LengthMismatch { .. })));
        Ok(())
    }

    #[test]
    fn steps_have_a_size() {
        let name = "micro_batches_per_step";
        assert_eq!(Steps::new(0, Tail::Drop), Err(Error::Zero { name }));
        let error = Steps::new(usize::MAX, Tail::Pad);
        assert!(matches!(error, Err(Error::AboveMost { .. })));
    }

    proptest! {
        #[test]
        fn steps_are_full_and_dear_batches_first(
            lengths in prop::collection::vec(0_u32..20, 0..150),
            micro_batches in 2_usize..9,
            is_padded: bool,
        ) {
            let all: Vec<i64> = (0..).take(lengths.len()).collect();
            let order = Order::permutation(&all, lengths.len())?;
            let batches = Batches::within_tokens(&order, &lengths, 16, 30, Overlong::Error)?;
            let drawn: Vec<i64> = (0..).take(batches.len()).collect::<Vec<_>>().into_iter().rev().collect();
            let tail = if is_padded { Tail::Pad } else { Tail::Drop };
            let steps = Steps::new(micro_batches, tail)?;
            let arranged = batches.arranged(&Order::permutation(&drawn, drawn.len())?, steps)?;
            prop_assert_eq!(arranged.plan.len() % micro_batches, 0);
            let plan: Vec<&[i64]> =
                (0..arranged.plan.len()).filter_map(|at| arranged.plan.batch(at)).collect();
            let length = |&row: &i64| u64::from(lengths[usize::try_from(row).unwrap()]);
            let cost = |rows: &[i64]| rows.iter().map(length).max().unwrap_or(0) * rows.len() as u64;
            let costs: Vec<u64> = plan.iter().map(|rows| cost(rows)).collect();
            prop_assert!(costs.chunks(micro_batches).all(|step| step.is_sorted_by(|a, b| a >= b)));
            prop_assert_eq!(costs.iter().sum::<u64>(), arranged.num_padded_tokens);
            let weighted = plan.iter().zip(&arranged.repeated).filter(|&(_, &repeated)| !repeated);
            let mut seen: Vec<i64> = weighted.flat_map(|(rows, _)| rows.iter().copied()).collect();
            seen.sort_unstable();
            if is_padded {
                prop_assert_eq!(seen, all);
            } else {
                prop_assert!(batches.len() - plan.len() < micro_batches);
                seen.dedup();
                prop_assert_eq!(seen.len(), arranged.plan.indices.len());
            }
        }
    }
}
