//! `TokenDataset` of the module: numpy arrays, checked once, from which batches are gathered.

use fastft_core::checked_blocks::CheckedBlocks;
use fastft_core::collator::{Batch, Padding, PaddingSide, Width, collate};
use fastft_core::token_dataset::{Ids, TokenDataset};
use fastft_core::tokenizer::TypeIdsView;
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::array::{matrix, optional_slice, slice};
use crate::enter::enter;

/// Flat token ids with row offsets. It keeps the arrays alive; nothing is copied.
#[pyclass(name = "TokenDataset", module = "fastft._fastft", frozen)]
pub(crate) struct PyTokenDataset {
    ids: PyIds,
    row_offsets: Py<PyArray1<u64>>,
    second_segment_starts: Option<Py<PyArray1<u32>>>,
    flat_type_ids: Option<Py<PyArray1<u8>>>,
    blocks: Option<CheckedBlocks>,
}

/// Ids in either width.
#[derive(FromPyObject)]
enum PyIds {
    U16(Py<PyArray1<u16>>),
    U32(Py<PyArray1<u32>>),
}

/// What a batch is in Python: `input_ids`, `attention_mask`, and `token_type_ids` or `None`.
type PyBatch = (
    Py<PyArray2<i64>>,
    Py<PyArray2<i64>>,
    Option<Py<PyArray2<i64>>>,
);

#[pymethods]
impl PyTokenDataset {
    #[new]
    #[pyo3(signature = (ids, row_offsets, *, second_segment_starts = None, flat_type_ids = None, vocab_size = None, checksums = None))]
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over")]
    fn new(
        py: Python<'_>,
        ids: PyIds,
        row_offsets: Py<PyArray1<u64>>,
        second_segment_starts: Option<Py<PyArray1<u32>>>,
        flat_type_ids: Option<Py<PyArray1<u8>>>,
        vocab_size: Option<u32>,
        checksums: Option<PyReadonlyArray1<'_, u32>>,
    ) -> PyResult<Self> {
        let checksums = optional_slice(checksums.as_ref(), "checksums")?;
        let dataset = Self {
            blocks: checksums.map(CheckedBlocks::new),
            ids,
            row_offsets,
            second_segment_starts,
            flat_type_ids,
        };
        let arrays = dataset.borrow(py)?;
        let view = arrays.view()?;
        enter(py, || {
            TokenDataset::new(view.ids(), view.row_offsets(), view.type_ids(), vocab_size)
                .map(|_| ())
        })?;
        drop(arrays);
        Ok(dataset)
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.borrow(py)?.view()?.num_rows())
    }

    /// Compares ids that lie in a file with their checksums, all of them.
    fn check_blocks(&self, py: Python<'_>) -> PyResult<()> {
        let arrays = self.borrow(py)?;
        let view = arrays.view()?.with_blocks(self.blocks.as_ref());
        enter(py, || view.check_blocks())
    }

    /// Compares the blocks that hold the ids of one row.
    fn check_row(&self, py: Python<'_>, row: i64) -> PyResult<()> {
        let arrays = self.borrow(py)?;
        let view = arrays.view()?.with_blocks(self.blocks.as_ref());
        enter(py, || view.row(row).map(|_| ()))
    }

    /// The length of the longest row among `indices`; zero when there is none.
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over")]
    fn longest(&self, py: Python<'_>, indices: PyReadonlyArray1<'_, i64>) -> PyResult<usize> {
        let indices = slice(&indices, "indices")?;
        let arrays = self.borrow(py)?;
        let view = arrays.view()?;
        enter(py, || view.longest(indices))
    }

    /// Gathers and pads the rows named by `indices`; without `width` to the longest of them.
    #[pyo3(signature = (indices, *, pad_token_id, pad_token_type_id = None, width = None, pad_to_multiple_of = None, padding_side = "right"))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over")]
    fn collate(
        &self,
        py: Python<'_>,
        indices: PyReadonlyArray1<'_, i64>,
        pad_token_id: i64,
        pad_token_type_id: Option<i64>,
        width: Option<usize>,
        pad_to_multiple_of: Option<usize>,
        padding_side: &str,
    ) -> PyResult<PyBatch> {
        let padding = Padding {
            pad_token_id,
            pad_token_type_id,
            width: width.map_or(Width::Longest, Width::Fixed),
            pad_to_multiple_of,
            padding_side: parse_padding_side(padding_side)?,
        };
        let indices = slice(&indices, "indices")?;
        let arrays = self.borrow(py)?;
        let view = arrays.view()?.with_blocks(self.blocks.as_ref());
        let batch = enter(py, || collate(&view, indices, &padding))?;
        into_arrays(py, batch)
    }
}

impl PyTokenDataset {
    fn borrow<'py>(&self, py: Python<'py>) -> PyResult<Borrowed<'py>> {
        let starts = self.second_segment_starts.as_ref();
        let flat = self.flat_type_ids.as_ref();
        Ok(Borrowed {
            ids: match &self.ids {
                PyIds::U16(ids) => BorrowedIds::U16(ids.bind(py).try_readonly()?),
                PyIds::U32(ids) => BorrowedIds::U32(ids.bind(py).try_readonly()?),
            },
            row_offsets: self.row_offsets.bind(py).try_readonly()?,
            second_segment_starts: starts.map(|a| a.bind(py).try_readonly()).transpose()?,
            flat_type_ids: flat.map(|a| a.bind(py).try_readonly()).transpose()?,
        })
    }
}

/// The arrays, borrowed for one call.
struct Borrowed<'py> {
    ids: BorrowedIds<'py>,
    row_offsets: PyReadonlyArray1<'py, u64>,
    second_segment_starts: Option<PyReadonlyArray1<'py, u32>>,
    flat_type_ids: Option<PyReadonlyArray1<'py, u8>>,
}

enum BorrowedIds<'py> {
    U16(PyReadonlyArray1<'py, u16>),
    U32(PyReadonlyArray1<'py, u32>),
}

impl Borrowed<'_> {
    fn view(&self) -> PyResult<TokenDataset<'_>> {
        let ids = match &self.ids {
            BorrowedIds::U16(ids) => Ids::U16(slice(ids, "ids")?),
            BorrowedIds::U32(ids) => Ids::U32(slice(ids, "ids")?),
        };
        let starts = optional_slice(self.second_segment_starts.as_ref(), "second_segment_starts")?;
        let flat = optional_slice(self.flat_type_ids.as_ref(), "flat_type_ids")?;
        let type_ids = match (starts, flat) {
            (None, None) => TypeIdsView::Zero,
            (Some(starts), None) => TypeIdsView::Starts(starts),
            (None, Some(flat)) => TypeIdsView::Flat(flat),
            (Some(_), Some(_)) => {
                return Err(PyValueError::new_err(
                    "give second_segment_starts or flat_type_ids, not both",
                ));
            }
        };
        let row_offsets = slice(&self.row_offsets, "row_offsets")?;
        Ok(TokenDataset::view(ids, row_offsets, type_ids))
    }
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

fn into_arrays(py: Python<'_>, batch: Batch) -> PyResult<PyBatch> {
    let into_matrix = |values| matrix(py, values, batch.num_rows, batch.width);
    Ok((
        into_matrix(batch.input_ids)?,
        into_matrix(batch.attention_mask)?,
        batch.token_type_ids.map(into_matrix).transpose()?,
    ))
}
