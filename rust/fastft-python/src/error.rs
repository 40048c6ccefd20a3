//! From an error of the core to an exception of `fastft.errors`.
//!
//! The Python classes are looked up when an error happens, so that importing the module imports
//! nothing else.

use fastft_core::Error;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// An error of the core on its way to Python. (The orphan rule forbids the direct conversion.)
pub(crate) struct PyError(pub(crate) Error);

impl From<PyError> for PyErr {
    fn from(PyError(error): PyError) -> Self {
        let place = error.row().map(|row| format!("row {row}"));
        Python::attach(|py| exception(py, class(&error), &error.to_string(), place))
    }
}

/// The name of the class in `fastft.errors`.
fn class(error: &Error) -> &'static str {
    match error {
        Error::InvalidDefinition { .. } | Error::NotTokenized { .. } => "TokenizerError",
        Error::MaxLengthTooSmall { .. }
        | Error::StrideTooLarge { .. }
        | Error::TooLittleToTruncate { .. }
        | Error::RowTooLong { .. }
        | Error::AboveLimit { .. }
        | Error::TooManyExamples { .. }
        | Error::AboveMost { .. }
        | Error::BatchTooLarge { .. }
        | Error::NoSuchSimd { .. }
        | Error::RowsOverlap { .. }
        | Error::Zero { .. } => "ConfigurationError",
        Error::NoSuchColumn { .. } | Error::WrongColumn { .. } | Error::LabelsDoNotFit { .. } => {
            "ColumnError"
        }
        Error::LabelOutOfRange { .. } => "LabelError",
        Error::DamagedBlock { .. } => "DamagedFileError",
        Error::InvalidUtf8 { .. }
        | Error::TextTooLong { .. }
        | Error::InvalidOffset { .. }
        | Error::HeadWidth { .. }
        | Error::LengthMismatch { .. }
        | Error::IdOutOfRange { .. }
        | Error::TypeIdTooLarge { .. }
        | Error::IndexOutOfRange { .. }
        | Error::RepeatedIndex { .. } => "DataError",
        _ => "InternalError",
    }
}

/// An instance of the class; where that fails, the exception that says why.
fn exception(py: Python<'_>, class: &str, problem: &str, place: Option<String>) -> PyErr {
    let build = || {
        let parts = PyDict::new(py);
        parts.set_item("place", place)?;
        let class = py.import("fastft.errors")?.getattr(class)?;
        class.call((problem,), Some(&parts))
    };
    build().map_or_else(|error| error, PyErr::from_value)
}
