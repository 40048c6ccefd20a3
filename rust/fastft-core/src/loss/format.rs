//! The formats that logits come in: how sixteen of them become float32 and back.

use crate::simd::scalar::{from_bf16, from_f16, to_bf16, to_f16};
use crate::simd::{Lanes, WIDTH};

/// One format of floating point numbers.
#[expect(
    private_bounds,
    private_interfaces,
    reason = "nobody else needs formats of their own"
)]
pub trait Format: Send + Sync {
    /// What lies in the arrays.
    type Bits: Copy + Send + Sync + Default;

    #[doc(hidden)]
    fn widen<L: Lanes>(lanes: L, from: &[Self::Bits; WIDTH]) -> L::Vector;
    #[doc(hidden)]
    fn narrow<L: Lanes>(lanes: L, values: L::Vector, to: &mut [Self::Bits; WIDTH]);
    #[doc(hidden)]
    fn widen_one(bits: Self::Bits) -> f32;
    #[doc(hidden)]
    fn narrow_one(value: f32) -> Self::Bits;

    /// The row itself, where it is float32 already.
    #[doc(hidden)]
    fn as_float32(_row: &mut [Self::Bits]) -> Option<&mut [f32]> {
        None
    }
}

/// float32.
#[derive(Debug, Clone, Copy)]
pub struct F32;

/// bfloat16, as bits.
#[derive(Debug, Clone, Copy)]
pub struct BF16;

/// float16, as bits.
#[derive(Debug, Clone, Copy)]
pub struct F16;

#[expect(private_bounds, private_interfaces, reason = "as in the trait")]
impl Format for F32 {
    type Bits = f32;

    #[inline(always)]
    fn widen<L: Lanes>(lanes: L, from: &[f32; WIDTH]) -> L::Vector {
        lanes.load(from)
    }

    #[inline(always)]
    fn narrow<L: Lanes>(lanes: L, values: L::Vector, to: &mut [f32; WIDTH]) {
        lanes.store(values, to);
    }

    #[inline(always)]
    fn widen_one(bits: f32) -> f32 {
        bits
    }

    #[inline(always)]
    fn narrow_one(value: f32) -> f32 {
        value
    }

    #[inline(always)]
    fn as_float32(row: &mut [f32]) -> Option<&mut [f32]> {
        Some(row)
    }
}

#[expect(private_bounds, private_interfaces, reason = "as in the trait")]
impl Format for BF16 {
    type Bits = u16;

    #[inline(always)]
    fn widen<L: Lanes>(lanes: L, from: &[u16; WIDTH]) -> L::Vector {
        lanes.load_bf16(from)
    }

    #[inline(always)]
    fn narrow<L: Lanes>(lanes: L, values: L::Vector, to: &mut [u16; WIDTH]) {
        lanes.store_bf16(values, to);
    }

    #[inline(always)]
    fn widen_one(bits: u16) -> f32 {
        from_bf16(bits)
    }

    #[inline(always)]
    fn narrow_one(value: f32) -> u16 {
        to_bf16(value)
    }
}

#[expect(private_bounds, private_interfaces, reason = "as in the trait")]
impl Format for F16 {
    type Bits = u16;

    #[inline(always)]
    fn widen<L: Lanes>(lanes: L, from: &[u16; WIDTH]) -> L::Vector {
        lanes.load_f16(from)
    }

    #[inline(always)]
    fn narrow<L: Lanes>(lanes: L, values: L::Vector, to: &mut [u16; WIDTH]) {
        lanes.store_f16(values, to);
    }

    #[inline(always)]
    fn widen_one(bits: u16) -> f32 {
        from_f16(bits)
    }

    #[inline(always)]
    fn narrow_one(value: f32) -> u16 {
        to_f16(value)
    }
}
