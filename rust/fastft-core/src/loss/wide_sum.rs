//! Sums in float32 of what comes in half precision.
//!
//! Cost: one pass, 10 bytes an element; torch, to add two types, makes a copy of one of them first.

use super::format::Format;
use crate::error::{Result, expect_length};
use crate::parallelism::map_parts;
use crate::simd::{Kernel, Lanes, Level, WIDTH};

/// How many elements a thread takes at a time.
const ELEMENTS_AT_ONCE: usize = 1 << 17;

/// Adds each element of `part` to that of `total`.
///
/// # Errors
///
/// [`Error::LengthMismatch`](crate::error::Error::LengthMismatch) for arrays of two lengths; then
/// nothing was written.
pub fn add_widened<F: Format>(
    total: &mut [f32],
    part: &[F::Bits],
    level: Level,
    num_threads: Option<usize>,
) -> Result<()> {
    expect_length("part", part.len(), total.len())?;
    let parts = total
        .chunks_mut(ELEMENTS_AT_ONCE)
        .zip(part.chunks(ELEMENTS_AT_ONCE));
    map_parts(num_threads, parts.collect(), |(total, part)| {
        level.run(Addition::<F> { total, part });
        Ok(())
    })?;
    Ok(())
}

struct Addition<'a, F: Format> {
    total: &'a mut [f32],
    part: &'a [F::Bits],
}

impl<F: Format> Kernel for Addition<'_, F> {
    type Outcome = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let (totals, total_tail) = self.total.as_chunks_mut::<WIDTH>();
        let (parts, part_tail) = self.part.as_chunks::<WIDTH>();
        for (total, part) in totals.iter_mut().zip(parts) {
            let sum = lanes.add(lanes.load(total), F::widen(lanes, part));
            lanes.store(sum, total);
        }
        for (total, &part) in total_tail.iter_mut().zip(part_tail) {
            *total += F::widen_one(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BF16, F16};
    use super::*;
    use crate::error::Error;

    fn by_definition<F: Format<Bits = u16>>(total: &[f32], part: &[u16]) -> Vec<u32> {
        let pairs = total.iter().zip(part);
        let sums = pairs.map(|(&total, &part)| (total + F::widen_one(part)).to_bits());
        sums.collect()
    }

    fn assert_every_value_is_added<F: Format<Bits = u16>>() {
        let part: Vec<u16> = (0..=u16::MAX)
            .filter(|&bits| !F::widen_one(bits).is_nan())
            .collect();
        let values = [0.0, -1.5, 3e-39, 1e30, f32::MIN_POSITIVE, 7.0_f32];
        let total: Vec<f32> = values.into_iter().cycle().take(part.len()).collect();
        let expected = by_definition::<F>(&total, &part);
        for level in Level::available() {
            let mut sum = total.clone();
            add_widened::<F>(&mut sum, &part, level, Some(1)).expect("one length");
            let found: Vec<u32> = sum.iter().map(|one| one.to_bits()).collect();
            assert_eq!(found, expected, "{}", level.name());
        }
    }

    #[test]
    fn every_value_is_added_to_the_bit() {
        assert_every_value_is_added::<BF16>();
        assert_every_value_is_added::<F16>();
    }

    #[test]
    fn any_length_on_any_number_of_threads() {
        for length in [0, 1, 15, 17, ELEMENTS_AT_ONCE - 1, 2 * ELEMENTS_AT_ONCE + 3] {
            let part = vec![0x3f80; length];
            for num_threads in [1, 3] {
                let mut total = vec![2.0; length];
                let level = Level::chosen().expect("a level");
                add_widened::<BF16>(&mut total, &part, level, Some(num_threads)).expect("fits");
                assert_eq!(total, vec![3.0; length]);
            }
        }
    }

    #[test]
    fn another_length_is_refused() {
        let level = Level::chosen().expect("a level");
        let fault = add_widened::<F16>(&mut [0.0; 3], &[0; 2], level, None);
        assert!(matches!(
            fault,
            Err(Error::LengthMismatch { name: "part", .. })
        ));
    }
}
