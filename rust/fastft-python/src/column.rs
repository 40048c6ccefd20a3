//! Columns of a `TokenDataset`: numpy arrays with an entry, or a run of numbers, a row.

use fastft_core::column::{Column, NamedColumn, Ragged};
use numpy::{
    Element, PyArray1, PyArrayDyn, PyArrayMethods, PyReadonlyArray1, PyReadonlyArrayDyn,
    PyUntypedArrayMethods,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::array::slice;

/// A column that keeps its arrays alive.
pub(crate) struct PyColumn {
    name: String,
    values: PyValues,
}

#[derive(FromPyObject)]
pub(crate) enum PyValues {
    Integers(Py<PyArrayDyn<i64>>),
    Floats(Py<PyArrayDyn<f32>>),
    /// Values and offsets.
    Ragged(Py<PyArray1<i32>>, Py<PyArray1<i64>>),
}

impl PyColumn {
    pub(crate) fn new(name: String, values: PyValues) -> Self {
        Self { name, values }
    }

    pub(crate) fn borrow<'py>(&'py self, py: Python<'py>) -> PyResult<BorrowedColumn<'py>> {
        let values = match &self.values {
            PyValues::Integers(values) => Borrowed::Integers(values.bind(py).try_readonly()?),
            PyValues::Floats(values) => Borrowed::Floats(values.bind(py).try_readonly()?),
            PyValues::Ragged(values, offsets) => Borrowed::Ragged(
                values.bind(py).try_readonly()?,
                offsets.bind(py).try_readonly()?,
            ),
        };
        Ok(BorrowedColumn {
            name: &self.name,
            values,
        })
    }
}

/// A column, borrowed for one call.
pub(crate) struct BorrowedColumn<'py> {
    name: &'py str,
    values: Borrowed<'py>,
}

enum Borrowed<'py> {
    Integers(PyReadonlyArrayDyn<'py, i64>),
    Floats(PyReadonlyArrayDyn<'py, f32>),
    Ragged(PyReadonlyArray1<'py, i32>, PyReadonlyArray1<'py, i64>),
}

impl BorrowedColumn<'_> {
    pub(crate) fn name(&self) -> &str {
        self.name
    }

    pub(crate) fn view(&self) -> PyResult<NamedColumn<'_>> {
        let column = match &self.values {
            Borrowed::Integers(array) => Column::Integers(all(array)?, entry_size(array)),
            Borrowed::Floats(array) => Column::Floats(all(array)?, entry_size(array)),
            Borrowed::Ragged(values, offsets) => Column::Ragged(Ragged {
                values: slice(values, "values")?,
                offsets: slice(offsets, "offsets")?,
            }),
        };
        Ok(NamedColumn {
            name: self.name,
            column,
        })
    }

    /// The shape of one entry.
    pub(crate) fn shape(&self) -> Vec<usize> {
        match &self.values {
            Borrowed::Integers(array) => entry_shape(array).to_vec(),
            Borrowed::Floats(array) => entry_shape(array).to_vec(),
            Borrowed::Ragged(..) => Vec::new(),
        }
    }
}

fn all<'a, T: Element>(array: &'a PyReadonlyArrayDyn<'_, T>) -> PyResult<&'a [T]> {
    array
        .as_slice()
        .map_err(|_| PyValueError::new_err("a column must be contiguous"))
}

fn entry_shape<'a, T: Element>(array: &'a PyReadonlyArrayDyn<'_, T>) -> &'a [usize] {
    array.shape().get(1..).unwrap_or_default()
}

fn entry_size<T: Element>(array: &PyReadonlyArrayDyn<'_, T>) -> usize {
    entry_shape(array).iter().product()
}
