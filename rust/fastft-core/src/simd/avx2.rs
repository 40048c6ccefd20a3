//! Sixteen lanes in two registers of AVX2, with FMA and F16C.
//!
//! The instructions are declared for processors without them too, so each call of one is `unsafe`.
//! A value of [`Avx2`] is made by [`Avx2::detect`] alone, after a look at the processor: that is the
//! safety of all that follows. References to arrays of sixteen are valid for all that is read and
//! written through them, and no instruction here needs them aligned.

#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "vector instructions")
)]
#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _CMP_LT_OQ, _CMP_UNORD_Q, _MM_FROUND_TO_NEAREST_INT, _mm_loadu_si128,
    _mm_storeu_si128, _mm256_add_epi32, _mm256_add_ps, _mm256_and_si256, _mm256_blendv_ps,
    _mm256_castps_si256, _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_cvtepu16_epi32,
    _mm256_cvtph_ps, _mm256_cvtps_ph, _mm256_div_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_max_ps, _mm256_mul_ps, _mm256_or_si256, _mm256_packus_epi32, _mm256_permute4x64_epi64,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_slli_epi32, _mm256_srli_epi32, _mm256_storeu_ps,
    _mm256_storeu_si256, _mm256_sub_ps,
};

use super::lanes::{Kernel, Lanes, WIDTH};

/// The processor has AVX2, FMA and F16C.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2(());

