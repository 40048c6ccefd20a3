//! `cut_batches` of the module: an order of examples cut into a batch plan.

use fastft_core::batch_sampler::BatchPlan;
use fastft_core::sampler::Order;
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;

use crate::array::{array, slice};
use crate::enter::enter;

/// A plan in Python: the indices of all batches, and where each batch begins.
type PyBatchPlan = (Py<PyArray1<i64>>, Py<PyArray1<i64>>);

/// Cuts a permutation of `num_examples` examples into batches: flat indices and batch offsets.
#[pyfunction]
#[pyo3(signature = (order, *, num_examples, batch_size, drop_last = false))]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over")]
pub(crate) fn cut_batches(
    py: Python<'_>,
    order: PyReadonlyArray1<'_, i64>,
    num_examples: usize,
    batch_size: usize,
    drop_last: bool,
) -> PyResult<PyBatchPlan> {
    let order = slice(&order, "order")?;
    let plan = enter(py, || {
        BatchPlan::cut(
            &Order::permutation(order, num_examples)?,
            batch_size,
            drop_last,
        )
    })?;
    Ok((array(py, plan.indices), array(py, plan.batch_offsets)))
}
