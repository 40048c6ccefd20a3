//! Sixteen lanes in plain Rust, for every processor; and the conversions of half precision.

use super::lanes::{Lanes, WIDTH};

/// What every processor has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scalar;

type Vector = [f32; WIDTH];

#[inline(always)]
fn zip(mut a: Vector, b: Vector, with: impl Fn(f32, f32) -> f32) -> Vector {
    for (a, b) in a.iter_mut().zip(b) {
        *a = with(*a, b);
    }
    a
}

impl Lanes for Scalar {
    type Vector = Vector;

    #[inline(always)]
    fn splat(self, value: f32) -> Vector {
        [value; WIDTH]
    }

    #[inline(always)]
    fn load(self, from: &[f32; WIDTH]) -> Vector {
        *from
    }

    #[inline(always)]
    fn store(self, values: Vector, to: &mut [f32; WIDTH]) {
        *to = values;
    }

    #[inline(always)]
    fn load_bf16(self, from: &[u16; WIDTH]) -> Vector {
        from.map(from_bf16)
    }

    #[inline(always)]
    fn store_bf16(self, values: Vector, to: &mut [u16; WIDTH]) {
        *to = values.map(to_bf16);
    }

    #[inline(always)]
    fn load_f16(self, from: &[u16; WIDTH]) -> Vector {
        from.map(from_f16)
    }

    #[inline(always)]
    fn store_f16(self, values: Vector, to: &mut [u16; WIDTH]) {
        *to = values.map(to_f16);
    }

    #[inline(always)]
    fn add(self, a: Vector, b: Vector) -> Vector {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: Vector, b: Vector) -> Vector {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: Vector, b: Vector) -> Vector {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: Vector, b: Vector) -> Vector {
        zip(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn mul_add(self, a: Vector, b: Vector, c: Vector) -> Vector {
        // Without the instruction the fused product is a call of a hundred instructions.
        if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
            let mut out = c;
            for (c, (a, b)) in out.iter_mut().zip(a.into_iter().zip(b)) {
                *c = a.mul_add(b, *c);
            }
            return out;
        }
        self.add(self.mul(a, b), c)
    }

    #[inline(always)]
    fn max(self, a: Vector, b: Vector) -> Vector {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn times_power(self, a: Vector, rounded: Vector) -> Vector {
        zip(a, rounded, |a, rounded| {
            f32::from_bits(a.to_bits().wrapping_add(rounded.to_bits() << 23))
        })
    }

    #[inline(always)]
    fn where_less(self, a: Vector, b: Vector, yes: Vector, no: Vector) -> Vector {
        let mut out = no;
        for (index, out) in out.iter_mut().enumerate() {
            if let (Some(a), Some(b), Some(&yes)) = (a.get(index), b.get(index), yes.get(index))
                && a < b
            {
                *out = yes;
            }
        }
        out
    }
}

/// bfloat16 is the upper half of a float32.
#[inline(always)]
pub(crate) fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The nearest bfloat16, ties to even; NaN stays NaN.
#[inline(always)]
pub(crate) fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    let even = (bits >> 16) & 1;
    ((bits + 0x7fff + even) >> 16) as u16
}

/// float16 to float32, exactly.
#[inline(always)]
pub(crate) fn from_f16(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let rest = u32::from(bits & 0x7fff);
    let size = if rest >= 0x7c00 {
        f32::from_bits(0x7f80_0000 | (rest & 0x3ff) << 13)
    } else {
        // The exponent is off by 127 - 15; the product also takes care of subnormal numbers.
        f32::from_bits(rest << 13) * f32::from_bits((127 + 112) << 23)
    };
    f32::from_bits(size.to_bits() | sign)
}

/// The nearest float16, ties to even; NaN stays NaN, what is too large becomes infinite.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "sixteen bits are left")]
pub(crate) fn to_f16(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let size = bits & 0x7fff_ffff;
    let rest = if size > 0x7f80_0000 {
        0x7e00 | ((size >> 13) & 0x3ff) as u16
    } else if size >= 0x4780_0000 {
        0x7c00
    } else if size < 0x3880_0000 {
        // Subnormal: adding 0.5 lines the bits up with 2^-24, and the addition rounds.
        (f32::from_bits(size) + 0.5)
            .to_bits()
            .wrapping_sub(0x3f00_0000) as u16
    } else {
        let even = (size >> 13) & 1;
        ((size - 0x3800_0000 + 0xfff + even) >> 13) as u16
    };
    sign | rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_comes_back() {
        for bits in 0..=u16::MAX {
            let value = from_f16(bits);
            if value.is_nan() {
                assert!(from_f16(to_f16(value)).is_nan());
            } else {
                assert_eq!(to_f16(value), bits, "{bits:#06x}");
            }
            let value = from_bf16(bits);
            if value.is_nan() {
                assert!(from_bf16(to_bf16(value)).is_nan());
            } else {
                assert_eq!(to_bf16(value), bits, "{bits:#06x}");
            }
        }
    }

    #[test]
    fn halves_are_rounded_to_the_nearest_and_ties_to_even() {
        for bits in 0..0x7c00_u16 {
            let (low, high) = (from_f16(bits), from_f16(bits + 1));
            if high.is_infinite() {
                assert_eq!((to_f16(65_519.996), to_f16(65_520.0)), (bits, bits + 1));
                continue;
            }
            let middle = low.midpoint(high);
            assert_eq!(to_f16(middle), bits + (bits & 1), "{bits:#06x}");
            assert_eq!(to_f16(middle.next_up()), bits + 1, "{bits:#06x}");
            assert_eq!(to_f16(-middle.next_down()), bits | 0x8000, "{bits:#06x}");
        }
        assert_eq!(to_f16(1e-9), 0);
        assert_eq!(to_f16(f32::NEG_INFINITY), 0xfc00);
        assert_eq!(to_bf16(f32::from_bits(0x3f80_8000)), 0x3f80);
        assert_eq!(to_bf16(f32::from_bits(0x3f81_8000)), 0x3f82);
        assert_eq!(to_bf16(f32::MAX), 0x7f80);
    }
}
