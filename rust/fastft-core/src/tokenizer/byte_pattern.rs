//! The words of byte-level tokenizers: their published regular expressions as plain code.
//!
//! Each function gives the end of the word that begins at a place. All alternatives of the
//! expressions are there, in their order; the expression stands above the code that means it.

use super::char_classes::{CharClasses, LETTER, NUMBER, SPACE};
use super::window::Window;

/// The expression of GPT-2 and `RoBERTa`.
pub(super) const GPT2: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// That of Llama 3, and of cl100k as it was published first.
pub(super) const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// That of Qwen 2 and 3.
pub(super) const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Which expression cuts the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pattern {
    Gpt2,
    /// Llama 3 and its kin; the number of digits in a word.
    Llama3 {
        max_digits: usize,
    },
}

/// Letters, digits and white space; everything else is the fourth class.
const CLASSES: u8 = LETTER | NUMBER | SPACE;

impl Pattern {
    /// The pattern that means the same as a regular expression, if it is one of ours.
    pub(super) fn of(expression: &str) -> Option<Self> {
        match expression {
            GPT2 => Some(Self::Gpt2),
            LLAMA3 => Some(Self::Llama3 { max_digits: 3 }),
            QWEN2 => Some(Self::Llama3 { max_digits: 1 }),
            _ => None,
        }
    }

    /// Whether a word may be this ASCII byte and then letters (no quote: it may be a contraction).
    pub(super) fn is_lead(self, byte: u8) -> bool {
        match self {
            Self::Gpt2 => byte == b' ',
            Self::Llama3 { .. } => {
                byte.is_ascii() && !byte.is_ascii_alphanumeric() && !b"\r\n'".contains(&byte)
            }
        }
    }

    /// Where the word that begins at `at` ends; `at` is inside the text.
    pub(super) fn word_end(self, classes: &CharClasses, text: &Window<'_>, at: usize) -> usize {
        let scan = Scan { classes, text };
        match self {
            Self::Gpt2 => scan.gpt2(at),
            Self::Llama3 { max_digits } => scan.llama3(at, max_digits),
        }
    }
}

struct Scan<'a> {
    classes: &'a CharClasses,
    text: &'a Window<'a>,
}

