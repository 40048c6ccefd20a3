//! `Tokenizer` and `EncodedColumn` of the module.

use fastft_core::tokenizer::{
    EncodeOptions, EncodedColumn, TextColumn, Tokenizer, TruncationSide, TypeIds,
};
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::array::{array, slice};
use crate::enter::enter;

/// A tokenizer loaded from the text of a `tokenizer.json`; it never changes.
#[pyclass(name = "Tokenizer", module = "fastft._fastft", frozen)]
pub(crate) struct PyTokenizer {
    tokenizer: Tokenizer,
}

/// A column of strings as Arrow lays it out: the bytes, and the offset at which each row begins.
type PyTextColumn<'py> = (PyReadonlyArray1<'py, u8>, PyReadonlyArray1<'py, i64>);

#[pymethods]
impl PyTokenizer {
    #[new]
    #[pyo3(signature = (definition, *, split_special_tokens = false))]
    fn new(py: Python<'_>, definition: &str, split_special_tokens: bool) -> PyResult<Self> {
        let load = || Tokenizer::from_definition(definition, split_special_tokens);
        Ok(Self {
            tokenizer: enter(py, load)?,
        })
    }

    /// Encodes every row of a column, with the same row of a second column when there is one.
    #[pyo3(signature = (text, text_pair = None, *, add_special_tokens = true, max_length = None, truncation_side = "right", num_threads = None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over")]
    fn encode(
        &self,
        py: Python<'_>,
        text: PyTextColumn<'_>,
        text_pair: Option<PyTextColumn<'_>>,
        add_special_tokens: bool,
        max_length: Option<usize>,
        truncation_side: &str,
        num_threads: Option<usize>,
    ) -> PyResult<PyEncodedColumn> {
        let options = EncodeOptions {
            add_special_tokens,
            max_length,
            truncation_side: parse_truncation_side(truncation_side)?,
            num_threads,
        };
        let text = slices(&text)?;
        let text_pair = text_pair.as_ref().map(slices).transpose()?;
        let encoded = enter(py, || {
            let text = TextColumn::new(text.0, text.1)?;
            let text_pair = text_pair
                .map(|pair| TextColumn::new(pair.0, pair.1))
                .transpose()?;
            self.tokenizer.encode(&text, text_pair.as_ref(), &options)
        })?;
        Ok(PyEncodedColumn::new(py, encoded))
    }
}

fn slices<'a>(column: &'a PyTextColumn<'_>) -> PyResult<(&'a [u8], &'a [i64])> {
    Ok((slice(&column.0, "bytes")?, slice(&column.1, "offsets")?))
}

fn parse_truncation_side(text: &str) -> PyResult<TruncationSide> {
    match text {
        "left" => Ok(TruncationSide::Left),
        "right" => Ok(TruncationSide::Right),
        _ => Err(PyValueError::new_err(format!(
            "truncation_side must be 'left' or 'right', not {text:?}"
        ))),
    }
}

/// A column after encoding: flat ids and where each row begins.
#[pyclass(name = "EncodedColumn", module = "fastft._fastft", frozen, get_all)]
pub(crate) struct PyEncodedColumn {
    ids: Py<PyArray1<u32>>,
    row_offsets: Py<PyArray1<u64>>,
    /// Where the ones begin in each row, when its type ids are zeros, then ones.
    second_segment_starts: Option<Py<PyArray1<u32>>>,
    /// The type ids of all tokens, when they have any other shape.
    flat_type_ids: Option<Py<PyArray1<u8>>>,
    num_truncated_rows: u64,
    num_truncated_tokens: u64,
}

impl PyEncodedColumn {
    fn new(py: Python<'_>, column: EncodedColumn) -> Self {
        let (starts, flat) = match column.type_ids {
            TypeIds::Zero => (None, None),
            TypeIds::Starts(starts) => (Some(array(py, starts)), None),
            TypeIds::Flat(flat) => (None, Some(array(py, flat))),
        };
        Self {
            ids: array(py, column.ids),
            row_offsets: array(py, column.row_offsets),
            second_segment_starts: starts,
            flat_type_ids: flat,
            num_truncated_rows: column.num_truncated_rows,
            num_truncated_tokens: column.num_truncated_tokens,
        }
    }
}
