//! `Recipe` and `Labels` of the module: how batches are made, settled once; batches as dicts of arrays.

use fastft_core::collator::{
    Batch, Flattening, LabelColumn, LabelWidth, Labels, Masking, PaddedRecipe, Padding,
    PaddingSide, Predicts, Recipe, Width, loss_positions as find_loss_positions,
};
use fastft_core::column::Gathered;
use numpy::{PyArray1, PyReadonlyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::array::{array, matrix, rows_of_shape};
use crate::enter::enter;

/// Where the labels of padded batches come from.
#[pyclass(name = "Labels", module = "fastft._fastft", frozen)]
pub(crate) struct PyLabels(Labels);

#[pymethods]
impl PyLabels {
    /// The token ids themselves, -100 at padding.
    #[staticmethod]
    fn from_ids() -> Self {
        Self(Labels::Ids)
    }

    /// The tokens that are masked, -100 elsewhere.
    #[staticmethod]
    #[pyo3(signature = (*, seed, epoch, probability, mask_replace_prob, random_replace_prob, mask_token_id, vocab_size, special_ids))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn masked(
        seed: u64,
        epoch: u64,
        probability: f64,
        mask_replace_prob: f64,
        random_replace_prob: f64,
        mask_token_id: i64,
        vocab_size: u32,
        special_ids: Vec<i64>,
    ) -> Self {
        Self(Labels::Masked(Masking {
            seed,
            epoch,
            probability,
            mask_replace_prob,
            random_replace_prob,
            mask_token_id,
            vocab_size,
            special_ids,
        }))
    }

    /// A column whose rows are runs of labels.
    #[staticmethod]
    #[pyo3(signature = (name, *, pad_token_id, as_wide_as_inputs))]
    fn from_column(name: String, pad_token_id: i64, as_wide_as_inputs: bool) -> Self {
        let width = if as_wide_as_inputs {
            LabelWidth::Inputs
        } else {
            LabelWidth::Longest
        };
        let pad = pad_token_id;
        Self(Labels::Column(LabelColumn { name, pad, width }))
    }
}

/// How batches are made.
#[pyclass(name = "Recipe", module = "fastft._fastft", frozen)]
pub(crate) struct PyRecipe(pub(crate) Recipe);

#[pymethods]
impl PyRecipe {
    /// Rows are padded to one width.
    #[staticmethod]
    #[pyo3(signature = (*, pad_token_id, pad_token_type_id = None, attention_mask = true, width = None, pad_to_multiple_of = None, padding_side = "right", labels = None, columns = Vec::new()))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn padded(
        pad_token_id: i64,
        pad_token_type_id: Option<i64>,
        attention_mask: bool,
        width: Option<usize>,
        pad_to_multiple_of: Option<usize>,
        padding_side: &str,
        labels: Option<&PyLabels>,
        columns: Vec<String>,
    ) -> PyResult<Self> {
        let padding = Padding {
            pad_token_id,
            pad_token_type_id,
            attention_mask,
            width: width.map_or(Width::Longest, Width::Fixed),
            pad_to_multiple_of,
            padding_side: parse_padding_side(padding_side)?,
        };
        Ok(Self(Recipe::Padded(PaddedRecipe {
            padding,
            labels: labels.map_or(Labels::None, |labels| labels.0.clone()),
            columns,
        })))
    }

    /// Rows are laid end to end.
    #[staticmethod]
    #[pyo3(signature = (*, separator_id = -100, position_ids_start = None, seq_idx = false, cu_seq_lens = false, labels = None))]
    fn flattened(
        separator_id: i64,
        position_ids_start: Option<i64>,
        seq_idx: bool,
        cu_seq_lens: bool,
        labels: Option<String>,
    ) -> Self {
        Self(Recipe::Flattened(Flattening {
            separator_id,
            position_ids_start,
            seq_idx,
            cu_seq_lens,
            labels,
        }))
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.0)
    }
}

