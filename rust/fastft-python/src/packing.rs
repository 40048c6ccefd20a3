//! `pack` of the module: lengths into bins.

use fastft_core::packing::{Overlong, pack as pack_lengths};
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;

use crate::array::{array, slice};
use crate::enter::enter;

/// Bins in Python: the indices of all bins, and where each bin begins.
type PyBins = (Py<PyArray1<i64>>, Py<PyArray1<i64>>);

/// Packs lengths into bins of `max_length`: flat indices and bin offsets.
#[pyfunction]
#[pyo3(signature = (lengths, max_length, *, drop_overlong = false))]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over")]
pub(crate) fn pack(
    py: Python<'_>,
    lengths: PyReadonlyArray1<'_, u32>,
    max_length: u64,
    drop_overlong: bool,
) -> PyResult<PyBins> {
    let lengths = slice(&lengths, "lengths")?;
    let bins = enter(py, || {
        pack_lengths(lengths, max_length, overlong(drop_overlong))
    })?;
    Ok((array(py, bins.indices), array(py, bins.offsets)))
}

pub(crate) fn overlong(drop: bool) -> Overlong {
    if drop {
        Overlong::Drop
    } else {
        Overlong::Error
    }
}
