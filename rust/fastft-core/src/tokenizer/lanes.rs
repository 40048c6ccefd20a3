//! Sixteen bytes at a time: which of them are letters, digits, printable; and in lower case.
//!
//! Every function gives one bit a byte, the first byte lowest. On x86-64 the vector instructions
//! that every such processor has are used; elsewhere a loop says the same.

/// How many bytes in a row, from the first one on, have their bit set.
#[inline(always)]
pub(super) fn leading(bits: u32) -> usize {
    (!bits).trailing_zeros() as usize
}

/// ASCII letters.
#[inline(always)]
pub(super) fn letters(bytes: [u8; 16]) -> u32 {
    vector::letters(bytes)
}

/// ASCII letters and digits.
#[inline(always)]
pub(super) fn alphanumerics(bytes: [u8; 16]) -> u32 {
    vector::letters(bytes) | vector::within(bytes, b'0', b'9')
}

/// Printable ASCII without the space.
#[inline(always)]
pub(super) fn graphics(bytes: [u8; 16]) -> u32 {
    vector::within(bytes, b'!', b'~')
}

/// Space, tab, line feed and carriage return.
#[inline(always)]
pub(super) fn spaces(bytes: [u8; 16]) -> u32 {
    vector::within(bytes, b' ', b' ')
        | vector::within(bytes, b'\t', b'\n')
        | vector::within(bytes, b'\r', b'\r')
}

/// Asks for a value to be read soon: where it lies far away, it comes while other work is done.
#[inline(always)]
pub(super) fn prefetch<T>(value: &T) {
    vector::prefetch(value);
}

/// ASCII letters in lower case, everything else as it is.
#[inline(always)]
pub(super) fn lowercased(bytes: [u8; 16]) -> [u8; 16] {
    vector::lowercased(bytes)
}

#[cfg(target_arch = "x86_64")]
#[expect(
    unsafe_code,
    reason = "the instructions are declared for processors without them too"
)]
mod vector {
    use std::arch::x86_64::{
        __m128i, _MM_HINT_T0, _mm_and_si128, _mm_cmpeq_epi8, _mm_cvtsi128_si64, _mm_min_epu8,
        _mm_movemask_epi8, _mm_or_si128, _mm_prefetch, _mm_set_epi64x, _mm_set1_epi8, _mm_sub_epi8,
        _mm_unpackhi_epi64,
    };

    #[inline(always)]
    pub(super) fn within(bytes: [u8; 16], low: u8, high: u8) -> u32 {
        // SAFETY: SSE2 is part of x86-64.
        unsafe { bits(range(vector(bytes), low, high)) }
    }

    #[inline(always)]
    pub(super) fn letters(bytes: [u8; 16]) -> u32 {
        // SAFETY: SSE2 is part of x86-64.
        unsafe {
            let lower = _mm_or_si128(vector(bytes), constant(0x20));
            bits(range(lower, b'a', b'z'))
        }
    }

    #[inline(always)]
    pub(super) fn lowercased(bytes: [u8; 16]) -> [u8; 16] {
        // SAFETY: SSE2 is part of x86-64.
        unsafe {
            let bytes = vector(bytes);
            let upper = _mm_and_si128(range(bytes, b'A', b'Z'), constant(0x20));
            let lower = _mm_or_si128(bytes, upper);
            let high = _mm_cvtsi128_si64(_mm_unpackhi_epi64(lower, lower)).cast_unsigned();
            let low = _mm_cvtsi128_si64(lower).cast_unsigned();
            (u128::from(low) | u128::from(high) << 64).to_le_bytes()
        }
    }

    #[inline(always)]
    pub(super) fn prefetch<T>(value: &T) {
        // SAFETY: SSE is part of x86-64; the value is a hint, nothing is read through it.
        unsafe { _mm_prefetch(std::ptr::from_ref(value).cast(), _MM_HINT_T0) }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    #[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
    fn vector(bytes: [u8; 16]) -> __m128i {
        let whole = u128::from_le_bytes(bytes);
        _mm_set_epi64x((whole >> 64) as i64, whole as i64)
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn constant(byte: u8) -> __m128i {
        _mm_set1_epi8(byte.cast_signed())
    }

    /// All bits of the bytes from `low` to `high`.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn range(vector: __m128i, low: u8, high: u8) -> __m128i {
        let above = _mm_sub_epi8(vector, constant(low));
        _mm_cmpeq_epi8(_mm_min_epu8(above, constant(high - low)), above)
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn bits(vector: __m128i) -> u32 {
        _mm_movemask_epi8(vector).cast_unsigned()
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod vector {
    pub(super) fn within(bytes: [u8; 16], low: u8, high: u8) -> u32 {
        bits(bytes, |byte| (low..=high).contains(&byte))
    }

    pub(super) fn letters(bytes: [u8; 16]) -> u32 {
        bits(bytes, |byte| byte.is_ascii_alphabetic())
    }

    pub(super) fn lowercased(bytes: [u8; 16]) -> [u8; 16] {
        bytes.map(|byte| byte.to_ascii_lowercase())
    }

    pub(super) fn prefetch<T>(_value: &T) {}

    fn bits(bytes: [u8; 16], test: impl Fn(u8) -> bool) -> u32 {
        let places = bytes.iter().enumerate();
        places.fold(0, |bits, (place, &byte)| {
            bits | u32::from(test(byte)) << place
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(bytes: [u8; 16], test: impl Fn(&u8) -> bool) -> u32 {
        let places = bytes.iter().enumerate();
        places.fold(0, |bits, (place, byte)| {
            bits | u32::from(test(byte)) << place
        })
    }

    #[test]
    fn every_byte_is_seen_in_every_place() {
        for first in 0..=255u8 {
            let bytes: [u8; 16] = std::array::from_fn(|place| {
                first.wrapping_add(u8::try_from(place * 17 % 256).unwrap_or(0))
            });
            assert_eq!(letters(bytes), bits(bytes, u8::is_ascii_alphabetic));
            assert_eq!(alphanumerics(bytes), bits(bytes, u8::is_ascii_alphanumeric));
            assert_eq!(graphics(bytes), bits(bytes, u8::is_ascii_graphic));
            assert_eq!(spaces(bytes), bits(bytes, |byte| b" \t\n\r".contains(byte)));
            assert_eq!(
                lowercased(bytes),
                bytes.map(|byte| byte.to_ascii_lowercase())
            );
        }
    }

    #[test]
    fn leading_bytes_are_counted() {
        assert_eq!(leading(alphanumerics(*b"ab1 cdefghijklmn")), 3);
        assert_eq!(leading(letters([b'a'; 16])), 16);
        assert_eq!(leading(0), 0);
    }
}
