"""A tokenizer called as transformers' own is: texts in, a padded batch of tensors out.

The usual call (lists of strings, `padding` and `truncation` on, tensors of torch) is one step of
Rust, which encodes and pads. Every other call is that of the tokenizer of transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import transformers

from fastft import _fastft
from fastft.data.stock_tokenizer import calls_as_stock, special_tokens
from fastft.data.text_column import as_arrow

if TYPE_CHECKING:
    from collections.abc import Mapping

STRATEGIES: dict[bool | str, str] = {
    True: "longest_first",
    "longest_first": "longest_first",
    "only_first": "only_first",
    "only_second": "only_second",
}
"""By the argument `truncation`: what the Rust side calls it."""
ENDLESS = 10**9
"""A tokenizer without a limit says so by a number that no text reaches."""
_EMPTY = transformers.BatchEncoding().__dict__
"""What an empty batch consists of; to copy it is much less work than to make one."""


class _How(NamedTuple):
    """How a call is done in Rust, and from what that followed."""

    key: tuple[Any, ...]
    recipe: _fastft.Recipe | None
    options: dict[str, Any]


class PaddedCall:
    """The calls of one tokenizer.

    Args:
        hf: The tokenizer of transformers.
        rust: The Rust route of its texts; None where the Python package encodes.
    """

    def __init__(self, hf: Any, rust: _fastft.Tokenizer | None) -> None:
        self._hf = hf
        self._rust = rust if calls_as_stock(hf) else None
        self._how: _How | None = None

    def batch(
        self, texts: Any, text_pair: Any, options: Mapping[str, Any]
    ) -> transformers.BatchEncoding | None:
        """Makes a batch in Rust; None for a call that is left to transformers."""
        if self._rust is None or type(texts) is not list or not texts:
            return None
        how = self._settled(options)
        if how.recipe is None:
            return None
        if text_pair is not None and (type(text_pair) is not list or len(text_pair) != len(texts)):
            return None
        try:
            arrays = self._rust.encode_padded(texts, text_pair, how.recipe, **how.options)
        except (TypeError, UnicodeEncodeError):
            _refuse(texts, text_pair)
            return None
        if not arrays["input_ids"].shape[1]:
            return None  # the stock call gives tensors of floats here
        from_numpy = torch.from_numpy
        tensors = {name: from_numpy(array) for name, array in arrays.items()}
        batch = transformers.BatchEncoding.__new__(transformers.BatchEncoding)
        batch.__dict__ = {**_EMPTY, "data": tensors}
        return batch

    def _settled(self, options: Mapping[str, Any]) -> _How:
        hf = self._hf
        key = (
            *options.items(), hf.padding_side, hf.truncation_side, hf.model_max_length,
            hf.pad_token_type_id, *hf.model_input_names, *special_tokens(hf),
        )  # fmt: skip
        if self._how is None or self._how.key != key:
            self._how = _How(key, *_how(hf, **options))
        return self._how


def _how(
    hf: Any,
    *,
    padding: Any = False,
    truncation: Any = None,
    max_length: Any = None,
    pad_to_multiple_of: Any = None,
    return_tensors: Any = None,
    **others: Any,
) -> tuple[_fastft.Recipe | None, dict[str, Any]]:
    """Gives the recipe and the options of a call; no recipe for one that Rust does not know."""
    if max_length is None:
        max_length = hf.model_max_length
    names = hf.model_input_names
    is_known = (
        not others
        and return_tensors == "pt"
        and padding in (True, "longest", "max_length")
        and (isinstance(truncation, bool | str) and truncation in STRATEGIES)
        and _is_count(max_length) and max_length < ENDLESS
        and max_length > hf.num_special_tokens_to_add(pair=True)
        and (pad_to_multiple_of is None or _is_count(pad_to_multiple_of))
        and max_length % (pad_to_multiple_of or 1) == 0
        and hf.padding_side in ("left", "right")
        and hf.truncation_side in ("left", "right")
        and hf.pad_token_id is not None
        and names[0] == "input_ids"
        and {*names} <= {"input_ids", "token_type_ids", "attention_mask"}
    )  # fmt: skip
    if not is_known:
        return None, {}
    recipe = _fastft.Recipe.padded(
        pad_token_id=hf.pad_token_id,
        pad_token_type_id=hf.pad_token_type_id if "token_type_ids" in names else None,
        attention_mask="attention_mask" in names,
        width=max_length if padding == "max_length" else None,
        pad_to_multiple_of=pad_to_multiple_of,
        padding_side=hf.padding_side,
    )
    return recipe, {
        "max_length": max_length,
        "truncation_side": hf.truncation_side,
        "truncation_strategy": STRATEGIES[truncation],
    }


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _refuse(texts: list[Any], text_pair: list[Any] | None) -> None:
    """Names a row of strings that is none; lists of words, say, are the business of transformers.

    Raises:
        DataError: A row is not valid Unicode.
    """
    for rows in (texts, text_pair or []):
        if all(type(row) is str for row in rows):
            as_arrow(rows)
