"""Token ids of all examples, flat in memory, as a map-style dataset of torch.

Ids take 2 bytes a token where the vocabulary allows; masks and padding are derived, never stored.
`dataset[i]` gives what the tokenizer of transformers would give for that row; a loader's
`__getitems__` gives a `BatchReference`, from which our collator gathers without Python objects.

Invariant: the arrays are checked once, by the Rust core, and never change afterwards.
"""

from __future__ import annotations

import json
import operator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from fastft import _fastft
from fastft.data import token_file
from fastft.data.batch_reference import BatchReference
from fastft.data.columns import checked_columns, column_arrays, column_from_arrays
from fastft.data.diagnose import row_places
from fastft.data.text_column import Texts, as_arrow
from fastft.data.token_batch import TokenBatch
from fastft.data.tokenizer import Tokenizer
from fastft.data.type_ids import TypeIds, concatenate
from fastft.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from transformers import PreTrainedTokenizerBase

__all__ = ["BatchReference", "TokenDataset"]

Array = NDArray[Any]

ROWS_PER_SLICE = 4096
"""Texts encoded between two looks at the keyboard: a slice takes some tens of milliseconds."""

MODEL_INPUTS = ("input_ids", "token_type_ids", "attention_mask")
"""The keys that a tokenizer call gives, in its order."""


class TokenDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Rows of token ids with their columns (labels and the like).

    Use `from_texts`, `from_arrays` or `load` to make one.

    Args:
        ids: uint16 or uint32 (N,): the token ids of all rows.
        row_offsets: uint64 (rows + 1,): where each row begins.
        type_ids: The token type ids.
        columns: Further values by name, each int64 or float32 with one entry a row, or a
            `RaggedColumn`.
        model_inputs: Which of `input_ids`, `token_type_ids`, `attention_mask` a row has.
        vocab_size: No id reaches this.
        num_truncated_rows: How many rows lost tokens when they were encoded.
        num_truncated_tokens: How many tokens they lost.

    Raises:
        DataError: The arrays do not fit together, or an id is not below `vocab_size`.
        ColumnError: A column has another length, or values that are not numbers.
    """

    def __init__(
        self,
        ids: Array,
        row_offsets: Array,
        type_ids: TypeIds | None = None,
        *,
        columns: Mapping[str, Any] | None = None,
        model_inputs: Sequence[str] = MODEL_INPUTS,
        vocab_size: int | None = None,
        num_truncated_rows: int = 0,
        num_truncated_tokens: int = 0,
    ) -> None:
        type_ids = type_ids or TypeIds()
        self.ids: Array = _frozen(ids)
        self.row_offsets: Array = _frozen(row_offsets)
        self.type_ids = TypeIds(_frozen(type_ids.second_segment_starts), _frozen(type_ids.flat))
        self.model_inputs = tuple(name for name in MODEL_INPUTS if name in model_inputs)
        self.vocab_size = vocab_size
        self.num_truncated_rows = num_truncated_rows
        self.num_truncated_tokens = num_truncated_tokens
        self.rust = _fastft.TokenDataset(
            self.ids,
            self.row_offsets,
            second_segment_starts=self.type_ids.second_segment_starts,
            flat_type_ids=self.type_ids.flat,
            vocab_size=vocab_size,
        )
        self.columns = checked_columns(columns or {}, num_rows=len(self), reserved=MODEL_INPUTS)
        self.lengths: NDArray[np.uint32] = np.diff(self.row_offsets).astype(np.uint32)

    @classmethod
    def from_texts(
        cls,
        texts: Texts,
        tokenizer: Tokenizer | PreTrainedTokenizerBase,
        *,
        text_pair: Texts | None = None,
        max_length: int | None = None,
        columns: Mapping[str, Any] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> TokenDataset:
        """Encodes texts, or pairs of texts, in slices between which Ctrl-C is heard.

        Args:
            texts: Strings, or an Arrow string array.
            tokenizer: A fast tokenizer.
            text_pair: The second texts, as many as `texts`.
            max_length: The greatest length of a row, special tokens included.
            columns: Further values by name, one entry a row: `{"labels": [0, 1, ...]}`.
            progress: Called after each slice with the number of rows done.

        Raises:
            DataError: A text is missing, not a string or not valid Unicode.
            ColumnError: A column has another length, or values that are not numbers.
            TokenizerError: The tokenizer is not a fast one.

        Example:
            >>> dataset = TokenDataset.from_texts(  # doctest: +SKIP
            ...     ["good", "bad"], tokenizer, max_length=128, columns={"labels": [1, 0]}
            ... )
        """
        tokenizer = Tokenizer.from_hf(tokenizer)
        text_column = as_arrow(texts)
        pair_column = None if text_pair is None else as_arrow(text_pair, name="text_pair")
        if pair_column is not None and len(pair_column) != len(text_column):
            found = f"{len(text_column)} and {len(pair_column)} rows"
            raise DataError("texts and text_pair differ in length", found=found)
        num_rows = len(text_column)
        checked = checked_columns(columns or {}, num_rows=num_rows, reserved=MODEL_INPUTS)

        batches: list[TokenBatch] = []
        for start in range(0, max(len(text_column), 1), ROWS_PER_SLICE):
            rows = slice(start, start + ROWS_PER_SLICE)
            pair = None if pair_column is None else pair_column[rows]
            with row_places(partial(_row_of_slice, start)):
                batch = tokenizer.encode(text_column[rows], pair, max_length=max_length)
            batches.append(_narrowed(batch, tokenizer.vocab_size))
            if progress is not None:
                progress(min(start + ROWS_PER_SLICE, len(text_column)))
        return cls._from_batches(batches, tokenizer, checked)

    @classmethod
    def _from_batches(
        cls, batches: list[TokenBatch], tokenizer: Tokenizer, columns: Mapping[str, Any]
    ) -> TokenDataset:
        # Mixed widths (an added token beyond 65,535) become the wider one here.
        ids = np.concatenate([batch.ids for batch in batches])
        lengths = [np.diff(batch.row_offsets).astype(np.uint32) for batch in batches]
        row_offsets = np.zeros(sum(map(len, lengths)) + 1, np.uint64)
        np.cumsum(np.concatenate(lengths), out=row_offsets[1:], dtype=np.uint64)
        parts = [(batch.type_ids, part) for batch, part in zip(batches, lengths, strict=True)]
        model_inputs = tokenizer.hf.model_input_names
        return cls(
            ids,
            row_offsets,
            concatenate(parts) if "token_type_ids" in model_inputs else None,
            columns=columns,
            model_inputs=model_inputs,
            vocab_size=max(tokenizer.vocab_size, int(ids.max(initial=0)) + 1),
            num_truncated_rows=sum(batch.num_truncated_rows for batch in batches),
            num_truncated_tokens=sum(batch.num_truncated_tokens for batch in batches),
        )

    @property
    def num_tokens(self) -> int:
        """The number of tokens in all rows."""
        return len(self.ids)

    def __len__(self) -> int:
        return len(self.row_offsets) - 1

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = operator.index(index)
        row = row + len(self) if row < 0 else row
        if not 0 <= row < len(self):
            raise IndexError(f"row {index} of a dataset of {len(self)} rows")
        start, end = int(self.row_offsets[row]), int(self.row_offsets[row + 1])
        example: dict[str, Any] = {}
        for name in self.model_inputs:
            if name == "input_ids":
                example[name] = self.ids[start:end].tolist()
            elif name == "token_type_ids":
                example[name] = self.type_ids.row(row, start, end).tolist()
            else:
                example[name] = [1] * (end - start)
        for name, column in self.columns.items():
            example[name] = column[row].tolist()
        return example

    def __getitems__(self, indices: Sequence[int] | NDArray[np.int64]) -> BatchReference:
        return BatchReference(self, indices)

    def __repr__(self) -> str:
        columns = ", ".join([*self.model_inputs, *self.columns])
        return f"TokenDataset({len(self)} rows, {self.num_tokens} tokens; {columns})"

    def __reduce__(self) -> tuple[Callable[..., TokenDataset], tuple[dict[str, Array]]]:
        return TokenDataset.from_arrays, (self.arrays(),)

    def _flat_arrays(self) -> dict[str, Array]:
        arrays = {
            "ids": self.ids,
            "row_offsets": self.row_offsets,
            "second_segment_starts": self.type_ids.second_segment_starts,
            "token_type_ids": self.type_ids.flat,
        }
        return {name: array for name, array in arrays.items() if array is not None}

    def arrays(self) -> dict[str, Array]:
        """Gives everything that `from_arrays` needs, as numpy arrays (nothing is copied).

        Returns:
            `ids`, `row_offsets`, the type ids in their smallest form, `column.<name>` for each
            column, `column_offsets.<name>` for those whose rows differ in length, and `metadata`:
            JSON as uint8.
        """
        metadata = {
            "columns": list(self.columns),
            "model_inputs": self.model_inputs,
            "num_truncated_rows": self.num_truncated_rows,
            "num_truncated_tokens": self.num_truncated_tokens,
            "vocab_size": self.vocab_size,
        }
        encoded = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
        return {**self._flat_arrays(), **column_arrays(self.columns), "metadata": encoded}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> TokenDataset:
        """Makes a dataset from what `arrays()` gave, perhaps on another rank.

        Raises:
            DataError: An array is missing, or they do not fit together.
        """
        try:
            metadata = json.loads(arrays["metadata"].tobytes())
            names = metadata.pop("columns")
            return cls(
                arrays["ids"],
                arrays["row_offsets"],
                TypeIds(arrays.get("second_segment_starts"), arrays.get("token_type_ids")),
                columns={name: column_from_arrays(arrays, name) for name in names},
                **metadata,
            )
        except DataError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                "these arrays do not make a token dataset", found=f"{type(error).__name__}: {error}"
            ) from error

    def save(self, path: str | Path) -> None:
        """Writes the dataset to one safetensors file, whole or not at all.

        Raises:
            OutputError: The file cannot be written.
        """
        token_file.write(Path(path), self.arrays())

    @classmethod
    def load(cls, path: str | Path) -> TokenDataset:
        """Reads what `save` wrote.

        Raises:
            DataNotFoundError: There is no such file.
            DataError: The file is damaged, or is none of ours.
        """
        return cls.from_arrays(token_file.read(Path(path)))


def _row_of_slice(start: int, row: int) -> str:
    return f"row {start + row}"


def _narrowed(batch: TokenBatch, vocab_size: int) -> TokenBatch:
    """The batch with 16-bit ids where they fit, so that slices do not pile up in 32 bit."""
    if max(vocab_size, int(batch.ids.max(initial=0)) + 1) > 2**16:
        return batch
    return TokenBatch(
        cast(Any, batch.ids.astype(np.uint16)),
        batch.row_offsets,
        batch.type_ids,
        batch.num_truncated_rows,
        batch.num_truncated_tokens,
    )


def _frozen(array: Any) -> Any:
    """A view of the array that cannot be written to; what is no array stays as it is."""
    if not isinstance(array, np.ndarray):
        return array
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
