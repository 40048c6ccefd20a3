"""Text to token ids: a Hugging Face fast tokenizer, run on whole columns in Rust.

The definition of the tokenizer is handed to Rust once, and the ids come back flat. A self-check at
load compares the ids with those of the installed Python tokenizer; where they differ, or where the
Rust side cannot read the definition, the Python tokenizer does the work and `explain()` says why.

Invariant: the tokenizer that was given is never changed, and nothing carries over from one call
to the next, so that any number of threads may encode at once. What is added to the given tokenizer
later is not seen: it was read when the `Tokenizer` was made.
"""

from __future__ import annotations

import os
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastft import _fastft
from fastft.data import probes
from fastft.data.python_tokenizer import PythonTokenizer, text_refused
from fastft.data.text_column import Texts, as_arrow, buffers
from fastft.data.token_batch import TokenBatch
from fastft.data.type_ids import TypeIds
from fastft.errors import ConfigurationError, DataError, ModelNotFoundError, TokenizerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from transformers import PreTrainedTokenizerBase


class TokenizerFallbackWarning(UserWarning):
    """A tokenizer runs through the Python package instead of through Rust; the text says why."""


class Tokenizer:
    """A Hugging Face fast tokenizer whose `encode` takes a column and gives flat ids.

    Use `Tokenizer.from_hf` to make one.

    Args:
        hf: The tokenizer of transformers, left as it is.
        python: The reference route through the Python package.
        rust: The Rust route, or None where the Python route does the work.
        explanation: What `explain()` says.
    """

    hf: PreTrainedTokenizerBase

    def __init__(
        self,
        hf: PreTrainedTokenizerBase,
        python: PythonTokenizer,
        rust: _fastft.Tokenizer | None,
        explanation: str,
    ) -> None:
        self.hf = hf
        self._python = python
        self._rust = rust
        self._explanation = explanation

    @classmethod
    def from_hf(cls, tokenizer: PreTrainedTokenizerBase | str | Path | Tokenizer) -> Tokenizer:
        """Takes over a fast tokenizer of transformers.

        Args:
            tokenizer: The tokenizer, or the folder or `tokenizer.json` that holds one.

        Raises:
            TokenizerError: The tokenizer is not a fast one.
            ModelNotFoundError: There is no such folder, file or model.

        Example:
            >>> tokenizer = Tokenizer.from_hf("bert-base-uncased")  # doctest: +SKIP
            >>> tokenizer.encode(["hello world"]).row(0)  # doctest: +SKIP
            array([ 101, 7592, 2088,  102], dtype=uint32)
        """
        if isinstance(tokenizer, Tokenizer):
            return tokenizer
        hf = _load(tokenizer) if isinstance(tokenizer, (str, Path)) else tokenizer
        if not getattr(hf, "is_fast", False):
            raise TokenizerError(
                "the tokenizer is not a fast one",
                found=type(hf).__name__,
                expected="a tokenizer with a tokenizer.json (is_fast is True)",
                fix="load it with AutoTokenizer.from_pretrained(name), or convert a slow one and "
                "save it: PreTrainedTokenizerFast(tokenizer_object="
                "convert_slow_tokenizer(tokenizer)).save_pretrained(folder)",
            )
        python = PythonTokenizer(hf)
        rust, explanation = _rust_route(hf, python)
        return cls(hf, python, rust, explanation)

    def encode(
        self,
        texts: Texts,
        text_pair: Texts | None = None,
        *,
        add_special_tokens: bool = True,
        max_length: int | None = None,
        truncation_side: str | None = None,
        num_threads: int | None = None,
    ) -> TokenBatch:
        """Encodes each text, together with the same row of `text_pair` when there is one.

        The GIL is free meanwhile. Arrow strings are read in place.

        Args:
            texts: Strings, or an Arrow string array.
            text_pair: The second texts, as many as `texts`.
            add_special_tokens: Whether to add `[CLS]`, `</s>` and the like.
            max_length: The greatest length, special tokens included; the longer text of a pair
                loses tokens first (`truncation=True` in transformers). None cuts nothing.
            truncation_side: `"left"` or `"right"`; the tokenizer's own when None.
            num_threads: How many threads work; by default the cores that this process may use,
                divided by `LOCAL_WORLD_SIZE`.

        Raises:
            DataError: A row is null, not a string or not valid Unicode, or the columns differ in
                length.
            ConfigurationError: `max_length` has no room for the special tokens (transformers
                silently cuts nothing there).
        """
        text_column = as_arrow(texts)
        pair_column = None if text_pair is None else as_arrow(text_pair, name="text_pair")
        if pair_column is not None and len(pair_column) != len(text_column):
            raise DataError(
                "texts and text_pair differ in length",
                found=f"{len(text_column)} and {len(pair_column)} rows",
            )
        options: dict[str, Any] = {
            "add_special_tokens": add_special_tokens,
            "max_length": _checked_count("max_length", max_length, at_least=0),
            "truncation_side": _checked_side(truncation_side or self.hf.truncation_side),
        }
        if self._rust is None:
            return TokenBatch(*self._python.encode(text_column, pair_column, **options))
        num_threads = _checked_count("num_threads", num_threads, at_least=1)
        return _encode_in_rust(self._rust, text_column, pair_column, num_threads, **options)

    def explain(self) -> str:
        """Says which route encodes, and why."""
        return self._explanation

    @property
    def pad_token_id(self) -> int | None:
        """The id that pads, or None for a tokenizer without a pad token."""
        pad_token_id: int | None = self.hf.pad_token_id
        return pad_token_id

    @property
    def vocab_size(self) -> int:
        """The number of tokens, added ones included."""
        return len(self.hf)

    @property
    def model_max_length(self) -> int:
        """The longest input that the model was made for, as the tokenizer knows it."""
        return int(self.hf.model_max_length)

    @property
    def has_token_type_ids(self) -> bool:
        """Whether the model takes `token_type_ids`."""
        return "token_type_ids" in self.hf.model_input_names

    def __repr__(self) -> str:
        return f"Tokenizer({type(self.hf).__name__}, {self.vocab_size} tokens, {self.explain()})"

    def __reduce__(self) -> tuple[Callable[..., Tokenizer], tuple[Any]]:
        return Tokenizer.from_hf, (self.hf,)


