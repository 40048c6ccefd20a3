//! The one door into Rust.
//!
//! Invariant: while the core works, the GIL is free, and nothing that happens in the core (an error,
//! a panic) leaves it as anything but a Python exception of `fastft.errors`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fastft_core::Error;
use pyo3::prelude::*;

use crate::error::PyError;

/// How long a Ctrl-C may wait until it is seen.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Runs `job` without the GIL and returns what it gives.
pub(crate) fn enter<T: Send>(
    py: Python<'_>,
    job: impl FnOnce() -> fastft_core::Result<T> + Send,
) -> PyResult<T> {
    // A panic never leaves half-made values behind: the job's output is dropped with it.
    leave(py.detach(|| catch_unwind(AssertUnwindSafe(job))))
}

/// Runs `job` without the GIL on a thread of its own, while this one looks for Ctrl-C; `job` must
/// give up soon after the flag that it is handed becomes true.
///
/// A thread costs tens of microseconds: this is for work that takes a millisecond and more.
#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the method itself is not general enough in its lifetime"
)]
pub(crate) fn enter_interruptibly<T: Send>(
    py: Python<'_>,
    job: impl FnOnce(&AtomicBool) -> fastft_core::Result<T> + Send,
) -> PyResult<T> {
    let (stop, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut interruption = None;
    let outcome = py.detach(|| {
        let caller = thread::current();
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let outcome = catch_unwind(AssertUnwindSafe(|| job(&stop)));
                done.store(true, Ordering::Release);
                caller.unpark();
                outcome
            });
            while !done.load(Ordering::Acquire) {
                thread::park_timeout(BETWEEN_LOOKS);
                if interruption.is_none()
                    && let Err(error) = Python::attach(|py| py.check_signals())
                {
                    interruption = Some(error);
                    stop.store(true, Ordering::Relaxed);
                }
            }
            worker.join()
        })
    });
    if let Some(interruption) = interruption {
        return Err(interruption);
    }
    leave(outcome.flatten())
}

/// What a job gave, or its error or panic as a Python exception.
fn leave<T>(outcome: thread::Result<fastft_core::Result<T>>) -> PyResult<T> {
    let outcome = outcome.unwrap_or_else(|panic| Err(Error::panic(panic.as_ref())));
    outcome.map_err(|error| PyError(error).into())
}
