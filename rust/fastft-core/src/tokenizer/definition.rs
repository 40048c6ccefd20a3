//! What the readers of definitions share: how a part is named, and why a definition is refused.

use serde_json::Value;

/// Why a definition goes to the reference, in words for its user.
pub(super) type Reason = String;

/// The steps of a part: those of a `Sequence`, the part itself, or none where it is missing.
pub(super) fn steps<'a>(part: &'a Value, list: &str) -> &'a [Value] {
    if part.is_null() {
        return &[];
    }
    match part[list].as_array() {
        Some(steps) => steps,
        None => std::slice::from_ref(part),
    }
}

/// Whether a part of a definition has the type that is asked for.
pub(super) fn expect(part: &str, found: &Value, expected: &str) -> Result<(), Reason> {
    if found["type"] == expected {
        return Ok(());
    }
    Err(format!("the {part} is {}, not {expected}", named(found)))
}

/// A part of a definition by its type, or in short.
pub(super) fn named(part: &Value) -> String {
    match part["type"].as_str() {
        Some(name) => name.to_owned(),
        None if part.is_null() => "missing".to_owned(),
        None => part.to_string().chars().take(60).collect(),
    }
}
