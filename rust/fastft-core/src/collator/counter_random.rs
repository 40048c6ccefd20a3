//! Random numbers without a state: a pure function of where they are used.
//!
//! Every number is computed from its coordinates (seed, epoch, row, position), so it is the same after
//! a resume, on any number of ranks, and whichever thread makes the batch. The function is the
//! finaliser of `SplitMix64` (Steele, Lea and Flood, 2014), chained over the coordinates.

/// Scatters 64-bit numbers, one to one.
#[inline]
pub(super) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// What a row draws from; `mix(key ^ position)` are the bits of a position.
pub(super) fn row_key(seed: u64, epoch: u64, row: i64) -> u64 {
    mix(mix(mix(seed) ^ epoch) ^ row.cast_unsigned())
}

/// A share of all bit patterns: `share.contains(bits)` is `uniform(bits) < share`, where `uniform` turns
/// the top 53 bits into a number from 0 up to, not including, 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share(u64);

impl Share {
    /// Multiplying by a power of two is exact, and a whole number lies below a number exactly when it
    /// lies below the next whole one.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole by then; below zero and NaN become 0, which contains nothing"
    )]
    pub(super) fn new(share: f64) -> Self {
        Self((share * f64::from_bits(0x4340_0000_0000_0000)).ceil() as u64)
    }

    #[inline]
    pub(super) fn contains(self, bits: u64) -> bool {
        bits >> 11 < self.0
    }
}

/// A whole number below `limit`, from the low 32 bits.
pub(super) fn below(bits: u64, limit: u32) -> i64 {
    let product = (bits & 0xFFFF_FFFF) * u64::from(limit);
    // Its top 32 bits, which are below 2^32.
    (product >> 32).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mixing_is_that_of_the_published_generator() {
        let states =
            (0_u64..3).map(|k| 1_234_567_u64.wrapping_add(k.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(states.map(mix).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn numbers_below_a_limit_reach_both_ends() {
        assert_eq!((below(0, 7), below(u64::MAX, 7)), (0, 6));
        assert_eq!(below(u64::MAX, u32::MAX), i64::from(u32::MAX) - 1);
    }

    proptest! {
        #[test]
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        fn a_share_holds_what_the_comparison_of_floats_says(
            bits: u64,
            share in prop_oneof![-0.5..1.5_f64, Just(f64::NAN), Just(0.0), Just(1.0)],
        ) {
            let uniform = (bits >> 11) as f64 / (1_u64 << 53) as f64;
            prop_assert_eq!(Share::new(share).contains(bits), uniform < share);
            prop_assert_eq!(Share::new(uniform).contains(bits), false);
        }
    }
}
