//! A set of byte strings with a number each, walked byte by byte: a double array.
//!
//! Node `n` has a child for byte `b` if `units[base(n) ^ b].check == n`; a walk costs one memory
//! access a byte. Built once from a vocabulary, read by all threads.
//!
//! Method: Aoe, "An Efficient Digital Search Algorithm by Using a Double-Array Structure" (1989).

use std::collections::BTreeMap;

/// How many units are tried for a node: rather leave some holes than try all of them.
const TRIES: usize = 512;

/// No value, no node.
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Unit {
    base: u32,
    check: u32,
    value: u32,
}

const EMPTY: Unit = Unit {
    base: 0,
    check: NONE,
    value: NONE,
};

/// A node of a trie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node(u32);

/// Byte strings and their values.
#[derive(Debug)]
pub(super) struct Trie {
    units: Vec<Unit>,
}

impl Trie {
    pub(super) const ROOT: Node = Node(0);

    /// A trie of `entries`; of equal strings the last value stays.
    pub(super) fn new<'a>(entries: impl IntoIterator<Item = (&'a [u8], u32)>) -> Self {
        let sorted: BTreeMap<&[u8], u32> = entries.into_iter().collect();
        let entries: Vec<(&[u8], u32)> = sorted.into_iter().collect();
        let mut trie = Self {
            units: vec![EMPTY; 256],
        };
        trie.units[0].check = 0;
        let mut first_free = 1;
        let mut open = vec![(0u32, 0usize, 0..entries.len())];
        while let Some((node, depth, range)) = open.pop() {
            let mut rest = entries.get(range.clone()).unwrap_or_default();
            let mut start = range.start;
            if let Some((key, value)) = rest.first()
                && key.len() == depth
            {
                trie.units[node as usize].value = *value;
                start += 1;
                rest = rest.get(1..).unwrap_or_default();
            }
            let children = split_by_byte(rest, depth, start);
            if children.is_empty() {
                continue;
            }
            let bytes: Vec<u8> = children.iter().map(|(byte, _)| *byte).collect();
            let base = trie.find_base(&bytes, &mut first_free);
            trie.units[node as usize].base = base;
            for (byte, range) in children {
                let child = base ^ u32::from(byte);
                trie.units[child as usize].check = node;
                open.push((child, depth + 1, range));
            }
        }
        trie
    }

    /// The node one byte further.
    #[inline(always)]
    pub(super) fn child(&self, node: Node, byte: u8) -> Option<Node> {
        let base = self.units.get(node.0 as usize)?.base;
        let child = base ^ u32::from(byte);
        // The root is nobody's child, though its check names itself.
        let found = self.units.get(child as usize)?.check == node.0 && child != 0;
        found.then_some(Node(child))
    }

    /// The value of the string that leads to `node`.
    #[inline(always)]
    pub(super) fn value(&self, node: Node) -> Option<u32> {
        let value = self.units.get(node.0 as usize)?.value;
        (value != NONE).then_some(value)
    }

    /// The node that a string leads to.
    pub(super) fn walk(&self, bytes: &[u8]) -> Option<Node> {
        bytes
            .iter()
            .try_fold(Self::ROOT, |node, &byte| self.child(node, byte))
    }

    /// The value of a string.
    #[cfg(test)]
    fn get(&self, bytes: &[u8]) -> Option<u32> {
        self.value(self.walk(bytes)?)
    }

    /// A base under which all of `bytes` are free. Bases lie in blocks of 256 units, so that the
    /// exclusive or with a byte stays in the block.
    fn find_base(&mut self, bytes: &[u8], first_free: &mut usize) -> u32 {
        while self
            .units
            .get(*first_free)
            .is_some_and(|unit| unit.check != NONE)
        {
            *first_free += 1;
        }
        let first = bytes.first().copied().unwrap_or(0);
        let candidates = (*first_free..self.units.len()).take(TRIES);
        for free in candidates.filter(|&free| self.units[free].check == NONE) {
            let base = free ^ usize::from(first);
            let fits = base != 0
                && bytes.iter().all(|&byte| {
                    let child = base ^ usize::from(byte);
                    self.units.get(child).is_some_and(|unit| unit.check == NONE)
                });
            if fits {
                return narrow(base);
            }
        }
        let base = self.units.len();
        self.units.resize(base + 256, EMPTY);
        *first_free = (*first_free).max(base.saturating_sub(2 * TRIES));
        narrow(base)
    }
}

/// A vocabulary of texts is far smaller than 2^32 units.
fn narrow(unit: usize) -> u32 {
    u32::try_from(unit).unwrap_or(NONE)
}

/// The entries by their byte at `depth`, as ranges; the first entry has index `start`.
fn split_by_byte(
    entries: &[(&[u8], u32)],
    depth: usize,
    start: usize,
) -> Vec<(u8, std::ops::Range<usize>)> {
    let mut children: Vec<(u8, std::ops::Range<usize>)> = Vec::new();
    for (index, (key, _)) in entries.iter().enumerate() {
        let Some(&byte) = key.get(depth) else {
            continue;
        };
        let index = start + index;
        match children.last_mut() {
            Some((last, range)) if *last == byte => range.end = index + 1,
            _ => children.push((byte, index..index + 1)),
        }
    }
    children
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn strings_and_their_prefixes_are_told_apart() {
        let trie = Trie::new([
            (&b"ab"[..], 1),
            (b"abc", 2),
            (b"", 3),
            (b"\0", 4),
            (b"ab", 5),
        ]);
        assert_eq!(trie.get(b"ab"), Some(5));
        assert_eq!(trie.get(b"abc"), Some(2));
        assert_eq!(trie.get(b""), Some(3));
        assert_eq!(trie.get(b"\0"), Some(4));
        assert_eq!(trie.get(b"a"), None);
        assert_eq!(trie.get(b"abcd"), None);
        assert_eq!(trie.get(b"\0\0"), None);
        assert_eq!(Trie::new([]).get(b"a"), None);
    }

    proptest! {
        #[test]
        fn a_trie_is_a_map(
            entries in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..5), 0u32..99), 0..300),
            others in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5), 0..50),
        ) {
            let map: HashMap<&[u8], u32> = entries.iter().map(|(k, v)| (&k[..], *v)).collect();
            let trie = Trie::new(entries.iter().map(|(k, v)| (&k[..], *v)));
            for key in entries.iter().map(|(k, _)| k).chain(&others) {
                prop_assert_eq!(trie.get(key), map.get(&key[..]).copied());
            }
        }
    }
}
