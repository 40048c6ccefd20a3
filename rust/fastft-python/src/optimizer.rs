//! `adamw_rows` of the module: a step of `AdamW` on some rows of an embedding.

use fastft_core::optimizer::{AdamW, Embedding, RowGradient, adamw_rows as step_rows};
use numpy::PyUntypedArrayMethods;
use numpy::{PyReadonlyArray1, PyReadonlyArray2, PyReadwriteArray1, PyReadwriteArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::array::slice;
use crate::enter::enter;

/// Steps the rows of `param`, shape (V, H), that have a gradient or had one; returns their number.
#[pyfunction]
#[pyo3(signature = (param, exp_avg, exp_avg_sq, live, rows, values, *, lr, betas, eps, step, num_threads = 1))]
#[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over")]
pub(crate) fn adamw_rows(
    py: Python<'_>,
    mut param: PyReadwriteArray2<'_, f32>,
    mut exp_avg: PyReadwriteArray2<'_, f32>,
    mut exp_avg_sq: PyReadwriteArray2<'_, f32>,
    mut live: PyReadwriteArray1<'_, bool>,
    rows: PyReadonlyArray1<'_, i64>,
    values: PyReadonlyArray2<'_, f32>,
    lr: f64,
    betas: (f64, f64),
    eps: f64,
    step: f64,
    num_threads: usize,
) -> PyResult<usize> {
    let width = param.shape().get(1).copied().unwrap_or_default();
    let embedding = Embedding {
        width,
        param: param.as_slice_mut()?,
        exp_avg: exp_avg.as_slice_mut()?,
        exp_avg_sq: exp_avg_sq.as_slice_mut()?,
        live: live.as_slice_mut()?,
    };
    let gradient = RowGradient {
        rows: slice(&rows, "rows")?,
        values: values
            .as_slice()
            .map_err(|_| PyValueError::new_err("the array values must be contiguous"))?,
    };
    let adamw = AdamW {
        lr,
        beta1: betas.0,
        beta2: betas.1,
        eps,
        step,
    };
    enter(py, || {
        step_rows(embedding, gradient, &adamw, Some(num_threads))
    })
}
