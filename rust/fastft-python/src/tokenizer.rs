//! `Tokenizer` and `EncodedColumn` of the module.

use std::sync::atomic::AtomicBool;

use fastft_core::collator::pad_texts;
use fastft_core::tokenizer::{
    EncodeOptions, EncodedColumn, LoadOptions, TextColumn, Tokenizer, TruncationSide,
    TruncationStrategy, TypeIds,
};
use numpy::{PyArray1, PyArray2, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::array::{array, matrix, slice};
use crate::collator::{PyRecipe, batch_arrays};
use crate::enter::{enter, enter_interruptibly};
use crate::text_column::text_bytes;

/// From this many bytes of text on, encoding may take so long that somebody gives up.
const LONG: i64 = 1 << 18;

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
    #[pyo3(signature = (definition, *, split_special_tokens = false, reference_only = false, memo_slots = None))]
    fn new(
        py: Python<'_>,
        definition: &str,
        split_special_tokens: bool,
        reference_only: bool,
        memo_slots: Option<usize>,
    ) -> PyResult<Self> {
        let defaults = LoadOptions::default();
        let options = LoadOptions {
            split_special_tokens,
            reference_only,
            memo_slots: memo_slots.unwrap_or(defaults.memo_slots),
        };
        let load = || Tokenizer::from_definition(definition, options);
        Ok(Self {
            tokenizer: enter(py, load)?,
        })
    }

    /// The name of the engine that encodes, or None when the reference does.
    #[getter]
    fn engine(&self) -> Option<&'static str> {
        self.tokenizer.engine().ok()
    }

    /// Why no engine encodes, or None when one does.
    #[getter]
    fn refusal(&self) -> Option<&str> {
        self.tokenizer.engine().err()
    }

    /// Encodes every row of a column, with the same row of a second column when there is one.
    #[pyo3(signature = (
        text,
        text_pair = None,
        *,
        add_special_tokens = true,
        max_length = None,
        truncation_side = "right",
        truncation_strategy = "longest_first",
        stride = 0,
        return_overflowing_tokens = false,
        count_truncated_tokens = false,
        return_offsets_mapping = false,
        return_word_ids = false,
        return_special_tokens_mask = false,
        num_threads = None
    ))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    #[expect(
        clippy::fn_params_excessive_bools,
        reason = "they are keywords in Python"
    )]
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over")]
    fn encode(
        &self,
        py: Python<'_>,
        text: PyTextColumn<'_>,
        text_pair: Option<PyTextColumn<'_>>,
        add_special_tokens: bool,
        max_length: Option<usize>,
        truncation_side: &str,
        truncation_strategy: &str,
        stride: usize,
        return_overflowing_tokens: bool,
        count_truncated_tokens: bool,
        return_offsets_mapping: bool,
        return_word_ids: bool,
        return_special_tokens_mask: bool,
        num_threads: Option<usize>,
    ) -> PyResult<PyEncodedColumn> {
        let options = EncodeOptions {
            add_special_tokens,
            max_length,
            truncation_side: parse_truncation_side(truncation_side)?,
            truncation_strategy: parse_truncation_strategy(truncation_strategy)?,
            stride,
            return_overflowing_tokens,
            count_truncated_tokens,
            return_offsets_mapping,
            return_word_ids,
            return_special_tokens_mask,
            num_threads,
        };
        let text = slices(&text)?;
        let text_pair = text_pair.as_ref().map(slices).transpose()?;
        let encode = |stop: &AtomicBool| {
            let text = TextColumn::new(text.0, text.1)?;
            let text_pair = text_pair
                .map(|pair| TextColumn::new(pair.0, pair.1))
                .transpose()?;
            self.tokenizer
                .encode_until(stop, &text, text_pair.as_ref(), &options)
        };
        let num_bytes = num_bytes(text) + text_pair.map_or(0, num_bytes);
        let encoded = if num_bytes < LONG {
            enter(py, || encode(&AtomicBool::new(false)))?
        } else {
            enter_interruptibly(py, encode)?
        };
        PyEncodedColumn::new(py, encoded, &options)
    }

    /// Encodes a list of `str`, with the same row of a second list when there is one, and pads it as a
    /// recipe says: arrays by name.
    #[pyo3(signature = (texts, text_pair, recipe, *, max_length, truncation_side, truncation_strategy))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn encode_padded<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyList>,
        text_pair: Option<&Bound<'py, PyList>>,
        recipe: &PyRecipe,
        max_length: usize,
        truncation_side: &str,
        truncation_strategy: &str,
    ) -> PyResult<Bound<'py, PyDict>> {
        let options = EncodeOptions {
            max_length: Some(max_length),
            truncation_side: parse_truncation_side(truncation_side)?,
            truncation_strategy: parse_truncation_strategy(truncation_strategy)?,
            ..EncodeOptions::default()
        };
        let padding = recipe.padding()?;
        let texts = text_bytes(texts)?;
        let text_pair = text_pair.map(text_bytes).transpose()?;
        let batch = |stop: &AtomicBool| {
            let text = TextColumn::new(&texts.0, &texts.1)?;
            let pair = text_pair.as_ref();
            let pair = pair.map(|(bytes, offsets)| TextColumn::new(bytes, offsets));
            let pair = pair.transpose()?;
            let encoded = self
                .tokenizer
                .encode_until(stop, &text, pair.as_ref(), &options)?;
            pad_texts(&encoded, padding)
        };
        let num_bytes = texts.0.len() + text_pair.as_ref().map_or(0, |pair| pair.0.len());
        let batch = if (num_bytes as u64) < LONG.unsigned_abs() {
            enter(py, || batch(&AtomicBool::new(false)))?
        } else {
            enter_interruptibly(py, batch)?
        };
        batch_arrays(py, batch, &[])
    }
}

