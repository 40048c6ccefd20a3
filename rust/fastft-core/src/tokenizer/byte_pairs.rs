//! A set of pairs of bytes, by which the BPE engines know where nothing merges.

/// By the first byte of a pair, a bit for each second one.
#[derive(Debug)]
pub(super) struct BytePairs(Box<[[u128; 2]; 256]>);

impl BytePairs {
    /// The pairs of bytes that stand beside each other in any of `tokens`.
    pub(super) fn new(tokens: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let mut pairs = Box::new([[0; 2]; 256]);
        for token in tokens {
            for pair in token.as_ref().windows(2) {
                if let [first, second] = *pair {
                    pairs[usize::from(first)][usize::from(second / 128)] |= 1 << (second % 128);
                }
            }
        }
        Self(pairs)
    }

    #[inline(always)]
    pub(super) fn contain(&self, first: u8, second: u8) -> bool {
        self.0[usize::from(first)][usize::from(second / 128)] >> (second % 128) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_those_of_neighbouring_bytes_in_their_order() {
        let tokens = ["abc".as_bytes(), &[0x7F, 0x80, 0xFF], b"", b"x"];
        let pairs = BytePairs::new(tokens);
        let found: Vec<(u8, u8)> = (0..=255)
            .flat_map(|first| (0..=255).map(move |second| (first, second)))
            .filter(|&(first, second)| pairs.contain(first, second))
            .collect();
        let expected = [(b'a', b'b'), (b'b', b'c'), (0x7F, 0x80), (0x80, 0xFF)];
        assert_eq!(found, expected);
    }
}
