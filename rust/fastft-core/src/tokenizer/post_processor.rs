//! Special tokens, type ids and trimmed offsets, read off the post-processor of the crate.
//!
//! Every post-processor of the crate puts the texts between fixed special tokens. So it is asked
//! once, with one made-up token for each text, and what comes back is the [`Template`] of all rows.

use rustc_hash::FxHashMap;
use tokenizers::{Encoding, PostProcessor as _, PostProcessorWrapper, Tokenizer};

/// Where one part of a row comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// A special token.
    Special { id: u32, type_id: u32 },
    /// The tokens of the first (0) or second (1) text.
    Text {
        index: usize,
        type_id: u32,
        /// The type id in the rows that hold what did not fit in the first one.
        overflow_type_id: u32,
    },
}

/// The parts of a row in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Template {
    pub(super) parts: Vec<Part>,
}

impl Template {
    pub(super) fn num_special_tokens(&self) -> usize {
        let parts = self.parts.iter();
        parts
            .filter(|part| matches!(part, Part::Special { .. }))
            .count()
    }
}

/// How many white space characters a token begins and ends with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Blanks {
    leading: u32,
    trailing: u32,
}

impl Blanks {
    pub(super) fn of(token: &str) -> Self {
        // The byte-level vocabularies write a space as this letter.
        let is_blank = |character: &char| *character == 'Ġ' || character.is_whitespace();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            leading: count(token.chars().take_while(is_blank).count()),
            trailing: count(token.chars().rev().take_while(is_blank).count()),
        }
    }
}

/// White space is left out of the offsets of tokens.
#[derive(Debug)]
pub(super) struct Trim {
    add_prefix_space: bool,
    /// By token id, for ids up to twice their number.
    blanks: Vec<Blanks>,
    /// For ids beyond: a definition may give a token any number of 32 bits.
    sparse: FxHashMap<u32, Blanks>,
}

impl Trim {
    fn new(add_prefix_space: bool, vocab: impl ExactSizeIterator<Item = (String, u32)>) -> Self {
        let mut blanks = vec![Blanks::default(); 2 * vocab.len()];
        let mut sparse = FxHashMap::default();
        for (token, id) in vocab {
            match blanks.get_mut(id as usize) {
                Some(place) => *place = Blanks::of(&token),
                None => _ = sparse.insert(id, Blanks::of(&token)),
            }
        }
        Self {
            add_prefix_space,
            blanks,
            sparse,
        }
    }

    pub(super) fn blanks(&self, id: u32) -> Blanks {
        let found = self.blanks.get(id as usize);
        let found = found.or_else(|| self.sparse.get(&id));
        found.copied().unwrap_or_default()
    }

    /// The offsets of token `index` of a text without its white space, as
    /// `byte_level::process_offsets` of the crate has them.
    pub(super) fn apply(&self, index: usize, blanks: Blanks, offsets: [u32; 2]) -> [u32; 2] {
        let [mut start, mut end] = offsets;
        if blanks.leading > 0 {
            let is_first = index == 0 || start == 0;
            // A single space at the beginning is the one that was added.
            let was_added = is_first && self.add_prefix_space && blanks.leading == 1;
            if !was_added {
                start = start.saturating_add(blanks.leading).min(end);
            }
        }
        if blanks.trailing > 0 && end >= blanks.trailing {
            end = (end - blanks.trailing).max(start);
        }
        [start, end]
    }
}

/// What happens to the tokens of a row after the model.
#[derive(Debug)]
pub(super) struct PostProcessor {
    /// By `[with special tokens][pair]`.
    templates: [[Template; 2]; 2],
    pub(super) trim: Option<Trim>,
}

impl PostProcessor {
    /// Reads a post-processor off; `settings` is its part of the `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// What the crate says, or that the rows are not made of the texts and fixed tokens.
    pub(super) fn new(
        processor: Option<&PostProcessorWrapper>,
        settings: &serde_json::Value,
        tokenizer: &Tokenizer,
    ) -> tokenizers::Result<Self> {
        let template = |special, is_pair| read_template(processor, special, is_pair);
        Ok(Self {
            templates: [
                [template(false, false)?, template(false, true)?],
                [template(true, false)?, template(true, true)?],
            ],
            trim: trim_settings(settings).map(|add_prefix_space| {
                Trim::new(add_prefix_space, tokenizer.get_vocab(true).into_iter())
            }),
        })
    }

    pub(super) fn template(&self, add_special_tokens: bool, is_pair: bool) -> &Template {
        &self.templates[usize::from(add_special_tokens)][usize::from(is_pair)]
    }
}

/// The made-up tokens: one for each text, and one for what did not fit of each.
const TEXT: [u32; 2] = [u32::MAX - 1, u32::MAX - 2];
const OVERFLOW: [u32; 2] = [u32::MAX - 3, u32::MAX - 4];

