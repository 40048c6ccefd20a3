//! From the text of a `tokenizer.json` to a tokenizer that adds nothing unasked.
//!
//! A file may fix padding and truncation (that of all-MiniLM-L6-v2 pads and cuts at 128); both are
//! cleared here, because each call brings its own limit and padding happens per batch. The
//! post-processor is taken out, so that a text can be cut *before* special tokens are added
//! without changing the tokenizer.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::{PostProcessorWrapper, Tokenizer};

use super::engine::Engine;
use super::memo::MAX_SLOTS;
use super::post_processor::PostProcessor;
use super::scratch::{Scratch, ScratchPool};
use crate::error::{Error, Result};

/// The version of the `tokenizers` crate that is built in (a test holds it to `Cargo.lock`).
pub const CRATE_VERSION: &str = "0.23.2";

/// How a definition is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadOptions {
    /// Whether the text `"[SEP]"` is cut into pieces like any other text.
    pub split_special_tokens: bool,
    /// Whether all texts go to the reference, whatever the engines know.
    pub reference_only: bool,
    /// How many short pieces a thread remembers; 0 remembers none.
    pub memo_slots: usize,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            split_special_tokens: false,
            reference_only: false,
            memo_slots: MAX_SLOTS,
        }
    }
}

/// A tokenizer, the post-processor that was taken out of it, and the engine that knows it.
#[derive(Debug)]
pub struct Definition {
    /// Normalizer, pre-tokenizer and model; it neither pads nor cuts nor adds special tokens.
    pub(super) tokenizer: Tokenizer,
    /// What adds the special tokens and type ids.
    pub(super) post_processor: PostProcessor,
    /// The engine, or why there is none.
    pub(super) engine: std::result::Result<Engine, String>,
    memo_slots: usize,
    scratches: ScratchPool,
}

impl Definition {
    /// A scratch for one thread; what earlier calls learned is in it.
    pub(super) fn take_scratch(&self) -> Scratch {
        let words = self.engine.as_ref().map_or(1, Engine::words_per_piece);
        self.scratches.take(|| Scratch::new(self.memo_slots, words))
    }

    pub(super) fn give_back(&self, scratch: Scratch) {
        self.scratches.give_back(scratch);
    }
}

/// Loads `definition`, the text of a `tokenizer.json`.
///
/// # Errors
///
/// [`Error::InvalidDefinition`] when the `tokenizers` crate cannot read it, or stops at it.
pub fn load(definition: &str, options: LoadOptions) -> Result<Definition> {
    // The crate panics at some definitions that it should refuse.
    let outcome = catch_unwind(AssertUnwindSafe(|| read(definition, options)));
    let outcome = outcome.unwrap_or_else(|panic| Err(panic_message(panic.as_ref()).into()));
    outcome.map_err(|error| Error::InvalidDefinition {
        reason: error.to_string(),
    })
}

fn read(text: &str, options: LoadOptions) -> tokenizers::Result<Definition> {
    let mut tokenizer: Tokenizer = text.parse()?;
    tokenizer.with_truncation(None)?;
    tokenizer.with_padding(None);
    tokenizer.set_encode_special_tokens(options.split_special_tokens);
    let processor = tokenizer.get_post_processor().cloned();
    tokenizer.with_post_processor(None::<PostProcessorWrapper>);
    let json: serde_json::Value = serde_json::from_str(text)?;
    let settings = &json["post_processor"];
    let post_processor = PostProcessor::new(processor.as_ref(), settings, &tokenizer)?;
    let engine = if options.reference_only {
        Err("the reference was asked for".to_owned())
    } else {
        Engine::new(&json, &tokenizer)
    };
    Ok(Definition {
        tokenizer,
        post_processor,
        engine,
        memo_slots: options.memo_slots,
        scratches: ScratchPool::default(),
    })
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!(
        "the tokenizers crate stopped: {}",
        message.unwrap_or("without a message")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crate_version_is_that_of_the_lock_file() {
        let lock = include_str!("../../../../Cargo.lock");
        let entry = format!("name = \"tokenizers\"\nversion = \"{CRATE_VERSION}\"");
        assert!(lock.contains(&entry));
    }

    #[test]
    fn a_definition_that_is_none_is_refused() {
        for text in ["", "{}", "[1]", "{\"model\": {\"type\": \"Dream\"}}"] {
            assert!(
                matches!(
                    load(text, LoadOptions::default()),
                    Err(Error::InvalidDefinition { .. })
                ),
                "{text}"
            );
        }
    }
}
