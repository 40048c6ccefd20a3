//! The Python face of [`fastft_core`]: the module `fastft._fastft`.
//!
//! It converts, releases the GIL and maps errors; every algorithm lives in the core. The files are
//! named like those of the core, and each Python call into Rust passes through [`enter`].

mod array;
mod attention;
mod batch_sampler;
mod collator;
mod column;
mod data_loader;
mod enter;
mod error;
mod loss;
mod optimizer;
mod packing;
mod text_column;
mod token_dataset;
mod tokenizer;

use pyo3::prelude::pymodule;

/// The Rust core of fastft.
#[pymodule]
mod _fastft {
    #[pymodule_export]
    use super::attention::{attention_backward, attention_forward};
    #[pymodule_export]
    use super::batch_sampler::{PyBatches, cut_batches};
    #[pymodule_export]
    use super::collator::{PyLabels, PyRecipe, loss_positions};
    #[pymodule_export]
    use super::data_loader::PyDataLoader;
    #[pymodule_export]
    use super::loss::{add_widened, cross_entropy, simd_level};
    #[pymodule_export]
    use super::optimizer::adamw_rows;
    #[pymodule_export]
    use super::packing::pack;
    #[pymodule_export]
    use super::text_column::text_buffers;
    #[pymodule_export]
    use super::token_dataset::{PyTokenDataset, block_checksums};
    #[pymodule_export]
    use super::tokenizer::{PyEncodedColumn, PyTokenizer};

    /// The version of the package, written once in `Cargo.toml`.
    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "Python's name for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    /// The version of the `tokenizers` crate that was built in.
    #[pymodule_export]
    const TOKENIZERS_VERSION: &str = fastft_core::tokenizer::loader::CRATE_VERSION;
}