/// The first eight lanes, and the others.
type Vector = (__m256, __m256);

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        let has_all = std::is_x86_feature_detected!("avx2")
            && std::is_x86_feature_detected!("fma")
            && std::is_x86_feature_detected!("f16c");
        has_all.then_some(Self(()))
    }

    pub(super) fn run<K: Kernel>(self, kernel: K) -> K::Outcome {
        // SAFETY: the processor has the features, or there were no value of this type.
        unsafe { run(self, kernel) }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn run<K: Kernel>(lanes: Avx2, kernel: K) -> K::Outcome {
    kernel.run(lanes)
}

// SAFETY of every block below: see the head of the file; a pointer to sixteen float32 may go on by
// eight, one to sixteen numbers of sixteen bits too.
impl Lanes for Avx2 {
    type Vector = Vector;

    #[inline(always)]
    fn splat(self, value: f32) -> Vector {
        let half = unsafe { _mm256_set1_ps(value) };
        (half, half)
    }

    #[inline(always)]
    fn load(self, from: &[f32; WIDTH]) -> Vector {
        let from = from.as_ptr();
        unsafe { (_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
    }

    #[inline(always)]
    fn store(self, values: Vector, to: &mut [f32; WIDTH]) {
        let to = to.as_mut_ptr();
        unsafe {
            _mm256_storeu_ps(to, values.0);
            _mm256_storeu_ps(to.add(8), values.1);
        }
    }

    #[inline(always)]
    fn load_bf16(self, from: &[u16; WIDTH]) -> Vector {
        unsafe {
            let (low, high) = load_bits(from);
            (widened_bf16(low), widened_bf16(high))
        }
    }

    #[inline(always)]
    fn store_bf16(self, values: Vector, to: &mut [u16; WIDTH]) {
        unsafe {
            let packed = _mm256_packus_epi32(rounded_bf16(values.0), rounded_bf16(values.1));
            // The packing goes by halves of registers: 0 2 1 3 puts the quarters in order.
            let ordered = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
            _mm256_storeu_si256(to.as_mut_ptr().cast(), ordered);
        }
    }

    #[inline(always)]
    fn load_f16(self, from: &[u16; WIDTH]) -> Vector {
        unsafe {
            let (low, high) = load_bits(from);
            (_mm256_cvtph_ps(low), _mm256_cvtph_ps(high))
        }
    }

    #[inline(always)]
    fn store_f16(self, values: Vector, to: &mut [u16; WIDTH]) {
        let to = to.as_mut_ptr();
        unsafe {
            _mm_storeu_si128(
                to.cast(),
                _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(values.0),
            );
            _mm_storeu_si128(
                to.add(8).cast(),
                _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(values.1),
            );
        }
    }

    #[inline(always)]
    fn add(self, a: Vector, b: Vector) -> Vector {
        unsafe { (_mm256_add_ps(a.0, b.0), _mm256_add_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn sub(self, a: Vector, b: Vector) -> Vector {
        unsafe { (_mm256_sub_ps(a.0, b.0), _mm256_sub_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn mul(self, a: Vector, b: Vector) -> Vector {
        unsafe { (_mm256_mul_ps(a.0, b.0), _mm256_mul_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn div(self, a: Vector, b: Vector) -> Vector {
        unsafe { (_mm256_div_ps(a.0, b.0), _mm256_div_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn mul_add(self, a: Vector, b: Vector, c: Vector) -> Vector {
        unsafe {
            (
                _mm256_fmadd_ps(a.0, b.0, c.0),
                _mm256_fmadd_ps(a.1, b.1, c.1),
            )
        }
    }

    #[inline(always)]
    fn max(self, a: Vector, b: Vector) -> Vector {
        unsafe { (_mm256_max_ps(a.0, b.0), _mm256_max_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn times_power(self, a: Vector, rounded: Vector) -> Vector {
        unsafe { (times_power(a.0, rounded.0), times_power(a.1, rounded.1)) }
    }

    #[inline(always)]
    fn where_less(self, a: Vector, b: Vector, yes: Vector, no: Vector) -> Vector {
        unsafe {
            let (low, high) = (
                _mm256_cmp_ps::<_CMP_LT_OQ>(a.0, b.0),
                _mm256_cmp_ps::<_CMP_LT_OQ>(a.1, b.1),
            );
            (
                _mm256_blendv_ps(no.0, yes.0, low),
                _mm256_blendv_ps(no.1, yes.1, high),
            )
        }
    }
}

/// `a * 2^n`, where `n` stands in the lowest bits of `rounded`.
///
/// # Safety
///
/// The processor has AVX2.
#[inline(always)]
unsafe fn times_power(a: __m256, rounded: __m256) -> __m256 {
    // SAFETY: arithmetic in registers.
    unsafe {
        let power = _mm256_slli_epi32::<23>(_mm256_castps_si256(rounded));
        _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), power))
    }
}

/// Sixteen numbers of sixteen bits, by eight.
///
/// # Safety
///
/// The processor has AVX2.
#[inline(always)]
unsafe fn load_bits(from: &[u16; WIDTH]) -> (__m128i, __m128i) {
    let from = from.as_ptr();
    // SAFETY: twice 16 bytes lie behind the reference.
    unsafe {
        (
            _mm_loadu_si128(from.cast()),
            _mm_loadu_si128(from.add(8).cast()),
        )
    }
}

/// bfloat16 is the upper half of a float32.
///
/// # Safety
///
/// The processor has AVX2.
#[inline(always)]
unsafe fn widened_bf16(bits: __m128i) -> __m256 {
    // SAFETY: arithmetic in registers.
    unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(bits))) }
}

/// The nearest bfloat16 in the lower half of each lane, ties to even; NaN stays NaN.
///
/// # Safety
///
/// The processor has AVX2.
#[inline(always)]
unsafe fn rounded_bf16(values: __m256) -> __m256i {
    // SAFETY: arithmetic in registers.
    unsafe {
        let bits = _mm256_castps_si256(values);
        let upper = _mm256_srli_epi32::<16>(bits);
        let even = _mm256_and_si256(upper, _mm256_set1_epi32(1));
        let half = _mm256_add_epi32(even, _mm256_set1_epi32(0x7fff));
        let rounded = _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, half));
        let nan = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
        let is_nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(values, values);
        _mm256_castps_si256(_mm256_blendv_ps(
            _mm256_castsi256_ps(rounded),
            _mm256_castsi256_ps(nan),
            is_nan,
        ))
    }
}
