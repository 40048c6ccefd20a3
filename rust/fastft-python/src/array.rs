//! Between numpy arrays and slices, without copies.

use numpy::ndarray::{Array2, ArrayD};
use numpy::{Element, PyArray1, PyArray2, PyArrayDyn, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The elements of an array.
pub(crate) fn slice<'a, T: Element>(
    array: &'a PyReadonlyArray1<'_, T>,
    name: &str,
) -> PyResult<&'a [T]> {
    array
        .as_slice()
        .map_err(|_| PyValueError::new_err(format!("the array {name} must be contiguous")))
}

/// The elements of an array that may be missing.
pub(crate) fn optional_slice<'a, T: Element>(
    array: Option<&'a PyReadonlyArray1<'_, T>>,
    name: &str,
) -> PyResult<Option<&'a [T]>> {
    array.map(|array| slice(array, name)).transpose()
}

/// An array that takes over the memory of `values`.
pub(crate) fn array<T: Element>(py: Python<'_>, values: Vec<T>) -> Py<PyArray1<T>> {
    PyArray1::from_vec(py, values).unbind()
}

/// An array of shape `(num_rows, width)` that takes over the memory of `values`.
pub(crate) fn matrix<T: Element>(
    py: Python<'_>,
    values: Vec<T>,
    num_rows: usize,
    width: usize,
) -> PyResult<Py<PyArray2<T>>> {
    let array = Array2::from_shape_vec((num_rows, width), values)
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(PyArray2::from_owned_array(py, array).unbind())
}

/// An array of `num_rows` entries of one shape that takes over the memory of `values`.
pub(crate) fn rows_of_shape<T: Element>(
    py: Python<'_>,
    values: Vec<T>,
    num_rows: usize,
    shape: &[usize],
) -> PyResult<Py<PyArrayDyn<T>>> {
    let shape: Vec<usize> = std::iter::once(num_rows)
        .chain(shape.iter().copied())
        .collect();
    let array = ArrayD::from_shape_vec(shape, values)
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(PyArrayDyn::from_owned_array(py, array).unbind())
}
