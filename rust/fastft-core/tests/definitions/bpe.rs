//! Byte-level and `SentencePiece` BPE: words that are merged from the left, and from the right.

use serde_json::{Value, json};

use super::{WORDS, added_tokens, file, numbered, template};

/// The expression of Qwen 2, and that of Llama 3.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

pub(super) fn byte_level() -> Vec<(&'static str, Value)> {
    let plain = |add_prefix_space: bool| {
        json!({"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true,
               "use_regex": true})
    };
    let roberta = json!({"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0],
                         "trim_offsets": true, "add_prefix_space": true});
    let none = Value::Null;
    vec![
        (
            "GPT-2",
            byte_file(&none, &plain(false), &plain(false), false),
        ),
        ("RoBERTa", byte_file(&none, &plain(true), &roberta, false)),
        (
            "Llama 3",
            byte_file(&none, &split_by(LLAMA3), &untrimmed(), true),
        ),
        (
            "Qwen 2",
            byte_file(
                &json!({"type": "NFC"}),
                &split_by(QWEN2),
                &untrimmed(),
                false,
            ),
        ),
    ]
}

fn untrimmed() -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
           "use_regex": false})
}

fn split_by(expression: &str) -> Value {
    json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated",
         "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
         "use_regex": false}]})
}

fn byte_file(
    normalizer: &Value,
    pre_tokenizer: &Value,
    post_processor: &Value,
    ignore_merges: bool,
) -> Value {
    let special = ["<s>", "<pad>", "</s>", "<|endoftext|>"];
    let spell = |word: &str| word.bytes().map(byte_letter).collect::<String>();
    let words = WORDS
        .iter()
        .flat_map(|word| [spell(word), spell(&format!(" {word}"))]);
    let more = [
        "    ", "\n\n", "\r\n", "...", "!!", "'s", "\u{301}", "🤗", "👍🏽",
    ];
    let words: Vec<String> = words.chain(more.map(&spell)).collect();
    let merges = merges(&words);
    let bytes = (0..=255).map(|byte| byte_letter(byte).to_string());
    // With `ignore_merges` words count that no merge makes.
    let unmerged = [spell("able"), spell(" hello"), spell("12")];
    let tokens = special.map(str::to_owned).into_iter().chain(bytes);
    let tokens = tokens.chain(made(&merges)).chain(unmerged);
    let mut model = model(tokens, &merges);
    model["ignore_merges"] = json!(ignore_merges);
    let added = added_tokens(&special);
    file(&added, normalizer, pre_tokenizer, post_processor, &model)
}

pub(super) fn sentence_piece() -> Vec<(&'static str, Value)> {
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let prepend = json!({"type": "Prepend", "prepend": "▁"});
    let metaspace = |scheme: &str| {
        json!({"type": "Metaspace", "replacement": "▁",
        "prepend_scheme": scheme, "split": false})
    };
    let both = json!({"type": "Sequence", "normalizers": [prepend, replace]});
    let none = Value::Null;
    vec![
        ("Llama 2", piece_file(&both, &none)),
        ("spaces replaced only", piece_file(&replace, &none)),
        ("Metaspace, first", piece_file(&none, &metaspace("first"))),
        ("Metaspace, always", piece_file(&none, &metaspace("always"))),
        ("Metaspace, never", piece_file(&none, &metaspace("never"))),
    ]
}

fn piece_file(normalizer: &Value, pre_tokenizer: &Value) -> Value {
    let special = ["<unk>", "<s>", "</s>"];
    let bytes = (0..=255u8).map(|byte| format!("<0x{byte:02X}>"));
    let words = WORDS
        .iter()
        .flat_map(|word| [(*word).to_owned(), format!("▁{word}")]);
    let more = ["▁▁▁▁", "...", "!!", "'s", "▁(", "x="];
    let words: Vec<String> = words.chain(more.map(str::to_owned)).collect();
    let merges = merges(&words);
    let singles = words.iter().flat_map(|word| word.chars().map(String::from));
    let tokens = special.map(str::to_owned).into_iter().chain(bytes);
    let tokens = tokens.chain(singles).chain(made(&merges));
    let mut model = model(tokens, &merges);
    model["byte_fallback"] = json!(true);
    model["unk_token"] = json!("<unk>");
    model["fuse_unk"] = json!(true);
    let (added, post_processor) = (added_tokens(&special), template(("<s>", 1), ("</s>", 2)));
    file(&added, normalizer, pre_tokenizer, &post_processor, &model)
}

fn model(tokens: impl IntoIterator<Item = String>, merges: &[(String, String)]) -> Value {
    json!({"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
           "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
           "ignore_merges": false, "vocab": numbered(tokens), "merges": merges})
}

/// The tokens that merges make.
fn made(merges: &[(String, String)]) -> impl Iterator<Item = String> {
    merges.iter().map(|(left, right)| format!("{left}{right}"))
}

/// Merges that make each word: every other word from the left, the others from the right.
fn merges(words: &[String]) -> Vec<(String, String)> {
    let mut merges: Vec<(String, String)> = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let letters: Vec<String> = word.chars().map(String::from).collect();
        for cut in 1..letters.len() {
            let merge = if index % 2 == 0 {
                (letters[..cut].concat(), letters[cut].clone())
            } else {
                let from = letters.len() - cut;
                (letters[from - 1].clone(), letters[from..].concat())
            };
            if !merges.contains(&merge) {
                merges.push(merge);
            }
        }
    }
    merges
}

/// The letter by which byte-level vocabularies write a byte.
fn byte_letter(byte: u8) -> char {
    let is_printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if is_printable(&byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|byte| !is_printable(byte)).count();
    let code = u32::try_from(rank).map_or(0, |rank| 0x100 + rank);
    char::from_u32(code).unwrap_or_default()
}
