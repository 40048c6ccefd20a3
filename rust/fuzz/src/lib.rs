//! The bodies of the fuzz targets, as plain functions.
//!
//! With a nightly toolchain and `cargo install cargo-fuzz`, from the root of the repository:
//!
//! ```sh
//! cargo +nightly fuzz run --fuzz-dir rust/fuzz load -- -max_total_time=120
//! cargo +nightly fuzz run --fuzz-dir rust/fuzz encode -- -max_total_time=120
//! ```
//!
//! On stable `rust/fastft-core/tests/fuzz_targets.rs` calls the same functions with drawn bytes, so
//! that `cargo test` holds them compiling and passing.

mod change;
#[path = "../../fastft-core/tests/definitions/mod.rs"]
mod definitions;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use fastft_core::tokenizer::{
    EncodeOptions, EncodedColumn, LoadOptions, TextColumn, Tokenizer, TruncationSide,
    TruncationStrategy,
};
use fastft_core::{Error, Result};

use change::Script;

const REFERENCE: LoadOptions = LoadOptions {
    split_special_tokens: false,
    reference_only: true,
    memo_slots: 0,
};

const WITH_ENGINE: LoadOptions = LoadOptions {
    split_special_tokens: false,
    reference_only: false,
    memo_slots: 16,
};

/// Texts that go to every definition, and one with added tokens, which no engine encodes.
const TEXT: &str = "Hello the café a\u{0}b \u{ff}\u{301}x  中文\n12345 payment's🤗 ... aa ₤ THE";
const ADDED: &str = "[CLS] the</s> <pad>";

/// Loads a definition: the bytes themselves where they begin as JSON does, else one of the small
/// definitions, changed as the bytes say.
///
/// # Panics
///
/// When the definition is refused with another error than [`Error::InvalidDefinition`], or when an
/// engine does not give what the reference gives.
pub fn load(data: &[u8]) {
    let text = match data.first() {
        Some(b'{') => String::from_utf8_lossy(data).into_owned(),
        _ => change::changed_definition(data).to_string(),
    };
    let loaded = |options| match Tokenizer::from_definition(&text, options) {
        Ok(tokenizer) => Some(tokenizer),
        Err(Error::InvalidDefinition { .. }) => None,
        Err(other) => panic!("{other}"),
    };
    let (reference, ours) = (loaded(REFERENCE), loaded(WITH_ENGINE));
    assert_eq!(reference.is_some(), ours.is_some(), "{text}");
    let (Some(reference), Some(ours)) = (reference, ours) else {
        return;
    };
    let rows: Vec<&str> = TEXT.split(' ').chain([TEXT, ADDED]).collect();
    let options = everything();
    // The tokenizers crate panics with some definitions; then there is nothing to compare with.
    let expected = catch_unwind(AssertUnwindSafe(|| {
        columns(&reference, &rows, None, &options)
    }));
    let Ok(expected) = expected else {
        return;
    };
    let found = columns(&ours, &rows, None, &options);
    assert!(
        same(&found, &expected),
        "{found:?} is not {expected:?} with {text}"
    );
}

/// Whether two outcomes are the same; the crate words its refusals in its own order.
fn same(found: &Result<EncodedColumn>, expected: &Result<EncodedColumn>) -> bool {
    match (found, expected) {
        (Err(Error::NotTokenized { row: found, .. }), Err(Error::NotTokenized { row, .. })) => {
            found == row
        }
        _ => found == expected,
    }
}

fn everything() -> EncodeOptions {
    EncodeOptions {
        return_offsets_mapping: true,
        return_word_ids: true,
        return_special_tokens_mask: true,
        num_threads: Some(1),
        ..EncodeOptions::default()
    }
}

/// The reference, and the engine with three sizes of its memo.
static ROUTES: LazyLock<Vec<(Tokenizer, [Tokenizer; 3])>> = LazyLock::new(|| {
    let load = |text: &str, options| match Tokenizer::from_definition(text, options) {
        Ok(tokenizer) => tokenizer,
        Err(error) => panic!("{error}"),
    };
    let with_memo = |memo_slots| LoadOptions {
        memo_slots,
        ..WITH_ENGINE
    };
    let options = [
        REFERENCE,
        with_memo(0),
        with_memo(16),
        LoadOptions::default(),
    ];
    let all = definitions::all().into_iter();
    all.map(|named| {
        let text = named.definition.to_string();
        let [reference, engines @ ..] = options.map(|options| load(&text, options));
        for engine in &engines {
            assert_eq!(engine.engine(), Ok(named.engine), "{}", named.name);
        }
        (reference, engines)
    })
    .collect()
});

/// Encodes rows: a definition and options as the first bytes say, texts of what follows them,
/// separated by a byte that UTF-8 does not have.
///
/// # Panics
///
/// When an engine does not give what the reference gives.
pub fn encode(data: &[u8]) {
    let mut script = Script::new(data);
    let (reference, engines) = &ROUTES[script.below(ROUTES.len())];
    let options = options(&mut script);
    let is_pair = script.below(2) == 1;
    let rows: Vec<String> = script
        .rest()
        .split(|&byte| byte == 0xFF)
        .map(|row| String::from_utf8_lossy(row).into_owned())
        .collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let (texts, pairs) = rows.split_at(if is_pair { rows.len() / 2 } else { rows.len() });
    let pairs = is_pair.then(|| &pairs[..texts.len()]);
    let expected = columns(reference, texts, pairs, &options);
    for engine in engines {
        assert_eq!(columns(engine, texts, pairs, &options), expected);
    }
}

fn options(script: &mut Script<'_>) -> EncodeOptions {
    let max_length = script.below(40);
    EncodeOptions {
        add_special_tokens: script.below(2) == 1,
        max_length: Some(max_length).filter(|&length| length < 30),
        truncation_side: [TruncationSide::Left, TruncationSide::Right][script.below(2)],
        truncation_strategy: [
            TruncationStrategy::LongestFirst,
            TruncationStrategy::OnlyFirst,
            TruncationStrategy::OnlySecond,
        ][script.below(3)],
        stride: script.below(6),
        return_overflowing_tokens: script.below(2) == 1,
        count_truncated_tokens: script.below(2) == 1,
        return_offsets_mapping: script.below(2) == 1,
        return_word_ids: script.below(2) == 1,
        return_special_tokens_mask: script.below(2) == 1,
        num_threads: Some(1),
    }
}

fn columns(
    tokenizer: &Tokenizer,
    texts: &[&str],
    pairs: Option<&[&str]>,
    options: &EncodeOptions,
) -> Result<EncodedColumn> {
    let (bytes, offsets) = laid_out(texts);
    let text = TextColumn::new(&bytes, &offsets)?;
    let pairs = pairs.map(laid_out);
    let pair = match &pairs {
        Some((bytes, offsets)) => Some(TextColumn::new(bytes, offsets)?),
        None => None,
    };
    tokenizer.encode(&text, pair.as_ref(), options)
}

/// Bytes and offsets of a column.
fn laid_out(texts: &[&str]) -> (Vec<u8>, Vec<i64>) {
    let mut end = 0;
    let lengths = texts
        .iter()
        .map(|text| i64::try_from(text.len()).unwrap_or(i64::MAX));
    let ends = lengths.map(|length| {
        end += length;
        end
    });
    (
        texts.concat().into_bytes(),
        std::iter::once(0).chain(ends).collect(),
    )
}

/// The shortest of the definitions, as a seed.
pub fn smallest_definition() -> String {
    let all = definitions::all().into_iter();
    let texts = all.map(|named| named.definition.to_string());
    texts.min_by_key(String::len).unwrap_or_default()
}
