"""Which of three routes encodes a tokenizer's texts: an engine, the crate, or the Python package.

A self-check compares each Rust route with the installed Python tokenizer, text by text, with
offsets and words. The first one that agrees does the work; where an engine exists and disagrees,
or no Rust route agrees, one warning says so. What agreed once is remembered for the next tokenizer
with the same definition.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fastft import _fastft
from fastft.data import probes
from fastft.data.python_tokenizer import PythonTokenizer, text_refused
from fastft.data.text_column import as_arrow, buffers
from fastft.data.token_batch import TokenBatch
from fastft.data.type_ids import TypeIds
from fastft.errors import TokenizerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedTokenizerBase

Route = tuple[_fastft.Tokenizer | None, str]
"""The Rust tokenizer, or None for the Python route; and what `explain()` says."""

_MAX_REMEMBERED = 8
_agreed: dict[str, Route] = {}


class TokenizerFallbackWarning(UserWarning):
    """A tokenizer runs through a slower route than it could; the text says why."""


def choose_route(hf: PreTrainedTokenizerBase, python: PythonTokenizer) -> Route:
    """Gives the fastest route that agrees with the Python tokenizer."""
    try:
        definition = python.definition()
    except Exception as error:  # a part written in Python raises whatever it likes
        return _python_route(hf, _first_line(error))
    key = definition_key(hf, definition)
    if key in _agreed:
        return _agreed[key]
    route = _checked_route(hf, python, definition)
    if route[0] is not None and type(hf).__module__.startswith("transformers."):
        while len(_agreed) >= _MAX_REMEMBERED:
            del _agreed[next(iter(_agreed))]
        _agreed[key] = route
    return route


def encode_in_rust(
    rust: _fastft.Tokenizer, texts: Any, text_pair: Any = None, **options: Any
) -> TokenBatch:
    """Encodes Arrow columns; the options are those of `_fastft.Tokenizer.encode`."""
    columns = buffers(texts), None if text_pair is None else buffers(text_pair)
    try:
        encoded = rust.encode(*columns, **options)
    except TokenizerError as error:
        row = int((error.place or "row 0").removeprefix("row "))
        raise text_refused(f"row {row}", texts[row].as_py(), error.problem) from error
    return TokenBatch(
        encoded.ids,
        encoded.row_offsets,
        TypeIds(encoded.second_segment_starts, encoded.flat_type_ids),
        encoded.num_truncated_rows,
        encoded.num_truncated_tokens,
        encoded.num_truncated_characters,
        encoded.offset_mapping,
        encoded.word_ids,
        encoded.special_tokens_mask,
        encoded.overflow_to_sample_mapping,
    )


def _checked_route(hf: PreTrainedTokenizerBase, python: PythonTokenizer, definition: str) -> Route:
    mistake = ""
    for reference_only in (False, True):
        try:
            rust = _fastft.Tokenizer(
                definition,
                split_special_tokens=bool(hf.split_special_tokens),
                reference_only=reference_only,
            )
            difference = _difference(hf, python, rust)
        except Exception as error:  # whatever the definition holds: the Python route still works
            return _python_route(hf, _first_line(error))
        if difference is None:
            if mistake:
                _warn(hf, "the tokenizers crate, not through our engine", mistake)
            return rust, _rust_explanation(rust, mistake)
        mistake = (
            f"the Rust route gives other {difference.part} for {difference.text!r}: "
            f"{difference.found}, not {difference.expected}"
        )
        if rust.engine is None:
            break
    return _python_route(hf, mistake)


def _rust_explanation(rust: _fastft.Tokenizer, mistake: str) -> str:
    import tokenizers

    if rust.engine is not None:
        route = f"{rust.engine} engine"
    else:
        route = f"tokenizers crate {_fastft.TOKENIZERS_VERSION} ({mistake or rust.refusal})"
    return f"rust: {route}; probe texts equal to tokenizers {tokenizers.__version__}"


def _python_route(hf: PreTrainedTokenizerBase, reason: str) -> Route:
    _warn(hf, "the Python package tokenizers, not through Rust", reason)
    return None, f"python: {reason}"


def _warn(hf: PreTrainedTokenizerBase, route: str, reason: str) -> None:
    warnings.warn(
        f"{type(hf).__name__} runs through {route}: {reason}. The ids are right; encoding is "
        "slower.",
        TokenizerFallbackWarning,
        stacklevel=5,
    )


def _difference(
    hf: PreTrainedTokenizerBase, python: PythonTokenizer, rust: _fastft.Tokenizer
) -> probes.Difference | None:
    def in_python(texts: list[str], pairs: list[str] | None, **options: Any) -> TokenBatch:
        return python.encode(as_arrow(texts), None if pairs is None else as_arrow(pairs), **options)

    def in_rust(texts: list[str], pairs: list[str] | None, **options: Any) -> TokenBatch:
        pair_column = None if pairs is None else as_arrow(pairs)
        return encode_in_rust(rust, as_arrow(texts), pair_column, num_threads=1, **options)

    texts = probes.probe_texts(hf.all_special_tokens)
    max_length = max(5, python.num_special_tokens(is_pair=True) + 1)
    with _serial_python_tokenizers():
        return probes.first_difference(texts, in_python, in_rust, max_length=max_length)


def definition_key(hf: PreTrainedTokenizerBase, definition: str) -> str:
    """A hash of what decides which tokens a tokenizer gives, its own settings included."""
    kind = type(hf)
    state = (
        f"{kind.__module__}.{kind.__qualname__} {hf.split_special_tokens} {hf.all_special_tokens}"
    )
    return hashlib.sha256(f"{state}\n{definition}".encode()).hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


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
