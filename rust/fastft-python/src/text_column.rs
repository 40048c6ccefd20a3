//! Strings of Python as a column of bytes with offsets.

use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::array::array;

type TextBuffers = (Py<PyArray1<u8>>, Py<PyArray1<i64>>);

/// The bytes of all strings in UTF-8, and the offset at which each begins.
///
/// Errors are Python's own: `TypeError` for what is no `str`, `UnicodeEncodeError` for a lone
/// surrogate.
#[pyfunction]
pub(crate) fn text_buffers(py: Python<'_>, texts: &Bound<'_, PyList>) -> PyResult<TextBuffers> {
    let (bytes, offsets) = text_bytes(texts)?;
    Ok((array(py, bytes), array(py, offsets)))
}

/// The same, for Rust.
pub(crate) fn text_bytes(texts: &Bound<'_, PyList>) -> PyResult<(Vec<u8>, Vec<i64>)> {
    let mut bytes = Vec::new();
    let mut offsets = Vec::with_capacity(texts.len() + 1);
    offsets.push(0);
    for text in texts {
        bytes.extend_from_slice(text.cast::<PyString>()?.to_str()?.as_bytes());
        offsets.push(i64::try_from(bytes.len())?);
    }
    Ok((bytes, offsets))
}
