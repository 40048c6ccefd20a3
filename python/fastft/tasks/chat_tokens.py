"""Marked conversations to token ids and labels.

A text is tokenised whole, as the template wrote it: nothing is added in front or behind. A token is
trained on when it shares a character with a reply, as in the masks of transformers; so no part of a
reply goes without a label where a token stands across its border.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.data.ragged_column import RaggedColumn
from fastft.data.rust_collator import IGNORE_INDEX
from fastft.data.token_dataset import TokenDataset
from fastft.errors import TokenizerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

    from fastft.tasks.chat_template import MarkedText, Span


@dataclass(frozen=True)
class ChatRow:
    """One conversation in tokens.

    Attributes:
        ids: (T,): the token ids, cut to the greatest length.
        labels: int32 (T,): the ids of what is trained on, -100 elsewhere.
        num_cut: How many tokens were cut off.
        labels_cut: Whether labels were among them.
        across: Whether a token stands across the border of a reply.
    """

    ids: NDArray[Any]
    labels: NDArray[np.int32]
    num_cut: int
    labels_cut: bool
    across: bool

    @property
    def is_supervised(self) -> bool:
        """Whether there is anything to learn; no model predicts the first token."""
        return bool((self.labels[1:] != IGNORE_INDEX).any())


class ChatTokenizer:
    """Tokenises texts with the place of every token.

    Args:
        hf: The tokenizer; it is copied, not changed.
        max_length: Rows are cut to this many tokens, on the tokenizer's truncation side.
    """

    def __init__(self, hf: PreTrainedTokenizerBase, max_length: int) -> None:
        self._max_length = max_length
        self._cuts_left = hf.truncation_side == "left"
        self._dtype = np.uint16 if len(hf) <= 2**16 else np.uint32
        self._backend = bare_backend(hf)

    def rows(self, marked: Sequence[MarkedText]) -> list[ChatRow]:
        """Gives ids and labels of conversations."""
        encoded = self._backend.encode_batch([one.text for one in marked], add_special_tokens=False)
        return [
            self._row(np.array(code.ids, self._dtype), code.offsets, one.spans)
            for code, one in zip(encoded, marked, strict=True)
        ]

    def num_tokens(self, text: str) -> int:
        """Gives how many tokens a text takes."""
        return len(self._backend.encode(text, add_special_tokens=False).ids)

    def _row(
        self, ids: NDArray[Any], offsets: list[tuple[int, int]], spans: Iterable[Span]
    ) -> ChatRow:
        places = np.array(offsets, np.int64).reshape(-1, 2)
        trained, across = reply_tokens(places, spans)
        labels = np.where(trained, ids.astype(np.int32), np.int32(IGNORE_INDEX))
        num_cut = max(0, len(ids) - self._max_length)
        kept = slice(num_cut, None) if self._cuts_left else slice(0, len(ids) - num_cut)
        return ChatRow(
            ids[kept],
            labels[kept],
            num_cut,
            labels_cut=bool(trained.sum() > trained[kept].sum()),
            across=bool(across[kept].any()),
        )


def reply_tokens(
    places: NDArray[np.int64], spans: Iterable[Span]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Says which tokens are trained on.

    Args:
        places: (T, 2): the first character of each token, and the one after its last.
        spans: Where the replies stand.

    Returns:
        Two masks (T,): the tokens that share a character with a reply, and those of them that
        reach beyond it.
    """
    trained = np.zeros(len(places), bool)
    across = np.zeros(len(places), bool)
    starts, ends = places[:, 0], places[:, 1]
    # A token without characters of its own, such as a mark for a word's begin, counts where it is.
    ends = np.maximum(ends, starts + 1)
    for start, end in spans:
        inside = (starts < end) & (ends > start)
        trained |= inside
        across |= inside & ((starts < start) | (ends > end))
    return trained, across


def bare_backend(hf: PreTrainedTokenizerBase) -> Any:
    """Copies what turns text into tokens, without what is added around a text.

    Byte-level tokenizers take spaces out of a token's place afterwards, in the same step that adds
    special tokens; a chat needs the places as they are.

    Raises:
        TokenizerError: The tokenizer cannot be copied.
    """
    try:
        backend = copy.deepcopy(hf.backend_tokenizer)
    except Exception as error:  # a part written in Python raises what it likes when it is copied
        raise TokenizerError(
            "the tokenizer cannot be copied, and a chat needs the place of every token",
            place=type(hf).__name__,
            found=str(error),
            expected="a tokenizer without parts written in Python",
            fix="use the parts that the package tokenizers brings",
        ) from error
    backend.no_truncation()
    backend.no_padding()
    backend.post_processor = None
    backend.encode_special_tokens = bool(hf.split_special_tokens)
    return backend


def token_dataset(rows: Sequence[ChatRow], hf: PreTrainedTokenizerBase) -> TokenDataset:
    """Joins conversations to a dataset with a label for every token."""
    row_offsets = np.zeros(len(rows) + 1, np.uint64)
    np.cumsum([len(row.ids) for row in rows], out=row_offsets[1:])
    ids = np.concatenate([row.ids for row in rows])
    labels = np.concatenate([row.labels for row in rows])
    return TokenDataset(
        ids,
        row_offsets,
        columns={"labels": RaggedColumn(labels, row_offsets.astype(np.int64))},
        model_inputs=("input_ids", "attention_mask"),
        vocab_size=max(len(hf), int(ids.max(initial=0)) + 1),
        num_truncated_rows=sum(row.num_cut > 0 for row in rows),
        num_truncated_tokens=sum(row.num_cut for row in rows),
    )
