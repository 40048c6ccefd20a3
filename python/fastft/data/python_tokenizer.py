"""The reference route of a tokenizer: the call of transformers itself, on a private copy.

transformers keeps truncation settings on the tokenizer between calls and is not safe to call from
several threads; so this works on a copy of its own, one call at a time. A tokenizer with parts
written in Python cannot be copied: it is used itself, and put back as it was after each call.
"""

from __future__ import annotations

import copy
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.data.diagnose import clip
from fastft.data.token_batch import TokenBatch
from fastft.data.type_ids import TypeIds
from fastft.errors import ConfigurationError, TokenizerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase


class PythonTokenizer:
    """Encodes columns with a copy of a Hugging Face tokenizer.

    Args:
        hf: A fast tokenizer; it is read, never changed.
    """

    def __init__(self, hf: PreTrainedTokenizerBase) -> None:
        try:
            self._hf = copy.deepcopy(hf)
        except Exception:  # custom components raise whatever they like when they are pickled
            self._hf = hf
        self._lock = threading.Lock()

    def definition(self) -> str:
        """Gives the text of the `tokenizer.json`.

        Raises:
            Exception: The tokenizer has a part written in Python, which has no text.
        """
        text: str = self._hf.backend_tokenizer.to_str()
        return text

    def num_special_tokens(self, *, is_pair: bool) -> int:
        """Gives how many special tokens a row is given."""
        return int(self._hf.num_special_tokens_to_add(pair=is_pair))

    def encode(
        self,
        texts: Any,
        text_pair: Any = None,
        *,
        add_special_tokens: bool = True,
        max_length: int | None = None,
        truncation_side: str = "right",
        truncation_strategy: str = "longest_first",
        stride: int = 0,
        count_truncated_tokens: bool = False,
        **wanted: bool,
    ) -> TokenBatch:
        """Encodes Arrow columns; the options are those of `Tokenizer.encode`."""
        self._check_room(max_length if add_special_tokens else None, text_pair is not None)
        rows = texts.to_pylist()
        pairs = None if text_pair is None else text_pair.to_pylist()
        common = {"add_special_tokens": add_special_tokens}
        cut = {"max_length": max_length, "truncation": truncation_strategy, "stride": stride}
        with self._lock, _settings_put_back(self._hf):
            self._hf.truncation_side = truncation_side
            if max_length is None:
                return _batch(self._call(rows, pairs, **common, **wanted), wanted)
            # The stock call does not say how much it cuts, so that all is encoded twice.
            whole = self._call(rows, pairs, **common)
            asked = {**wanted, "return_offsets_mapping": True}
            encoded = self._call(rows, pairs, **common, **cut, **asked)
        lengths = [len(ids) for ids in whole["input_ids"]]
        long = [row for row, length in enumerate(lengths) if length > max_length]
        batch = replace(_batch(encoded, wanted), num_truncated_rows=len(long))
        overflows = wanted.get("return_overflowing_tokens", False)
        if count_truncated_tokens or overflows or truncation_side == "left":
            lost = sum(lengths[row] - max_length for row in long)
            return replace(batch, num_truncated_tokens=lost)
        columns = [rows] if pairs is None else [rows, pairs]
        characters = sum(_lost_characters(row, columns, whole, encoded) for row in long)
        return replace(batch, num_truncated_tokens=None, num_truncated_characters=characters)

    def _call(self, rows: list[str], pairs: list[str] | None, **options: Any) -> Any:
        if not rows:  # the stock call fails on an empty list
            return {"input_ids": [], "token_type_ids": []}
        settings: dict[str, Any] = {
            "truncation": False,
            "padding": False,
            "return_attention_mask": False,
            "return_token_type_ids": True,
            "verbose": False,
            **options,
        }
        settings.pop("return_word_ids", None)
        try:
            return self._hf(rows, pairs, **settings)
        except Exception as error:  # the package raises the base class for a text it cannot take
            raise self._refused(rows, pairs, settings) or error from error

    def _refused(
        self, rows: list[str], pairs: list[str] | None, settings: dict[str, Any]
    ) -> TokenizerError | None:
        """The error for the first row that is not taken, if a row alone is at fault."""
        for row, text in enumerate(rows):
            try:
                self._hf([text], None if pairs is None else [pairs[row]], **settings)
            except Exception as error:
                reason = f"the text cannot be tokenized: {error}"
                return text_refused(f"row {row}", text, reason)
        return None

    def _check_room(self, max_length: int | None, is_pair: bool) -> None:
        num_special_tokens = self.num_special_tokens(is_pair=is_pair)
        if max_length is not None and max_length < num_special_tokens:
            raise ConfigurationError(
                f"max_length {max_length} has no room for the {num_special_tokens} special tokens"
            )


def text_refused(place: str, text: str, reason: str) -> TokenizerError:
    """Returns the error for a text that a tokenizer does not take."""
    return TokenizerError(
        reason,
        place=place,
        found=clip(text),
        expected="a text that the tokenizer has tokens for",
        fix="drop the row, or give the tokenizer an unknown token (unk_token)",
    )


@contextmanager
def _settings_put_back(hf: PreTrainedTokenizerBase) -> Iterator[None]:
    backend = hf.backend_tokenizer
    side, truncation, padding = hf.truncation_side, backend.truncation, backend.padding
    try:
        yield
    finally:
        hf.truncation_side = side
        backend.no_truncation() if truncation is None else backend.enable_truncation(**truncation)
        backend.no_padding() if padding is None else backend.enable_padding(**padding)


def _batch(encoded: Any, wanted: dict[str, bool]) -> TokenBatch:
    ids, type_ids = encoded["input_ids"], encoded["token_type_ids"]
    lengths = np.array([len(row) for row in ids], np.uint64)
    row_offsets = np.concatenate([np.zeros(1, np.uint64), np.cumsum(lengths, dtype=np.uint64)])
    flat_type_ids = _flat(type_ids, np.uint8)
    words = (encoded.word_ids(row) for row in range(len(ids)))
    no_word = ([-1 if word is None else word for word in row] for row in words)
    return TokenBatch(
        _flat(ids, np.uint32),
        row_offsets,
        TypeIds(flat=flat_type_ids if flat_type_ids.any() else None),
        offset_mapping=_flat(encoded.get("offset_mapping", ()), np.uint32).reshape(-1, 2)
        if wanted.get("return_offsets_mapping")
        else None,
        word_ids=_flat(no_word, np.int32) if wanted.get("return_word_ids") else None,
        special_tokens_mask=_flat(encoded.get("special_tokens_mask", ()), np.uint8)
        if wanted.get("return_special_tokens_mask")
        else None,
        overflow_to_sample_mapping=np.array(encoded.get("overflow_to_sample_mapping", ()), np.int64)
        if wanted.get("return_overflowing_tokens")
        else None,
    )


def _lost_characters(row: int, columns: list[list[str]], whole: Any, encoded: Any) -> int:
    """Counts the characters of a row's texts behind the last token that each of them kept."""
    sequences, offsets = encoded.sequence_ids(row), encoded["offset_mapping"][row]
    lost = 0
    for sequence, column in enumerate(columns):
        ends = [end for one, (_, end) in zip(sequences, offsets, strict=True) if one == sequence]
        if len(ends) < whole.sequence_ids(row).count(sequence):
            # A class of its own may hand another text over than it is given.
            lost += max(len(column[row]) - (ends[-1] if ends else 0), 0)
    return lost


def _flat(rows: Iterable[Any], dtype: Any) -> NDArray[Any]:
    return np.array([value for row in rows for value in row], dtype)
