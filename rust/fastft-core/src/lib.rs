//! The core of fastft: from text to padded batches, the loss, and steps of embeddings, in plain Rust that knows no Python.
//!
//! The modules are listed in the order in which data flows; each imports only [`error`] and
//! modules above it (`tests/layers.rs` holds that).
//!
//! 1. [`parallelism`] says how many threads work, in a pool of our own that survives a fork.
//! 2. [`tokenizer`] turns a column of text into flat token ids: one array for all rows, and the
//!    offsets at which each row begins.
//! 3. [`checked_blocks`] compares arrays that lie in files with their checksums, block by block.
//! 4. [`column`] looks at what lies beside the ids: labels and the like.
//! 5. [`token_dataset`] looks at such arrays as a dataset of rows, wherever they lie.
//! 6. [`sampler`] checks an order of examples that was drawn elsewhere.
//! 7. [`length_sort`] sorts examples by length, stably.
//! 8. [`packing`] fills bins of a fixed capacity with whole examples.
//! 9. [`batch_sampler`] cuts the order into a plan: which examples make which batch.
//! 10. [`collator`] makes one batch as a recipe says: gathered, widened to 64 bit, padded or laid
//!     end to end, with its labels.
//! 11. [`data_loader`] makes batches ahead of time, on threads, in the order asked for.
//! 12. [`simd`] has the vector instructions that kernels are written with.
//! 13. [`attention`] runs within short rows that stand end to end, forward and backward.
//! 14. [`loss`] takes the cross entropy of rows of logits, and its gradient, in place.
//! 15. [`optimizer`] takes a step of `AdamW` on the rows of an embedding that it moves.
//!
//! Nothing here panics on any input: what is wrong comes back as an [`Error`] with its values.

pub mod attention;
pub mod batch_sampler;
pub mod checked_blocks;
pub mod collator;
pub mod column;
pub mod data_loader;
pub mod error;
pub mod length_sort;
pub mod loss;
pub mod optimizer;
pub mod packing;
pub mod parallelism;
pub mod sampler;
pub mod simd;
pub mod token_dataset;
pub mod tokenizer;

pub use error::{Error, Result};
