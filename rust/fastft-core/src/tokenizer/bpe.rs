//! Byte-pair encoding of one piece: the pair with the lowest rank merges first, the leftmost of equals.
//!
//! The reference is `models::bpe::Word::merge_all` of the `tokenizers` crate. Its queue holds stale
//! entries, which never change the result as long as no two tokens share an id (checked by the
//! loader), so that looking for the lowest rank again and again gives the same tokens.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;

use super::tokens::{Piece, Span};

/// Pieces of at most this many symbols are searched through for every merge; longer ones use a queue.
const MAX_SEARCHED: usize = 40;

/// No pair, no symbol.
const NONE: u32 = u32::MAX;

/// What a pair of tokens becomes, and how early.
#[derive(Debug, Clone, Copy)]
struct Merge {
    rank: u32,
    id: u32,
}

/// The merges of a vocabulary.
#[derive(Debug)]
pub(super) struct Bpe {
    merges: FxHashMap<u64, Merge>,
}

/// A token of the piece while it is merged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Symbol {
    pub(super) id: u32,
    pub(super) span: Span,
}

impl Bpe {
    /// Of a pair that occurs twice the last one counts, as in the reference.
    pub(super) fn new(merges: impl IntoIterator<Item = (u32, u32, u32)>) -> Self {
        let ranked = merges.into_iter().zip(0u32..);
        Self {
            merges: ranked
                .map(|((left, right, id), rank)| (pair(left, right), Merge { rank, id }))
                .collect(),
        }
    }

    /// Merges the symbols of one word and adds what is left of them to the piece.
    pub(super) fn tokenize(&self, symbols: &mut Vec<Symbol>, piece: &mut Piece) {
        if symbols.len() <= MAX_SEARCHED {
            self.merge_by_search(symbols);
        } else {
            self.merge_by_queue(symbols);
        }
        for symbol in symbols.iter() {
            piece.push(symbol.id, symbol.span);
        }
    }

    fn merge(&self, left: u32, right: u32) -> Option<Merge> {
        self.merges.get(&pair(left, right)).copied()
    }

    fn rank(&self, left: &Symbol, right: &Symbol) -> u32 {
        self.merge(left.id, right.id)
            .map_or(NONE, |merge| merge.rank)
    }

    fn merge_by_search(&self, symbols: &mut Vec<Symbol>) {
        let mut ranks = [NONE; MAX_SEARCHED];
        for (rank, pair) in ranks.iter_mut().zip(symbols.windows(2)) {
            *rank = self.rank(&pair[0], &pair[1]);
        }
        while let Some(at) = lowest(&ranks, symbols.len().saturating_sub(1)) {
            let Some(merge) = self.merge(symbols[at].id, symbols[at + 1].id) else {
                return;
            };
            let right = symbols.remove(at + 1);
            symbols[at].id = merge.id;
            symbols[at].span.end = right.span.end;
            ranks.copy_within(at + 1.., at);
            if at > 0 {
                ranks[at - 1] = self.rank(&symbols[at - 1], &symbols[at]);
            }
            ranks[at] = match symbols.get(at + 1) {
                Some(next) => self.rank(&symbols[at], next),
                None => NONE,
            };
        }
    }

    fn merge_by_queue(&self, symbols: &mut Vec<Symbol>) {
        let mut chain = Chain::new(symbols);
        let mut queue = BinaryHeap::new();
        for at in 0..symbols.len() {
            self.enqueue(&mut queue, symbols, &chain, at);
        }
        while let Some(Reverse((_, at, left, right))) = queue.pop() {
            let next = chain.next(at);
            // An entry is stale when either of its symbols has been merged since.
            let is_current = !chain.is_dead(at)
                && symbols[at].id == left
                && next.is_some_and(|next| symbols[next].id == right);
            let (Some(next), true) = (next, is_current) else {
                continue;
            };
            let Some(merge) = self.merge(left, right) else {
                continue;
            };
            symbols[at].id = merge.id;
            symbols[at].span.end = symbols[next].span.end;
            chain.remove(next);
            if let Some(previous) = chain.previous(at) {
                self.enqueue(&mut queue, symbols, &chain, previous);
            }
            self.enqueue(&mut queue, symbols, &chain, at);
        }
        let mut at = 0;
        symbols.retain(|_| {
            at += 1;
            !chain.is_dead(at - 1)
        });
    }

