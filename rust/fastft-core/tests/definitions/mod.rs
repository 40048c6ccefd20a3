//! Small tokenizer definitions, one and more for each engine.
//!
//! The tests, the benches and the fuzz targets share them. The vocabularies hold what makes cutting
//! hard: parts of words, accents, several scripts, merges that compete.

mod bpe;

use serde_json::{Value, json};

/// A definition, and the engine that must take it.
pub(crate) struct Named {
    /// What is special about it.
    pub(crate) name: &'static str,
    /// The name of the engine.
    pub(crate) engine: &'static str,
    /// The `tokenizer.json`.
    pub(crate) definition: Value,
}

/// All of them.
pub(crate) fn all() -> Vec<Named> {
    let named = |engine, definitions: Vec<(&'static str, Value)>| {
        definitions
            .into_iter()
            .map(move |(name, definition)| Named {
                name,
                engine,
                definition,
            })
    };
    named("BERT WordPiece", word_piece())
        .chain(named("byte-level BPE", bpe::byte_level()))
        .chain(named("SentencePiece BPE", bpe::sentence_piece()))
        .chain(named("Unigram", unigram()))
        .collect()
}

/// Words that texts are likely to hold; also what texts are drawn from.
pub(crate) const WORDS: [&str; 16] = [
    "the",
    "ing",
    "hello",
    "card",
    "Card",
    "payment",
    "un",
    "able",
    "café",
    "naïve",
    "straße",
    "слово",
    "中文字",
    "カード",
    "한국",
    "12345",
];

/// The first tokens of a vocabulary as added tokens.
fn added_tokens(contents: &[&str]) -> Value {
    let tokens = contents.iter().enumerate().map(|(id, content)| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false,
               "rstrip": false, "normalized": false, "special": true})
    });
    tokens.collect()
}

/// `first A second`, and `first A second B second`.
fn template(first: (&str, u32), second: (&str, u32)) -> Value {
    let special = |(token, _): (&str, u32), type_id: u32| json!({"SpecialToken": {"id": token, "type_id": type_id}});
    let text = |name: &str, type_id: u32| json!({"Sequence": {"id": name, "type_id": type_id}});
    let entry = |(token, id): (&str, u32)| json!({"id": token, "ids": [id], "tokens": [token]});
    json!({
        "type": "TemplateProcessing",
        "single": [special(first, 0), text("A", 0), special(second, 0)],
        "pair": [special(first, 0), text("A", 0), special(second, 0), text("B", 1),
                 special(second, 1)],
        "special_tokens": {first.0: entry(first), second.0: entry(second)},
    })
}

/// A whole file from what differs.
fn file(
    added: &Value,
    normalizer: &Value,
    pre_tokenizer: &Value,
    post_processor: &Value,
    model: &Value,
) -> Value {
    json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
           "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
           "post_processor": post_processor, "decoder": null, "model": model})
}

fn word_piece() -> Vec<(&'static str, Value)> {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let added = added_tokens(&special);
    let vocab = word_piece_vocab(&special);
    let bert = |lowercase: bool, most: usize| {
        let normalizer = json!({"type": "BertNormalizer", "clean_text": true,
            "handle_chinese_chars": true, "strip_accents": null, "lowercase": lowercase});
        let pre_tokenizer = json!({"type": "BertPreTokenizer"});
        let post_processor = template(("[CLS]", 2), ("[SEP]", 3));
        let model = json!({"type": "WordPiece", "unk_token": "[UNK]", "vocab": vocab,
            "continuing_subword_prefix": "##", "max_input_chars_per_word": most});
        file(&added, &normalizer, &pre_tokenizer, &post_processor, &model)
    };
    vec![
        ("uncased", bert(true, 100)),
        ("cased, short words", bert(false, 12)),
    ]
}

fn word_piece_vocab(special: &[&str]) -> Value {
    let parts = "lo ment s e 文 ι ς ー \u{301} é 0 12";
    let single = "abcdefhlnprtuy0123.,-'$é\u{301}ß中文字カード한국слов\u{2581}#[]MASK";
    let first = special.iter().chain(&WORDS).map(|&word| word.to_owned());
    let singles = single.chars().map(String::from);
    let parts = parts.split(' ').map(str::to_owned).chain(singles.clone());
    numbered(
        first
            .chain(singles)
            .chain(parts.map(|part| format!("##{part}"))),
    )
}

/// Ids by first appearance.
fn numbered(tokens: impl IntoIterator<Item = String>) -> Value {
    let mut ids = serde_json::Map::new();
    for token in tokens {
        let id = ids.len();
        ids.entry(token).or_insert(json!(id));
    }
    Value::Object(ids)
}

/// A table of `SentencePiece` with rules from the one of T5 that differ in kind: white space of all
/// sorts and U+200B to a space, U+0001, U+007F, U+00AD and U+FEFF to nothing, `ﬁ`, `½`, `…`, `㌔`
/// and U+FDFA to several characters, `e` with an acute, Hangul letters and half-width kana joined,
/// `Å`, `Ω`, `Ａ` and `ſ` to their usual forms, U+0344 and `¨` apart. Two rules are for what only whole
/// graphemes show: a letter before U+0E33, and a space under a dot.
const CHARSMAP: &str = include_str!("charsmap.base64");

fn unigram() -> Vec<(&'static str, Value)> {
    let special = ["<pad>", "</s>", "<unk>", "<extra_id_0>"];
    let charsmap: String = CHARSMAP.split_whitespace().collect();
    let normalizer = json!({"type": "Precompiled", "precompiled_charsmap": charsmap});
    let pre_tokenizer = json!({"type": "Sequence", "pretokenizers": [
        {"type": "WhitespaceSplit"},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}]});
    let end = json!({"SpecialToken": {"id": "</s>", "type_id": 0}});
    let text = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
    let post_processor = json!({"type": "TemplateProcessing", "single": [text("A"), end],
        "pair": [text("A"), end, text("B"), end],
        "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}});
    let model = json!({"type": "Unigram", "unk_id": 2, "byte_fallback": false,
        "vocab": unigram_vocab(&special)});
    let added = added_tokens(&special);
    let t5 = file(&added, &normalizer, &pre_tokenizer, &post_processor, &model);
    vec![("T5", t5)]
}

/// Pieces with crooked scores, so that hardly any two cuts of a word have the same sum.
fn unigram_vocab(special: &[&str]) -> Value {
    let words = WORDS
        .iter()
        .flat_map(|word| [(*word).to_owned(), format!("▁{word}")]);
    let parts = "pay ment he llo ll ▁h ▁1 12 ▁▁ aa ...".split(' ');
    let singles = "▁abcdeghilnoprstuy0123.'-éß中文カー한국\u{301}слов⁄f".chars();
    let tokens = words
        .chain(parts.map(str::to_owned))
        .chain(singles.map(String::from));
    let scored = tokens.zip(1u32..).map(|(token, rank)| {
        let score = -2.0 - f64::from(rank * rank % 101) / 17.0 - f64::from(rank).sqrt();
        json!([token, score])
    });
    let special = special.iter().map(|token| json!([token, 0.0]));
    special.chain(scored).collect()
}
