//! The added tokens of a definition: strings that are one token wherever they stand in the raw text.
//!
//! The reference looks for them before anything else and treats what lies between them as texts of
//! their own. Plain ones may therefore be cut at; a text that holds any other one (special, or one that
//! takes the white space beside it along) goes to the reference as a whole.

use aho_corasick::AhoCorasick;
use serde_json::Value;
use tokenizers::Tokenizer;

use super::definition::Reason;
use super::trie::Trie;

/// An added token in a text: the bytes `start..end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) id: u32,
}

/// The added tokens of a definition.
#[derive(Debug)]
pub(super) struct AddedTokens {
    /// Finds those that are not cut at.
    others: Option<AhoCorasick>,
    plain: Option<PlainTokens>,
}

/// The added tokens that are cut at.
#[derive(Debug)]
struct PlainTokens {
    trie: Trie,
    /// By byte: whether one begins with it.
    starts: Box<[bool; 256]>,
}

impl AddedTokens {
    /// The added tokens; `may_cut` where the engine takes a text in parts.
    ///
    /// # Errors
    ///
    /// A token that is searched for after normalisation.
    pub(super) fn new(
        definition: &Value,
        tokenizer: &Tokenizer,
        may_cut: bool,
    ) -> Result<Self, Reason> {
        let changes_text = definition["normalizer"]["type"].is_string();
        let (mut plain, mut others) = (Vec::new(), Vec::new());
        for token in definition["added_tokens"].as_array().into_iter().flatten() {
            if token["normalized"] == true && changes_text {
                return Err(format!(
                    "the added token {} is searched for after normalisation",
                    token["content"]
                ));
            }
            let content = token["content"].as_str().unwrap_or_default();
            let id = tokenizer.token_to_id(content);
            match id.filter(|_| may_cut && is_plain(token)) {
                _ if content.is_empty() => {}
                Some(id) => plain.push((content, id)),
                None => others.push(content),
            }
        }
        Ok(Self {
            others: finder(&others)?,
            plain: (!plain.is_empty()).then(|| PlainTokens::new(&plain)),
        })
    }

    /// Whether a text holds one that is not cut at.
    pub(super) fn forbid(&self, text: &str) -> bool {
        let holds = |finder: &AhoCorasick| finder.is_match(text);
        self.others.as_ref().is_some_and(holds)
    }

    /// The first one at or behind `from` that is cut at, the longest where several begin there.
    pub(super) fn next(&self, text: &str, from: usize) -> Option<Found> {
        self.plain.as_ref()?.next(text.as_bytes(), from)
    }
}

impl PlainTokens {
    fn new(tokens: &[(&str, u32)]) -> Self {
        let mut starts = Box::new([false; 256]);
        for byte in tokens
            .iter()
            .filter_map(|(content, _)| content.bytes().next())
        {
            starts[usize::from(byte)] = true;
        }
        let tokens = tokens.iter().map(|&(content, id)| (content.as_bytes(), id));
        Self {
            trie: Trie::new(tokens),
            starts,
        }
    }

    fn next(&self, text: &[u8], from: usize) -> Option<Found> {
        let mut start = from;
        loop {
            let mut rest = text.get(start..)?.iter();
            start += rest.position(|&byte| self.starts[usize::from(byte)])?;
            if let Some((end, id)) = self.longest(text, start) {
                return Some(Found { start, end, id });
            }
            start += 1;
        }
    }

    fn longest(&self, text: &[u8], start: usize) -> Option<(usize, u32)> {
        let mut node = Trie::ROOT;
        let mut longest = None;
        for (place, &byte) in text.iter().enumerate().skip(start) {
            let Some(child) = self.trie.child(node, byte) else {
                break;
            };
            node = child;
            longest = self.trie.value(node).map(|id| (place + 1, id)).or(longest);
        }
        longest
    }
}

/// Whether a token is taken wherever it stands, and nothing beside it goes with it. A special one may
/// be switched off.
fn is_plain(token: &Value) -> bool {
    let options = ["special", "normalized", "single_word", "lstrip", "rstrip"];
    options.iter().all(|&option| token[option] == false)
}

fn finder(contents: &[&str]) -> Result<Option<AhoCorasick>, Reason> {
    if contents.is_empty() {
        return Ok(None);
    }
    AhoCorasick::new(contents)
        .map(Some)
        .map_err(|error| format!("the added tokens are too many: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leftmost_and_then_the_longest_is_found() {
        let tokens = PlainTokens::new(&[("-", 1), ("--", 2), ("--->", 3), ("\u{2013}", 4)]);
        let next = |text: &str, from| {
            let found = tokens.next(text.as_bytes(), from);
            found.map(|found| (found.start, found.end, found.id))
        };
        assert_eq!(next("a---b", 0), Some((1, 3, 2)));
        assert_eq!(next("a---b", 3), Some((3, 4, 1)));
        assert_eq!(next("a---b", 4), None);
        assert_eq!(next("a--->", 0), Some((1, 5, 3)));
        // U+2014 begins with the same bytes as U+2013.
        assert_eq!(next("\u{2014}\u{2013}", 0), Some((3, 6, 4)));
        assert_eq!(next("", 0), None);
        assert_eq!(next("-", 9), None);
    }
}
