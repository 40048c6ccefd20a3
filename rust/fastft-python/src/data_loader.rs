//! `DataLoader` of the module: threads that make the batches of a `TokenDataset` ahead of time.

use std::time::{Duration, Instant};

use fastft_core::collator::{Batch, collate};
use fastft_core::data_loader::DataLoader;
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::array::slice;
use crate::collator::PyRecipe;
use crate::enter::enter;
use crate::token_dataset::PyTokenDataset;

/// How long a Ctrl-C may wait until it is seen.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Batches of a dataset, made by threads that never touch Python.
#[pyclass(name = "DataLoader", module = "fastft._fastft", frozen)]
pub(crate) struct PyDataLoader {
    // The order matters: fields are dropped in it, so the threads end before the arrays they read.
    loader: DataLoader<Vec<i64>, Batch>,
    dataset: Py<PyTokenDataset>,
    recipe: Py<PyRecipe>,
}

#[pymethods]
impl PyDataLoader {
    #[new]
    #[pyo3(signature = (dataset, recipe, *, num_threads))]
    fn new(
        py: Python<'_>,
        dataset: Py<PyTokenDataset>,
        recipe: Py<PyRecipe>,
        num_threads: usize,
    ) -> PyResult<Self> {
        let shared = dataset.get().shared(py)?;
        let how = recipe.get().0.clone();
        let make = move |indices: Vec<i64>| collate(&shared.view(), &indices, &how);
        Ok(Self {
            loader: enter(py, || DataLoader::start(num_threads, make))?,
            dataset,
            recipe,
        })
    }

    /// Asks for a batch of the rows named by `indices`.
    #[expect(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over")]
    fn put(&self, py: Python<'_>, indices: PyReadonlyArray1<'_, i64>) -> PyResult<()> {
        let indices = slice(&indices, "indices")?.to_vec();
        enter(py, || self.loader.put(indices))
    }

    /// Takes the batch that was asked for first; `None` when there is none, or not in time.
    #[pyo3(signature = (timeout = None))]
    fn take<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let start = Instant::now();
        // A time that is too long, or no number, is no limit.
        let limit = timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        loop {
            let left = limit.map(|limit| limit.saturating_sub(start.elapsed()));
            let patience = left.map_or(BETWEEN_LOOKS, |left| left.min(BETWEEN_LOOKS));
            if let Some(batch) = enter(py, || self.loader.take(patience))? {
                let shapes = self.dataset.get().shapes(py, &self.recipe.get().0)?;
                return crate::collator::batch_arrays(py, batch, &shapes).map(Some);
            }
            if self.loader.num_outstanding() == 0 || left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            py.check_signals()?;
        }
    }

    /// How many batches were asked for and not taken.
    #[getter]
    fn num_outstanding(&self) -> usize {
        self.loader.num_outstanding()
    }
}
