//! The public face, from a definition to a padded batch, with literal expected values.

#![expect(clippy::unwrap_used, reason = "a panic is how a test says no")]

use fastft_core::collator::{Labels, PaddedRecipe, Padding, PaddingSide, Recipe, Width, collate};
use fastft_core::token_dataset::{Ids, TokenDataset};
use fastft_core::tokenizer::{
    EncodeOptions, EncodedColumn, LoadOptions, TextColumn, Tokenizer, TruncationSide, TypeIds,
};
use fastft_core::{Error, Result};

/// A word-level tokenizer that, like the one of all-MiniLM-L6-v2, fixes padding and truncation.
const DEFINITION: &str = r#"{
    "version": "1.0",
    "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
    "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null,
                "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
    "added_tokens": [
        {"id": 2, "content": "[SEP]", "single_word": false, "lstrip": false, "rstrip": false,
         "normalized": false, "special": true}
    ],
    "normalizer": {"type": "Lowercase"},
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                   {"Sequence": {"id": "A", "type_id": 0}},
                   {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
        "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                 {"Sequence": {"id": "A", "type_id": 0}},
                 {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
                 {"Sequence": {"id": "B", "type_id": 1}},
                 {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
        "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]},
                           "[SEP]": {"id": "[SEP]", "ids": [2], "tokens": ["[SEP]"]}}
    },
    "decoder": null,
    "model": {"type": "WordLevel", "unk_token": "[UNK]",
              "vocab": {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3,
                        "a": 4, "b": 5, "c": 6, "d": 7, "e": 8}}
}"#;

fn tokenizer() -> Tokenizer {
    Tokenizer::from_definition(DEFINITION, LoadOptions::default()).unwrap()
}

/// Bytes and offsets of a column.
fn laid_out(texts: &[&str]) -> (Vec<u8>, Vec<i64>) {
    let mut offsets = vec![0];
    let mut bytes = Vec::new();
    for text in texts {
        bytes.extend_from_slice(text.as_bytes());
        offsets.push(i64::try_from(bytes.len()).unwrap());
    }
    (bytes, offsets)
}

fn encode(
    texts: &[&str],
    pairs: Option<&[&str]>,
    options: &EncodeOptions,
) -> Result<EncodedColumn> {
    let (bytes, offsets) = laid_out(texts);
    let text = TextColumn::new(&bytes, &offsets)?;
    let laid_out_pairs = pairs.map(laid_out);
    let pair = match &laid_out_pairs {
        Some((bytes, offsets)) => Some(TextColumn::new(bytes, offsets)?),
        None => None,
    };
    tokenizer().encode(&text, pair.as_ref(), options)
}

fn cut_at(max_length: usize) -> EncodeOptions {
    EncodeOptions {
        max_length: Some(max_length),
        ..EncodeOptions::default()
    }
}

#[test]
fn padding_and_truncation_of_the_file_are_cleared() {
    let column = encode(&["A b", "", "a b c d e"], None, &EncodeOptions::default()).unwrap();
    assert_eq!(column.ids, [1, 4, 5, 2, 1, 2, 1, 4, 5, 6, 7, 8, 2]);
    assert_eq!(column.row_offsets, [0, 4, 6, 13]);
    assert_eq!(column.type_ids, TypeIds::Zero);
    assert_eq!(column.num_truncated_rows, 0);
}

#[test]
fn special_tokens_may_be_left_out_or_split() {
    let bare = EncodeOptions {
        add_special_tokens: false,
        ..EncodeOptions::default()
    };
    assert_eq!(encode(&["a [SEP]"], None, &bare).unwrap().ids, [4, 2]);
    let splitting = Tokenizer::from_definition(
        DEFINITION,
        LoadOptions {
            split_special_tokens: true,
            ..LoadOptions::default()
        },
    )
    .unwrap();
    let (bytes, offsets) = laid_out(&["a [SEP]"]);
    let text = TextColumn::new(&bytes, &offsets).unwrap();
    let ids = splitting.encode(&text, None, &bare).unwrap().ids;
    assert_eq!(ids, [4, 3, 3, 3]);
}