fn slices<'a>(column: &'a PyTextColumn<'_>) -> PyResult<(&'a [u8], &'a [i64])> {
    Ok((slice(&column.0, "bytes")?, slice(&column.1, "offsets")?))
}

/// The bytes of a column's rows; a slice of a longer column holds the bytes of all of it.
fn num_bytes((_, offsets): (&[u8], &[i64])) -> i64 {
    let ends = offsets.first().zip(offsets.last());
    ends.map_or(0, |(first, last)| last.saturating_sub(*first))
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

fn parse_truncation_strategy(text: &str) -> PyResult<TruncationStrategy> {
    match text {
        "longest_first" => Ok(TruncationStrategy::LongestFirst),
        "only_first" => Ok(TruncationStrategy::OnlyFirst),
        "only_second" => Ok(TruncationStrategy::OnlySecond),
        _ => Err(PyValueError::new_err(format!(
            "truncation_strategy must be 'longest_first', 'only_first' or 'only_second', not {text:?}"
        ))),
    }
}

/// A column after encoding: flat ids and where each row begins. What was not asked for is None.
#[pyclass(name = "EncodedColumn", module = "fastft._fastft", frozen, get_all)]
pub(crate) struct PyEncodedColumn {
    ids: Py<PyArray1<u32>>,
    row_offsets: Py<PyArray1<u64>>,
    /// Where the ones begin in each row, when its type ids are zeros, then ones.
    second_segment_starts: Option<Py<PyArray1<u32>>>,
    /// The type ids of all tokens, when they have any other shape.
    flat_type_ids: Option<Py<PyArray1<u8>>>,
    offset_mapping: Option<Py<PyArray2<u32>>>,
    word_ids: Option<Py<PyArray1<i32>>>,
    special_tokens_mask: Option<Py<PyArray1<u8>>>,
    overflow_to_sample_mapping: Option<Py<PyArray1<i64>>>,
    num_truncated_rows: u64,
    num_truncated_tokens: Option<u64>,
    num_truncated_characters: Option<u64>,
}

impl PyEncodedColumn {
    fn new(py: Python<'_>, column: EncodedColumn, options: &EncodeOptions) -> PyResult<Self> {
        let (starts, flat) = match column.type_ids {
            TypeIds::Zero => (None, None),
            TypeIds::Starts(starts) => (Some(array(py, starts)), None),
            TypeIds::Flat(flat) => (None, Some(array(py, flat))),
        };
        let num_tokens = column.ids.len();
        let offsets = options
            .return_offsets_mapping
            .then(|| matrix(py, column.offset_mapping.into_flattened(), num_tokens, 2))
            .transpose()?;
        let words = options.return_word_ids.then_some(column.word_ids);
        let special = options.return_special_tokens_mask;
        let special = special.then_some(column.special_tokens_mask);
        let samples = options.return_overflowing_tokens;
        let samples = samples.then_some(column.overflow_to_sample_mapping);
        let counts = options.counts_tokens();
        Ok(Self {
            ids: array(py, column.ids),
            row_offsets: array(py, column.row_offsets),
            second_segment_starts: starts,
            flat_type_ids: flat,
            offset_mapping: offsets,
            word_ids: words.map(|words| array(py, words)),
            special_tokens_mask: special.map(|mask| array(py, mask)),
            overflow_to_sample_mapping: samples.map(|samples| array(py, samples)),
            num_truncated_rows: column.num_truncated_rows,
            num_truncated_tokens: counts.then_some(column.num_truncated_tokens),
            num_truncated_characters: (!counts).then_some(column.num_truncated_characters),
        })
    }
}
