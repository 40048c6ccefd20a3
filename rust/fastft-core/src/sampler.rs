//! The order in which examples are seen, drawn elsewhere and checked here.
//!
//! The order of an epoch comes from `torch.randperm` with torch's own generator, because it must be
//! the very order of the stock sampler. What is left to do is to make sure, once, in O(n) and one
//! bit an example, that later stages may trust it.

use crate::error::{Error, Result};

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
        if indices.len() != num_examples {
            return Err(Error::LengthMismatch {
                name: "order",
                found: indices.len(),
                expected: num_examples,
            });
        }
        let mut seen = vec![false; num_examples];
        for &index in indices {
            let slot = position(index, num_examples)?;
            match seen.get_mut(slot) {
                Some(seen) if !*seen => *seen = true,
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

    /// The examples in their order.
    #[must_use]
    pub fn indices(&self) -> &'a [i64] {
        self.indices
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
    fn any_order_stays_within_the_dataset() {
        assert!(Order::within(&[1, 1, 1], 2).is_ok());
        assert!(Order::within(&[2], 2).is_err());
    }
}
