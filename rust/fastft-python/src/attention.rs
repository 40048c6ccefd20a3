//! `attention_forward` and `attention_backward` of the module: attention within short rows.

use fastft_core::attention::{Backward, Forward, Gradients, Heads, Inputs, attention};
use numpy::{PyReadonlyArray1, PyReadwriteArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::array::{optional_slice, slice};
use crate::enter::enter;
use crate::loss::level;

/// Writes the outputs to `out` and the weights to `weights`; all arrays are flat.
#[pyfunction]
#[pyo3(signature = (query, key, value, out, weights, *, lengths, num_heads, head_dim, scaling, is_causal = false, kept = None, num_threads = 1, simd = None))]
#[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over")]
pub(crate) fn attention_forward(
    py: Python<'_>,
    query: PyReadonlyArray1<'_, f32>,
    key: PyReadonlyArray1<'_, f32>,
    value: PyReadonlyArray1<'_, f32>,
    mut out: PyReadwriteArray1<'_, f32>,
    mut weights: PyReadwriteArray1<'_, f32>,
    lengths: PyReadonlyArray1<'_, i64>,
    num_heads: usize,
    head_dim: usize,
    scaling: f32,
    is_causal: bool,
    kept: Option<PyReadonlyArray1<'_, f32>>,
    num_threads: usize,
    simd: Option<&str>,
) -> PyResult<()> {
    let (lengths, level) = (sizes(&lengths)?, level(simd)?);
    let heads = Heads {
        count: num_heads,
        width: head_dim,
        scaling,
        is_causal,
    };
    let pass = Forward {
        inputs: inputs([&query, &key, &value], kept.as_ref())?,
        weights: weights.as_slice_mut()?,
        out: out.as_slice_mut()?,
    };
    enter(py, || {
        attention(pass, &lengths, &heads, level, Some(num_threads))
    })
}

/// Writes the gradients of query, key and value to the three arrays `to`.
#[pyfunction]
#[pyo3(signature = (query, key, value, weights, gradient, to, *, lengths, num_heads, head_dim, scaling, is_causal = false, kept = None, num_threads = 1, simd = None))]
#[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over")]
pub(crate) fn attention_backward(
    py: Python<'_>,
    query: PyReadonlyArray1<'_, f32>,
    key: PyReadonlyArray1<'_, f32>,
    value: PyReadonlyArray1<'_, f32>,
    weights: PyReadonlyArray1<'_, f32>,
    gradient: PyReadonlyArray1<'_, f32>,
    to: (
        PyReadwriteArray1<'_, f32>,
        PyReadwriteArray1<'_, f32>,
        PyReadwriteArray1<'_, f32>,
    ),
    lengths: PyReadonlyArray1<'_, i64>,
    num_heads: usize,
    head_dim: usize,
    scaling: f32,
    is_causal: bool,
    kept: Option<PyReadonlyArray1<'_, f32>>,
    num_threads: usize,
    simd: Option<&str>,
) -> PyResult<()> {
    let (lengths, level) = (sizes(&lengths)?, level(simd)?);
    let heads = Heads {
        count: num_heads,
        width: head_dim,
        scaling,
        is_causal,
    };
    let (mut to_query, mut to_key, mut to_value) = to;
    let pass = Backward {
        inputs: inputs([&query, &key, &value], kept.as_ref())?,
        weights: slice(&weights, "weights")?,
        gradient: slice(&gradient, "gradient")?,
        to: Gradients {
            query: to_query.as_slice_mut()?,
            key: to_key.as_slice_mut()?,
            value: to_value.as_slice_mut()?,
        },
    };
    enter(py, || {
        attention(pass, &lengths, &heads, level, Some(num_threads))
    })
}

fn inputs<'a>(
    [query, key, value]: [&'a PyReadonlyArray1<'_, f32>; 3],
    kept: Option<&'a PyReadonlyArray1<'_, f32>>,
) -> PyResult<Inputs<'a>> {
    Ok(Inputs {
        query: slice(query, "query")?,
        key: slice(key, "key")?,
        value: slice(value, "value")?,
        kept: optional_slice(kept, "kept")?,
    })
}

fn sizes(lengths: &PyReadonlyArray1<'_, i64>) -> PyResult<Vec<usize>> {
    slice(lengths, "lengths")?
        .iter()
        .map(|&length| {
            let fault = || PyValueError::new_err(format!("a row of {length} tokens"));
            usize::try_from(length).map_err(|_| fault())
        })
        .collect()
}
