"""Files to token ids, part by part, into a folder of arrays: nothing of their size is in memory.

    files ─► parts of a few MiB ─► Tokenizer.encode ─► ids, row offsets, type ids, columns on disk

Invariant: the arrays are those that `TokenDataset.from_texts` makes of the same rows.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tokenizers

import fastft
from fastft.data.diagnose import row_places
from fastft.data.part_columns import label_column_of, number_column_of, text_column_of
from fastft.data.readers import DEFAULT_OPTIONS, ReadOptions
from fastft.data.table_stream import stream_tables
from fastft.data.token_batch import truncation_counts
from fastft.data.token_cache import build_apart, open_or_build
from fastft.data.token_shards import ArrayWriter, write_manifest
from fastft.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fastft.data.table_stream import TablePart
    from fastft.data.token_batch import TokenBatch
    from fastft.data.token_shards import Shards
    from fastft.data.tokenizer import Tokenizer

    Array = NDArray[Any]


class _OtherForm(Exception):
    """An array turned out to need another form than its first parts had; called by its name."""

    def __init__(self, array: str, form: str) -> None:
        self.array = array
        self.form = form


@dataclass(frozen=True)
class Streaming:
    """What is made of files.

    Attributes:
        files: The files, in the order of their rows.
        tokenizer: The tokenizer.
        text: The column of texts.
        text_pair: The column of second texts.
        columns: For each further column of the dataset, the column of the files.
        max_length: The greatest length of a row.
        count_truncated_tokens: Whether to count the tokens that rows lose, not the characters.
        label_names: The values of the column `labels` in order, where it holds names.
        options: How files are read.
        progress: Called after each part with the number of rows done.
    """

    files: Sequence[Path]
    tokenizer: Tokenizer
    text: str
    text_pair: str | None
    columns: Mapping[str, str]
    max_length: int | None
    count_truncated_tokens: bool = False
    label_names: tuple[str, ...] | None = None
    options: ReadOptions = DEFAULT_OPTIONS
    progress: Callable[[int], None] | None = None

    def recipe(self) -> dict[str, Any] | None:
        """Everything but the files that the arrays depend on; None when that is not known."""
        fingerprint = self.tokenizer.fingerprint()
        if fingerprint is None:
            return None
        return {
            "versions": [fastft.__version__, tokenizers.__version__],
            "tokenizer": fingerprint,
            "model_inputs": list(self.tokenizer.hf.model_input_names),
            "suffixes": [file.suffix.lower() for file in self.files],
            "text": [self.text, self.text_pair],
            "columns": dict(self.columns),
            "max_length": self.max_length,
            "count_truncated_tokens": self.count_truncated_tokens,
            "label_names": self.label_names,
            "options": [self.options.quoting, self.options.encoding],
        }

    def open(self, root: Path) -> Shards:
        """Gives the arrays, from the cache in `root` when it holds them.

        Raises:
            DataError: A file or a row cannot be used.
            OutputError: The disk is full.
        """
        recipe = self.recipe()
        if recipe is None:
            reason = f"nothing says when {type(self.tokenizer.hf).__name__} changes"
            return build_apart(self.write, reason)
        return open_or_build(self.files, recipe, self.write, root)

    def write(self, folder: Path) -> list[str]:
        """Writes the arrays into an empty folder.

        Returns:
            The SHA-256 of each file.

        Raises:
            DataError: A file or a row cannot be used.
            OutputError: The folder cannot be written to.
        """
        forms: dict[str, str] = {}
        while True:
            try:
                return _Build(self, folder, forms).run()
            except _OtherForm as other:
                forms[other.array] = other.form
            except OSError as error:
                raise OutputError(
                    "the token dataset cannot be written",
                    place=str(folder),
                    found=error.strerror or str(error),
                    fix="make room, or name another folder with cache_dir=",
                ) from error
            for path in folder.iterdir():
                path.unlink()


class _Build:
    """One pass over the files.

    Args:
        streaming: What to do.
        folder: Where the arrays are made.
        forms: By name of the array, the form that an earlier pass found out: `flat` type ids, float
            columns.
    """

    def __init__(self, streaming: Streaming, folder: Path, forms: Mapping[str, str]) -> None:
        self.streaming = streaming
        self.folder = folder
        self.forms = forms
        self.writers: dict[str, ArrayWriter] = {}
        self.num_rows = 0
        self.highest = -1
        self.num_truncated: dict[str, Any] = {}

    def run(self) -> list[str]:
        hashers = [hashlib.sha256() for _ in self.streaming.files]
        try:
            self._append("row_offsets", np.zeros(1, np.uint64))
            self._append("ids", np.empty(0, self._id_dtype()))
            for file, hasher in zip(self.streaming.files, hashers, strict=True):
                for part in stream_tables(file, hasher, self._options()):
                    self._add(part)
            entries = {name: writer.finish() for name, writer in self.writers.items()}
            write_manifest(self.folder, entries, self._metadata())
        finally:
            for writer in self.writers.values():
                writer.close()
        return [hasher.hexdigest() for hasher in hashers]

    def _options(self) -> ReadOptions:
        names = (self.streaming.text, self.streaming.text_pair)
        given = self.streaming.options
        return ReadOptions(
            quoting=given.quoting,
            encoding=given.encoding,
            text_columns=tuple(name for name in names if name),
        )

    def _id_dtype(self) -> type[np.unsignedinteger[Any]]:
        vocabulary = self.streaming.tokenizer.hf.get_vocab()
        highest = max(vocabulary.values(), default=0)
        return np.uint16 if max(highest + 1, len(vocabulary)) <= 2**16 else np.uint32

    def _add(self, part: TablePart) -> None:
        streaming = self.streaming
        texts = text_column_of(part, streaming.text)
        pair = None if streaming.text_pair is None else text_column_of(part, streaming.text_pair)
        columns = {name: self._column(part, name) for name in streaming.columns}
        with row_places(part.place):
            batch = streaming.tokenizer.encode(
                texts,
                pair,
                max_length=streaming.max_length,
                count_truncated_tokens=streaming.count_truncated_tokens,
            )
        self._add_tokens(batch)
        for name, values in columns.items():
            self._add_column(name, values)
        self.num_rows += len(batch)
        if streaming.progress is not None:
            streaming.progress(self.num_rows)

    def _column(self, part: TablePart, name: str) -> Array:
        found, label_names = self.streaming.columns[name], self.streaming.label_names
        if name == "labels" and label_names is not None:
            return label_column_of(part, found, label_names)
        return number_column_of(part, found)

    def _add_tokens(self, batch: TokenBatch) -> None:
        self.highest = max(self.highest, int(batch.ids.max(initial=0)))
        start = self.writers["ids"].length
        self._append("ids", batch.ids)
        self._append("row_offsets", batch.row_offsets[1:] + np.uint64(start))
        for name, count in truncation_counts([batch]).items():
            # Every part counts the same: tokens, or characters.
            known = None if count is None else self.num_truncated.get(name, 0) + count
            self.num_truncated[name] = known
        if "token_type_ids" in self.streaming.tokenizer.hf.model_input_names:
            self._add_type_ids(batch)

    def _add_type_ids(self, batch: TokenBatch) -> None:
        type_ids, lengths = batch.type_ids, np.diff(batch.row_offsets).astype(np.uint32)
        form = self.forms.get("token_type_ids", "starts" if self.streaming.text_pair else "zero")
        is_zero = type_ids.flat is None and type_ids.second_segment_starts is None
        if form == "flat":
            self._append("token_type_ids", type_ids.expanded(lengths))
        elif type_ids.flat is not None or (form == "zero" and not is_zero):
            raise _OtherForm("token_type_ids", "flat")
        elif form == "starts":
            starts = lengths if is_zero else type_ids.second_segment_starts
            self._append("second_segment_starts", np.asarray(starts))

    def _add_column(self, name: str, values: Array) -> None:
        array = f"column.{name}"
        form = self.forms.get(array, str(values.dtype))
        writer = self.writers.get(array)
        if form == "float32" and writer is not None and writer.dtype == np.int64:
            raise _OtherForm(array, form)
        self._append(array, values.astype(form, copy=False))

    def _append(self, name: str, values: Array) -> None:
        if name not in self.writers:
            self.writers[name] = ArrayWriter(self.folder, name, values.dtype)
        self.writers[name].append(values)

    def _metadata(self) -> dict[str, Any]:
        tokenizer = self.streaming.tokenizer
        return {
            "columns": list(self.streaming.columns),
            "model_inputs": list(tokenizer.hf.model_input_names),
            "vocab_size": max(tokenizer.vocab_size, self.highest + 1),
            **self.num_truncated,
        }
