"""Text to token ids: a Hugging Face fast tokenizer, run on whole columns in Rust.

The definition of the tokenizer is handed to Rust once, and the ids come back flat. Which of the
routes encodes is decided at load (`tokenizer_route`), and `explain()` says which and why.

Invariant: the tokenizer that was given is never changed, and nothing carries over from one call
to the next, so that any number of threads may encode at once. What is added to the given tokenizer
later is not seen: it was read when the `Tokenizer` was made.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.data.python_tokenizer import PythonTokenizer
from fastft.data.text_column import Texts, as_arrow
from fastft.data.token_batch import TokenBatch
from fastft.data.tokenizer_call import STRATEGIES, PaddedCall
from fastft.data.tokenizer_route import (
    TokenizerFallbackWarning,
    choose_route,
    definition_key,
    encode_in_rust,
)
from fastft.errors import ConfigurationError, DataError, ModelNotFoundError, TokenizerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import BatchEncoding, PreTrainedTokenizerBase

    from fastft import _fastft

__all__ = ["TokenBatch", "Tokenizer", "TokenizerFallbackWarning"]


_STRATEGIES: dict[bool | str, str | None] = {**STRATEGIES, False: None, "do_not_truncate": None}
"""By the argument `truncation`: what the Rust side calls it, None where nothing is cut."""


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
        self._padded = PaddedCall(hf, rust)

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
        return cls(hf, python, *choose_route(hf, python))

    def encode(
        self,
        texts: Texts,
        text_pair: Texts | None = None,
        *,
        add_special_tokens: bool = True,
        max_length: int | None = None,
        truncation: bool | str = True,
        truncation_side: str | None = None,
        stride: int = 0,
        return_overflowing_tokens: bool = False,
        count_truncated_tokens: bool = False,
        return_offsets_mapping: bool = False,
        return_word_ids: bool = False,
        return_special_tokens_mask: bool = False,
        num_threads: int | None = None,
    ) -> TokenBatch:
        """Encodes each text, together with the same row of `text_pair` when there is one.

        The GIL is free meanwhile. Arrow strings are read in place.

        Args:
            texts: Strings, or an Arrow string array.
            text_pair: The second texts, as many as `texts`.
            add_special_tokens: Whether to add `[CLS]`, `</s>` and the like.
            max_length: The greatest length, special tokens included. None cuts nothing.
            truncation: Which text of a pair loses tokens: `True` or `"longest_first"` the longer
                one first, `"only_first"`, `"only_second"`; `False` cuts nothing.
            truncation_side: `"left"` or `"right"`; the tokenizer's own when None.
            stride: How many tokens an overflowing row shares with the one before it.
            return_overflowing_tokens: Whether what is cut off follows in rows of its own.
            count_truncated_tokens: Whether to count the tokens that are cut off. For that a text
                is encoded to its end; else it is left where `max_length` is reached, and the
                characters behind are counted. Tokens that are cut off on the left, or follow in
                rows of their own, are counted anyway.
            return_offsets_mapping: Whether to give the characters that each token covers.
            return_word_ids: Whether to give the word that each token belongs to.
            return_special_tokens_mask: Whether to mark the tokens that were added.
            num_threads: How many threads work; by default the cores that this process may use,
                divided by `LOCAL_WORLD_SIZE`.

        Raises:
            DataError: A row is null, not a string or not valid Unicode, or the columns differ in
                length.
            ConfigurationError: `max_length` has no room for the special tokens (transformers
                silently cuts nothing there), or `stride` leaves no room to move on.
        """
        text_column = as_arrow(texts)
        pair_column = None if text_pair is None else as_arrow(text_pair, name="text_pair")
        if pair_column is not None and len(pair_column) != len(text_column):
            raise DataError(
                "texts and text_pair differ in length",
                found=f"{len(text_column)} and {len(pair_column)} rows",
            )
        strategy = _checked_truncation(truncation)
        options: dict[str, Any] = {
            "add_special_tokens": add_special_tokens,
            "max_length": _checked_count("max_length", max_length, at_least=0),
            "truncation_side": _checked_side(truncation_side or self.hf.truncation_side),
            "truncation_strategy": strategy or "longest_first",
            "stride": _checked_count("stride", stride, at_least=0) or 0,
            "return_overflowing_tokens": return_overflowing_tokens,
            "count_truncated_tokens": count_truncated_tokens,
            "return_offsets_mapping": return_offsets_mapping,
            "return_word_ids": return_word_ids,
            "return_special_tokens_mask": return_special_tokens_mask,
        }
        if strategy is None:
            options["max_length"] = None
        num_threads = _checked_count("num_threads", num_threads, at_least=1)
        if self._rust is None:
            return self._python.encode(text_column, pair_column, **options)
        return encode_in_rust(
            self._rust, text_column, pair_column, num_threads=num_threads, **options
        )

    def __call__(self, text: Any, text_pair: Any = None, **options: Any) -> BatchEncoding:
        """Does what the tokenizer of transformers does when it is called, with its arguments.

        A list of strings with `padding`, `truncation` and `return_tensors="pt"` is encoded and
        padded in one step of Rust; that batch has no `encodings`. Any other call is handed on.

        Args:
            text: A list of strings, or whatever else transformers takes.
            text_pair: The second texts.
            **options: Further arguments of the call.

        Returns:
            The tensors by name, int64 (B, T).

        Raises:
            DataError: A text is not valid Unicode.

        Example:
            >>> tokenizer = Tokenizer.from_hf("bert-base-uncased")  # doctest: +SKIP
            >>> batch = tokenizer(["a", "a b"], padding=True, truncation=True,  # doctest: +SKIP
            ...                   return_tensors="pt")
        """
        batch = self._padded.batch(text, text_pair, options)
        if batch is not None:
            return batch
        return self.hf(text, text_pair, **options)

    def explain(self) -> str:
        """Says which route encodes, and why."""
        return self._explanation

    def fingerprint(self) -> str | None:
        """A hash of all that decides what `encode` gives; None when a part of it has no text."""
        try:
            definition = self._python.definition()
        except Exception:  # a part written in Python raises whatever it likes
            return None
        return definition_key(self.hf, f"{self.hf.truncation_side} {definition}")

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


def _checked_truncation(value: bool | str) -> str | None:
    if not isinstance(value, (bool, str)) or value not in _STRATEGIES:
        raise ConfigurationError(
            "truncation names none of the strategies",
            place="truncation",
            found=repr(value),
            expected="True, False, 'longest_first', 'only_first' or 'only_second'",
        )
    return _STRATEGIES[value]