    fn enqueue(&self, queue: &mut Queue, symbols: &[Symbol], chain: &Chain, at: usize) {
        let Some(next) = chain.next(at) else {
            return;
        };
        let (left, right) = (symbols[at].id, symbols[next].id);
        if let Some(merge) = self.merge(left, right) {
            queue.push(Reverse((merge.rank, at, left, right)));
        }
    }
}

/// Merges to come: rank, place, and the two ids they were found for.
type Queue = BinaryHeap<Reverse<(u32, usize, u32, u32)>>;

/// Which symbols are left, as a doubly linked list.
struct Chain {
    next: Vec<usize>,
    previous: Vec<usize>,
    dead: Vec<bool>,
}

impl Chain {
    fn new(symbols: &[Symbol]) -> Self {
        let count = symbols.len();
        Self {
            next: (1..=count).collect(),
            previous: (0..count).map(|at| at.wrapping_sub(1)).collect(),
            dead: vec![false; count],
        }
    }

    fn is_dead(&self, at: usize) -> bool {
        self.dead[at]
    }

    fn next(&self, at: usize) -> Option<usize> {
        Some(self.next[at]).filter(|&next| next < self.next.len())
    }

    fn previous(&self, at: usize) -> Option<usize> {
        Some(self.previous[at]).filter(|&previous| previous < self.next.len())
    }

    fn remove(&mut self, at: usize) {
        self.dead[at] = true;
        let (previous, next) = (self.previous[at], self.next[at]);
        if let Some(slot) = self.next.get_mut(previous) {
            *slot = next;
        }
        if let Some(slot) = self.previous.get_mut(next) {
            *slot = previous;
        }
    }
}

fn pair(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

/// The place of the lowest of the first `count` ranks, the leftmost of equals.
fn lowest(ranks: &[u32; MAX_SEARCHED], count: usize) -> Option<usize> {
    let ranks = ranks.get(..count)?;
    let (at, &rank) = ranks.iter().enumerate().min_by_key(|&(_, &rank)| rank)?;
    (rank != NONE).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn symbols(ids: &[u32]) -> Vec<Symbol> {
        let symbol = |(at, &id)| Symbol {
            id,
            span: Span::new(at, at + 1),
        };
        ids.iter().enumerate().map(symbol).collect()
    }

    fn left(symbols: &[Symbol]) -> Vec<(u32, u32, u32)> {
        let parts = symbols.iter();
        parts.map(|s| (s.id, s.span.start, s.span.end)).collect()
    }

    #[test]
    fn the_lowest_rank_merges_first() {
        let bpe = Bpe::new([(2, 3, 10), (1, 2, 11), (10, 3, 12)]);
        let mut piece = Piece::default();
        bpe.tokenize(&mut symbols(&[1, 2, 3, 3]), &mut piece);
        assert_eq!(piece.ids, [1, 12]);
        assert_eq!(piece.spans, [Span::new(0, 1), Span::new(1, 4)]);
    }

    #[test]
    fn equal_pairs_merge_from_the_left() {
        let bpe = Bpe::new([(1, 1, 2), (2, 2, 3)]);
        for merge in [Bpe::merge_by_search, Bpe::merge_by_queue] {
            let mut five = symbols(&[1; 5]);
            merge(&bpe, &mut five);
            assert_eq!(left(&five), [(3, 0, 4), (1, 4, 5)]);
        }
    }

    proptest! {
        #[test]
        fn searching_and_queueing_agree(
            ids in prop::collection::vec(0u32..4, 0..MAX_SEARCHED),
            pairs in prop::collection::vec((0u32..12, 0u32..12), 0..30),
        ) {
            let merges = pairs.iter().zip(4u32..).map(|(&(left, right), id)| (left, right, id));
            let bpe = Bpe::new(merges);
            let (mut searched, mut queued) = (symbols(&ids), symbols(&ids));
            bpe.merge_by_search(&mut searched);
            bpe.merge_by_queue(&mut queued);
            prop_assert_eq!(left(&searched), left(&queued));
        }
    }
}
