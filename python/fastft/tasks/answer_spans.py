"""From answers to token positions, and from logits back to answers.

The search is that of run_qa of transformers: in each window the `n_best` likeliest starts and ends
are paired, pairs outside the context or longer than `max_answer_length` tokens are passed over, and
the best pairs of all windows of a question remain. Where none of the likeliest lies inside the
context, the search is made over the context alone (run_qa answers with the word "empty").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from fastft.tasks.context_windows import Windows

    Floats = NDArray[np.floating]


def token_positions(
    windows: Windows, answers: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Finds the first and the last token of the answer in every window.

    A window that does not hold the whole answer points at the token that stands for "no answer".

    Args:
        windows: The windows.
        answers: int64 (B, 2): the characters of each answer; -1 where a question has none.

    Returns:
        int64 (W, 2): the positions, and bool (W,): whether the window holds the answer.
    """
    positions = np.repeat(windows.null_positions[:, None].astype(np.int64), 2, axis=1)
    holds = np.zeros(len(windows), bool)
    for window, row in enumerate(windows.rows):
        begin, end = answers[row]
        spans = windows.spans_of(window)
        if begin < 0 or not len(spans) or begin < spans[0, 0] or end > spans[-1, 1]:
            continue
        # The tokens that share a character with the answer. run_qa takes the last token that
        # begins at or before the answer; it runs over the end of a window whose last token is
        # the answer, and takes the last of several tokens of one character.
        first = int(np.searchsorted(spans[:, 1], begin, side="right"))
        last = int(np.searchsorted(spans[:, 0], end, side="left")) - 1
        if first <= last:
            positions[window] = windows.context_starts[window] + np.array([first, last])
            holds[window] = True
    return positions, holds


def require_order(labels: Any, positions: NDArray[np.int64]) -> None:
    """Raises when predictions come in another order than the windows, so that no score is right.

    The stock Trainer 5.23 evaluates in another order under `group_by_length`.

    Args:
        labels: The positions of starts and of ends that came with the predictions, (W,) each.
        positions: int64 (W, 2): those of the windows.

    Raises:
        ConfigurationError: They differ.
    """
    if np.array_equal(np.stack(labels, axis=1), positions):
        return
    raise ConfigurationError(
        "the predictions are in another order than the questions",
        place="argument train_sampling_strategy",
        found="other positions of answers than those of the windows",
        expected="an evaluation in the order of the rows",
        fix="leave train_sampling_strategy out",
    )


def stacked(logits: Sequence[Any]) -> Floats:
    """Joins batches of logits (B, T) of different width; what is beyond a window is not read."""
    width = max(batch.shape[1] for batch in logits)
    rows = [batch.float().cpu().numpy() for batch in logits]
    return np.concatenate([np.pad(batch, ((0, 0), (0, width - batch.shape[1]))) for batch in rows])


@dataclass(frozen=True, eq=False)
class NBest:
    """The best answers to one question, the best first.

    Attributes:
        spans: int32 (K, 2): their characters; (0, 0) stands for "no answer".
        logits: float32 (K, 2): the logits of their first and last token.
        null_score: The score of "no answer": the lowest of all windows.
    """

    spans: NDArray[np.int32]
    logits: Floats
    null_score: float

    def probabilities(self) -> NDArray[np.float64]:
        """Gives the softmax over the scores, float64 (K,)."""
        scores = self.logits.sum(axis=1)
        odds: NDArray[np.float64] = np.exp(scores.astype(np.float64) - scores.max(initial=-np.inf))
        shares: NDArray[np.float64] = odds / odds.sum()
        return shares


