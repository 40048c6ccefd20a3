//! Unigram: the cut of a word whose pieces have the greatest sum of scores (Viterbi).
//!
//! The reference is `models::unigram::Unigram::encode_optimized` of the `tokenizers` crate: the same
//! candidates in the same order, added up in the same order in 64 bits, so that ties fall alike.
//! Unknown characters that adjoin become one unknown token.

use super::tokens::Span;
use super::trie::Trie;

/// What the reference takes from the lowest score for an unknown character.
const UNK_PENALTY: f64 = 10.0;

/// A Unigram vocabulary.
#[derive(Debug)]
pub(super) struct Unigram {
    trie: Trie,
    scores: Vec<f64>,
    unk_id: u32,
    unk_score: f64,
}

/// The best way to reach a place in the word.
#[derive(Debug, Clone, Copy, Default)]
struct Best {
    score: f64,
    start: usize,
    id: u32,
    is_reached: bool,
}

/// The memory that a word needs, kept between words.
#[derive(Debug, Default)]
pub(super) struct Lattice {
    best: Vec<Best>,
}

impl Unigram {
    /// The id of a piece is its place; of equal pieces the last one counts, as in the reference.
    pub(super) fn new(vocab: &[(String, f64)], unk_id: u32) -> Self {
        let numbered = vocab.iter().zip(0u32..);
        let lowest = vocab.iter().map(|(_, score)| *score);
        let lowest = lowest.fold(
            f64::INFINITY,
            |low, score| if score < low { score } else { low },
        );
        Self {
            trie: Trie::new(numbered.map(|((piece, _), id)| (piece.as_bytes(), id))),
            scores: vocab.iter().map(|(_, score)| *score).collect(),
            unk_id,
            unk_score: lowest - UNK_PENALTY,
        }
    }

    /// The ids of a word and the bytes of the word that each one covers, in reverse order.
    pub(super) fn tokenize_reversed(
        &self,
        word: &str,
        lattice: &mut Lattice,
        mut push: impl FnMut(u32, Span),
    ) {
        self.fill(word, lattice);
        let mut end = word.len();
        let mut unknown_end = None;
        while end > 0 {
            let node = lattice.best[end];
            let unknown = node.id == self.unk_id;
            match (unknown, unknown_end) {
                (true, None) => unknown_end = Some(end),
                (false, Some(behind)) => {
                    push(self.unk_id, Span::new(end, behind));
                    unknown_end = None;
                }
                _ => {}
            }
            if !unknown {
                push(node.id, Span::new(node.start, end));
            }
            // Every place is reached from an earlier one; stop rather than loop if not.
            end = node.start.min(end - 1);
        }
        if let Some(behind) = unknown_end {
            push(self.unk_id, Span::new(0, behind));
        }
    }

    fn fill(&self, word: &str, lattice: &mut Lattice) {
        lattice.best.clear();
        lattice.best.resize(word.len() + 1, Best::default());
        for (start, character) in word.char_indices() {
            let so_far = lattice.best[start].score;
            let mut has_single = false;
            let mut node = Trie::ROOT;
            for (index, &byte) in word.as_bytes().iter().enumerate().skip(start) {
                match self.trie.child(node, byte) {
                    Some(child) => node = child,
                    None => break,
                }
                if let Some(id) = self.trie.value(node) {
                    let score = self.scores[id as usize];
                    offer(&mut lattice.best[index + 1], score + so_far, start, id);
                    has_single |= index + 1 - start == character.len_utf8();
                }
            }
            if !has_single {
                let end = start + character.len_utf8();
                offer(
                    &mut lattice.best[end],
                    self.unk_score + so_far,
                    start,
                    self.unk_id,
                );
            }
        }
    }
}

fn offer(best: &mut Best, score: f64, start: usize, id: u32) {
    if !best.is_reached || score > best.score {
        *best = Best {
            score,
            start,
            id,
            is_reached: true,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tokenize(unigram: &Unigram, word: &str) -> Vec<(u32, u32, u32)> {
        let mut tokens = Vec::new();
        unigram.tokenize_reversed(word, &mut Lattice::default(), |id, span| {
            tokens.push((id, span.start, span.end));
        });
        tokens.reverse();
        tokens
    }

    fn vocab(pieces: &[(&str, f64)]) -> Vec<(String, f64)> {
        let owned = pieces.iter();
        owned
            .map(|&(piece, score)| (piece.to_owned(), score))
            .collect()
    }

    #[test]
    fn the_greatest_sum_wins_and_unknown_characters_are_one_token() {
        let pieces = vocab(&[
            ("<unk>", 0.0),
            ("a", 0.0),
            ("b", 0.0),
            ("ab", 2.0),
            ("abc", 5.0),
        ]);
        let unigram = Unigram::new(&pieces, 0);
        assert_eq!(tokenize(&unigram, "abcab"), [(4, 0, 3), (3, 3, 5)]);
        assert_eq!(tokenize(&unigram, "éxa"), [(0, 0, 3), (1, 3, 4)]);
        assert_eq!(tokenize(&unigram, "axé"), [(1, 0, 1), (0, 1, 4)]);
        assert_eq!(tokenize(&unigram, ""), []);
    }

    proptest! {
        #[test]
        fn the_crate_cuts_alike(
            scores in prop::collection::vec(-8i32..0, 14),
            word in "[abcé]{0,20}",
        ) {
            let pieces = ["<unk>", "a", "b", "ab", "ba", "aa", "aab", "bab", "c", "cb", "é", "éa", "abc", "bb"];
            let scored = pieces.iter().zip(&scores);
            let scored: Vec<_> = scored.map(|(p, &s)| ((*p).to_owned(), f64::from(s) / 3.0)).collect();
            let reference = tokenizers::models::unigram::Unigram::from(scored.clone(), Some(0), false);
            let expected = reference.and_then(|model| model.encode(&word)).unwrap_or_default();
            let found = tokenize(&Unigram::new(&scored, 0), &word);
            let found: Vec<_> = found.iter().map(|&(_, s, e)| &word[s as usize..e as usize]).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
