"""Token ids of all examples, flat in memory, as a map-style dataset of torch.

Ids take 2 bytes a token where the vocabulary allows; masks and padding are derived, never stored.
`dataset[i]` gives what the tokenizer of transformers would give for that row; a loader's
`__getitems__` gives a `BatchReference`, from which our collator gathers without Python objects.

Invariant: the arrays are checked once, by the Rust core, and never change afterwards.
"""

from __future__ import annotations

import hashlib
import operator
import warnings
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from fastft import _fastft
from fastft.data import overlong as overlong_rows
from fastft.data import token_file
from fastft.data.batch_reference import BatchReference
from fastft.data.columns import checked_columns, rust_columns
from fastft.data.lengths import lengths_digest
from fastft.data.token_arrays import as_bytes, from_arrays, to_arrays
from fastft.data.token_batch import row_lengths
from fastft.data.token_cache import TokenCacheWarning, discard
from fastft.data.token_constructors import TokenConstructors
from fastft.data.token_shards import damaged, open_shards
from fastft.data.token_table import MODEL_INPUTS
from fastft.data.type_ids import TypeIds
from fastft.errors import DamagedFileError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fastft.data.columns import Column
    from fastft.data.token_shards import Shards

__all__ = ["BatchReference", "TokenDataset"]

Array = NDArray[Any]
Result = TypeVar("Result")

COUNTS = (
    "num_truncated_rows",
    "num_truncated_tokens",
    "num_truncated_characters",
    "num_dropped_rows",
    "num_split_rows",
)
"""What was lost when rows were encoded or made to fit."""


