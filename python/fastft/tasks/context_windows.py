"""Questions with their contexts as tokens: a context that is too long becomes several windows.

The windows are those of transformers' own call: the question whole, as much of the context as fits,
neighbours sharing `stride` tokens. Kept are flat arrays only; the Python objects of the call live
for one slice of rows.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fastft.data.token_dataset import TokenDataset
from fastft.data.token_table import MODEL_INPUTS
from fastft.data.type_ids import TypeIds
from fastft.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

    from fastft.data.sources import Split
    from fastft.data.tokenizer import Tokenizer

ROWS_PER_SLICE = 512
# Neighbours share a third of their tokens, at most what run_qa of transformers has them share.
MAX_STRIDE = 128


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows of all questions.

    Args:
        ids: uint16 or uint32 (N,): the tokens of all windows.
        row_offsets: uint64 (W + 1,): where each window begins.
        type_ids: The token type ids.
        rows: int32 (W,): the question of each window.
        null_positions: int32 (W,): the token that stands for "no answer": `[CLS]`.
        context_starts: int32 (W,): the first token of the context in each window.
        spans: int32 (M, 2): the characters of every token of a context, first and behind the last.
        span_offsets: int64 (W + 1,): where the spans of each window begin.
    """

    ids: NDArray[Any]
    row_offsets: NDArray[np.uint64]
    type_ids: TypeIds
    rows: NDArray[np.int32]
    null_positions: NDArray[np.int32]
    context_starts: NDArray[np.int32]
    spans: NDArray[np.int32]
    span_offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def spans_of(self, window: int) -> NDArray[np.int32]:
        """Gives the characters of the tokens of the context of one window, int32 (T, 2)."""
        return self.spans[self.span_offsets[window] : self.span_offsets[window + 1]]

    def dataset(self, tokenizer: Tokenizer, columns: Mapping[str, Any]) -> TokenDataset:
        """Gives the windows as a dataset, with columns of an entry a window."""
        names = [name for name in MODEL_INPUTS if name in tokenizer.hf.model_input_names]
        return TokenDataset(
            self.ids,
            self.row_offsets,
            self.type_ids if "token_type_ids" in names else None,
            columns=columns,
            model_inputs=names,
            vocab_size=max(tokenizer.vocab_size, int(self.ids.max(initial=0)) + 1),
        )


