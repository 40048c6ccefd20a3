//! The order in which examples are seen, drawn elsewhere and checked here.
//!
//! The order of an epoch comes from `torch.randperm` with torch's own generator, because it must be
//! the very order of the stock sampler. What is left to do is to make sure, once, in O(n) and one
//! bit an example, that later stages may trust it.

use std::num::NonZeroUsize;

use crate::error::{Error, Result, expect_length};

/// A checked order of examples.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    indices: &'a [i64],
}

impl<'a> Order<'a> {
    /// An order that names each of `num_examples` examples exactly once.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`], [`Error::IndexOutOfRange`] or [`Error::RepeatedIndex`].
    pub fn permutation(indices: &'a [i64], num_examples: usize) -> Result<Self> {
        expect_length("order", indices.len(), num_examples)?;
        let mut seen = vec![0_u64; num_examples.div_ceil(64)];
        for &index in indices {
            let slot = position(index, num_examples)?;
            let bit = 1 << (slot % 64);
            match seen.get_mut(slot / 64) {
                Some(seen) if *seen & bit == 0 => *seen |= bit,
                _ => return Err(Error::RepeatedIndex { index }),
            }
        }
        Ok(Self { indices })
    }

    /// An order that names only examples that exist, some perhaps never or more than once.
    ///
    /// # Errors
    ///
    /// [`Error::IndexOutOfRange`].
    pub fn within(indices: &'a [i64], num_examples: usize) -> Result<Self> {
        for &index in indices {
            position(index, num_examples)?;
        }
        Ok(Self { indices })
    }

    /// The same order with the length of each example of the dataset.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`] when there are not as many lengths as examples in the order,
    /// [`Error::TooManyExamples`] when an index does not fit in 32 bits.
    pub fn with_lengths(&self, lengths: &'a [u32]) -> Result<OrderedLengths<'a>> {
        let num_examples = self.indices.len();
        expect_length("lengths", lengths.len(), num_examples)?;
        if u32::try_from(num_examples).is_err() {
            return Err(Error::TooManyExamples { num_examples });
        }
        let indices = self.indices;
        Ok(OrderedLengths { indices, lengths })
    }

    /// The examples in their order.
    #[must_use]
    pub fn indices(&self) -> &'a [i64] {
        self.indices
    }
}

/// Some examples in an order, and the lengths of all examples of the dataset.
#[derive(Debug, Clone, Copy)]
pub struct OrderedLengths<'a> {
    indices: &'a [i64],
    lengths: &'a [u32],
}

impl<'a> OrderedLengths<'a> {
    /// The examples, each as (index, length).
    pub fn examples(self) -> impl Iterator<Item = (u32, u32)> + Clone + use<'a> {
        let Self { indices, lengths } = self;
        // The indices were checked: neither default is ever taken.
        indices.iter().map(|&index| {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let length = usize::try_from(index).ok().and_then(|row| lengths.get(row));
            (index, length.copied().unwrap_or(0))
        })
    }

    /// The same examples in pieces of `window`.
    pub fn windows(self, window: NonZeroUsize) -> impl Iterator<Item = Self> + use<'a> {
        let lengths = self.lengths;
        let pieces = self.indices.chunks(window.get());
        pieces.map(move |indices| Self { indices, lengths })
    }

    /// The first `count` examples, and those after them.
    #[must_use]
    pub fn split_at(self, count: usize) -> (Self, Self) {
        let lengths = self.lengths;
        let (head, tail) = self.indices.split_at(count.min(self.indices.len()));
        let part = |indices| Self { indices, lengths };
        (part(head), part(tail))
    }
}

fn position(index: i64, num_examples: usize) -> Result<usize> {
    usize::try_from(index)
        .ok()
        .filter(|&position| position < num_examples)
        .ok_or(Error::IndexOutOfRange {
            index,
            num_examples,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_names_each_example_once() {
        assert!(Order::permutation(&[2, 0, 1], 3).is_ok());
        assert!(Order::permutation(&[], 0).is_ok());
        let error = |indices: &[i64]| Order::permutation(indices, 3).err();
        assert_eq!(error(&[2, 0, 2]), Some(Error::RepeatedIndex { index: 2 }));
        assert!(matches!(error(&[0, 1]), Some(Error::LengthMismatch { .. })));
        for wrong in [3, -1, i64::MIN] {
            assert!(matches!(
                error(&[0, 1, wrong]),
                Some(Error::IndexOutOfRange { .. })
            ));
        }
    }

    #[test]
    fn lengths_follow_the_order() -> Result<()> {
        let order = Order::permutation(&[2, 0, 1], 3)?;
        let ordered = order.with_lengths(&[5, 6, 7])?;
        let examples = |part: OrderedLengths<'_>| part.examples().collect::<Vec<_>>();
        assert_eq!(examples(ordered), [(2, 7), (0, 5), (1, 6)]);
        let (head, tail) = ordered.split_at(2);
        assert_eq!(examples(tail), [(1, 6)]);
        assert!(examples(head.split_at(9).1).is_empty());
        let pieces: Vec<_> = ordered
            .windows(NonZeroUsize::MIN.saturating_add(1))
            .map(|piece| examples(piece).len())
            .collect();
        assert_eq!(pieces, [2, 1]);
        let error = order.with_lengths(&[5]).err();
        assert!(matches!(error, Some(Error::LengthMismatch { .. })));
        Ok(())
    }

    #[test]
    fn any_order_stays_within_the_dataset() {
        assert!(Order::within(&[1, 1, 1], 2).is_ok());
        assert!(Order::within(&[2], 2).is_err());
    }
}