class TokenDataset(TokenConstructors, torch.utils.data.Dataset[dict[str, Any]]):
    """Rows of token ids with their columns (labels and the like).

    Use `from_texts`, `from_files`, `from_table`, `from_ragged` or `load` to make one.

    Args:
        ids: uint16 or uint32 (N,): the token ids of all rows.
        row_offsets: uint64 (rows + 1,): where each row begins.
        type_ids: The token type ids.
        columns: Further values by name, each int64 or float32 with one entry a row, or a
            `RaggedColumn`.
        model_inputs: Which of `input_ids`, `token_type_ids`, `attention_mask` a row has.
        vocab_size: No id reaches this.
        num_truncated_rows: How many rows lost tokens when they were encoded.
        num_truncated_tokens: How many tokens they lost; None where characters were counted.
        num_truncated_characters: How many characters they lost; None where tokens were counted.
        num_dropped_rows: How many rows `fit` left out.
        num_split_rows: How many rows `fit` cut into pieces.
        checksums: uint32 (blocks,): the CRC-32 of each block of ids that lie in a file. They are
            compared when a block is first read; `vocab_size` was looked at when it was written.

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
        num_truncated_tokens: int | None = 0,
        num_truncated_characters: int | None = None,
        num_dropped_rows: int = 0,
        num_split_rows: int = 0,
        checksums: NDArray[np.uint32] | None = None,
    ) -> None:
        type_ids = type_ids or TypeIds()
        self._ids: Array = _frozen(ids)
        self.row_offsets: Array = _frozen(row_offsets)
        self.type_ids = TypeIds(_frozen(type_ids.second_segment_starts), _frozen(type_ids.flat))
        self.model_inputs = tuple(name for name in MODEL_INPUTS if name in model_inputs)
        self.vocab_size = vocab_size
        self.num_truncated_rows = num_truncated_rows
        self.num_truncated_tokens = num_truncated_tokens
        self.num_truncated_characters = num_truncated_characters
        self.num_dropped_rows = num_dropped_rows
        self.num_split_rows = num_split_rows
        self.folder: Path | None = None
        self._fingerprint: str | None = None
        self._encode_again: Callable[[], Shards] | None = None
        self.rust = _fastft.TokenDataset(
            self._ids,
            self.row_offsets,
            second_segment_starts=self.type_ids.second_segment_starts,
            flat_type_ids=self.type_ids.flat,
            vocab_size=vocab_size if checksums is None else None,
            checksums=checksums,
        )
        checked = checked_columns(columns or {}, num_rows=len(self), reserved=MODEL_INPUTS)
        self.columns: Mapping[str, Column] = MappingProxyType(checked)
        self.rust = self.rust.with_columns(rust_columns(checked))
        # What is kept about a dataset is kept by this: it is equal to nothing, in any process.
        self.identity = object()
        self.lengths: NDArray[np.uint32] = row_lengths(self.row_offsets)

    @classmethod
    def _of_shards(
        cls, shards: Shards, encode_again: Callable[[], Shards] | None = None
    ) -> TokenDataset:
        dataset = cls.from_arrays(
            {**shards.arrays, "metadata": as_bytes(shards.metadata)}, shards.ids_checksums
        )
        dataset.folder = shards.folder
        dataset._encode_again = encode_again
        return dataset

    @property
    def num_tokens(self) -> int:
        """The number of tokens in all rows."""
        return len(self._ids)

    @property
    def ids(self) -> Array:
        """uint16 or uint32 (N,): the token ids of all rows; those of a file are compared first."""
        if self.folder is not None:
            self._or_encoded_again(lambda: self.rust.check_blocks())
        return self._ids

    def row_ids(self, row: int) -> Array:
        """Gives the token ids of a row, 0 to rows - 1; of a file, its blocks alone are compared."""
        if self.folder is not None:
            self._or_encoded_again(lambda: self.rust.check_row(row))
        return self._ids[int(self.row_offsets[row]) : int(self.row_offsets[row + 1])]

    def fit(self, max_length: int, overlong: str = "error") -> TokenDataset:
        """Gives a dataset whose rows have at most `max_length` tokens.

        Columns follow: an entry a row is kept, or repeated for the pieces of a row; a
        `RaggedColumn` with a value for every token is cut as the tokens are. Special tokens are
        tokens like others: a piece has only those that lie in it.

        Args:
            max_length: The most tokens of a row.
            overlong: What becomes of a longer row: "error"; "truncate" to its first tokens;
                "split" into pieces of at most so many, which share the ids in memory; "drop".

        Returns:
            The dataset itself where no row is too long. Else a new one that counts what it lost:
            `num_truncated_rows` and `num_truncated_tokens` grow (a row cut twice counts twice;
            characters lost in encoding stay counted as such), or it has `num_dropped_rows`, or
            `num_split_rows`.

        Raises:
            ConfigurationError: A row is too long, or an argument has no such value.
            ColumnError: Rows are to be split, and a column has runs of other lengths.

        Example:
            >>> ids, offsets = np.arange(5, dtype=np.uint16), np.array([0, 4, 5], np.uint64)
            >>> TokenDataset(ids, offsets).fit(3, overlong="split").lengths
            array([3, 1, 1], dtype=uint32)
        """
        flat = (self.ids, self.row_offsets, self.type_ids)
        fitted = overlong_rows.fitted(flat, self.columns, self.lengths, max_length, overlong)
        is_overlong = self.lengths > max_length
        if not is_overlong.any():
            return self
        num_lost = self.num_tokens - len(fitted["ids"])
        counts = {name: getattr(self, name) for name in COUNTS}
        return TokenDataset(
            **fitted,
            model_inputs=self.model_inputs,
            vocab_size=self.vocab_size,
            **overlong_rows.counts_after(counts, overlong, int(is_overlong.sum()), num_lost),
        )

    def collate(
        self,
        indices: NDArray[np.int64],
        recipe: _fastft.Recipe,
        numbers: NDArray[np.int64] | None = None,
    ) -> dict[str, Any]:
        """Makes the arrays of a batch; see `_fastft.TokenDataset.collate`.

        Raises:
            DamagedFileError: The file does not hold what was written, and the dataset does not know
                what it was made of.
        """
        if self.folder is None:
            return self.rust.collate(indices, recipe, numbers)
        return self._or_encoded_again(lambda: self.rust.collate(indices, recipe, numbers))

    def _or_encoded_again(self, read: Callable[[], Result]) -> Result:
        """Reads, and when the file turns out to be damaged, makes it again and reads once more."""
        try:
            return read()
        except DamagedFileError as error:
            assert self.folder is not None
            fault = damaged(self.folder / "ids.safetensors", error.problem)
            if self._encode_again is None:
                raise fault from error
            discard(self.folder)
            warnings.warn(
                f"{fault.place}: {fault.found}; it is made again", TokenCacheWarning, stacklevel=3
            )
            self.__dict__ |= self._of_shards(self._encode_again(), self._encode_again).__dict__
            return read()

    def fingerprint(self) -> str:
        """Gives a short hash of the lengths of all rows and of the first ids.

        It tells one data set from another without reading them; equal ids are not proved by it.
        """
        if self._fingerprint is None:
            digest = hashlib.blake2b(self.lengths_digest, digest_size=8)
            digest.update(self._ids[:1024].tobytes())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    @cached_property
    def lengths_digest(self) -> bytes:
        """A hash of the lengths of all rows, which takes a while for millions."""
        return lengths_digest(self.lengths)

    def __len__(self) -> int:
        return len(self.row_offsets) - 1

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = operator.index(index)
        row = row + len(self) if row < 0 else row
        if not 0 <= row < len(self):
            raise IndexError(f"row {index} of a dataset of {len(self)} rows")
        ids = self.row_ids(row)
        start, end = int(self.row_offsets[row]), int(self.row_offsets[row + 1])
        example: dict[str, Any] = {}
        for name in self.model_inputs:
            if name == "input_ids":
                example[name] = ids.tolist()
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
        counts = {"left out": self.num_dropped_rows, "split": self.num_split_rows}
        fitted = "".join(f"; {count} rows {what}" for what, count in counts.items() if count)
        return f"TokenDataset({len(self)} rows, {self.num_tokens} tokens; {columns}{fitted})"

    def __reduce__(self) -> tuple[Callable[..., TokenDataset], tuple[Any]]:
        if self.folder is not None and self.folder.is_dir():
            return TokenDataset.load, (self.folder,)
        return TokenDataset.from_arrays, (self.arrays(),)

    def arrays(self) -> dict[str, Array]:
        """Gives everything that `from_arrays` needs, as numpy arrays (nothing is copied).

        Returns:
            `ids`, `row_offsets`, the type ids in their smallest form, `column.<name>` for each
            column, `column_offsets.<name>` for those whose rows differ in length, and `metadata`:
            JSON as uint8.
        """
        flat = {
            "ids": self.ids,
            "row_offsets": self.row_offsets,
            "second_segment_starts": self.type_ids.second_segment_starts,
            "token_type_ids": self.type_ids.flat,
        }
        metadata = {name: getattr(self, name) for name in ("model_inputs", *COUNTS, "vocab_size")}
        return to_arrays(flat, self.columns, metadata)

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, Array], checksums: NDArray[np.uint32] | None = None
    ) -> TokenDataset:
        """Makes a dataset from what `arrays()` gave, perhaps on another rank.

        Args:
            arrays: The arrays.
            checksums: Those of the ids, when they lie in a file.

        Raises:
            DataError: An array is missing, or they do not fit together.
        """
        try:
            return cls(**from_arrays(arrays), checksums=checksums)
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
        """Reads what `save` wrote, or maps a folder that `from_files` made (`dataset.folder`).

        Raises:
            DataNotFoundError: There is no such file.
            DataError: The file is damaged, or is none of ours.
        """
        if Path(path).is_dir():
            return cls._of_shards(open_shards(Path(path)))
        return cls.from_arrays(token_file.read(Path(path)))


def _frozen(array: Any) -> Any:
    """A view of the array that cannot be written to; what is no array stays as it is."""
    if not isinstance(array, np.ndarray):
        return array
    view = np.ascontiguousarray(array).view()
    view.setflags(write=False)
    return view
