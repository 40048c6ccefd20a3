//! Memory asked for ahead of its use, so that computing does not wait for it.

#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "an instruction of the processor")
)]

/// Bytes that come into the cache at once.
const LINE: usize = 64;

/// Asks for the memory of the values, to the second cache: the first is full of what is computed.
/// Elsewhere than on x86-64 nothing happens.
#[inline(always)]
pub(crate) fn prefetch<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks((LINE / size_of::<T>().max(1)).max(1)) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a hint; it reads nothing that the program sees, and no address is a fault.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) }
    }
}
