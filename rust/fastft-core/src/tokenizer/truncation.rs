//! How many tokens of each text stay, and in which windows the rest may follow.
//!
//! The rules are those of `truncate_encodings` and `Encoding::truncate` of the `tokenizers` crate.

use std::ops::Range;

use super::TruncationSide;

/// Which text loses tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TruncationStrategy {
    /// The longer one first, until both are equal.
    #[default]
    LongestFirst,
    /// The first one only.
    OnlyFirst,
    /// The second one only.
    OnlySecond,
}

/// How many tokens of each text stay, so that both together have at most `room`; `None` when the
/// strategy names a text that has not enough to lose.
pub(super) fn keep(
    strategy: TruncationStrategy,
    first: usize,
    second: usize,
    room: usize,
) -> Option<(usize, usize)> {
    let total = first.saturating_add(second);
    if total <= room {
        return Some((first, second));
    }
    let excess = total - room;
    // The crate lets no text become empty this way, except when there is no room at all.
    let shortened = |length: usize| length.checked_sub(excess).filter(|&left| left > 0);
    match strategy {
        _ if room == 0 => Some((0, 0)),
        TruncationStrategy::LongestFirst => Some(longest_first(first, second, room)),
        TruncationStrategy::OnlyFirst => shortened(first).map(|left| (left, second)),
        TruncationStrategy::OnlySecond => shortened(second).map(|left| (first, left)),
    }
}

/// How many tokens a text has, or at least has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Length {
    pub(super) num_tokens: usize,
    /// Whether the text was encoded to its end.
    pub(super) is_exact: bool,
}

/// Whether [`keep`] says for these lengths what it would say for those of the whole texts, where a
/// text that was not encoded to its end has more than `room` tokens so far.
pub(super) fn is_decided(
    strategy: TruncationStrategy,
    first: Length,
    second: Length,
    room: usize,
) -> bool {
    let (a, b) = (first.num_tokens, second.num_tokens);
    if room == 0 || (first.is_exact && second.is_exact) {
        return true;
    }
    match strategy {
        // Only who is given an odd last token depends on which of two long texts is longer.
        TruncationStrategy::LongestFirst => {
            room.is_multiple_of(2)
                || a.min(b) <= room / 2
                || (first.is_exact && a <= b)
                || (second.is_exact && b < a)
        }
        // The error says how many tokens there are.
        TruncationStrategy::OnlyFirst | TruncationStrategy::OnlySecond => {
            keep(strategy, a, b, room).is_some()
        }
    }
}

/// The longer one loses first, until both are equal; an odd last token goes to the one that was
/// longer.
fn longest_first(first: usize, second: usize, room: usize) -> (usize, usize) {
    let (shorter, longer) = (first.min(second), first.max(second));
    let half = room / 2;
    let (keep_shorter, keep_longer) = if shorter <= half {
        (shorter, longer.min(room - shorter))
    } else {
        (half, room - half)
    };
    if first > second {
        (keep_longer, keep_shorter)
    } else {
        (keep_shorter, keep_longer)
    }
}

/// The windows of `keep` tokens in a text of `length`, each sharing `stride` tokens with the one
/// before; the first one is the text itself where it fits. `stride` is below `keep`.
pub(super) fn windows(
    length: usize,
    keep: usize,
    stride: usize,
    side: TruncationSide,
) -> Vec<Range<usize>> {
    if keep >= length {
        return std::iter::once(0..length).collect();
    }
    if keep == 0 {
        return vec![0..0, 0..length];
    }
    let step = keep.saturating_sub(stride).max(1);
    let mut windows = Vec::new();
    for moved in (0..length).step_by(step) {
        let window = window(length, keep, moved, side);
        let is_last = match side {
            TruncationSide::Right => window.end == length,
            TruncationSide::Left => window.start == 0,
        };
        windows.push(window);
        if is_last {
            break;
        }
    }
    windows
}

/// At most `keep` tokens of a text of `length`, `moved` tokens away from the end that stays.
pub(super) fn window(
    length: usize,
    keep: usize,
    moved: usize,
    side: TruncationSide,
) -> Range<usize> {
    match side {
        TruncationSide::Right => moved..length.min(moved.saturating_add(keep)),
        TruncationSide::Left => (length - moved).saturating_sub(keep)..length - moved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_longer_text_loses_first() {
        let keep = |first, second| keep(TruncationStrategy::LongestFirst, first, second, 7);
        assert_eq!(keep(3, 4), Some((3, 4)));
        assert_eq!(keep(3, 9), Some((3, 4)));
        assert_eq!(keep(9, 3), Some((4, 3)));
        assert_eq!(keep(9, 9), Some((3, 4)));
        assert_eq!(keep(9, 8), Some((4, 3)));
        assert_eq!(keep(9, 0), Some((7, 0)));
    }

    #[test]
    fn one_text_may_be_named() {
        assert_eq!(keep(TruncationStrategy::OnlyFirst, 9, 3, 7), Some((4, 3)));
        assert_eq!(keep(TruncationStrategy::OnlySecond, 3, 9, 7), Some((3, 4)));
        assert_eq!(keep(TruncationStrategy::OnlySecond, 9, 2, 7), None);
        assert_eq!(keep(TruncationStrategy::OnlySecond, 7, 2, 7), None);
        assert_eq!(keep(TruncationStrategy::OnlySecond, 9, 2, 0), Some((0, 0)));
    }

    #[test]
    fn windows_share_tokens() {
        let right = |length, keep, stride| windows(length, keep, stride, TruncationSide::Right);
        assert_eq!(right(3, 4, 0).first(), Some(&(0..3)));
        assert_eq!(right(7, 4, 2), [0..4, 2..6, 4..7]);
        assert_eq!(right(8, 4, 0), [0..4, 4..8]);
        assert_eq!(right(3, 0, 0), [0..0, 0..3]);
        let left = windows(7, 4, 2, TruncationSide::Left);
        assert_eq!(left, [3..7, 1..5, 0..3]);
    }

    proptest! {
        /// Texts that were encoded no further than beyond the room lose what whole texts lose.
        #[test]
        fn more_tokens_than_room_change_nothing(
            whole in (0..40usize, 0..40usize),
            more in (1..5usize, 1..5usize),
            room in 0..20usize,
            strategy in prop_oneof![
                Just(TruncationStrategy::LongestFirst),
                Just(TruncationStrategy::OnlyFirst),
                Just(TruncationStrategy::OnlySecond),
            ],
        ) {
            let seen = |whole: usize, more: usize| Length {
                num_tokens: whole.min(room + more),
                is_exact: whole < room + more,
            };
            let (first, second) = (seen(whole.0, more.0), seen(whole.1, more.1));
            let found = keep(strategy, first.num_tokens, second.num_tokens, room);
            let expected = keep(strategy, whole.0, whole.1, room);
            if is_decided(strategy, first, second, room) {
                prop_assert_eq!(found, expected);
                prop_assert!(found.is_some() || first.is_exact && second.is_exact);
            } else {
                let is_odd = strategy == TruncationStrategy::LongestFirst && room % 2 == 1;
                prop_assert!(is_odd || expected.is_none());
            }
        }
    }
}
