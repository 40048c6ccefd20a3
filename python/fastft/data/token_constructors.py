"""Where token datasets come from: texts, files, tables, arrays, the files of other tools."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.data.columns import checked_columns
from fastft.data.encoded_slices import encode_slices
from fastft.data.megatron import read_megatron
from fastft.data.part_columns import checked_names, existing_file
from fastft.data.readers import ReadOptions
from fastft.data.streamed_tokens import Streaming
from fastft.data.text_column import as_arrow
from fastft.data.token_cache import cache_root
from fastft.data.token_table import MODEL_INPUTS, as_table, tokens_of_pair, tokens_of_table
from fastft.data.tokenizer import Tokenizer
from fastft.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

    from transformers import PreTrainedTokenizerBase

    from fastft.data.text_column import Texts
    from fastft.data.token_shards import Shards


class TokenConstructors:
    """The class methods of `TokenDataset` that make one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError

    @classmethod
    def _of_shards(cls, shards: Shards, encode_again: Callable[[], Shards] | None = None) -> Self:
        raise NotImplementedError

    @classmethod
    def from_texts(
        cls,
        texts: Texts,
        tokenizer: Tokenizer | PreTrainedTokenizerBase,
        *,
        text_pair: Texts | None = None,
        max_length: int | None = None,
        count_truncated_tokens: bool = False,
        columns: Mapping[str, Any] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Self:
        """Encodes texts, or pairs of texts, in slices between which Ctrl-C is heard.

        Args:
            texts: Strings, or an Arrow string array.
            tokenizer: A fast tokenizer.
            text_pair: The second texts, as many as `texts`.
            max_length: The greatest length of a row, special tokens included.
            count_truncated_tokens: Whether to count the tokens that rows lose, which takes longer,
                and not the characters.
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
        num_rows = len(text_column)
        if pair_column is not None and len(pair_column) != num_rows:
            found = f"{num_rows} and {len(pair_column)} rows"
            raise DataError("texts and text_pair differ in length", found=found)
        checked = checked_columns(columns or {}, num_rows=num_rows, reserved=MODEL_INPUTS)
        encoded = encode_slices(
            text_column,
            pair_column,
            tokenizer,
            max_length,
            count_truncated_tokens=count_truncated_tokens,
            progress=progress,
        )
        return cls(**encoded, columns=checked)

    @classmethod
    def from_files(
        cls,
        files: str | Path | Sequence[str | Path],
        tokenizer: Tokenizer | PreTrainedTokenizerBase,
        *,
        text: str = "text",
        text_pair: str | None = None,
        max_length: int | None = None,
        count_truncated_tokens: bool = False,
        columns: Mapping[str, str] | None = None,
        label_names: Sequence[str] | None = None,
        quoting: bool = False,
        encoding: str | None = None,
        cache_dir: str | Path | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Self:
        """Encodes files of any size with little memory, once: the next run finds the tokens.

        The files are read and encoded a few MiB at a time into a folder of the cache, whose arrays
        are mapped. The same content, tokenizer and settings are found there again, in any process.

        Args:
            files: csv, tsv, jsonl, json, parquet or txt files (a line of txt is a `text`). A json
                file that is one array is read whole.
            tokenizer: A fast tokenizer.
            text: The column of texts.
            text_pair: The column of second texts.
            max_length: The greatest length of a row, special tokens included.
            count_truncated_tokens: Whether to count the tokens that rows lose, which takes longer,
                and not the characters.
            columns: Further columns of numbers, by their names in the files: `{"labels": "label"}`.
            label_names: The values of the column `labels` in order, where it holds names.
            quoting: Whether a double quote quotes a field of a tsv file; in csv it always does.
            encoding: The encoding of text files; UTF-8 when None.
            cache_dir: The folder of the cache; `$FASTFT_CACHE` or `~/.cache/fastft` when None.
            progress: Called now and then with the number of rows done.

        Raises:
            DataNotFoundError: A file is not there.
            DataError: A file is broken, or a text is missing or not valid Unicode.
            ColumnError: A column is missing or holds no numbers.
            OutputError: The disk is full.

        Example:
            >>> dataset = TokenDataset.from_files(  # doctest: +SKIP
            ...     "train.csv", "bert-base-uncased", columns={"labels": "label"}, max_length=128
            ... )
        """
        given = [files] if isinstance(files, (str, Path)) else files
        streaming = Streaming(
            files=tuple(existing_file(file) for file in given),
            tokenizer=Tokenizer.from_hf(tokenizer),
            text=text,
            text_pair=text_pair,
            columns=checked_names(columns or {}, reserved=MODEL_INPUTS),
            max_length=max_length,
            count_truncated_tokens=count_truncated_tokens,
            label_names=None if label_names is None else tuple(label_names),
            options=ReadOptions(quoting=quoting, encoding=encoding),
            progress=progress,
        )
        encode_again = partial(streaming.open, cache_root(cache_dir))
        return cls._of_shards(encode_again(), encode_again)

    @classmethod
    def from_table(cls, table: Any, *, vocab_size: int | None = None) -> Self:
        """Takes over rows that are tokens already: a `datasets.Dataset`, or an Arrow table.

        Ids of 32 bits in one chunk are read where they lie. Columns of numbers, and of lists of
        whole numbers, come along.

        Args:
            table: A `datasets.Dataset`, a pyarrow Table, or another object that speaks Arrow, with
                a column `input_ids` of lists, and perhaps `token_type_ids` and `attention_mask`.
            vocab_size: No id reaches this.

        Raises:
            ColumnError: There are no `input_ids`, or a column holds no numbers.
            DataError: A row is missing, holds padding, or an id is out of range.

        Example:
            >>> import pyarrow as pa
            >>> TokenDataset.from_table(pa.table({"input_ids": [[5, 6], [7]], "labels": [0, 1]}))
            TokenDataset(2 rows, 3 tokens; input_ids, labels)
        """
        return cls(**tokens_of_table(as_table(table)), vocab_size=vocab_size)

    @classmethod
    def from_dataset(cls, dataset: Any, *, vocab_size: int | None = None) -> Self:
        """Takes over a tokenised `datasets.Dataset`; see `from_table`."""
        return cls.from_table(dataset, vocab_size=vocab_size)

    @classmethod
    def from_ragged(
        cls,
        ids: Any,
        row_offsets: Any,
        *,
        columns: Mapping[str, Any] | None = None,
        vocab_size: int | None = None,
    ) -> Self:
        """Takes over tokens that lie flat in one array, and where each row begins in it.

        Ids of 16 or 32 bits are read where they lie; of 64 bits they are copied once.

        Args:
            ids: Whole numbers (N,): the token ids of all rows, as numpy, torch or a list.
            row_offsets: Whole numbers (rows + 1,): where each row begins, from 0 to N.
            columns: Further values by name, one entry a row, or a `RaggedColumn`.
            vocab_size: No id reaches this.

        Raises:
            DataError: The arrays do not fit together, or an id is out of range.
            ColumnError: A column has another length, or values that are not numbers.

        Example:
            >>> import fastft
            >>> fastft.TokenDataset.from_ragged([5, 6, 7], [0, 2, 3], columns={"labels": [0, 1]})
            TokenDataset(2 rows, 3 tokens; input_ids, attention_mask, labels)
        """
        return cls(**tokens_of_pair(ids, row_offsets), columns=columns, vocab_size=vocab_size)

    @classmethod
    def from_megatron(cls, prefix: str | Path, *, vocab_size: int | None = None) -> Self:
        """Maps tokens that Megatron-LM's tools have written, a row for each sequence.

        Args:
            prefix: The path of both files, without `.bin` and `.idx`.
            vocab_size: No id reaches this.

        Raises:
            DataNotFoundError: A file is not there.
            DataError: The files are damaged, or hold no token ids.
        """
        ids, row_offsets = read_megatron(prefix)
        inputs = ("input_ids", "attention_mask")
        return cls(ids, row_offsets, model_inputs=inputs, vocab_size=vocab_size)