def default_stride(max_length: int) -> int:
    """Gives how many tokens neighbours share: a third of a window, at most 128.

    Example:
        >>> default_stride(384), default_stride(128)
        (128, 42)
    """
    return min(MAX_STRIDE, max_length // 3)


def context_windows(
    questions: pa.ChunkedArray,
    contexts: pa.ChunkedArray,
    tokenizer: Tokenizer,
    *,
    max_length: int,
    stride: int,
    progress: Callable[[int], None] | None = None,
) -> Windows:
    """Encodes questions with their contexts.

    Args:
        questions: Strings; white space in front of them is left out, as run_qa does.
        contexts: Strings, as many.
        tokenizer: The tokenizer.
        max_length: Tokens of a window, question and special tokens included.
        stride: Tokens of the context that neighbouring windows share.
        progress: Called after each slice with the number of rows done.
    """
    hf = _private_copy(tokenizer.hf)
    questions = _without_indent(questions)
    parts: list[_Part] = []
    for start in range(0, len(questions), ROWS_PER_SLICE):
        batch = slice(start, start + ROWS_PER_SLICE)
        texts = questions[batch].to_pylist(), contexts[batch].to_pylist()
        parts.append(_encode(hf, *texts, start, max_length, stride))
        if progress is not None:
            progress(min(start + ROWS_PER_SLICE, len(questions)))
    return _joined(parts)


def refuse_narrow(
    split: Split,
    question_column: str,
    questions: pa.ChunkedArray,
    contexts: pa.ChunkedArray,
    tokenizer: Tokenizer,
    *,
    max_length: int,
    stride: int,
) -> None:
    """Raises for a question that leaves its context too little room to move on.

    Raises:
        ConfigurationError: A question fills a window, or a context has to be cut into windows
            whose overlap would be all that they hold of it.
    """
    special = int(tokenizer.hf.num_special_tokens_to_add(pair=True))
    question_lengths = _lengths(tokenizer, _without_indent(questions))
    room = max_length - special - question_lengths
    if len(room) and room.min() < 1:
        row = int(room.argmin())
        raise ConfigurationError(
            "a question leaves no room for its context",
            place=split.place(row, question_column),
            found=f"{question_lengths[row]} tokens and {special} special ones, of at most "
            f"{max_length} ({int((room < 1).sum()):,} such questions)",
            expected="a question much shorter than max_length",
            fix="raise max_length=, or shorten the question",
        )
    is_tight = room <= stride
    if stride >= max_length - special:
        raise ConfigurationError(
            "stride is as long as a window",
            place="argument stride",
            found=f"{stride}, and max_length {max_length} with {special} special tokens",
            expected="a stride below what a window holds of the context",
            fix=f"pass stride={default_stride(max_length - special)}, or leave stride out",
        )
    # A mask rather than take(), which joins chunks: over 2 GiB they do not fit into one.
    context_lengths = _lengths(tokenizer, contexts.filter(pa.array(is_tight)))
    tight = np.flatnonzero(is_tight)
    tight = tight[context_lengths > room[tight]]
    if len(tight):
        row = int(tight[0])
        raise ConfigurationError(
            "stride is as long as a window of the context",
            place=split.place(row, question_column),
            found=f"stride {stride}, and max_length {max_length} leaves {room[row]} tokens for "
            f"the context beside this question ({len(tight):,} such rows)",
            expected="a stride below what a window holds of the context",
            fix=f"pass a stride below {room[tight].min()}, or raise max_length=",
        )


@dataclass(frozen=True, eq=False)
class _Part:
    """The windows of a slice of rows."""

    ids: NDArray[Any]
    type_ids: NDArray[np.uint8]
    lengths: NDArray[np.uint32]
    rows: NDArray[np.int32]
    null_positions: NDArray[np.int32]
    context_starts: NDArray[np.int32]
    spans: NDArray[np.int32]
    span_lengths: NDArray[np.int64]


def _private_copy(hf: PreTrainedTokenizerBase) -> Any:
    # The call leaves its truncation settings behind on the tokenizer it is made with.
    try:
        return copy.deepcopy(hf)
    except Exception:  # parts written in Python cannot be copied, and raise whatever they like
        return hf


def _without_indent(questions: pa.ChunkedArray) -> pa.Array:
    # Python's idea of white space, which is also that of run_qa.
    stripped = [question.lstrip() for question in questions.to_pylist()]
    return pa.array(stripped, pa.large_string())


def _lengths(tokenizer: Tokenizer, texts: pa.ChunkedArray) -> NDArray[np.int64]:
    offsets = tokenizer.encode(texts, add_special_tokens=False).row_offsets.astype(np.int64)
    return offsets[1:] - offsets[:-1]


def _encode(
    hf: Any, questions: list[str], contexts: list[str], first_row: int, max_length: int, stride: int
) -> _Part:
    """Encodes a slice of rows in one call of transformers."""
    context_is_second = hf.padding_side == "right"
    encoded = hf(
        questions if context_is_second else contexts,
        contexts if context_is_second else questions,
        truncation="only_second" if context_is_second else "only_first",
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_token_type_ids=True,
        return_attention_mask=False,
        padding=False,
        verbose=False,
    )
    context = int(context_is_second)
    null_positions, starts, spans = [], [], []
    for window, window_ids in enumerate(encoded["input_ids"]):
        segments = encoded.sequence_ids(window)
        length = segments.count(context)
        first = segments.index(context) if length else len(window_ids)
        starts.append(first)
        offsets = encoded["offset_mapping"][window][first : first + length]
        spans.append(np.array(offsets, np.int32).reshape(-1, 2))
        null_positions.append(_null_position(hf, window_ids))
    ids = np.fromiter((token for ids in encoded["input_ids"] for token in ids), np.uint32)
    is_narrow = max(len(hf), int(ids.max(initial=0)) + 1) <= 2**16
    return _Part(
        ids=ids.astype(np.uint16) if is_narrow else ids,
        type_ids=np.fromiter((kind for row in encoded["token_type_ids"] for kind in row), np.uint8),
        lengths=np.array([len(row) for row in encoded["input_ids"]], np.uint32),
        rows=np.array(encoded["overflow_to_sample_mapping"], np.int32) + first_row,
        null_positions=np.array(null_positions, np.int32),
        context_starts=np.array(starts, np.int32),
        spans=np.concatenate(spans),
        span_lengths=np.array([len(part) for part in spans], np.int64),
    )


def _null_position(hf: Any, ids: list[int]) -> int:
    """Gives where `[CLS]` stands, else the token that begins a text, else the first."""
    for token in (hf.cls_token_id, hf.bos_token_id):
        if token is not None and token in ids:
            return ids.index(token)
    return 0


def _joined(parts: list[_Part]) -> Windows:
    def joined(name: str, kind: Any) -> NDArray[Any]:
        # Slices of different width of ids become the wider one.
        arrays = [getattr(part, name) for part in parts]
        return np.concatenate(arrays) if arrays else np.empty(0, kind)

    lengths, type_ids = joined("lengths", np.uint32), joined("type_ids", np.uint8)
    spans = joined("spans", np.int32).reshape(-1, 2)
    return Windows(
        ids=joined("ids", np.uint16),
        row_offsets=_offsets(lengths).astype(np.uint64),
        type_ids=_small(type_ids, lengths),
        rows=joined("rows", np.int32),
        null_positions=joined("null_positions", np.int32),
        context_starts=joined("context_starts", np.int32),
        spans=spans,
        span_offsets=_offsets(joined("span_lengths", np.int64)),
    )


def _offsets(lengths: NDArray[Any]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def _small(type_ids: NDArray[np.uint8], lengths: NDArray[np.uint32]) -> TypeIds:
    """Gives type ids in the smallest form: none, one number a window, or one a token."""
    if not type_ids.any():
        return TypeIds()
    ends = _offsets(lengths)
    zeros = np.add.reduceat(type_ids == 0, ends[:-1], dtype=np.uint32)
    in_two_runs = TypeIds(second_segment_starts=zeros)
    is_bert = np.array_equal(in_two_runs.expanded(lengths), type_ids)
    return in_two_runs if is_bert else TypeIds(flat=type_ids)