impl PyRecipe {
    /// How the rows of a padded batch are padded.
    pub(crate) fn padding(&self) -> PyResult<&Padding> {
        match &self.0 {
            Recipe::Padded(recipe) => Ok(&recipe.padding),
            Recipe::Flattened(_) => Err(PyValueError::new_err("this recipe pads nothing")),
        }
    }
}

/// The positions of a loss in Python: their places, and the label of each.
type PyLossPositions = (Py<PyArray1<i64>>, Py<PyArray1<i64>>);

/// Finds the supervised positions of a matrix of labels: those whose own, or next, label is not -100.
#[pyfunction]
#[pyo3(signature = (labels, *, predicts_next = false))]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over")]
pub(crate) fn loss_positions(
    py: Python<'_>,
    labels: PyReadonlyArray2<'_, i64>,
    predicts_next: bool,
) -> PyResult<PyLossPositions> {
    let width = labels.as_array().ncols();
    let values = labels
        .as_slice()
        .map_err(|_| PyValueError::new_err("the array labels must be contiguous"))?;
    let predicts = if predicts_next {
        Predicts::Next
    } else {
        Predicts::Own
    };
    let found = enter(py, || Ok(find_loss_positions(values, width, predicts)))?;
    Ok((array(py, found.index), array(py, found.labels)))
}

fn parse_padding_side(text: &str) -> PyResult<PaddingSide> {
    match text {
        "left" => Ok(PaddingSide::Left),
        "right" => Ok(PaddingSide::Right),
        _ => Err(PyValueError::new_err(format!(
            "padding_side must be 'left' or 'right', not {text:?}"
        ))),
    }
}

/// A batch as arrays by name, in the order of the stock collators; `columns` holds the name of each
/// column and the shape of one of its entries.
pub(crate) fn batch_arrays<'py>(
    py: Python<'py>,
    batch: Batch,
    columns: &[(&str, Vec<usize>)],
) -> PyResult<Bound<'py, PyDict>> {
    let arrays = PyDict::new(py);
    let (num_rows, width) = (batch.num_rows, batch.width);
    let set = |name: &Bound<'py, PyString>, values| -> PyResult<()> {
        arrays.set_item(name, matrix(py, values, num_rows, width)?)
    };
    set(intern!(py, "input_ids"), batch.input_ids)?;
    if let Some(values) = batch.token_type_ids {
        set(intern!(py, "token_type_ids"), values)?;
    }
    if let Some(values) = batch.attention_mask {
        set(intern!(py, "attention_mask"), values)?;
    }
    for (gathered, (name, shape)) in batch.columns.into_iter().zip(columns) {
        match gathered {
            Gathered::Integers(values) => {
                arrays.set_item(name, rows_of_shape(py, values, num_rows, shape)?)?;
            }
            Gathered::Floats(values) => {
                arrays.set_item(name, rows_of_shape(py, values, num_rows, shape)?)?;
            }
        }
    }
    if let Some(labels) = batch.labels {
        let labels = matrix(py, labels.values, num_rows, labels.width)?;
        arrays.set_item(intern!(py, "labels"), labels)?;
    }
    if let Some(values) = batch.position_ids {
        set(intern!(py, "position_ids"), values)?;
    }
    if let Some(values) = batch.seq_idx {
        let seq_idx = matrix(py, values, num_rows, width)?;
        arrays.set_item(intern!(py, "seq_idx"), seq_idx)?;
    }
    if let Some(found) = batch.boundaries {
        // Queries and keys have arrays of their own, as in the stock collator.
        let keys = array(py, found.cu_seq_lens.clone());
        arrays.set_item(intern!(py, "cu_seq_lens_q"), array(py, found.cu_seq_lens))?;
        arrays.set_item(intern!(py, "cu_seq_lens_k"), keys)?;
        arrays.set_item(intern!(py, "max_length_q"), found.max_length)?;
        arrays.set_item(intern!(py, "max_length_k"), found.max_length)?;
    }
    Ok(arrays)
}
