//! The words of 64 bytes of a text, found in all of them at once.
//!
//! A word is a run of ASCII letters and digits, or any other printable ASCII character by itself.
//! Which bytes are which is kept as one bit a byte, so that finding the next word takes a few
//! instructions that never have to guess what kind of word it is.

use super::lanes::{alphanumerics, graphics, spaces};
use super::window::Window;

/// How many bytes a block has.
pub(super) const SIZE: usize = 64;

/// What the bytes of a block are; the first byte has the lowest bit.
#[derive(Debug, Clone, Copy)]
pub(super) struct AsciiBlock {
    alphanumerics: u64,
    /// Where a word begins.
    starts: u64,
    /// How many bytes from the first one on hold whole words and spaces only.
    len: usize,
}

impl AsciiBlock {
    /// The bytes at `at`, where a word or anything else must begin.
    #[inline(always)]
    pub(super) fn new(text: &Window<'_>, at: usize) -> Self {
        let lane = |index: usize| text.load(at + 16 * index);
        let lanes = [lane(0), lane(1), lane(2), lane(3)];
        let alphanumerics = join(lanes.map(alphanumerics));
        let graphics = join(lanes.map(graphics));
        let known = graphics | join(lanes.map(spaces));
        let rest = text.len() - at;
        let len = match known.trailing_ones() as usize {
            ready if ready >= rest => rest,
            ready => ready - run_before(alphanumerics, ready),
        };
        let within = u64::MAX.checked_shr(narrow(SIZE - len)).unwrap_or(0);
        let goes_on = alphanumerics & alphanumerics << 1;
        Self {
            alphanumerics: alphanumerics & within,
            starts: graphics & !goes_on & within,
            len,
        }
    }

    /// How many bytes the whole words take, with the spaces between and behind them.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Where each word begins, and how many bytes it has.
    #[inline(always)]
    pub(super) fn words(self) -> impl Iterator<Item = (usize, usize)> {
        let mut starts = self.starts;
        std::iter::from_fn(move || {
            if starts == 0 {
                return None;
            }
            let start = starts.trailing_zeros();
            starts &= starts - 1;
            let run = (self.alphanumerics >> start).trailing_ones();
            // A word that is no run is one character.
            Some((start as usize, run.max(1) as usize))
        })
    }
}

/// How many bits are set right below bit `end`.
#[inline(always)]
fn run_before(bits: u64, end: usize) -> usize {
    let below = bits.checked_shl(narrow(SIZE - end)).unwrap_or(0);
    below.leading_ones() as usize
}

#[inline(always)]
fn join(lanes: [u32; 4]) -> u64 {
    let [first, second, third, fourth] = lanes.map(u64::from);
    first | second << 16 | third << 32 | fourth << 48
}

/// A number of bits.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "at most 64")]
fn narrow(bits: usize) -> u32 {
    bits as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str, at: usize) -> (Vec<&str>, usize) {
        let block = AsciiBlock::new(&Window::alone(text), at);
        let words = block.words();
        let word = |(start, len): (usize, usize)| text.get(at + start..at + start + len);
        (
            words.map(|word_| word(word_).unwrap_or("?")).collect(),
            block.len(),
        )
    }

    #[test]
    fn words_and_single_characters_are_told_apart() {
        assert_eq!(
            words("don't\tgo -- A1.", 0).0,
            ["don", "'", "t", "go", "-", "-", "A1", "."]
        );
        assert_eq!(words("ab cd", 3), (vec!["cd"], 2));
        assert_eq!(words("  ", 0), (vec![], 2));
    }

    #[test]
    fn a_word_that_goes_on_behind_the_block_or_in_other_characters_is_left() {
        assert_eq!(words("ab naïve", 0), (vec!["ab"], 3));
        assert_eq!(words("naïve", 0), (vec![], 0));
        assert_eq!(words("a, é", 0), (vec!["a", ","], 3));
        assert_eq!(words("x\0", 0), (vec![], 0));
        let long = "a".repeat(62) + " bc";
        assert_eq!(words(&long, 0).1, 63);
        assert_eq!(words(&long[..64], 0).1, 64);
        assert_eq!(words(&"a".repeat(65), 0), (vec![], 0));
        assert_eq!(words(&"a".repeat(64), 0).1, 64);
    }

    #[test]
    fn what_lies_behind_a_text_does_not_count() {
        let block = AsciiBlock::new(&Window::new("ab cd".as_bytes(), "ab c"), 0);
        assert_eq!(block.words().collect::<Vec<_>>(), [(0, 2), (3, 1)]);
    }

    proptest! {
        #[test]
        fn words_are_those_of_a_look_at_every_byte(text in "([a-c]{0,3}|[ -~]|[\t\u{0}é]){0,90}") {
            let (found, len) = words(&text, 0);
            let bytes = text.as_bytes();
            let is_known = |byte: u8| byte.is_ascii_graphic() || b" \t\n\r".contains(&byte);
            let mut end = bytes.iter().take(SIZE).take_while(|byte| is_known(**byte)).count();
            if end < bytes.len() {
                while end > 0 && bytes[end - 1].is_ascii_alphanumeric() {
                    end -= 1;
                }
            }
            prop_assert_eq!(len, end);
            let pieces = text[..end].split_inclusive(|c: char| !c.is_ascii_alphanumeric());
            let plain = pieces.flat_map(|piece| {
                let cut = piece.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).len();
                [&piece[..cut], piece[cut..].trim()]
            });
            prop_assert_eq!(found, plain.filter(|word| !word.is_empty()).collect::<Vec<_>>());
        }
    }
}
