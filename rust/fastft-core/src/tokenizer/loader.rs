//! From the text of a `tokenizer.json` to a tokenizer that adds nothing unasked.
//!
//! A file may fix padding and truncation (that of all-MiniLM-L6-v2 pads and cuts at 128); both are
//! cleared here, because each call brings its own limit and padding happens per batch. The
//! post-processor is taken out, so that a text can be cut *before* special tokens are added
//! without changing the tokenizer.

use tokenizers::{PostProcessorWrapper, Tokenizer};

use crate::error::{Error, Result};

/// The version of the `tokenizers` crate that is built in (a test holds it to `Cargo.lock`).
pub const CRATE_VERSION: &str = "0.23.2";

/// A tokenizer and the post-processor that was taken out of it.
#[derive(Debug)]
pub struct Definition {
    /// Normalizer, pre-tokenizer and model; it neither pads nor cuts nor adds special tokens.
    pub(super) tokenizer: Tokenizer,
    /// What adds the special tokens and type ids.
    pub(super) post_processor: Option<PostProcessorWrapper>,
}

/// Loads `definition`, the text of a `tokenizer.json`.
///
/// # Errors
///
/// [`Error::InvalidDefinition`] when the `tokenizers` crate cannot read it.
pub fn load(definition: &str, split_special_tokens: bool) -> Result<Definition> {
    let invalid = |error: tokenizers::Error| Error::InvalidDefinition {
        reason: error.to_string(),
    };
    let mut tokenizer: Tokenizer = definition.parse().map_err(invalid)?;
    tokenizer.with_truncation(None).map_err(invalid)?;
    tokenizer.with_padding(None);
    tokenizer.set_encode_special_tokens(split_special_tokens);
    let post_processor = tokenizer.get_post_processor().cloned();
    tokenizer.with_post_processor(None::<PostProcessorWrapper>);
    Ok(Definition {
        tokenizer,
        post_processor,
    })
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
                matches!(load(text, false), Err(Error::InvalidDefinition { .. })),
                "{text}"
            );
        }
    }
}
