//! Which engine encodes a tokenizer's texts, if one of ours gives what the reference gives.
//!
//! A definition is taken only when every part of it is one that the engines know; whatever else it
//! holds is a reason to leave all texts to the reference, and `explain()` passes the reason on.

use aho_corasick::AhoCorasick;
use rustc_hash::FxHashMap;
use serde_json::Value;
use tokenizers::Tokenizer;

use super::bert::Bert;
use super::bpe::Bpe;
use super::byte_level::ByteLevel;
use super::byte_pairs::BytePairs;
use super::byte_pattern::{GPT2, Pattern};
use super::char_classes::CharClasses;
use super::reference;
use super::scratch::{Pieces, Scratch, Whole};
use super::sentence_piece::{META_SPACE, Prefix, SentencePiece};
use super::unigram::Unigram;
use super::vocabulary::{self, Vocabulary};
use super::white_space::WhiteSpace;
use super::window::Window;
use super::word_piece::WordPiece;

/// Why a definition goes to the reference, in words for its user.
type Reason = String;

/// One of our engines, and what it must not meet.
#[derive(Debug)]
pub(super) struct Engine {
    kind: Kind,
    /// Finds the added tokens; a text that holds one goes to the reference.
    added_tokens: Option<AhoCorasick>,
    /// Texts must already be in Unicode normal form C.
    needs_nfc: bool,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each tokenizer")]
enum Kind {
    Bert(Bert),
    ByteLevel(ByteLevel),
    SentencePiece(SentencePiece),
    WhiteSpace(WhiteSpace),
}

impl Engine {
    /// The engine for a definition.
    ///
    /// # Errors
    ///
    /// The first part of the definition that none of the engines knows.
    pub(super) fn new(definition: &Value, tokenizer: &Tokenizer) -> Result<Self, Reason> {
        let normalizer = &definition["normalizer"];
        let kind = match definition["model"]["type"].as_str() {
            Some("WordPiece") => Kind::Bert(bert(definition)?),
            Some("BPE") if definition["model"]["byte_fallback"] == true => {
                Kind::SentencePiece(sentence_piece(definition)?)
            }
            Some("BPE") => Kind::ByteLevel(byte_level(definition)?),
            Some("Unigram") => Kind::WhiteSpace(white_space(definition, tokenizer)?),
            other => return Err(format!("the model is {}", other.unwrap_or("unknown"))),
        };
        Ok(Self {
            kind,
            added_tokens: added_tokens(definition)?,
            needs_nfc: normalizer["type"] == "NFC",
        })
    }

    /// The name of the engine, as `explain()` gives it.
    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Bert(_) => "BERT WordPiece",
            Kind::ByteLevel(_) => "byte-level BPE",
            Kind::SentencePiece(_) => "SentencePiece BPE",
            Kind::WhiteSpace(_) => "Unigram",
        }
    }

    /// How many words a piece of text usually has.
    pub(super) fn words_per_piece(&self) -> u32 {
        u32::from(!matches!(self.kind, Kind::SentencePiece(_)))
    }

    /// Encodes a text into `scratch.tokens`.
    pub(super) fn encode<const SPANS: bool>(
        &self,
        crate_tokenizer: &Tokenizer,
        text: &Window<'_>,
        scratch: &mut Scratch,
    ) -> Pieces {
        scratch.tokens.clear();
        if self.must_be_whole(text) {
            return Err(Whole);
        }
        match &self.kind {
            Kind::Bert(engine) => engine.encode::<SPANS>(crate_tokenizer, text, scratch),
            Kind::ByteLevel(engine) => engine.encode::<SPANS>(text, scratch),
            Kind::SentencePiece(engine) => engine.encode::<SPANS>(text, scratch),
            Kind::WhiteSpace(engine) => engine.encode::<SPANS>(crate_tokenizer, text, scratch),
        }
    }

    fn must_be_whole(&self, text: &Window<'_>) -> bool {
        let has_added = |finder: &AhoCorasick| finder.is_match(text.text());
        self.added_tokens.as_ref().is_some_and(has_added)
            || (self.needs_nfc && !vocabulary::is_nfc(text.text()))
    }
}

