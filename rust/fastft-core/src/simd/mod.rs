//! Sixteen numbers at a time, with the vector instructions that the processor has.
//!
//! A [`Kernel`] is written once, over any [`Lanes`], and compiled for plain Rust, AVX2 and AVX-512;
//! [`Level`] chooses at run time. The wider two do the same arithmetic in the same order.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined is compiled without the vector instructions of its caller"
)]

mod avx2;
mod avx512;
mod lanes;
mod level;
mod prefetch;
pub(crate) mod scalar;

pub(crate) use lanes::{Kernel, Lanes, WIDTH};
pub use level::Level;
pub(crate) use prefetch::prefetch;
