//! Sixteen lanes in one register of AVX-512.
//!
//! The instructions are declared for processors without them too, so each call of one is `unsafe`.
//! A value of [`Avx512`] is made by [`Avx512::detect`] alone, after a look at the processor: that is
//! the safety of all that follows. References to arrays of sixteen are valid for all that is read
//! and written through them, and no instruction here needs them aligned.

#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "vector instructions")
)]
#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::{
    __m256i, __m512, __m512i, _CMP_LT_OQ, _CMP_NLT_UQ, _CMP_UNORD_Q, _MM_FROUND_NO_EXC,
    _MM_FROUND_TO_NEAREST_INT, _mm256_loadu_si256, _mm256_storeu_si256, _mm512_add_epi32,
    _mm512_add_ps, _mm512_and_si512, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cmp_ps_mask,
    _mm512_cvtepi32_epi16, _mm512_cvtepu16_epi32, _mm512_cvtph_ps, _mm512_cvtps_ph, _mm512_div_ps,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_blend_ps, _mm512_mask_mov_epi32,
    _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_mul_ps, _mm512_or_si512, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_slli_epi32, _mm512_srli_epi32, _mm512_storeu_ps, _mm512_sub_ps,
};

use super::lanes::{Kernel, Lanes, WIDTH};

const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

/// The processor has AVX-512F.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        std::is_x86_feature_detected!("avx512f").then_some(Self(()))
    }

    pub(super) fn run<K: Kernel>(self, kernel: K) -> K::Outcome {
        // SAFETY: the processor has the feature, or there were no value of this type.
        unsafe { run(self, kernel) }
    }
}

#[target_feature(enable = "avx512f")]
fn run<K: Kernel>(lanes: Avx512, kernel: K) -> K::Outcome {
    kernel.run(lanes)
}

// SAFETY of every block below: see the head of the file.
impl Lanes for Avx512 {
    type Vector = __m512;

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn load(self, from: &[f32; WIDTH]) -> __m512 {
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, values: __m512, to: &mut [f32; WIDTH]) {
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), values) }
    }

    #[inline(always)]
    fn load_bf16(self, from: &[u16; WIDTH]) -> __m512 {
        unsafe {
            let wide = _mm512_cvtepu16_epi32(load_bits(from));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }

    #[inline(always)]
    fn store_bf16(self, values: __m512, to: &mut [u16; WIDTH]) {
        unsafe { store_bits(_mm512_cvtepi32_epi16(rounded_bf16(values)), to) }
    }

    #[inline(always)]
    fn load_f16(self, from: &[u16; WIDTH]) -> __m512 {
        unsafe { _mm512_cvtph_ps(load_bits(from)) }
    }

    #[inline(always)]
    fn store_f16(self, values: __m512, to: &mut [u16; WIDTH]) {
        unsafe { store_bits(_mm512_cvtps_ph::<NEAREST>(values), to) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn times_power(self, a: __m512, rounded: __m512) -> __m512 {
        unsafe {
            let power = _mm512_slli_epi32::<23>(_mm512_castps_si512(rounded));
            _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), power))
        }
    }

    #[inline(always)]
    fn zero_below(self, a: __m512, b: __m512, no: __m512) -> __m512 {
        unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_NLT_UQ>(a, b), no) }
    }

    #[inline(always)]
    fn where_less(self, a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), no, yes) }
    }
}

/// Sixteen numbers of sixteen bits.
///
/// # Safety
///
/// The processor has AVX-512F.
#[inline(always)]
unsafe fn load_bits(from: &[u16; WIDTH]) -> __m256i {
    // SAFETY: 32 bytes lie behind the reference.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

/// The other way.
///
/// # Safety
///
/// The processor has AVX-512F.
#[inline(always)]
unsafe fn store_bits(bits: __m256i, to: &mut [u16; WIDTH]) {
    // SAFETY: 32 bytes lie behind the reference.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), bits) }
}

/// The nearest bfloat16 in the lower half of each lane, ties to even; NaN stays NaN.
///
/// # Safety
///
/// The processor has AVX-512F.
#[inline(always)]
unsafe fn rounded_bf16(values: __m512) -> __m512i {
    // SAFETY: arithmetic in registers.
    unsafe {
        let bits = _mm512_castps_si512(values);
        let upper = _mm512_srli_epi32::<16>(bits);
        let even = _mm512_and_si512(upper, _mm512_set1_epi32(1));
        let half = _mm512_add_epi32(even, _mm512_set1_epi32(0x7fff));
        let rounded = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, half));
        let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(values, values);
        let nan = _mm512_or_si512(upper, _mm512_set1_epi32(0x40));
        _mm512_mask_mov_epi32(rounded, is_nan, nan)
    }
}