fn bert(definition: &Value) -> Result<Bert, Reason> {
    let (normalizer, model) = (&definition["normalizer"], &definition["model"]);
    expect("normalizer", normalizer, "BertNormalizer")?;
    let pre_tokenizer = &definition["pre_tokenizer"];
    expect("pre-tokenizer", pre_tokenizer, "BertPreTokenizer")?;
    let lowercase = normalizer["lowercase"] == true;
    let strips = normalizer["strip_accents"].as_bool().unwrap_or(lowercase);
    if normalizer["clean_text"] != true || normalizer["handle_chinese_chars"] != true {
        return Err("BertNormalizer leaves control or Chinese characters alone".into());
    }
    if strips != lowercase {
        return Err("BertNormalizer strips accents without lowercasing, or the reverse".into());
    }
    let vocab = Vocabulary::new(&model["vocab"])?;
    let unk_token = model["unk_token"].as_str().unwrap_or_default();
    let prefix = model["continuing_subword_prefix"].as_str().unwrap_or("##");
    let most = model["max_input_chars_per_word"].as_u64().unwrap_or(100);
    let word_piece = WordPiece::new(
        vocab.iter(),
        prefix,
        vocab
            .id(unk_token)
            .ok_or("the unknown token is not in the vocabulary")?,
        usize::try_from(most).unwrap_or(usize::MAX),
    );
    Ok(Bert::new(word_piece, lowercase))
}

fn byte_level(definition: &Value) -> Result<ByteLevel, Reason> {
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

fn sentence_piece(definition: &Value) -> Result<SentencePiece, Reason> {
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

fn white_space(definition: &Value, tokenizer: &Tokenizer) -> Result<WhiteSpace, Reason> {
    let (pre_tokenizer, model) = (&definition["pre_tokenizer"], &definition["model"]);
    expect("normalizer", &definition["normalizer"], "Precompiled")?;
    let steps = pre_tokenizer["pretokenizers"].as_array();
    let [split, meta] = steps.map_or(&[][..], Vec::as_slice) else {
        return Err(format!("the pre-tokenizer is {}", named(pre_tokenizer)));
    };
    expect("pre-tokenizer", split, "WhitespaceSplit")?;
    expect("pre-tokenizer", meta, "Metaspace")?;
    let prepends = meta["prepend_scheme"] == "always";
    if !prepends || meta["replacement"] != META_SPACE.to_string() || meta["split"] == false {
        return Err("Metaspace does not split, or writes spaces in another way".into());
    }
    if model["byte_fallback"] == true {
        return Err("bytes stand for unknown characters".into());
    }
    leaves_ascii_alone(tokenizer)?;
    let vocab: Vec<(String, f64)> = serde_json::from_value(model["vocab"].clone())
        .map_err(|error| format!("the vocabulary cannot be read: {error}"))?;
    let unk_id = model["unk_id"]
        .as_u64()
        .and_then(|id| u32::try_from(id).ok());
    let unk_id = unk_id.ok_or("the Unigram model has no unknown token")?;
    Ok(WhiteSpace {
        unigram: Unigram::new(&vocab, unk_id),
        classes: CharClasses::get(),
    })
}

/// Asks the normalizer for every printable ASCII character, and for white space.
fn leaves_ascii_alone(tokenizer: &Tokenizer) -> Result<(), Reason> {
    let normalized = |text: &str| {
        let normalized = reference::normalize(tokenizer, text).ok();
        normalized.map(|normalized| normalized.get().to_owned())
    };
    for character in ('!'..='~').map(String::from) {
        if normalized(&character).as_ref() != Some(&character) {
            return Err(format!("the normalizer changes {character:?}"));
        }
    }
    for space in [" ", "\t", "\n", "\r", "\r\n"] {
        let is_space = |text: String| text.chars().all(char::is_whitespace) && !text.is_empty();
        if !normalized(space).is_some_and(is_space) {
            return Err(format!("the normalizer takes away {space:?}"));
        }
    }
    Ok(())
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

/// A finder of all added tokens.
fn added_tokens(definition: &Value) -> Result<Option<AhoCorasick>, Reason> {
    let tokens = definition["added_tokens"].as_array();
    let tokens = tokens.map_or(&[][..], Vec::as_slice);
    let changes_text = definition["normalizer"]["type"].is_string();
    if let Some(token) = tokens.iter().find(|token| token["normalized"] == true)
        && changes_text
    {
        return Err(format!(
            "the added token {} is searched for after normalisation",
            token["content"]
        ));
    }
    let contents = tokens.iter().filter_map(|token| token["content"].as_str());
    let contents: Vec<&str> = contents.filter(|content| !content.is_empty()).collect();
    if contents.is_empty() {
        return Ok(None);
    }
    AhoCorasick::new(contents)
        .map(Some)
        .map_err(|error| format!("the added tokens are too many: {error}"))
}

fn expect(part: &str, found: &Value, expected: &str) -> Result<(), Reason> {
    if found["type"] == expected {
        return Ok(());
    }
    Err(format!("the {part} is {}, not {expected}", named(found)))
}

/// A part of a definition by its type, or in short.
fn named(part: &Value) -> String {
    match part["type"].as_str() {
        Some(name) => name.to_owned(),
        None if part.is_null() => "missing".to_owned(),
        None => part.to_string().chars().take(60).collect(),
    }
}