#[test]
fn long_rows_lose_tokens_on_the_side_asked_for() {
    let column = encode(&["a b c d", "a"], None, &cut_at(4)).unwrap();
    assert_eq!(column.ids, [1, 4, 5, 2, 1, 4, 2]);
    assert_eq!(column.num_truncated_rows, 1);
    // " c d" stands behind the last token that was kept.
    assert_eq!(column.num_truncated_characters, 4);
    assert_eq!(column.num_truncated_tokens, 0);
    let counted = EncodeOptions {
        count_truncated_tokens: true,
        ..cut_at(4)
    };
    let column = encode(&["a b c d", "a"], None, &counted).unwrap();
    assert_eq!(column.ids, [1, 4, 5, 2, 1, 4, 2]);
    assert_eq!(column.num_truncated_rows, 1);
    assert_eq!(column.num_truncated_tokens, 2);
    assert_eq!(column.num_truncated_characters, 0);
    let left = EncodeOptions {
        truncation_side: TruncationSide::Left,
        ..cut_at(4)
    };
    let column = encode(&["a b c d"], None, &left).unwrap();
    assert_eq!(column.ids, [1, 6, 7, 2]);
    assert_eq!(column.num_truncated_tokens, 2);
}

#[test]
fn pairs_lose_from_the_longer_text() {
    let pairs: &[&str] = &["d e", ""];
    let column = encode(&["a b c", "a"], Some(pairs), &cut_at(6)).unwrap();
    assert_eq!(column.ids, [1, 4, 5, 2, 7, 2, 1, 4, 2, 2]);
    assert_eq!(column.type_ids, TypeIds::Starts(vec![4, 3]));
    // " c" and " e".
    assert_eq!(column.num_truncated_characters, 4);
}

#[test]
fn what_cannot_be_encoded_is_an_error() {
    let too_small = Error::MaxLengthTooSmall {
        max_length: 1,
        num_special_tokens: 2,
    };
    assert_eq!(encode(&["a"], None, &cut_at(1)), Err(too_small));
    let pairs: &[&str] = &["a", "b"];
    let unequal = encode(&["a"], Some(pairs), &EncodeOptions::default());
    assert!(matches!(unequal, Err(Error::LengthMismatch { .. })));
    let text = TextColumn::new(b"ok\xff", &[0, 2, 3]).unwrap();
    let invalid = tokenizer().encode(&text, None, &EncodeOptions::default());
    assert_eq!(invalid, Err(Error::InvalidUtf8 { row: 1, byte: 0 }));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let words = ["a", "b c", "", "a d e b", "c c c"];
    let texts: Vec<&str> = words.iter().copied().cycle().take(999).collect();
    let pairs: Vec<&str> = texts.iter().rev().copied().collect();
    let with = |num_threads| {
        let options = EncodeOptions {
            num_threads: Some(num_threads),
            ..cut_at(7)
        };
        encode(&texts, Some(&pairs), &options).unwrap()
    };
    let serial = with(1);
    assert_eq!(serial.row_offsets.len(), 1000);
    assert_eq!(with(2), serial);
    assert_eq!(with(7), serial);
}

#[test]
fn encoded_columns_become_batches() {
    let column = encode(&["a", "b c"], None, &EncodeOptions::default()).unwrap();
    let dataset = TokenDataset::new(
        Ids::U32(&column.ids),
        &column.row_offsets,
        column.type_ids.view(),
        Some(9),
    );
    let padding = Padding {
        attention_mask: true,
        pad_token_id: 0,
        pad_token_type_id: None,
        width: Width::Longest,
        pad_to_multiple_of: None,
        padding_side: PaddingSide::Right,
    };
    let recipe = Recipe::Padded(PaddedRecipe {
        padding,
        labels: Labels::None,
        columns: Vec::new(),
    });
    let batch = collate(&dataset.unwrap(), &[1, 0], &recipe).unwrap();
    assert_eq!(batch.input_ids, [1, 5, 6, 2, 1, 4, 2, 0]);
    assert_eq!(batch.attention_mask, Some(vec![1, 1, 1, 1, 1, 1, 1, 0]));
}
