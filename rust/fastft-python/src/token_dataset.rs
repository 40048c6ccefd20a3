//! `TokenDataset` of the module: numpy arrays, checked once, from which batches are gathered.

use std::sync::Arc;

use fastft_core::checked_blocks::{self, CheckedBlocks};
use fastft_core::collator::{Recipe, collate_as};
use fastft_core::column::NamedColumn;
use fastft_core::token_dataset::{Ids, TokenDataset};
use fastft_core::tokenizer::TypeIdsView;
use numpy::{PyArray1, PyArrayMethods, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::array::{array, optional_slice, slice};
use crate::collator::{PyRecipe, batch_arrays};
use crate::column::{BorrowedColumn, PyColumn};
use crate::enter::enter;

/// The CRC-32 of each block of 256 KiB.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over")]
pub(crate) fn block_checksums(
    py: Python<'_>,
    values: PyReadonlyArray1<'_, u8>,
) -> PyResult<Py<PyArray1<u32>>> {
    let values = slice(&values, "values")?;
    let checksums = enter(py, || Ok(checked_blocks::block_checksums(values)))?;
    Ok(array(py, checksums))
}

/// Flat token ids with row offsets. It keeps the arrays alive; nothing is copied.
#[pyclass(name = "TokenDataset", module = "fastft._fastft", frozen)]
pub(crate) struct PyTokenDataset {
    ids: PyIds,
    row_offsets: Py<PyArray1<u64>>,
    second_segment_starts: Option<Py<PyArray1<u32>>>,
    flat_type_ids: Option<Py<PyArray1<u8>>>,
    blocks: Option<Arc<CheckedBlocks>>,
    columns: Vec<PyColumn>,
}

/// Ids in either width.
#[derive(FromPyObject)]
enum PyIds {
    U16(Py<PyArray1<u16>>),
    U32(Py<PyArray1<u32>>),
}

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
            blocks: checksums.map(|sums| Arc::new(CheckedBlocks::new(sums))),
            ids,
            row_offsets,
            second_segment_starts,
            flat_type_ids,
            columns: Vec::new(),
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

    /// The same arrays with columns beside them.
    fn with_columns(&self, py: Python<'_>, columns: &Bound<'_, PyDict>) -> PyResult<Self> {
        let column = |(name, values): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
            Ok::<_, PyErr>(PyColumn::new(name.extract()?, values.extract()?))
        };
        let dataset = Self {
            ids: self.ids.clone_ref(py),
            row_offsets: self.row_offsets.clone_ref(py),
            second_segment_starts: self.second_segment_starts.as_ref().map(|a| a.clone_ref(py)),
            flat_type_ids: self.flat_type_ids.as_ref().map(|a| a.clone_ref(py)),
            blocks: self.blocks.clone(),
            columns: columns.iter().map(column).collect::<PyResult<_>>()?,
        };
        let arrays = dataset.borrow(py)?;
        let num_rows = arrays.view()?.num_rows();
        for named in arrays.columns()? {
            enter(py, || named.column.check(num_rows))?;
        }
        drop(arrays);
        Ok(dataset)
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.borrow(py)?.view()?.num_rows())
    }

    /// Compares ids that lie in a file with their checksums, all of them.
    fn check_blocks(&self, py: Python<'_>) -> PyResult<()> {
        let arrays = self.borrow(py)?;
        let view = arrays.view()?.with_blocks(self.blocks.as_deref());
        enter(py, || view.check_blocks())
    }

    /// Compares the blocks that hold the ids of one row.
    fn check_row(&self, py: Python<'_>, row: i64) -> PyResult<()> {
        let arrays = self.borrow(py)?;
        let view = arrays.view()?.with_blocks(self.blocks.as_deref());
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

    /// Makes a batch of the rows named by `indices`; masks are drawn by `numbers`, where given.
    #[pyo3(signature = (indices, recipe, numbers = None))]
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over")]
    fn collate<'py>(
        &self,
        py: Python<'py>,
        indices: PyReadonlyArray1<'py, i64>,
        recipe: &PyRecipe,
        numbers: Option<PyReadonlyArray1<'py, i64>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let indices = slice(&indices, "indices")?;
        let numbers = optional_slice(numbers.as_ref(), "numbers")?.unwrap_or(indices);
        let arrays = self.borrow(py)?;
        let columns = arrays.columns()?;
        let view = arrays.view()?.with_blocks(self.blocks.as_deref());
        let view = view.with_columns(&columns);
        let recipe = &recipe.0;
        let batch = enter(py, || collate_as(&view, indices, numbers, recipe))?;
        batch_arrays(py, batch, &arrays.shapes(recipe))
    }
}

