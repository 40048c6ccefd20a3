//! The batch plan: which examples make which batch.
//!
//! A plan is data, two flat arrays, so that it can be printed, compared and computed again on every
//! rank. [`BatchPlan::cut`] takes the order as it is: the batches, one after the other, are the order
//! (less a dropped tail). [`Batches`] are cut by length, and shuffled afterwards.

mod arrangement;
mod batches;

pub use arrangement::{ArrangedPlan, Steps, Tail};
pub use batches::Batches;

use crate::error::{Error, Result};
use crate::sampler::Order;

/// Batches of example indices; batch `i` is `indices[offsets[i]..offsets[i + 1]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchPlan {
    /// The examples of all batches, one batch after the other.
    pub indices: Vec<i64>,
    /// Where each batch begins, and at the end the number of examples.
    pub batch_offsets: Vec<i64>,
}

impl BatchPlan {
    /// Cuts an order into batches of `batch_size`; a shorter last one is kept unless `drop_last`.
    ///
    /// # Errors
    ///
    /// [`Error::Zero`] for a batch size of zero.
    pub fn cut(order: &Order<'_>, batch_size: usize, drop_last: bool) -> Result<Self> {
        if batch_size == 0 {
            return Err(Error::Zero { name: "batch_size" });
        }
        let indices = order.indices();
        let tail = if drop_last {
            indices.len() % batch_size
        } else {
            0
        };
        let kept = indices.len() - tail;
        let starts = (0..kept).step_by(batch_size).map(as_i64);
        Ok(Self {
            indices: indices.iter().take(kept).copied().collect(),
            batch_offsets: starts.chain([as_i64(kept)]).collect(),
        })
    }

    /// The number of batches.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batch_offsets.len().saturating_sub(1)
    }

    /// Whether there is no batch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The examples of one batch, if there is such a batch.
    #[must_use]
    pub fn batch(&self, index: usize) -> Option<&[i64]> {
        let start = usize::try_from(*self.batch_offsets.get(index)?).ok()?;
        let end = usize::try_from(*self.batch_offsets.get(index.checked_add(1)?)?).ok()?;
        self.indices.get(start..end)
    }
}

/// A position as numpy counts them.
fn as_i64(position: usize) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_tail_is_a_shorter_batch_or_dropped() -> Result<()> {
        let order = Order::permutation(&[4, 2, 0, 1, 3], 5)?;
        let plan = BatchPlan::cut(&order, 2, false)?;
        assert_eq!(plan.len(), 3);
        assert_eq!(plan.batch(0), Some(&[4, 2][..]));
        assert_eq!(plan.batch(2), Some(&[3][..]));
        assert_eq!(plan.batch(3), None);
        assert_eq!(BatchPlan::cut(&order, 2, true)?.len(), 2);
        assert!(BatchPlan::cut(&order, 9, true)?.is_empty());
        assert_eq!(
            BatchPlan::cut(&order, 0, true),
            Err(Error::Zero { name: "batch_size" })
        );
        Ok(())
    }

    proptest! {
        #[test]
        fn the_batches_put_together_are_the_order(
            order in (0_i64..200).prop_map(|n| (0..n).collect::<Vec<_>>()).prop_shuffle(),
            batch_size in 1_usize..40,
            drop_last: bool,
        ) {
            let plan = BatchPlan::cut(&Order::permutation(&order, order.len())?, batch_size, drop_last)?;
            let batches: Vec<&[i64]> = (0..plan.len()).filter_map(|index| plan.batch(index)).collect();
            prop_assert_eq!(batches.len(), plan.len());
            let kept = batches.concat();
            prop_assert_eq!(&order[..kept.len()], &kept[..]);
            let left = order.len() - kept.len();
            let most = if drop_last { batch_size - 1 } else { 0 };
            prop_assert!(left <= most);
            let full = if drop_last { plan.len() } else { plan.len().saturating_sub(1) };
            prop_assert!(batches.iter().take(full).all(|batch| batch.len() == batch_size));
        }
    }
}