def n_best_answers(
    start_logits: Floats,
    end_logits: Floats,
    windows: Windows,
    num_rows: int,
    *,
    n_best: int,
    max_answer_length: int,
    allow_null: bool,
) -> Iterator[NBest]:
    """Yields the best answers to each question.

    Args:
        start_logits: (W, T): the logits of the first token; beyond the end of a window, anything.
        end_logits: (W, T): those of the last token.
        windows: The windows.
        num_rows: The number of questions.
        n_best: Answers to keep; also the starts and ends that are paired in each window.
        max_answer_length: Tokens of the longest answer.
        allow_null: Whether "no answer" is one of the answers.
    """
    bounds = np.searchsorted(windows.rows, np.arange(num_rows + 1))
    lengths = np.diff(windows.row_offsets.astype(np.int64))
    for row in range(num_rows):
        spans, logits, nulls = [], [], []
        for window in range(bounds[row], bounds[row + 1]):
            length = lengths[window]
            starts, ends = start_logits[window, :length], end_logits[window, :length]
            null = windows.null_positions[window]
            nulls.append((starts[null], ends[null]))
            first = int(windows.context_starts[window])
            pairs = _best_pairs(
                starts, ends, first, windows.spans_of(window), n_best, max_answer_length
            )
            spans.append(_characters(windows.spans_of(window), pairs - first))
            logits.append(np.stack([starts[pairs[:, 0]], ends[pairs[:, 1]]], axis=1))
        yield _joined(spans, logits, nulls, n_best, allow_null=allow_null)


def _best_pairs(
    starts: Floats,
    ends: Floats,
    first: int,
    spans: NDArray[np.int32],
    n_best: int,
    max_answer_length: int,
) -> NDArray[np.int64]:
    """Gives the positions of first and last token of the candidates of a window, int64 (K, 2)."""
    behind = first + len(spans)
    pairs = _pairs(_top(starts, n_best), _top(ends, n_best), max_answer_length)
    pairs = pairs[(pairs[:, 0] >= first) & (pairs[:, 1] < behind)]
    if not len(pairs) and len(spans):
        starts, ends = starts[first:behind], ends[first:behind]
        pairs = _pairs(_top(starts, n_best), _top(ends, n_best), max_answer_length)
        if not len(pairs):  # the likely ends lie before the likely starts, or far behind
            pairs = np.repeat((starts + ends).argmax(), 2)[None]
        pairs = pairs + first
    return pairs


def _top(logits: Floats, count: int) -> NDArray[np.int64]:
    """Gives the places of the greatest logits, the greatest first."""
    return np.argsort(logits)[: -count - 1 : -1]


def _pairs(
    starts: NDArray[np.int64], ends: NDArray[np.int64], max_answer_length: int
) -> NDArray[np.int64]:
    """Pairs starts with ends that do not lie before them or too far behind."""
    grid = np.stack(np.meshgrid(starts, ends, indexing="ij"), axis=-1).reshape(-1, 2)
    lengths = grid[:, 1] - grid[:, 0] + 1
    return grid[(lengths >= 1) & (lengths <= max_answer_length)]


def _characters(spans: NDArray[np.int32], pairs: NDArray[np.int64]) -> NDArray[np.int32]:
    return np.stack([spans[pairs[:, 0], 0], spans[pairs[:, 1], 1]], axis=1)


def _joined(
    spans: list[NDArray[np.int32]],
    logits: list[Floats],
    nulls: list[tuple[float, float]],
    n_best: int,
    *,
    allow_null: bool,
) -> NBest:
    """Gives the best answers of all windows of a question."""
    null = min(nulls, key=sum)
    all_spans, all_logits = np.concatenate(spans), np.concatenate(logits)
    if allow_null:
        all_spans = np.concatenate([all_spans, np.zeros((1, 2), np.int32)])
        all_logits = np.concatenate([all_logits, np.array([null], all_logits.dtype)])
    order = np.argsort(-all_logits.sum(axis=1), kind="stable")
    best = order[:n_best]
    if allow_null and not (all_spans[best] == 0).all(axis=1).any():
        best = np.append(best, len(all_spans) - 1)
    return NBest(all_spans[best], all_logits[best], float(sum(null)))
