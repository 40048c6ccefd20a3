//! `cut_batches` and `Batches` of the module: an order of examples cut into batches.

use fastft_core::batch_sampler::{ArrangedPlan, BatchPlan, Batches, Steps, Tail};
use fastft_core::sampler::Order;
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;

use crate::array::{array, slice};
use crate::enter::enter;
use crate::packing::overlong;

/// A plan in Python: the indices of all batches, and where each batch begins.
type PyBatchPlan = (Py<PyArray1<i64>>, Py<PyArray1<i64>>);

/// Also which batches are repeated, and the number of tokens without and with padding.
type PyArrangedPlan = (
    Py<PyArray1<i64>>,
    Py<PyArray1<i64>>,
    Py<PyArray1<bool>>,
    u64,
    u64,
);

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

/// Batches that were cut by length, before they are shuffled.
#[pyclass(name = "Batches", module = "fastft._fastft", frozen)]
pub(crate) struct PyBatches(Batches);

#[pymethods]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over")]
impl PyBatches {
    /// Cuts batches of `batch_size` examples from windows that are sorted by length.
    #[staticmethod]
    #[pyo3(signature = (order, lengths, *, window, batch_size, drop_last = false))]
    fn bucketed(
        py: Python<'_>,
        order: PyReadonlyArray1<'_, i64>,
        lengths: PyReadonlyArray1<'_, u32>,
        window: usize,
        batch_size: usize,
        drop_last: bool,
    ) -> PyResult<Self> {
        Self::cut(py, &order, &lengths, |order, lengths| {
            Batches::bucketed(order, lengths, window, batch_size, drop_last)
        })
    }

    /// Cuts batches of at most `max_tokens` padded tokens from windows that are sorted by length.
    #[staticmethod]
    #[pyo3(signature = (order, lengths, *, window, max_tokens, drop_overlong = false))]
    fn within_tokens(
        py: Python<'_>,
        order: PyReadonlyArray1<'_, i64>,
        lengths: PyReadonlyArray1<'_, u32>,
        window: usize,
        max_tokens: u64,
        drop_overlong: bool,
    ) -> PyResult<Self> {
        let overlong = overlong(drop_overlong);
        Self::cut(py, &order, &lengths, |order, lengths| {
            Batches::within_tokens(order, lengths, window, max_tokens, overlong)
        })
    }

    /// Packs batches of at most `max_tokens` tokens by best-fit decreasing.
    #[staticmethod]
    #[pyo3(signature = (order, lengths, *, max_tokens, drop_overlong = false))]
    fn packed(
        py: Python<'_>,
        order: PyReadonlyArray1<'_, i64>,
        lengths: PyReadonlyArray1<'_, u32>,
        max_tokens: u64,
        drop_overlong: bool,
    ) -> PyResult<Self> {
        let overlong = overlong(drop_overlong);
        Self::cut(py, &order, &lengths, |order, lengths| {
            Batches::packed(order, lengths, max_tokens, overlong)
        })
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    /// How many batches may change places: all but a shorter one that has to stay the last.
    #[getter]
    fn num_movable(&self) -> usize {
        self.0.num_movable()
    }

    /// Puts the batches into the order that was drawn, in steps of `micro_batches_per_step`.
    #[pyo3(signature = (batch_order, *, micro_batches_per_step = 1, pad_tail = false))]
    fn arranged(
        &self,
        py: Python<'_>,
        batch_order: PyReadonlyArray1<'_, i64>,
        micro_batches_per_step: usize,
        pad_tail: bool,
    ) -> PyResult<PyArrangedPlan> {
        let batch_order = slice(&batch_order, "batch_order")?;
        let tail = if pad_tail { Tail::Pad } else { Tail::Drop };
        let arranged = enter(py, || {
            let order = Order::permutation(batch_order, self.0.num_movable())?;
            let steps = Steps::new(micro_batches_per_step, tail)?;
            self.0.arranged(&order, steps)
        })?;
        let ArrangedPlan { plan, repeated, .. } = arranged;
        Ok((
            array(py, plan.indices),
            array(py, plan.batch_offsets),
            array(py, repeated),
            arranged.num_tokens,
            arranged.num_padded_tokens,
        ))
    }
}

impl PyBatches {
    fn cut(
        py: Python<'_>,
        order: &PyReadonlyArray1<'_, i64>,
        lengths: &PyReadonlyArray1<'_, u32>,
        cut: impl FnOnce(&Order<'_>, &[u32]) -> fastft_core::Result<Batches> + Send,
    ) -> PyResult<Self> {
        let order = slice(order, "order")?;
        let lengths = slice(lengths, "lengths")?;
        let batches = enter(py, || {
            cut(&Order::permutation(order, lengths.len())?, lengths)
        })?;
        Ok(Self(batches))
    }
}
