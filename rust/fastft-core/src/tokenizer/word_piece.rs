//! `WordPiece`: the longest piece that fits, again and again.
//!
//! The reference is `models::wordpiece` of the `tokenizers` crate.

use super::tokens::{Piece, Span};
use super::trie::{Node, Trie};

/// A `WordPiece` vocabulary.
#[derive(Debug)]
pub(super) struct WordPiece {
    trie: Trie,
    /// Where the pieces that continue a word (`##ing`) begin in the trie.
    continuation: Option<Node>,
    unk_id: u32,
    max_input_chars_per_word: usize,
}

impl WordPiece {
    pub(super) fn new<'a>(
        vocab: impl IntoIterator<Item = (&'a str, u32)>,
        continuing_subword_prefix: &str,
        unk_id: u32,
        max_input_chars_per_word: usize,
    ) -> Self {
        let entries = vocab.into_iter().map(|(token, id)| (token.as_bytes(), id));
        let trie = Trie::new(entries);
        Self {
            continuation: trie.walk(continuing_subword_prefix.as_bytes()),
            trie,
            unk_id,
            max_input_chars_per_word,
        }
    }

    /// Cuts a word in UTF-8, already normalised, into its pieces.
    pub(super) fn tokenize(&self, word: &[u8], piece: &mut Piece) {
        piece.num_words = 1;
        if self.is_too_long(word) || !self.cut(word, piece) {
            piece.clear();
            piece.num_words = 1;
            piece.push(self.unk_id, Span::new(0, word.len()));
        }
    }

    fn is_too_long(&self, word: &[u8]) -> bool {
        let begins_character = |byte: &&u8| **byte & 0xC0 != 0x80;
        word.len() > self.max_input_chars_per_word
            && word.iter().filter(begins_character).count() > self.max_input_chars_per_word
    }

    fn cut(&self, word: &[u8], piece: &mut Piece) -> bool {
        let mut start = 0;
        while start < word.len() {
            let root = if start == 0 {
                Some(Trie::ROOT)
            } else {
                self.continuation
            };
            let longest = root.and_then(|root| self.longest(root, word, start));
            let Some((end, id)) = longest else {
                return false;
            };
            piece.push(id, Span::new(start, end));
            start = end;
        }
        true
    }

    /// The longest piece of the vocabulary at `start`: where it ends, and its id.
    fn longest(&self, root: Node, word: &[u8], start: usize) -> Option<(usize, u32)> {
        let mut node = root;
        let mut found = None;
        for (index, &byte) in word.iter().enumerate().skip(start) {
            match self.trie.child(node, byte) {
                Some(child) => node = child,
                None => break,
            }
            if let Some(id) = self.trie.value(node) {
                found = Some((index + 1, id));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenize(word: &str) -> Vec<(u32, u32, u32)> {
        let vocab = [
            ("un", 1),
            ("unaf", 2),
            ("##aff", 3),
            ("##able", 4),
            ("##a", 5),
        ];
        let mut piece = Piece::default();
        WordPiece::new(vocab, "##", 0, 10).tokenize(word.as_bytes(), &mut piece);
        assert_eq!(piece.num_words, 1);
        let spans = piece.ids.iter().zip(&piece.spans);
        spans
            .map(|(&id, span)| (id, span.start, span.end))
            .collect()
    }

    #[test]
    fn the_longest_piece_wins_even_where_it_leads_nowhere() {
        assert_eq!(tokenize("unable"), [(1, 0, 2), (4, 2, 6)]);
        assert_eq!(tokenize("unaffable"), [(0, 0, 9)]);
        assert_eq!(tokenize("una"), [(1, 0, 2), (5, 2, 3)]);
    }

    #[test]
    fn what_the_vocabulary_lacks_is_one_unknown_token() {
        assert_eq!(tokenize("xyz"), [(0, 0, 3)]);
        assert_eq!(tokenize("unx"), [(0, 0, 3)]);
        assert_eq!(tokenize("unaaaaaaaaa"), [(0, 0, 11)]);
    }
}
