//! Random texts and options, made to find where two tokenizers differ.

use fastft_core::tokenizer::{EncodeOptions, TruncationSide, TruncationStrategy};
use proptest::prelude::*;
use proptest::sample::select;

use crate::definitions::WORDS;

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// Chooses a definition.
    pub(crate) pick: usize,
    pub(crate) texts: Vec<String>,
    /// As many as the texts.
    pub(crate) pairs: Option<Vec<String>>,
    pub(crate) options: EncodeOptions,
}

const SPACES: [&str; 16] = [
    " ", " ", " ", "  ", "    ", "\t", "\n", "\n\n", "\r\n", "\u{b}", "\u{85}", "\u{a0}",
    "\u{2003}", "\u{2028}", "\u{3000}", "\u{200b}",
];

const MARKS: [&str; 25] = [
    "'", "''", "'s", "'S", "'\u{17f}", "'ll", "'re", ".", "...", ",", "!!", "-", "\u{2014}", "$",
    "_", "(", "x=", "#", "##", "[", "]", "\u{2581}", "\u{120}", "\u{20ac}", "\u{ff01}",
];

const ODD: [&str; 38] = [
    "\0",
    "\u{1}",
    "\u{7f}",
    "\u{ad}",
    "\u{200d}",
    "\u{feff}",
    "\u{fffd}",
    "\u{e000}",
    "\u{10ffff}",
    "e\u{301}",
    "\u{e9}",
    "\u{301}",
    "\u{323}",
    "\u{302e}",
    "\u{1d165}",
    "\u{130}",
    "\u{df}",
    "\u{17f}",
    "\u{fb01}",
    "\u{226e}",
    "\u{212b}",
    "\u{bd}",
    "\u{b2}",
    "\u{2460}",
    "\u{3314}",
    "\u{fdfa}",
    "\u{ff76}\u{ff9e}",
    "\u{1100}\u{1161}\u{11a8}",
    "\u{1100}",
    "\u{11a8}",
    "\u{600}",
    "\u{e33}",
    "a\u{e33}",
    " \u{323}",
    "\u{92e}\u{93f}",
    "\u{1f917}",
    "\u{1f44d}\u{1f3fd}",
    "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
];

const ADDED: [&str; 11] = [
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "<s>",
    "</s>",
    "<pad>",
    "<unk>",
    "<|endoftext|>",
    "<extra_id_0>",
    "[cls]",
    "<0x41>",
];

fn part() -> impl Strategy<Value = String> {
    let of = |parts: &'static [&'static str]| select(parts).prop_map(str::to_owned);
    prop_oneof![
        8 => of(&SPACES),
        6 => of(&WORDS),
        4 => "[a-z]{1,6}",
        3 => of(&MARKS),
        3 => of(&ODD),
        2 => "[ -~]{1,20}",
        1 => r"\p{L}{1,6}",
        1 => any::<char>().prop_map(String::from),
        1 => of(&ADDED),
        1 => ("[a-zé中.]", 1usize..200).prop_map(|(letter, count)| letter.repeat(count)),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(part(), 0..14).prop_map(|parts| parts.concat())
}

fn options() -> impl Strategy<Value = EncodeOptions> {
    let strategies = [
        TruncationStrategy::LongestFirst,
        TruncationStrategy::OnlyFirst,
        TruncationStrategy::OnlySecond,
    ];
    let max_length = prop_oneof![
        1 => Just(None),
        2 => (0usize..24).prop_map(Some),
        // Engines look where tokens lie only near the end of what is kept.
        1 => (24usize..80).prop_map(Some),
    ];
    let stride = prop_oneof![1 => Just(0), 1 => 0usize..6];
    let sides = [TruncationSide::Left, TruncationSide::Right];
    let flags = any::<[bool; 6]>();
    (
        max_length,
        stride,
        select(sides.to_vec()),
        select(strategies.to_vec()),
        flags,
    )
        .prop_map(
            |(max_length, stride, truncation_side, truncation_strategy, flags)| EncodeOptions {
                add_special_tokens: flags[0],
                max_length,
                truncation_side,
                truncation_strategy,
                stride,
                return_overflowing_tokens: flags[1],
                count_truncated_tokens: flags[5],
                return_offsets_mapping: flags[2],
                return_word_ids: flags[3],
                return_special_tokens_mask: flags[4],
                num_threads: Some(1),
            },
        )
}

/// A call with up to three texts, or pairs.
pub(crate) fn case() -> impl Strategy<Value = Case> {
    let rows = prop::collection::vec((text(), text()), 1..4);
    (0usize..60, rows, any::<bool>(), options()).prop_map(|(pick, rows, is_pair, options)| {
        let (texts, pairs) = rows.into_iter().unzip();
        Case {
            pick,
            texts,
            pairs: Some(pairs).filter(|_| is_pair),
            options,
        }
    })
}