impl Scan<'_> {
    fn gpt2(&self, at: usize) -> usize {
        // 's|'t|'re|'ve|'m|'ll|'d
        if let Some(end) = self.contraction(at, false) {
            return end;
        }
        // ` ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+`
        let body = at + usize::from(self.text.byte(at) == b' ');
        if let Some(class) = self.class(body)
            && class != SPACE
        {
            return self.run(body, class);
        }
        self.spaces(at)
    }

    fn llama3(&self, at: usize, max_digits: usize) -> usize {
        // (?i:'s|'t|'re|'ve|'m|'ll|'d)
        if let Some(end) = self.contraction(at, true) {
            return end;
        }
        let first = self.text.char(at).map_or(1, |(_, len)| len);
        let class = self.class(at);
        // `[^\r\n\p{L}\p{N}]?\p{L}+`
        if class == Some(LETTER) {
            return self.run(at, LETTER);
        }
        let may_lead = class != Some(NUMBER) && !self.is_newline(at);
        if may_lead && self.class(at + first) == Some(LETTER) {
            return self.run(at + first, LETTER);
        }
        // `\p{N}{1,3}`
        if class == Some(NUMBER) {
            return self.digits(at, max_digits);
        }
        // ` ?[^\s\p{L}\p{N}]+[\r\n]*`
        let body = at + usize::from(self.text.byte(at) == b' ');
        if self.class(body) == Some(0) {
            let mut end = self.run(body, 0);
            while self.is_newline(end) {
                end += 1;
            }
            return end;
        }
        // `\s*[\r\n]+`
        let end = self.run(at, SPACE);
        let spaces = self.text.str(at, end);
        if let Some(newline) = spaces.rfind(['\r', '\n']) {
            return at + newline + 1;
        }
        self.spaces(at)
    }

    /// The class of the character at a place, 0 for the fourth class; `None` at the end.
    fn class(&self, at: usize) -> Option<u8> {
        let (character, _) = self.text.char(at)?;
        Some(self.classes.of(character) & CLASSES)
    }

    /// Where the characters of a class, from `at` on, end.
    fn run(&self, at: usize, class: u8) -> usize {
        let mut end = at;
        while let Some((character, len)) = self.text.char(end)
            && self.classes.of(character) & CLASSES == class
        {
            end += len;
        }
        end
    }

    fn digits(&self, at: usize, max_digits: usize) -> usize {
        let mut end = at;
        for _ in 0..max_digits {
            match self.text.char(end) {
                Some((character, len)) if self.classes.of(character) & CLASSES == NUMBER => {
                    end += len;
                }
                _ => break,
            }
        }
        end
    }

    /// `\s+(?!\S)|\s+`: the last space before a word is left to the word.
    fn spaces(&self, at: usize) -> usize {
        let end = self.run(at, SPACE);
        if end == self.text.len() {
            return end;
        }
        let last = self.text.char_before(end).map_or(0, char::len_utf8);
        if end - last > at { end - last } else { end }
    }

    fn is_newline(&self, at: usize) -> bool {
        matches!(self.text.byte(at), b'\r' | b'\n')
    }

    fn contraction(&self, at: usize, any_case: bool) -> Option<usize> {
        if self.text.byte(at) != b'\'' {
            return None;
        }
        let (first, len) = self.text.char(at + 1)?;
        let fold = |character: char| match character {
            // LATIN SMALL LETTER LONG S is an s to whoever does not care for case.
            '\u{17f}' if any_case => 's',
            _ if any_case => character.to_ascii_lowercase(),
            _ => character,
        };
        let second = self.text.char(at + 1 + len).map(|(second, _)| fold(second));
        match (fold(first), second) {
            ('r' | 'v', Some('e')) | ('l', Some('l')) => Some(at + 3),
            ('s' | 't' | 'm' | 'd', _) => Some(at + 1 + len),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::LazyLock;
    use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
    use tokenizers::tokenizer::SplitDelimiterBehavior;
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

    fn words(expression: &str, text: &str) -> Vec<String> {
        let pattern = Pattern::of(expression).unwrap_or(Pattern::Gpt2);
        let (window, mut at, mut words) = (Window::alone(text), 0, Vec::new());
        while at < text.len() {
            let end = pattern.word_end(CharClasses::get(), &window, at);
            words.push(text[at..end].to_owned());
            at = end;
        }
        words
    }

    fn split(expression: &str) -> Split {
        let pattern = SplitPattern::Regex(expression.to_owned());
        Split::new(pattern, SplitDelimiterBehavior::Isolated, false).unwrap()
    }

    fn words_of_the_crate(split: &Split, text: &str) -> Vec<String> {
        let mut cut = PreTokenizedString::from(text);
        split.pre_tokenize(&mut cut).unwrap();
        let splits = cut.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.iter().map(|(word, ..)| (*word).to_owned()).collect()
    }

    static SPLITS: LazyLock<[(&str, Split); 3]> =
        LazyLock::new(|| [GPT2, LLAMA3, QWEN2].map(|expression| (expression, split(expression))));

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn the_code_cuts_as_the_expressions_do(
            text in r"([ \t\r\n]{1,3}|[a-z]{1,4}|[A-Z'sdtmlvrELVRS]{1,3}|'|[0-9]{1,5}|[,.;-]{1,3}|é|\u{17f}|²|\u{a0}|\u{2028}|\u{85}|中文|\u{301}|🤗){0,12}|\PC{0,12}|.{0,12}",
        ) {
            for (expression, split) in SPLITS.iter() {
                prop_assert_eq!(words(expression, &text), words_of_the_crate(split, &text));
            }
        }
    }
}
