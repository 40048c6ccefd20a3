//! Which definitions the engine of Unigram takes: T5, ALBERT, XLM-R, mBART, Pegasus and their kin.
//!
//! Their normalizers put together a few steps, all of which change characters and graphemes each by
//! itself or runs of white space; what they make of ASCII is asked from the crate.

use serde_json::Value;
use tokenizers::Tokenizer;

use super::char_classes::CharClasses;
use super::definition::{Reason, expect, named, steps};
use super::metaspace::{Metaspace, Rules};
use super::reference;
use super::sentence_piece::META_SPACE;
use super::unigram::Unigram;

/// Regular expressions that take white space alone.
const WHITE_SPACE: [&str; 5] = [" {2,}", r"\s{2,}|[\n\r\t]", r"[\n\r\t]", r"\n", r"\s+"];

/// What the steps of a normalizer do beside changing single characters.
#[derive(Debug, Default)]
struct Steps {
    writes_meta: bool,
    merges_spaces: bool,
    joins_quotes: bool,
}

/// The engine of a Unigram tokenizer.
///
/// # Errors
///
/// The first part of the definition that it does not know.
pub(super) fn metaspace(definition: &Value, tokenizer: &Tokenizer) -> Result<Metaspace, Reason> {
    let drops_spaces = drops_spaces(&definition["pre_tokenizer"])?;
    let steps = Steps::of(&definition["normalizer"])?;
    let rules = Rules {
        spaces: spaces(tokenizer, drops_spaces)?,
        drops_spaces,
        writes_meta: steps.writes_meta,
        merges_spaces: steps.merges_spaces,
        lowercases: lowercases(tokenizer)?,
        joins_quotes: steps.joins_quotes,
    };
    Ok(Metaspace {
        unigram: unigram(&definition["model"])?,
        rules,
        classes: CharClasses::get(),
    })
}

fn unigram(model: &Value) -> Result<Unigram, Reason> {
    if model["byte_fallback"] == true {
        return Err("bytes stand for unknown characters".into());
    }
    let vocab: Vec<(String, f64)> = serde_json::from_value(model["vocab"].clone())
        .map_err(|error| format!("the vocabulary cannot be read: {error}"))?;
    let unk_id = model["unk_id"].as_u64();
    let unk_id = unk_id.and_then(|id| u32::try_from(id).ok());
    let unk_id = unk_id.ok_or("the Unigram model has no unknown token")?;
    Ok(Unigram::new(&vocab, unk_id))
}

/// Whether words are split at white space before `▁` is put in front of them.
fn drops_spaces(pre_tokenizer: &Value) -> Result<bool, Reason> {
    let (meta, drops_spaces) = match steps(pre_tokenizer, "pretokenizers") {
        [meta] => (meta, false),
        [split, meta] => {
            expect("pre-tokenizer", split, "WhitespaceSplit")?;
            (meta, true)
        }
        _ => return Err(format!("the pre-tokenizer is {}", named(pre_tokenizer))),
    };
    expect("pre-tokenizer", meta, "Metaspace")?;
    let prepends = meta["prepend_scheme"] == "always";
    if !prepends || meta["replacement"] != META_SPACE.to_string() || meta["split"] == false {
        return Err("Metaspace does not split, or writes spaces in another way".into());
    }
    Ok(drops_spaces)
}

impl Steps {
    fn of(normalizer: &Value) -> Result<Self, Reason> {
        let mut known = Self::default();
        for step in steps(normalizer, "normalizers") {
            match step["type"].as_str() {
                Some(
                    "Precompiled" | "StripAccents" | "Lowercase" | "NFC" | "NFD" | "NFKC" | "NFKD",
                ) => {}
                Some("Strip") if step["strip_left"] == false => {
                    known.merges_spaces |= step["strip_right"] != false;
                }
                Some("Replace") => known.replace(step)?,
                _ => return Err(format!("the normalizer is {}", named(step))),
            }
        }
        Ok(known)
    }

