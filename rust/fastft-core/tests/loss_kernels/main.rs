//! The kernels of the loss through their public face.

#![expect(clippy::unwrap_used, reason = "a panic is how a test says no")]
#![expect(clippy::float_cmp, reason = "what is equal has to be equal")]

mod levels;
mod problems;
mod refusals;
mod values;
