//! The one door into Rust.
//!
//! Invariant: while the core works, the GIL is free, and nothing that happens in the core (an error,
//! a panic) leaves it as anything but a Python exception of `fastft.errors`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::prelude::*;

use crate::error::{PyError, internal_error};

/// Runs `job` without the GIL and returns what it gives.
pub(crate) fn enter<T: Send>(
    py: Python<'_>,
    job: impl FnOnce() -> fastft_core::Result<T> + Send,
) -> PyResult<T> {
    // A panic never leaves half-made values behind: the job's output is dropped with it.
    match py.detach(|| catch_unwind(AssertUnwindSafe(job))) {
        Ok(outcome) => outcome.map_err(|error| PyError(error).into()),
        Err(panic) => Err(internal_error(py, message(panic.as_ref()))),
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}
