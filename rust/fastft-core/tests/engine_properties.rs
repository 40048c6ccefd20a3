//! Each engine, with a memo of any size, gives what the reference gives: random texts, random
//! options, everything that can be asked for.
//!
//! The tokenizers live as long as the process, so that their memos are full of earlier cases; each
//! case is encoded twice, so that it also meets itself.

#![expect(clippy::unwrap_used, reason = "a panic is how a test says no")]

mod definitions;
mod random;

use std::sync::LazyLock;

use fastft_core::Result;
use fastft_core::tokenizer::{EncodedColumn, LoadOptions, TextColumn, Tokenizer};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::FileFailurePersistence;

use random::Case;

/// One definition, loaded for the reference and with memos of several sizes.
struct Routes {
    name: &'static str,
    engine: &'static str,
    reference: Tokenizer,
    by_pieces: Vec<Tokenizer>,
}

static ROUTES: LazyLock<Vec<Routes>> = LazyLock::new(|| {
    let definitions = definitions::all().into_iter();
    definitions
        .map(|named| {
            let text = named.definition.to_string();
            let load = |options| Tokenizer::from_definition(&text, options).unwrap();
            let default = LoadOptions::default();
            let memos = [0, 16, default.memo_slots];
            Routes {
                name: named.name,
                engine: named.engine,
                reference: load(LoadOptions {
                    reference_only: true,
                    ..default
                }),
                by_pieces: memos
                    .map(|memo_slots| {
                        load(LoadOptions {
                            memo_slots,
                            ..default
                        })
                    })
                    .into(),
            }
        })
        .collect()
});

fn encode(tokenizer: &Tokenizer, case: &Case) -> Result<EncodedColumn> {
    let (bytes, offsets) = laid_out(&case.texts);
    let text = TextColumn::new(&bytes, &offsets)?;
    let pairs = case.pairs.as_ref().map(|pairs| laid_out(pairs));
    let pair = match &pairs {
        Some((bytes, offsets)) => Some(TextColumn::new(bytes, offsets)?),
        None => None,
    };
    tokenizer.encode(&text, pair.as_ref(), &case.options)
}

/// Bytes and offsets of a column.
fn laid_out(texts: &[String]) -> (Vec<u8>, Vec<i64>) {
    let mut offsets = vec![0];
    let mut bytes = Vec::new();
    for text in texts {
        bytes.extend_from_slice(text.as_bytes());
        offsets.push(i64::try_from(bytes.len()).unwrap());
    }
    (bytes, offsets)
}

/// With one of the definitions of an engine.
fn all_routes_agree(engine: &str, case: &Case) -> std::result::Result<(), TestCaseError> {
    let routes = ROUTES.iter().filter(|routes| routes.engine == engine);
    let routes: Vec<&Routes> = routes.collect();
    let routes = routes[case.pick % routes.len()];
    let expected = encode(&routes.reference, case);
    for tokenizer in &routes.by_pieces {
        for _ in 0..2 {
            prop_assert_eq!(&encode(tokenizer, case), &expected, "{}", routes.name);
        }
    }
    Ok(())
}

#[test]
fn the_engines_are_those_that_are_tested() {
    for routes in ROUTES.iter() {
        for tokenizer in &routes.by_pieces {
            assert_eq!(tokenizer.engine(), Ok(routes.engine), "{}", routes.name);
        }
        assert!(routes.reference.engine().is_err());
    }
}

/// `A` has no token here: it becomes a byte, which would merge with a dot behind it.
#[test]
fn a_sentence_piece_that_merges_bytes_is_left_to_the_reference() {
    let mut all = definitions::all().into_iter();
    let mut definition = all
        .find(|named| named.name == "Llama 2")
        .unwrap()
        .definition;
    let model = &mut definition["model"];
    model["vocab"]["<0x41>."] = model["vocab"].as_object().unwrap().len().into();
    let merges = model["merges"].as_array_mut().unwrap();
    merges.push(serde_json::json!(["<0x41>", "."]));
    let loaded = Tokenizer::from_definition(&definition.to_string(), LoadOptions::default());
    let expected = Err("the SentencePiece BPE merges bytes");
    assert_eq!(loaded.unwrap().engine(), expected);
}

#[test]
fn the_drawn_cases_reach_every_outcome() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = [0; 5];
    for _ in 0..300 {
        let case = random::case().new_tree(&mut runner).unwrap().current();
        match encode(&ROUTES[0].reference, &case) {
            Ok(column) => {
                seen[0] += 1;
                seen[1] += usize::from(column.num_truncated_rows > 0);
                seen[2] += usize::from(column.row_offsets.len() - 1 > case.texts.len());
                seen[3] += usize::from(column.type_ids != fastft_core::tokenizer::TypeIds::Zero);
            }
            Err(_) => seen[4] += 1,
        }
    }
    assert!(seen.iter().all(|&count| count >= 5), "{seen:?}");
}

/// 1,000 cases, or as many more as `PROPTEST_CASES` says.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: default.cases.max(1000),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..default
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn bert_word_piece(case in random::case()) {
        all_routes_agree("BERT WordPiece", &case)?;
    }

    #[test]
    fn byte_level_bpe(case in random::case()) {
        all_routes_agree("byte-level BPE", &case)?;
    }

    #[test]
    fn sentence_piece_bpe(case in random::case()) {
        all_routes_agree("SentencePiece BPE", &case)?;
    }

    #[test]
    fn unigram(case in random::case()) {
        all_routes_agree("Unigram", &case)?;
    }
}
