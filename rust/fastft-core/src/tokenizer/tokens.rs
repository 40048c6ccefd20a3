//! The tokens of a text while it is encoded: ids, and on request where in the text each one lies.

/// The bytes `start..end` of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    /// The first byte.
    pub(super) start: u32,
    /// The byte behind the last one.
    pub(super) end: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Self {
        // Texts are refused beyond 4 GiB before they come here.
        Self {
            start: u32::try_from(start).unwrap_or(u32::MAX),
            end: u32::try_from(end).unwrap_or(u32::MAX),
        }
    }
}

/// The tokens of one piece of text. Spans count from the piece's first byte, words from its first
/// word (a word is what the pre-tokenizer hands to the model).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) ids: Vec<u32>,
    pub(super) spans: Vec<Span>,
    pub(super) words: Vec<u32>,
    pub(super) num_words: u32,
}

impl Piece {
    pub(super) fn clear(&mut self) {
        self.ids.clear();
        self.spans.clear();
        self.words.clear();
        self.num_words = 0;
    }

    /// Adds a token of the piece's only word.
    pub(super) fn push(&mut self, id: u32, span: Span) {
        self.ids.push(id);
        self.spans.push(span);
        self.words.push(0);
    }
}

/// At most this many tokens are copied without a look at their number.
pub(super) const INLINE: usize = 3;

/// The tokens of a whole text, collected piece by piece.
///
/// Invariant: `len + INLINE` never exceeds the length of the buffers, so that three tokens can
/// always be written at once and those beyond the piece are overwritten by the next one.
#[derive(Debug)]
pub(super) struct Tokens {
    ids: Vec<u32>,
    spans: Vec<Span>,
    words: Vec<u32>,
    len: usize,
    /// How many words went by.
    num_words: u32,
}

impl Default for Tokens {
    fn default() -> Self {
        let mut tokens = Self::taken();
        tokens.make_room(1024);
        tokens
    }
}

impl Tokens {
    /// Stands where tokens were taken away; it holds none and takes none.
    pub(super) fn taken() -> Self {
        Self {
            ids: Vec::new(),
            spans: Vec::new(),
            words: Vec::new(),
            len: 0,
            num_words: 0,
        }
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.num_words = 0;
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn ids(&self) -> &[u32] {
        self.ids.get(..self.len).unwrap_or_default()
    }

    /// Where each token lies in the text; only meaningful after encoding with spans.
    pub(super) fn spans(&self) -> &[Span] {
        self.spans.get(..self.len).unwrap_or_default()
    }

    /// The word of each token; only meaningful after encoding with spans.
    pub(super) fn words(&self) -> &[u32] {
        self.words.get(..self.len).unwrap_or_default()
    }

    /// Adds up to three adjoining tokens of a piece that begins at byte `base`; token `i` ends
    /// `ends[i]` bytes behind it.
    #[inline(always)]
    pub(super) fn push_inline<const SPANS: bool>(
        &mut self,
        ids: &[u32; INLINE],
        ends: [u8; INLINE],
        num_ids: u8,
        num_words: u32,
        base: u32,
    ) {
        let at = self.len;
        if let Some(target) = self.ids.get_mut(at..at + INLINE) {
            target.copy_from_slice(ids);
        }
        if SPANS {
            let [first, second, third] = ends.map(|end| base + u32::from(end));
            let spans = [(base, first), (first, second), (second, third)];
            if let Some(target) = self.spans.get_mut(at..at + INLINE) {
                target.copy_from_slice(&spans.map(|(start, end)| Span { start, end }));
            }
            if let Some(target) = self.words.get_mut(at..at + INLINE) {
                target.copy_from_slice(&[self.num_words; INLINE]);
            }
            self.num_words += num_words;
        }
        self.len = at + usize::from(num_ids);
        if self.len + INLINE > self.ids.len() {
            self.make_room(INLINE);
        }
    }

    /// Adds the tokens of a piece that begins at byte `base`.
    pub(super) fn push_piece<const SPANS: bool>(
        &mut self,
        ids: &[u32],
        spans: &[Span],
        words: &[u32],
        num_words: u32,
        base: u32,
    ) {
        self.make_room(ids.len());
        let end = self.len + ids.len();
        if let Some(target) = self.ids.get_mut(self.len..end) {
            target.copy_from_slice(ids);
        }
        if SPANS {
            let targets = self.spans.get_mut(self.len..end).unwrap_or_default();
            for (target, span) in targets.iter_mut().zip(spans) {
                target.start = base + span.start;
                target.end = base + span.end;
            }
            let targets = self.words.get_mut(self.len..end).unwrap_or_default();
            for (target, word) in targets.iter_mut().zip(words) {
                *target = self.num_words + word;
            }
            self.num_words += num_words;
        }
        self.len = end;
    }

    /// Changes every span (for a text that was encoded with something in front of it).
    pub(super) fn map_spans(&mut self, change: impl Fn(Span) -> Span) {
        for span in self.spans.get_mut(..self.len).unwrap_or_default() {
            *span = change(*span);
        }
    }

    #[cold]
    fn grow(&mut self, needed: usize) {
        let size = needed.max(2 * self.ids.len());
        self.ids.resize(size, 0);
        self.spans.resize(size, Span::default());
        self.words.resize(size, 0);
    }

    /// Makes room for `count` tokens and the three that may be written beyond them.
    fn make_room(&mut self, count: usize) {
        let needed = self.len + count + INLINE;
        if needed > self.ids.len() {
            self.grow(needed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_pieces_follow_each_other() {
        let mut tokens = Tokens::default();
        tokens.push_inline::<true>(&[7, 8, 9], [2, 5, 0], 2, 1, 10);
        let spans = [Span::new(0, 1), Span::new(0, 1), Span::new(1, 4)];
        tokens.push_piece::<true>(&[4, 5, 6], &spans, &[0, 0, 1], 2, 20);
        tokens.push_inline::<true>(&[1, 0, 0], [3, 0, 0], 1, 1, 30);
        assert_eq!(tokens.ids(), [7, 8, 4, 5, 6, 1]);
        assert_eq!(tokens.words(), [0, 0, 1, 1, 2, 3]);
        let ends: Vec<_> = tokens.spans().iter().map(|s| (s.start, s.end)).collect();
        let expected = [(10, 12), (12, 15), (20, 21), (20, 21), (21, 24), (30, 33)];
        assert_eq!(ends, expected);
    }

    #[test]
    fn the_buffers_grow_with_the_text() {
        let mut tokens = Tokens::default();
        for _ in 0..5000 {
            tokens.push_inline::<false>(&[1, 2, 3], [0; 3], 3, 1, 0);
        }
        tokens.push_piece::<false>(&vec![9; 70_000], &[], &[], 1, 0);
        assert_eq!(tokens.len(), 85_000);
        assert_eq!(tokens.ids().iter().filter(|&&id| id == 9).count(), 70_000);
        tokens.clear();
        assert_eq!(tokens.ids(), [0u32; 0]);
    }
}