def _load(location: str | Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    path = Path(location)
    if path.is_file():
        return PreTrainedTokenizerFast(tokenizer_file=str(path))
    try:
        return AutoTokenizer.from_pretrained(str(location), trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        # A folder with a tokenizer.json alone does not say which class it belongs to.
        if (path / "tokenizer.json").is_file():
            return PreTrainedTokenizerFast(tokenizer_file=str(path / "tokenizer.json"))
        raise ModelNotFoundError(
            "no tokenizer can be loaded from here", place=str(location), found=str(error)
        ) from error


def _rust_route(
    hf: PreTrainedTokenizerBase, python: PythonTokenizer
) -> tuple[_fastft.Tokenizer | None, str]:
    """The Rust tokenizer if it agrees with the Python one, and what to say about it."""
    import tokenizers

    texts = probes.probe_texts(hf.all_special_tokens)
    try:
        rust = _fastft.Tokenizer(
            python.definition(), split_special_tokens=bool(hf.split_special_tokens)
        )
        difference = _difference(python, rust, texts)
    except Exception as error:  # whatever the definition holds: the Python route still works
        reason = str(error).splitlines()[0]
    else:
        if difference is None:
            return rust, (
                f"rust: tokenizers crate {_fastft.TOKENIZERS_VERSION}; {len(texts)} probe texts "
                f"equal to tokenizers {tokenizers.__version__}"
            )
        reason = (
            f"the Rust route gives other ids for {difference.text!r}: {difference.found}, "
            f"not {difference.expected}"
        )
    warnings.warn(
        f"{type(hf).__name__} runs through the Python package tokenizers, not through Rust: "
        f"{reason}. The ids are right; encoding is slower.",
        TokenizerFallbackWarning,
        stacklevel=3,
    )
    return None, f"python: {reason}"


def _difference(
    python: PythonTokenizer, rust: _fastft.Tokenizer, texts: list[str]
) -> probes.Difference | None:
    def in_python(texts: list[str], pairs: list[str] | None, **cut: Any) -> Any:
        pair_column = None if pairs is None else as_arrow(pairs)
        return _rows(TokenBatch(*python.encode(as_arrow(texts), pair_column, **cut)))

    def in_rust(texts: list[str], pairs: list[str] | None, **cut: Any) -> Any:
        pair_column = None if pairs is None else as_arrow(pairs)
        return _rows(_encode_in_rust(rust, as_arrow(texts), pair_column, 1, **cut))

    max_length = max(5, python.num_special_tokens(is_pair=True) + 1)
    with _serial_python_tokenizers():
        return probes.first_difference(texts, in_python, in_rust, max_length=max_length)


def _rows(batch: TokenBatch) -> Iterator[tuple[list[int], list[int]]]:
    for index in range(len(batch)):
        yield batch.row(index).tolist(), batch.row_type_ids(index).tolist()


def _encode_in_rust(
    rust: _fastft.Tokenizer, texts: Any, text_pair: Any, num_threads: int | None, **options: Any
) -> TokenBatch:
    columns = buffers(texts), None if text_pair is None else buffers(text_pair)
    try:
        encoded = rust.encode(*columns, num_threads=num_threads, **options)
    except TokenizerError as error:
        row = int((error.place or "row 0").removeprefix("row "))
        raise text_refused(f"row {row}", texts[row].as_py(), error.problem) from error
    return TokenBatch(
        encoded.ids,
        encoded.row_offsets,
        TypeIds(encoded.second_segment_starts, encoded.flat_type_ids),
        encoded.num_truncated_rows,
        encoded.num_truncated_tokens,
    )


@contextmanager
def _serial_python_tokenizers() -> Iterator[None]:
    """Keeps the Python package from starting its threads, which it then warns about in forks."""
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _checked_count(name: str, value: int | None, *, at_least: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < at_least:
        raise ConfigurationError(
            f"{name} is not a number of at least {at_least}", found=repr(value), place=name
        )
    return int(value)


def _checked_side(value: str) -> str:
    if value not in ("left", "right"):
        raise ConfigurationError(
            "truncation_side is neither of the two sides",
            found=repr(value),
            expected="'left' or 'right'",
        )
    return value