    fn replace(&mut self, step: &Value) -> Result<(), Reason> {
        let content = step["content"].as_str().unwrap_or_default();
        let quotes = step["pattern"]["String"].as_str();
        if matches!(quotes, Some("``" | "''")) && content == "\"" {
            self.joins_quotes = true;
            return Ok(());
        }
        let writes_meta = content == META_SPACE.to_string();
        let spaces = step["pattern"]["Regex"].as_str();
        if spaces.is_some_and(|spaces| WHITE_SPACE.contains(&spaces))
            && (content == " " || writes_meta)
        {
            self.merges_spaces = true;
            self.writes_meta |= writes_meta;
            return Ok(());
        }
        Err(format!("the normalizer replaces {}", step["pattern"]))
    }
}

/// What the normalizer makes of a text.
fn normalized(tokenizer: &Tokenizer, text: &str) -> Option<String> {
    let normalized = reference::normalize(tokenizer, text).ok()?;
    Some(normalized.get().to_owned())
}

/// Whether capital letters become small ones. All other printable ASCII must stay what it is.
fn lowercases(tokenizer: &Tokenizer) -> Result<bool, Reason> {
    let lowercases = normalized(tokenizer, "A").as_deref() == Some("a");
    for character in '!'..='~' {
        let expected = if lowercases {
            character.to_ascii_lowercase()
        } else {
            character
        };
        if normalized(tokenizer, &character.to_string()) != Some(expected.to_string()) {
            return Err(format!("the normalizer changes {character:?}"));
        }
    }
    Ok(lowercases)
}

/// The ASCII white space between two letters that stays white space, or is a space afterwards where
/// spaces become `▁`.
fn spaces(tokenizer: &Tokenizer, drops_spaces: bool) -> Result<[bool; 256], Reason> {
    let between = |space: &str| {
        let text = normalized(tokenizer, &format!("a{space}b"))?;
        Some(text.strip_prefix('a')?.strip_suffix('b')?.to_owned())
    };
    let mut spaces = [false; 256];
    for (space, text) in [(b' ', " "), (b'\t', "\t"), (b'\n', "\n"), (b'\r', "\r")] {
        let became = between(text);
        spaces[usize::from(space)] = became.is_some_and(|became| {
            let is_blank = became.chars().all(char::is_whitespace) && !became.is_empty();
            is_blank && (drops_spaces || became == " ")
        });
        if !spaces[usize::from(space)] && (drops_spaces || space == b' ') {
            return Err(format!("the normalizer takes away {text:?}"));
        }
    }
    Ok(spaces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn steps_that_look_further_than_white_space_are_refused() {
        let replace = |pattern: Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
        for step in [
            replace(json!({"String": "--"}), "\""),
            replace(json!({"String": "''"}), " "),
            replace(json!({"Regex": "^ +"}), " "),
            replace(json!({"Regex": " {2,}"}), ""),
            json!({"type": "Strip", "strip_left": true, "strip_right": false}),
            json!({"type": "Prepend", "prepend": "\u{2581}"}),
        ] {
            let sequence = json!({"type": "Sequence", "normalizers": [{"type": "NFKD"}, step]});
            assert!(Steps::of(&sequence).is_err(), "{sequence}");
        }
    }

    #[test]
    fn steps_are_known_by_what_they_do() {
        let spaces =
            json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u{2581}"});
        let quotes = json!({"type": "Replace", "pattern": {"String": "``"}, "content": "\""});
        let known = |normalizer: Value| {
            let steps = Steps::of(&normalizer);
            steps.map(|s| (s.writes_meta, s.merges_spaces, s.joins_quotes))
        };
        assert_eq!(known(Value::Null), Ok((false, false, false)));
        assert_eq!(known(quotes), Ok((false, false, true)));
        assert_eq!(known(spaces), Ok((true, true, false)));
        let strip = json!({"type": "Strip", "strip_left": false, "strip_right": true});
        assert_eq!(known(strip), Ok((false, true, false)));
    }

    #[test]
    fn metaspace_must_prepend_and_split() {
        let meta = |scheme: &str, split: bool| json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme, "split": split});
        let behind = |first: &str| json!({"type": "Sequence", "pretokenizers": [{"type": first}, meta("always", true)]});
        assert_eq!(drops_spaces(&meta("always", true)), Ok(false));
        assert_eq!(drops_spaces(&behind("WhitespaceSplit")), Ok(true));
        assert!(drops_spaces(&behind("Punctuation")).is_err());
        assert!(drops_spaces(&meta("first", true)).is_err());
        assert!(drops_spaces(&meta("always", false)).is_err());
        assert!(drops_spaces(&Value::Null).is_err());
    }
}
