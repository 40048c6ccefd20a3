//! Which definitions the two engines of BPE take.

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::Value;

use super::bpe::Bpe;
use super::byte_level::ByteLevel;
use super::byte_pairs::BytePairs;
use super::byte_pattern::{GPT2, Pattern};
use super::char_classes::CharClasses;
use super::definition::{Reason, named};
use super::sentence_piece::{META_SPACE, Prefix, SentencePiece};
use super::vocabulary::{self, Vocabulary};

/// The engine of a byte-level BPE.
///
/// # Errors
///
/// The first part of the definition that it does not know.
pub(super) fn byte_level(definition: &Value) -> Result<ByteLevel, Reason> {
    let (model, pre_tokenizer) = (&definition["model"], &definition["pre_tokenizer"]);
    let normalizer = definition["normalizer"]["type"].as_str();
    if !matches!(normalizer, None | Some("NFC")) {
        return Err(format!("the normalizer is {}", normalizer.unwrap_or("")));
    }
    let (pattern, add_prefix_space) = byte_level_words(pre_tokenizer)?;
    plain_bpe(model)?;
    if !model["unk_token"].is_null() {
        return Err("the byte-level BPE has an unknown token".into());
    }
    let vocab = Vocabulary::new(&model["vocab"])?;
    let mut byte_ids = Box::new([0; 256]);
    for (byte, id) in (0u8..=255).zip(byte_ids.iter_mut()) {
        let token = vocabulary::byte_char(byte).to_string();
        *id = vocab.id(&token).ok_or("a byte is not in the vocabulary")?;
    }
    let whole_words = match model["ignore_merges"].as_bool() {
        Some(true) => vocab.by_bytes(),
        _ => FxHashMap::default(),
    };
    let merges = vocab.merges(&model["merges"])?;
    let tokens = vocab.merged(&merges);
    let tokens = tokens.iter().copied();
    let tokens: Vec<Vec<u8>> = tokens.filter_map(vocabulary::spelled_bytes).collect();
    Ok(ByteLevel {
        pattern,
        byte_ids,
        neighbours: BytePairs::new(&tokens),
        bpe: Bpe::new(merges),
        whole_words,
        add_prefix_space,
        classes: CharClasses::get(),
    })
}

/// The pattern that cuts words, and whether a space is put in front of the text.
fn byte_level_words(pre_tokenizer: &Value) -> Result<(Pattern, bool), Reason> {
    let unknown = || format!("the pre-tokenizer is {}", named(pre_tokenizer));
    let flag = |value: &Value, name: &str| value[name].as_bool().unwrap_or(true);
    if pre_tokenizer["type"] == "ByteLevel" && flag(pre_tokenizer, "use_regex") {
        let pattern = Pattern::of(GPT2).ok_or_else(unknown)?;
        return Ok((pattern, flag(pre_tokenizer, "add_prefix_space")));
    }
    let steps = pre_tokenizer["pretokenizers"].as_array();
    let [split, byte_level] = steps.map_or(&[][..], Vec::as_slice) else {
        return Err(unknown());
    };
    let isolates = split["type"] == "Split"
        && split["behavior"] == "Isolated"
        && split["invert"] == false
        && byte_level["type"] == "ByteLevel"
        && !flag(byte_level, "use_regex")
        && !flag(byte_level, "add_prefix_space");
    let expression = split["pattern"]["Regex"].as_str().filter(|_| isolates);
    let pattern = expression.and_then(Pattern::of).ok_or_else(unknown)?;
    Ok((pattern, false))
}

/// The engine of a `SentencePiece` BPE.
///
/// # Errors
///
/// The first part of the definition that it does not know.
pub(super) fn sentence_piece(definition: &Value) -> Result<SentencePiece, Reason> {
    let model = &definition["model"];
    let prefix = sentence_piece_prefix(definition)?;
    plain_bpe(model)?;
    let vocab = Vocabulary::new(&model["vocab"])?;
    if model["ignore_merges"] == true {
        return Err("the SentencePiece BPE ignores merges".into());
    }
    if let Some((token, _)) = vocab.iter().find(|(token, _)| joins_words(token)) {
        return Err(format!("the token {token:?} reaches over a space"));
    }
    let mut byte_ids = Box::new([0; 256]);
    for (byte, id) in (0u8..=255).zip(byte_ids.iter_mut()) {
        let token = format!("<0x{byte:02X}>");
        *id = vocab.id(&token).ok_or("a byte is not in the vocabulary")?;
    }
    let char_ids = vocab.chars();
    let merges = vocab.merges(&model["merges"])?;
    // What such a merge makes does not spell what it stands for.
    let bytes: FxHashSet<u32> = byte_ids.iter().copied().collect();
    let joins_bytes = |(left, right, _): &_| bytes.contains(left) || bytes.contains(right);
    if merges.iter().any(joins_bytes) {
        return Err("the SentencePiece BPE merges bytes".into());
    }
    let space_id = char_ids.get(&META_SPACE).copied();
    Ok(SentencePiece {
        neighbours: BytePairs::new(vocab.merged(&merges)),
        bpe: Bpe::new(merges),
        space_id: space_id.ok_or("the space is not in the vocabulary")?,
        char_ids,
        byte_ids,
        prefix,
    })
}

fn sentence_piece_prefix(definition: &Value) -> Result<Prefix, Reason> {
    let (normalizer, pre_tokenizer) = (&definition["normalizer"], &definition["pre_tokenizer"]);
    let meta = META_SPACE.to_string();
    if normalizer.is_null() && pre_tokenizer["type"] == "Metaspace" {
        if pre_tokenizer["split"] != false || pre_tokenizer["replacement"] != *meta {
            return Err("Metaspace splits, or writes spaces in another way".into());
        }
        return match pre_tokenizer["prepend_scheme"].as_str() {
            Some("never") => Ok(Prefix::Never),
            Some("first" | "always") => Ok(Prefix::Missing),
            _ => Err("Metaspace prepends in an unknown way".into()),
        };
    }
    let steps = normalizer["normalizers"].as_array();
    let steps = steps.map_or(std::slice::from_ref(normalizer), Vec::as_slice);
    let replaces = |step: &Value| {
        step["type"] == "Replace" && step["pattern"]["String"] == " " && step["content"] == *meta
    };
    let prepends = |step: &Value| step["type"] == "Prepend" && step["prepend"] == *meta;
    match steps {
        [replace] if replaces(replace) && pre_tokenizer.is_null() => Ok(Prefix::Never),
        [prepend, replace] if prepends(prepend) && replaces(replace) && pre_tokenizer.is_null() => {
            Ok(Prefix::Always)
        }
        _ => Err(format!("the normalizer is {}", named(normalizer))),
    }
}

/// Whether a token holds a space behind another character.
fn joins_words(token: &str) -> bool {
    token.trim_start_matches(META_SPACE).contains(META_SPACE)
}

/// Nothing in a BPE model that the engines do not know.
fn plain_bpe(model: &Value) -> Result<(), Reason> {
    let is_empty = |value: &Value| value.is_null() || value == "";
    if !model["dropout"].is_null() {
        return Err("the BPE drops merges at random".into());
    }
    if !is_empty(&model["continuing_subword_prefix"]) || !is_empty(&model["end_of_word_suffix"]) {
        return Err("the BPE marks the parts of words".into());
    }
    Ok(())
}
