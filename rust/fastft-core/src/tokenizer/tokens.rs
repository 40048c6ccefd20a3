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

/// How far a text is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reach {
    /// Nobody needs more tokens than this; the piece that holds the last of them may bring more.
    pub(super) num_tokens: usize,
    /// From about this token on it must be known where each one lies, whether or not all spans
    /// were asked for.
    pub(super) spans_from: usize,
}

impl Reach {
    /// To the end of the text.
    pub(super) const WHOLE: Self = Self {
        num_tokens: usize::MAX,
        spans_from: usize::MAX,
    };

    /// Whether spans are looked at that nobody asked for.
    pub(super) fn wants_spans(self) -> bool {
        self.spans_from < usize::MAX
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
    reach: Reach,
    /// With this many tokens an engine stops.
    limit: usize,
    /// The first token whose span is known.
    spans_from: usize,
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
            reach: Reach::WHOLE,
            limit: usize::MAX,
            spans_from: 0,
        }
    }

    /// Forgets all tokens; `with_spans` says whether the coming ones have spans from the first on.
    pub(super) fn clear(&mut self, reach: Reach, with_spans: bool) {
        self.len = 0;
        self.num_words = 0;
        self.reach = reach;
        self.limit = if with_spans {
            reach.num_tokens
        } else {
            reach.num_tokens.min(reach.spans_from)
        };
        self.spans_from = if with_spans { 0 } else { usize::MAX };
    }

    /// Whether there are as many tokens as an engine should add before it stops.
    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        self.len >= self.limit
    }

    /// How many tokens an engine should still add.
    pub(super) fn num_missing(&self) -> usize {
        self.limit.saturating_sub(self.len)
    }

    /// The tokens that follow have spans.
    pub(super) fn begin_spans(&mut self) {
        self.spans_from = self.spans_from.min(self.len);
        self.limit = self.reach.num_tokens;
    }

    /// Whether it matters where tokens lie, now or later.
    pub(super) fn wants_spans(&self) -> bool {
        self.spans_from == 0 || self.reach.wants_spans()
    }

    /// Where token `index` lies, if that is known.
    pub(super) fn span(&self, index: usize) -> Option<Span> {
        let known = index >= self.spans_from;
        self.spans().get(index).copied().filter(|_| known)
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
        tokens.clear(Reach::WHOLE, false);
        assert_eq!(tokens.ids(), [0u32; 0]);
    }

    #[test]
    fn spans_may_begin_later() {
        let mut tokens = Tokens::default();
        let reach = Reach {
            num_tokens: 5,
            spans_from: 2,
        };
        tokens.clear(reach, false);
        tokens.push_inline::<false>(&[1, 2, 3], [1, 2, 3], 1, 1, 0);
        assert!(!tokens.is_full());
        tokens.push_inline::<false>(&[1, 2, 3], [1, 2, 3], 2, 1, 1);
        assert!(tokens.is_full());
        tokens.begin_spans();
        assert!(!tokens.is_full());
        tokens.push_inline::<true>(&[1, 2, 3], [1, 2, 3], 2, 1, 6);
        assert!(tokens.is_full());
        assert_eq!(tokens.span(2), None);
        assert_eq!(tokens.span(3), Some(Span::new(6, 7)));
        assert_eq!(tokens.span(5), None);
    }
}