impl PyIds {
    fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::U16(ids) => Self::U16(ids.clone_ref(py)),
            Self::U32(ids) => Self::U32(ids.clone_ref(py)),
        }
    }
}

impl PyTokenDataset {
    fn borrow<'py>(&'py self, py: Python<'py>) -> PyResult<Borrowed<'py>> {
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
            columns: self
                .columns
                .iter()
                .map(|column| column.borrow(py))
                .collect::<PyResult<_>>()?,
        })
    }
}

/// The arrays of a dataset for threads that know nothing of Python.
///
/// Invariant: it is dropped before the dataset that it came from.
pub(crate) struct Shared {
    view: TokenDataset<'static>,
    columns: Vec<NamedColumn<'static>>,
    blocks: Option<Arc<CheckedBlocks>>,
}

impl Shared {
    pub(crate) fn view(&self) -> TokenDataset<'_> {
        let view = self.view.with_blocks(self.blocks.as_deref());
        view.with_columns(&self.columns)
    }
}

impl PyTokenDataset {
    /// The arrays for threads; whoever takes them keeps the dataset until the threads have ended.
    #[expect(
        unsafe_code,
        reason = "threads outlive the call in which the arrays are borrowed"
    )]
    pub(crate) fn shared(&self, py: Python<'_>) -> PyResult<Shared> {
        let arrays = self.borrow(py)?;
        let (view, columns) = (arrays.view()?, arrays.columns()?);
        // SAFETY: only the lifetimes change. The slices lie in numpy arrays (the names of columns in
        // this object), which `self` keeps alive and which stay where they are, because numpy
        // refuses to resize an array that others refer to. Nobody writes to them: a `TokenDataset`
        // of Python makes its arrays read-only. `PyDataLoader` keeps the dataset until its threads
        // have ended.
        let (view, columns) = unsafe {
            (
                std::mem::transmute::<TokenDataset<'_>, TokenDataset<'static>>(view),
                std::mem::transmute::<Vec<NamedColumn<'_>>, Vec<NamedColumn<'static>>>(columns),
            )
        };
        Ok(Shared {
            view,
            columns,
            blocks: self.blocks.clone(),
        })
    }

    /// The name of each column that `recipe` gathers, and the shape of one of its entries.
    pub(crate) fn shapes<'r>(
        &self,
        py: Python<'_>,
        recipe: &'r Recipe,
    ) -> PyResult<Vec<(&'r str, Vec<usize>)>> {
        Ok(self.borrow(py)?.shapes(recipe))
    }
}

/// The arrays, borrowed for one call.
struct Borrowed<'py> {
    ids: BorrowedIds<'py>,
    row_offsets: PyReadonlyArray1<'py, u64>,
    second_segment_starts: Option<PyReadonlyArray1<'py, u32>>,
    flat_type_ids: Option<PyReadonlyArray1<'py, u8>>,
    columns: Vec<BorrowedColumn<'py>>,
}

enum BorrowedIds<'py> {
    U16(PyReadonlyArray1<'py, u16>),
    U32(PyReadonlyArray1<'py, u32>),
}

impl Borrowed<'_> {
    fn columns(&self) -> PyResult<Vec<NamedColumn<'_>>> {
        self.columns.iter().map(BorrowedColumn::view).collect()
    }

    /// The name of each column that `recipe` gathers, and the shape of one of its entries.
    fn shapes<'r>(&self, recipe: &'r Recipe) -> Vec<(&'r str, Vec<usize>)> {
        let Recipe::Padded(recipe) = recipe else {
            return Vec::new();
        };
        let shape = |name: &'r String| {
            let column = self.columns.iter().find(|column| column.name() == name);
            (
                name.as_str(),
                column.map(BorrowedColumn::shape).unwrap_or_default(),
            )
        };
        recipe.columns.iter().map(shape).collect()
    }

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
