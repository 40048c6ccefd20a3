//! Text to token ids: a whole column in, flat arrays out.
//!
//! - [`TextColumn`] is the column that comes in: bytes and offsets, as Arrow lays strings out.
//! - [`EncodedColumn`] is what goes out: flat ids and offsets, with [`TypeIds`] in their smallest form.
//! - `char_classes` and `unicode_tables` say what a character is, as the `tokenizers` crate means it.
//! - `lanes` looks at sixteen bytes at once, `ascii_block` at the words of sixty-four.
//! - `window`, `tokens` and `scratch` hold a text, its tokens, the buffers of a thread; `memo` the pieces
//!   already known (`piece_key`, `slots` and `spill` are its parts).
//! - `normalizer` remembers what the crate makes of single characters.
//! - `word_piece`, `bpe` and `unigram` are the models: from a word to its tokens; `byte_pairs` says
//!   where no merge of a BPE reaches across.
//! - `reference` tokenises with the `tokenizers` crate whatever the engines do not know.
//! - `bert`, `byte_level`, `sentence_piece` and `metaspace` (with `metaspace_piece`) are the engines:
//!   each cuts the raw text where the reference surely cuts, recalls the pieces, and sends unknown
//!   ones to its model.
//! - `definition`, `bpe_definition` and `metaspace_definition` say which definitions they take, and
//!   `added_tokens` where a text holds an added token.
//! - `engine` chooses one of them for a definition, or says why none fits.
//! - `post_processor` and `truncation` are what happens to the tokens of a row afterwards.
//! - [`loader`] reads a `tokenizer.json` and clears the padding and truncation that it fixes.
//! - `encoded_text` is one text with its tokens, and says where in it they lie.
//! - `text_encoder` sends one text to the engine or the reference, as far as it is needed.
//! - `encoder` puts all of this together, row by row.
//!
//! Invariant: a [`Tokenizer`] never changes after loading; what varies between calls travels in
//! [`EncodeOptions`], so that any number of threads may encode at once.

#![expect(
    clippy::inline_always,
    reason = "the loops over pieces are compiled once with spans and once without, as a whole"
)]

mod added_tokens;
mod ascii_block;
mod bert;
mod bpe;
mod bpe_definition;
mod byte_level;
mod byte_pairs;
mod byte_pattern;
mod char_classes;
mod definition;
pub mod encoded_column;
mod encoded_text;
mod encoder;
mod engine;
mod lanes;
pub mod loader;
mod memo;
mod metaspace;
mod metaspace_definition;
mod metaspace_piece;
mod normalizer;
mod piece_key;
mod post_processor;
mod reference;
mod scratch;
mod sentence_piece;
mod slots;
mod spill;
pub mod text_column;
mod text_encoder;
mod tokens;
mod trie;
mod truncation;
pub mod type_ids;
mod unicode_tables;
mod unigram;
mod vocabulary;
mod window;
mod word_piece;

pub use encoded_column::EncodedColumn;
pub use loader::{Definition, LoadOptions};
pub use text_column::TextColumn;
pub use truncation::TruncationStrategy;
pub use type_ids::{TypeIds, TypeIdsView};

use std::sync::atomic::AtomicBool;

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
#[expect(clippy::struct_excessive_bools, reason = "each is asked for by itself")]
pub struct EncodeOptions {
    /// Whether the post-processor adds its special tokens (`[CLS]`, `</s>`, ...).
    pub add_special_tokens: bool,
    /// The greatest length of a row, special tokens included; `None` cuts nothing.
    pub max_length: Option<usize>,
    /// The end that loses tokens.
    pub truncation_side: TruncationSide,
    /// The text that loses tokens.
    pub truncation_strategy: TruncationStrategy,
    /// How many tokens a row shares with the one before it, when what is cut off follows in rows
    /// of its own.
    pub stride: usize,
    /// Whether what is cut off follows in rows of its own.
    pub return_overflowing_tokens: bool,
    /// Whether to count the tokens that are cut off, for which a text must be encoded to its end.
    pub count_truncated_tokens: bool,
    /// Whether to find the characters that each token covers.
    pub return_offsets_mapping: bool,
    /// Whether to find the word that each token belongs to.
    pub return_word_ids: bool,
    /// Whether to mark the tokens that the post-processor adds.
    pub return_special_tokens_mask: bool,
    /// How many threads work; `None`: [`parallelism::default_num_threads`].
    pub num_threads: Option<usize>,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self {
            add_special_tokens: true,
            max_length: None,
            truncation_side: TruncationSide::Right,
            truncation_strategy: TruncationStrategy::LongestFirst,
            stride: 0,
            return_overflowing_tokens: false,
            count_truncated_tokens: false,
            return_offsets_mapping: false,
            return_word_ids: false,
            return_special_tokens_mask: false,
            num_threads: None,
        }
    }
}

impl EncodeOptions {
    /// Whether the tokens that are cut off are counted: when that was asked for, and where they
    /// are known anyway. Else a text is encoded only as far as it is kept, and characters are
    /// counted.
    #[must_use]
    pub fn counts_tokens(&self) -> bool {
        self.count_truncated_tokens
            || self.max_length.is_none()
            || self.return_overflowing_tokens
            || self.truncation_side == TruncationSide::Left
    }

    /// Whether the engines must say where tokens lie.
    fn with_spans(&self) -> bool {
        self.return_offsets_mapping || self.return_word_ids
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
    /// # Errors
    ///
    /// [`Error::InvalidDefinition`] when the `tokenizers` crate cannot read the text.
    pub fn from_definition(definition: &str, options: LoadOptions) -> Result<Self> {
        let definition = loader::load(definition, options)?;
        Ok(Self { definition })
    }

    /// The name of the engine that encodes, or why the reference does.
    ///
    /// # Errors
    ///
    /// The reason in words.
    pub fn engine(&self) -> std::result::Result<&'static str, &str> {
        match &self.definition.engine {
            Ok(engine) => Ok(engine.name()),
            Err(reason) => Err(reason),
        }
    }

    /// As [`Self::encode`], but gives up soon after `stop` became true, with
    /// [`Error::Interrupted`].
    ///
    /// # Errors
    ///
    /// Those of [`Self::encode`].
    pub fn encode_until(
        &self,
        stop: &AtomicBool,
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
        let encoder = encoder::Encoder::new(&self.definition, text_pair.is_some(), options)?;
        let ranges = parallelism::ranges(text.len(), ROWS_PER_TASK);
        let parts = parallelism::map_ranges(options.num_threads, ranges, |rows| {
            encoder.encode_rows(text, text_pair, rows, stop)
        })?;
        Ok(EncodedColumn::concatenate(parts))
    }

    /// Encodes every row of `text`, together with the same row of `text_pair` when there is one.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`] for columns of different lengths, [`Error::MaxLengthTooSmall`]
    /// when the special tokens alone are longer, [`Error::StrideTooLarge`] when rows would not
    /// move on; for the first row that is at fault [`Error::InvalidUtf8`], [`Error::TextTooLong`],
    /// [`Error::NotTokenized`] and [`Error::TooLittleToTruncate`].
    pub fn encode(
        &self,
        text: &TextColumn<'_>,
        text_pair: Option<&TextColumn<'_>>,
        options: &EncodeOptions,
    ) -> Result<EncodedColumn> {
        self.encode_until(&AtomicBool::new(false), text, text_pair, options)
    }
}
