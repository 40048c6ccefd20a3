//! Classes of characters, found in two steps: the page of 256 characters, and the place on it.

use std::sync::OnceLock;

use rustc_hash::FxHashMap;

use super::unicode_tables as tables;

/// `\p{L}`.
pub(super) const LETTER: u8 = 1;
/// `\p{N}`.
pub(super) const NUMBER: u8 = 1 << 1;
/// `\s`.
pub(super) const SPACE: u8 = 1 << 2;
/// Separates words and disappears in BERT.
pub(super) const BERT_SPACE: u8 = 1 << 3;
/// A word of its own in BERT cased.
pub(super) const BERT_CASED_ALONE: u8 = 1 << 4;
/// A word of its own in BERT uncased.
pub(super) const BERT_UNCASED_ALONE: u8 = 1 << 5;
/// One grapheme with a space before it.
pub(super) const SPACE_EXTENDER: u8 = 1 << 6;
/// One grapheme with a space behind it.
pub(super) const SPACE_PREPENDER: u8 = 1 << 7;

const TABLES: [(u8, &[(u32, u32)]); 8] = [
    (LETTER, tables::LETTER),
    (NUMBER, tables::NUMBER),
    (SPACE, tables::SPACE),
    (BERT_SPACE, tables::BERT_SPACE),
    (BERT_CASED_ALONE, tables::BERT_CASED_ALONE),
    (BERT_UNCASED_ALONE, tables::BERT_UNCASED_ALONE),
    (SPACE_EXTENDER, tables::SPACE_EXTENDER),
    (SPACE_PREPENDER, tables::SPACE_PREPENDER),
];

const PAGE: usize = 256;

/// The classes of all characters; equal pages are kept once.
#[derive(Debug)]
pub(super) struct CharClasses {
    pages: Vec<u16>,
    classes: Vec<[u8; PAGE]>,
}

impl CharClasses {
    /// The classes, made at the first call.
    pub(super) fn get() -> &'static Self {
        static CLASSES: OnceLock<CharClasses> = OnceLock::new();
        CLASSES.get_or_init(Self::new)
    }

    /// The classes of a character, as bits.
    #[inline(always)]
    pub(super) fn of(&self, character: char) -> u8 {
        let code = character as usize;
        let page = self.pages.get(code / PAGE).copied().unwrap_or(0);
        let classes = self.classes.get(usize::from(page));
        classes.map_or(0, |classes| classes[code % PAGE])
    }

    fn new() -> Self {
        let mut flat = vec![[0; PAGE]; char::MAX as usize / PAGE + 1];
        for (class, ranges) in TABLES {
            for code in ranges.iter().flat_map(|&(start, end)| start..=end) {
                let code = code as usize;
                if let Some(page) = flat.get_mut(code / PAGE) {
                    page[code % PAGE] |= class;
                }
            }
        }
        let mut known: FxHashMap<[u8; PAGE], u16> = FxHashMap::default();
        let mut classes = Vec::new();
        let pages = flat.into_iter().map(|page| {
            *known.entry(page).or_insert_with(|| {
                classes.push(page);
                u16::try_from(classes.len() - 1).unwrap_or(u16::MAX)
            })
        });
        Self {
            pages: pages.collect(),
            classes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_have_their_classes() {
        let classes = CharClasses::get();
        let of = |character| classes.of(character);
        assert_eq!(of('a'), LETTER);
        assert_eq!(of('\u{4e00}') & LETTER, LETTER);
        assert_ne!(of('\u{4e00}') & BERT_CASED_ALONE, 0);
        assert_eq!(of('7'), NUMBER);
        assert_ne!(of('!') & BERT_UNCASED_ALONE, 0);
        // NOT EQUAL TO becomes an equals sign without its accent.
        assert_eq!(of('\u{2260}') & BERT_UNCASED_ALONE, BERT_UNCASED_ALONE);
        assert_eq!(of('\u{2260}') & BERT_CASED_ALONE, 0);
        assert_ne!(of('\u{a0}') & (SPACE | BERT_SPACE), 0);
        assert_ne!(of('\u{301}') & SPACE_EXTENDER, 0);
        assert_eq!(of('\u{301}') & SPACE_PREPENDER, 0);
        assert_ne!(of('\u{600}') & SPACE_PREPENDER, 0);
        assert_eq!(of(char::MAX), 0);
    }
}
