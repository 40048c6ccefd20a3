//! The one error of the crate: what went wrong, with the values that caused it.

use std::any::Any;

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong; rows are counted from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text of a `tokenizer.json` is not one that the `tokenizers` crate can load.
    #[error("the tokenizer definition cannot be loaded: {reason}")]
    InvalidDefinition {
        /// What the crate said.
        reason: String,
    },

    /// The `tokenizers` crate refused a text.
    #[error("the text cannot be tokenized: {reason}")]
    NotTokenized {
        /// The row of the text.
        row: usize,
        /// What the crate said.
        reason: String,
    },

    /// A text of 4 GiB and more.
    #[error("a text must be shorter than 4 GiB")]
    TextTooLong {
        /// The row of the text.
        row: usize,
    },

    /// The text that should lose tokens has too few of them.
    #[error(
        "{num_tokens} tokens do not fit in {room}, and the text to truncate has too few to lose"
    )]
    TooLittleToTruncate {
        /// The row.
        row: usize,
        /// How many tokens the row has.
        num_tokens: usize,
        /// How many it may have, special tokens aside.
        room: usize,
    },

    /// Rows that overlap by so much never reach the end of the text.
    #[error("stride {stride} is not below the {room} tokens that a row has room for")]
    StrideTooLarge {
        /// The stride asked for.
        stride: usize,
        /// How many tokens of the text fit in a row.
        room: usize,
    },

    /// A text is not UTF-8.
    #[error("the text is not valid UTF-8 at byte {byte}")]
    InvalidUtf8 {
        /// The row of the text.
        row: usize,
        /// The first byte of the text that is not UTF-8.
        byte: usize,
    },

    /// An offset runs backwards or beyond the array that it points into.
    #[error("offset {offset} of this row lies outside {low}..={high}")]
    InvalidOffset {
        /// The row that ends at the offset.
        row: usize,
        /// The offset met, as a number of any sign.
        offset: i128,
        /// The least offset that would be right here.
        low: u64,
        /// The greatest offset that would be right here.
        high: u64,
    },

    /// A block of a mapped array is not what was written.
    #[error("block {block} of 256 KiB is not what was written")]
    DamagedBlock {
        /// Which block, counted from 0.
        block: usize,
    },

    /// Two arrays that belong together differ in length.
    #[error("{name} has {found} entries, {expected} belong here")]
    LengthMismatch {
        /// Which array.
        name: &'static str,
        /// How long it is.
        found: usize,
        /// How long it should be.
        expected: usize,
    },

    /// `max_length` has no room for the special tokens alone.
    #[error("max_length {max_length} has no room for the {num_special_tokens} special tokens")]
    MaxLengthTooSmall {
        /// The limit asked for.
        max_length: usize,
        /// How many special tokens the tokenizer adds.
        num_special_tokens: usize,
    },

    /// A token id is not below the size of the vocabulary.
    #[error("token id {id} is not below the vocabulary size {vocab_size}")]
    IdOutOfRange {
        /// The row that holds the id.
        row: usize,
        /// The id.
        id: u32,
        /// The size of the vocabulary.
        vocab_size: u32,
    },

    /// A token type id does not fit in 8 bits.
    #[error("token type id {type_id} is above 255")]
    TypeIdTooLarge {
        /// The row that holds the type id.
        row: usize,
        /// The type id.
        type_id: u32,
    },

    /// An index names an example that does not exist.
    #[error("index {index} is outside a dataset of {num_examples} examples")]
    IndexOutOfRange {
        /// The index.
        index: i64,
        /// How many examples there are.
        num_examples: usize,
    },

    /// An order that should name every example once names one of them twice.
    #[error("index {index} occurs twice in an order that should be a permutation")]
    RepeatedIndex {
        /// The index.
        index: i64,
    },

    /// A row is longer than the fixed width of a batch.
    #[error("a row of {length} tokens does not fit in a batch of width {width}")]
    RowTooLong {
        /// The row.
        row: usize,
        /// Its number of tokens.
        length: usize,
        /// The width asked for.
        width: usize,
    },

    /// A row is longer than a bin, or than the budget of a batch.
    #[error("a row of {length} tokens is above the limit of {limit}")]
    AboveLimit {
        /// The row.
        row: usize,
        /// Its number of tokens.
        length: u32,
        /// The most tokens it may have.
        limit: u64,
    },

    /// Plans by length count examples in 32 bits.
    #[error("{num_examples} examples are more than a plan by length can hold")]
    TooManyExamples {
        /// How many there are.
        num_examples: usize,
    },

    /// A recipe names a column that the dataset does not have.
    #[error("the dataset has no column {name:?}")]
    NoSuchColumn {
        /// The name.
        name: String,
    },

    /// A column has another form than the recipe needs.
    #[error("column {name:?} does not have {expected}")]
    WrongColumn {
        /// The name.
        name: String,
        /// What belongs there.
        expected: &'static str,
    },

    /// The labels of a row do not stand beside its tokens.
    #[error("a row of {num_tokens} tokens has {num_labels} labels")]
    LabelsDoNotFit {
        /// The row.
        row: usize,
        /// Its number of tokens.
        num_tokens: usize,
        /// Its number of labels.
        num_labels: usize,
    },

    /// A batch would need more memory than there is.
    #[error("a batch of {num_rows} rows and width {width} does not fit in memory")]
    BatchTooLarge {
        /// The rows of the batch.
        num_rows: usize,
        /// Its width.
        width: usize,
    },

    /// A setting that must be at least one is zero.
    #[error("{name} must be at least 1")]
    Zero {
        /// The name of the setting.
        name: &'static str,
    },

    /// A setting is too large to be meant.
    #[error("{name} {found} is above {most}")]
    AboveMost {
        /// The name of the setting.
        name: &'static str,
        /// Its value.
        found: usize,
        /// The greatest value that it may have.
        most: usize,
    },

    /// A label is neither a class nor the one that is ignored.
    #[error("label {label} is not among the {num_classes} classes, and not ignored")]
    LabelOutOfRange {
        /// The row of the label.
        row: usize,
        /// The label.
        label: i64,
        /// How many classes there are.
        num_classes: usize,
    },

    /// Rows that would be written to share memory.
    #[error("rows of {width} logits that begin {stride} apart overlap")]
    RowsOverlap {
        /// The width of a row.
        width: usize,
        /// From the beginning of a row to that of the next.
        stride: usize,
    },

    /// Heads of attention that vectors do not fill.
    #[error("a head of {width} elements is no multiple of {multiple}")]
    HeadWidth {
        /// The width.
        width: usize,
        /// What it should be a multiple of.
        multiple: usize,
    },

    /// Vector instructions that nobody knows, or that this processor does not have.
    #[error("this processor has no vector instructions {name:?}")]
    NoSuchSimd {
        /// The name asked for.
        name: String,
    },

    /// Somebody asked for the work to stop.
    #[error("the work was interrupted")]
    Interrupted,

    /// The operating system gave us no threads.
    #[error("no thread pool could be started: {reason}")]
    NoThreads {
        /// What the operating system said.
        reason: String,
    },

    /// Our own fault: a panic, caught at the border of the core.
    #[error("the Rust core stopped: {message}")]
    Panic {
        /// What the panic said.
        message: String,
    },

    /// A call in a forked child on threads that only its parent has.
    #[error("the threads of this loader belong to the process that was forked")]
    Forked,
}

/// Looks whether the array `name` is as long as it should be.
pub(crate) fn expect_length(name: &'static str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::LengthMismatch {
        name,
        found,
        expected,
    })
}

impl Error {
    /// The error for a panic that was caught.
    #[must_use]
    pub fn panic(panic: &(dyn Any + Send)) -> Self {
        let message = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("a panic without a message");
        Self::Panic {
            message: message.to_owned(),
        }
    }

    /// The row that holds the fault, where the fault lies in one row.
    #[must_use]
    pub fn row(&self) -> Option<usize> {
        match self {
            Self::NotTokenized { row, .. }
            | Self::TextTooLong { row }
            | Self::TooLittleToTruncate { row, .. }
            | Self::InvalidUtf8 { row, .. }
            | Self::InvalidOffset { row, .. }
            | Self::IdOutOfRange { row, .. }
            | Self::TypeIdTooLarge { row, .. }
            | Self::LabelsDoNotFit { row, .. }
            | Self::LabelOutOfRange { row, .. }
            | Self::RowTooLong { row, .. }
            | Self::AboveLimit { row, .. } => Some(*row),
            _ => None,
        }
    }
}
