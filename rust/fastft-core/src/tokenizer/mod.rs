//! Text to token ids: a whole column in, flat arrays out.
//!
//! - [`TextColumn`] is the column that comes in: bytes and offsets, as Arrow lays strings out.
//! - [`EncodedColumn`] is what goes out: flat ids and offsets, with [`TypeIds`] in their smallest form.
//! - [`loader`] reads a `tokenizer.json` and clears the padding and truncation that it fixes.
//! - [`reference`] encodes row by row with the `tokenizers` crate.
//!
//! Invariant: a [`Tokenizer`] never changes after loading; what varies between calls travels in
//! [`EncodeOptions`], so that any number of threads may encode at once.

pub mod encoded_column;
pub mod loader;
pub mod reference;
pub mod text_column;
pub mod type_ids;

pub use encoded_column::EncodedColumn;
pub use loader::Definition;
pub use text_column::TextColumn;
pub use type_ids::{TypeIds, TypeIdsView};

use crate::error::{Error, Result};
use crate::parallelism;

/// From which end a text that is too long loses tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TruncationSide {
    /// The first tokens go.
    Left,
    /// The last tokens go.
    #[default]
    Right,
}

/// What may differ from call to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Whether the post-processor adds its special tokens (`[CLS]`, `</s>`, ...).
    pub add_special_tokens: bool,
    /// The greatest length of a row, special tokens included; `None` cuts nothing.
    pub max_length: Option<usize>,
    /// The end that loses tokens.
    pub truncation_side: TruncationSide,
    /// How many threads work; `None`: [`parallelism::default_num_threads`].
    pub num_threads: Option<usize>,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self {
            add_special_tokens: true,
            max_length: None,
            truncation_side: TruncationSide::Right,
            num_threads: None,
        }
    }
}

/// A range of rows is what one thread takes at a time: long enough to hide the cost of handing
/// it out, short enough that a range of long texts does not leave the others waiting.
const ROWS_PER_TASK: usize = 64;

/// A tokenizer, loaded once and never changed.
#[derive(Debug)]
pub struct Tokenizer {
    definition: Definition,
}

impl Tokenizer {
    /// Loads the text of a `tokenizer.json`.
    ///
    /// With `split_special_tokens` the text `"[SEP]"` is cut into pieces like any other text.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidDefinition`] when the `tokenizers` crate cannot read the text.
    pub fn from_definition(definition: &str, split_special_tokens: bool) -> Result<Self> {
        let definition = loader::load(definition, split_special_tokens)?;
        Ok(Self { definition })
    }

    /// Encodes every row of `text`, together with the same row of `text_pair` when there is one.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`] for columns of different lengths, [`Error::MaxLengthTooSmall`]
    /// when the special tokens alone are longer, [`Error::InvalidUtf8`] and
    /// [`Error::NotTokenized`] for the first row that is at fault.
    pub fn encode(
        &self,
        text: &TextColumn<'_>,
        text_pair: Option<&TextColumn<'_>>,
        options: &EncodeOptions,
    ) -> Result<EncodedColumn> {
        if let Some(pair) = text_pair
            && pair.len() != text.len()
        {
            return Err(Error::LengthMismatch {
                name: "text_pair",
                found: pair.len(),
                expected: text.len(),
            });
        }
        let encoder = reference::Encoder::new(&self.definition, text_pair.is_some(), options)?;
        let ranges = parallelism::ranges(text.len(), ROWS_PER_TASK);
        let parts = parallelism::map_ranges(options.num_threads, ranges, |rows| {
            encoder.encode_rows(text, text_pair, rows)
        })?;
        Ok(EncodedColumn::concatenate(parts))
    }
}
