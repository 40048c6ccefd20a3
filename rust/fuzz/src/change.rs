//! Bytes read as choices, and a definition that is changed by them.
//!
//! A fuzzer that only flips bytes of a `tokenizer.json` meets the JSON parser and little else; one
//! that swaps its values meets every reader behind it.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::definitions;

/// Choices, one after the other; when no byte is left every choice is the first one.
pub(crate) struct Script<'a> {
    bytes: &'a [u8],
}

impl<'a> Script<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// A number below `count`, which is not zero; two bytes choose it where one has too few values.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        let mut byte = || {
            let (first, rest) = self.bytes.split_first().unwrap_or((&0, &[]));
            self.bytes = rest;
            usize::from(*first)
        };
        let low = byte();
        let number = if count > 256 { low + 256 * byte() } else { low };
        number % count
    }

    /// What no choice has used.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.bytes
    }
}

/// One of the small definitions after one or two changes.
pub(crate) fn changed_definition(data: &[u8]) -> Value {
    static ALL: LazyLock<Vec<Value>> = LazyLock::new(|| {
        let all = definitions::all().into_iter();
        all.map(|named| named.definition).collect()
    });
    let mut script = Script::new(data);
    let mut definition = ALL[script.below(ALL.len())].clone();
    for _ in 0..=script.below(2) {
        if script.below(4) == 0 {
            change(&mut definition, &mut script);
        } else {
            change_setting(&mut definition, &mut script);
        }
    }
    definition
}

/// Replaces one of the plain values outside the vocabulary: what decides which engine fits.
fn change_setting(definition: &mut Value, script: &mut Script<'_>) {
    let mut settings = Vec::new();
    collect_settings(definition, &mut settings);
    if !settings.is_empty() {
        let chosen = script.below(settings.len());
        let setting = settings.swap_remove(chosen);
        *setting = replacement(setting, script);
    }
}

fn collect_settings<'a>(value: &'a mut Value, settings: &mut Vec<&'a mut Value>) {
    match value {
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| collect_settings(item, settings)),
        Value::Object(entries) => entries
            .iter_mut()
            .filter(|(name, _)| !["vocab", "merges", "added_tokens"].contains(&name.as_str()))
            .for_each(|(_, entry)| collect_settings(entry, settings)),
        _ => settings.push(value),
    }
}

/// Walks down to some value, and replaces it or the entry that holds it.
fn change(value: &mut Value, script: &mut Script<'_>) {
    let num_children = match &*value {
        Value::Array(items) => items.len(),
        Value::Object(entries) => entries.len(),
        _ => 0,
    };
    if num_children == 0 || script.below(16) == 15 {
        *value = replacement(value, script);
        return;
    }
    let child = script.below(num_children);
    match value {
        Value::Array(items) if script.below(8) == 7 => {
            items.remove(child);
        }
        Value::Array(items) => change(&mut items[child], script),
        Value::Object(entries) => change_entry(entries, child, script),
        _ => {}
    }
}

fn change_entry(entries: &mut Map<String, Value>, child: usize, script: &mut Script<'_>) {
    let name = entries.keys().nth(child).cloned().unwrap_or_default();
    match script.below(12) {
        11 => {
            entries.remove(&name);
        }
        10 => {
            let moved = entries.remove(&name).unwrap_or_default();
            entries.insert(text(&name, script), moved);
        }
        _ => change(&mut entries[&name], script),
    }
}

fn replacement(old: &Value, script: &mut Script<'_>) -> Value {
    // What switches on or off says the most the other way round.
    match old {
        Value::Bool(old) if script.below(4) > 0 => return json!(!old),
        Value::Null if script.below(2) > 0 => return json!(script.below(2) == 1),
        _ => {}
    }
    let old_text = old.as_str().unwrap_or_default();
    match script.below(12) {
        0 => Value::Null,
        1 => json!(script.below(2) == 1),
        2 => json!(script.below(600)),
        3 => json!(u32::MAX),
        4 => json!(-1.5e300),
        5 => json!([]),
        6 => json!({}),
        7 => json!([old, old]),
        8 => json!(u64::MAX),
        _ => json!(text(old_text, script)),
    }
}

/// A text made of another one.
fn text(old: &str, script: &mut Script<'_>) -> String {
    const PARTS: [&str; 16] = [
        "",
        " ",
        "▁",
        "##",
        "a",
        "\0",
        "é",
        "\u{301}",
        "<0x41>",
        "[CLS]",
        "</s>",
        "Ġ",
        "the",
        "WordPiece",
        "Sequence",
        "Metaspace",
    ];
    let part = PARTS[script.below(PARTS.len())];
    match script.below(4) {
        0 => part.to_owned(),
        1 => format!("{part}{old}"),
        2 => format!("{old}{part}"),
        _ => old.chars().skip(1).collect(),
    }
}