fn read_template(
    processor: Option<&PostProcessorWrapper>,
    add_special_tokens: bool,
    is_pair: bool,
) -> tokenizers::Result<Template> {
    let made_up = |index: usize| {
        let type_id = u32::from(index == 1);
        let overflow = encoding(OVERFLOW[index], type_id, Vec::new());
        encoding(TEXT[index], type_id, vec![overflow])
    };
    let second = is_pair.then(|| made_up(1));
    let row = process(processor, made_up(0), second, add_special_tokens)?;
    let overflow_type_id = |index: usize| {
        let rows = row.get_overflowing().iter();
        let mut tokens = rows.flat_map(|row| row.get_ids().iter().zip(row.get_type_ids()));
        let found = tokens.find(|(id, _)| **id == OVERFLOW[index]);
        found.map_or(0, |(_, type_id)| *type_id)
    };
    let parts = row.get_ids().iter().zip(row.get_type_ids());
    let parts: Vec<Part> = parts
        .map(
            |(&id, &type_id)| match TEXT.iter().position(|&text| text == id) {
                Some(index) => Part::Text {
                    index,
                    type_id,
                    overflow_type_id: overflow_type_id(index),
                },
                None => Part::Special { id, type_id },
            },
        )
        .collect();
    let texts = parts.iter().filter_map(|part| match part {
        Part::Text { index, .. } => Some(*index),
        Part::Special { .. } => None,
    });
    let expected: &[usize] = if is_pair { &[0, 1] } else { &[0] };
    if texts.collect::<Vec<_>>() != expected {
        return Err("the post-processor leaves a text out, repeats or reorders it".into());
    }
    Ok(Template { parts })
}

#[expect(
    clippy::default_trait_access,
    reason = "the map of the crate has no name here"
)]
fn encoding(id: u32, type_id: u32, overflowing: Vec<Encoding>) -> Encoding {
    Encoding::new(
        vec![id],
        vec![type_id],
        vec![String::new()],
        vec![None],
        vec![(0, 0)],
        vec![0],
        vec![1],
        overflowing,
        Default::default(),
    )
}

/// What `Tokenizer::post_process` of the crate does.
fn process(
    processor: Option<&PostProcessorWrapper>,
    first: Encoding,
    second: Option<Encoding>,
    add_special_tokens: bool,
) -> tokenizers::Result<Encoding> {
    if let Some(processor) = processor {
        return processor.process(first, second, add_special_tokens);
    }
    let encodings = std::iter::once(first).chain(second).collect();
    let merged = <dyn tokenizers::PostProcessor>::default_process(encodings, add_special_tokens)?;
    Ok(Encoding::merge(merged, false))
}

/// Whether offsets are trimmed: `add_prefix_space` of the one that trims them.
fn trim_settings(settings: &serde_json::Value) -> Option<bool> {
    let flag = |name: &str| settings[name].as_bool().unwrap_or(true);
    match settings["type"].as_str()? {
        "RobertaProcessing" | "ByteLevel" => flag("trim_offsets").then(|| flag("add_prefix_space")),
        "Sequence" => settings["processors"]
            .as_array()?
            .iter()
            .find_map(trim_settings),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_counted_at_both_ends() {
        let blanks = |leading, trailing| Blanks { leading, trailing };
        assert_eq!(Blanks::of("ĠĠa"), blanks(2, 0));
        assert_eq!(Blanks::of(" a\u{3000}"), blanks(1, 1));
        assert_eq!(Blanks::of("Ġ"), blanks(1, 1));
    }

    #[test]
    fn trimming_keeps_offsets_in_order() {
        let trim = |add_prefix_space| Trim::new(add_prefix_space, [].into_iter());
        let (one, both) = (Blanks::of("Ġa"), Blanks::of("ĠĠ"));
        assert_eq!(trim(false).apply(3, one, [4, 6]), [5, 6]);
        assert_eq!(trim(true).apply(0, one, [0, 2]), [0, 2]);
        assert_eq!(trim(true).apply(0, both, [0, 2]), [2, 2]);
        assert_eq!(trim(false).apply(3, both, [4, 5]), [5, 5]);
    }

    #[test]
    fn ids_may_be_any_number() {
        let vocab = [("Ġa", 1), ("ĠĠ", u32::MAX), ("a", 0)];
        let vocab = vocab.map(|(token, id)| (token.to_owned(), id));
        let trim = Trim::new(false, vocab.into_iter());
        let found = [0, 1, 2, 9, u32::MAX].map(|id| trim.blanks(id));
        let none = Blanks::default();
        let expected = [none, Blanks::of("Ġa"), none, none, Blanks::of("ĠĠ")];
        assert_eq!(found, expected);
    }

    #[test]
    fn without_a_post_processor_the_texts_follow_each_other() {
        let text = |index, type_id| Part::Text {
            index,
            type_id,
            overflow_type_id: type_id,
        };
        let template = read_template(None, true, true).unwrap_or_default();
        assert_eq!(template.parts, [text(0, 0), text(1, 1)]);
    }
}
