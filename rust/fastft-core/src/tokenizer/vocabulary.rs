//! The vocabulary and merges of a definition, as the engines need them.

use std::sync::LazyLock;

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::Value;
use unicode_normalization_alignments::{IsNormalized, is_nfc_quick};

/// A vocabulary from text to id.
#[derive(Debug)]
pub(super) struct Vocabulary<'a> {
    ids: FxHashMap<&'a str, u32>,
}

impl<'a> Vocabulary<'a> {
    /// Reads the `vocab` of a model.
    ///
    /// # Errors
    ///
    /// What is wrong with it: ids must fit in 32 bits, and no two tokens may share one.
    pub(super) fn new(vocab: &'a Value) -> Result<Self, String> {
        let entries = vocab.as_object().ok_or("the vocabulary is not an object")?;
        let mut ids = FxHashMap::default();
        let mut tokens: FxHashMap<u32, &str> = FxHashMap::default();
        for (token, id) in entries {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let id = id.ok_or_else(|| format!("the id of {token:?} is not a number"))?;
            ids.insert(token.as_str(), id);
            if let Some(other) = tokens.insert(id, token) {
                return Err(format!("{other:?} and {token:?} share the id {id}"));
            }
        }
        Ok(Self { ids })
    }

    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a str, u32)> + '_ {
        self.ids.iter().map(|(&token, &id)| (token, id))
    }

    /// The tokens of one character.
    pub(super) fn chars(&self) -> FxHashMap<char, u32> {
        let single = |(token, id): (&str, u32)| {
            let mut characters = token.chars();
            let character = characters.next()?;
            characters.next().is_none().then_some((character, id))
        };
        self.iter().filter_map(single).collect()
    }

    /// The tokens of a byte-level vocabulary by the bytes that they stand for.
    pub(super) fn by_bytes(&self) -> FxHashMap<Box<[u8]>, u32> {
        let spelled = |(token, id)| Some((spelled_bytes(token)?.into_boxed_slice(), id));
        self.iter().filter_map(spelled).collect()
    }

    /// The tokens that merges make.
    pub(super) fn merged(&self, merges: &[(u32, u32, u32)]) -> Vec<&'a str> {
        let made: FxHashSet<u32> = merges.iter().map(|&(_, _, id)| id).collect();
        let tokens = self.iter().filter(|(_, id)| made.contains(id));
        tokens.map(|(token, _)| token).collect()
    }

    /// The merges as (left, right, merged), in the order of their rank.
    ///
    /// # Errors
    ///
    /// The first merge that is none, or that names no token.
    pub(super) fn merges(&self, merges: &Value) -> Result<Vec<(u32, u32, u32)>, String> {
        let merges = merges.as_array().ok_or("the merges are not a list")?;
        let ids = merges.iter().map(|merge| {
            let (left, right) = parts(merge).ok_or_else(|| format!("{merge} is not a merge"))?;
            let joined = format!("{left}{right}");
            let id = |token: &str| self.id(token).ok_or(format!("{token:?} is not a token"));
            Ok((id(left)?, id(right)?, id(&joined)?))
        });
        ids.collect()
    }
}

/// `"a b"` in older files, `["a", "b"]` in newer ones.
fn parts(merge: &Value) -> Option<(&str, &str)> {
    match merge {
        Value::String(text) => text.split_once(' '),
        Value::Array(pair) => match pair.as_slice() {
            [left, right] => Some((left.as_str()?, right.as_str()?)),
            _ => None,
        },
        _ => None,
    }
}

/// The letter that byte-level vocabularies write for a byte: itself where it is printable, else
/// one from U+0100 on.
pub(super) fn byte_char(byte: u8) -> char {
    let is_printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if is_printable(&byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|byte| !is_printable(byte)).count();
    u32::try_from(rank)
        .ok()
        .and_then(|rank| char::from_u32(0x100 + rank))
        .unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The bytes that a token of a byte-level vocabulary stands for; `None` for one that is no such.
pub(super) fn spelled_bytes(token: &str) -> Option<Vec<u8>> {
    static BYTES: LazyLock<FxHashMap<char, u8>> =
        LazyLock::new(|| (0..=255).map(|byte| (byte_char(byte), byte)).collect());
    token.chars().map(|c| BYTES.get(&c).copied()).collect()
}

/// Whether normalisation form C surely leaves a text as it is.
pub(super) fn is_nfc(text: &str) -> bool {
    text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bytes_are_written_as_letters() {
        assert_eq!(byte_char(b'a'), 'a');
        assert_eq!(byte_char(b' '), 'Ġ');
        assert_eq!(byte_char(b'\n'), 'Ċ');
        assert_eq!(byte_char(0x7F), 'ġ');
        assert_eq!(byte_char(0xAD), 'Ń');
    }

    #[test]
    fn merges_come_in_two_spellings() {
        let vocab = json!({"a": 0, "b": 1, "ab": 2, "Ġa": 3});
        let vocab = Vocabulary::new(&vocab).map(|vocab| {
            assert_eq!(vocab.merges(&json!(["a b"])), Ok(vec![(0, 1, 2)]));
            assert_eq!(vocab.merges(&json!([["a", "b"]])), Ok(vec![(0, 1, 2)]));
            assert!(vocab.merges(&json!(["b a"])).is_err());
            assert!(vocab.merges(&json!([["a"]])).is_err());
            assert_eq!(vocab.chars().len(), 2);
            assert_eq!(vocab.by_bytes().get(&b" a"[..]), Some(&3));
        });
        assert_eq!(vocab, Ok(()));
    }

    #[test]
    fn a_shared_id_is_refused() {
        for vocab in [json!({"a": 0, "b": 0}), json!({"a": -1}), json!([])] {
            assert!(Vocabulary::new(&vocab).is_err());
        }
    }
}
