"""Whether a tokenizer of transformers does what its base classes do, and what that follows from."""

from __future__ import annotations

from typing import Any

import transformers

STOCK = transformers.PreTrainedTokenizerBase
MODULES = (
    "transformers.tokenization_utils_tokenizers",
    "transformers.tokenization_utils_fast",
)
"""Where the fast tokenizers of transformers 5 and 4 encode."""


def calls_as_stock(hf: Any) -> bool:
    """Whether a call of the tokenizer does what transformers' base classes do."""
    kind = type(hf)
    encode = getattr(kind, "_encode_plus", None)
    return (
        kind.__call__ is STOCK.__call__
        and getattr(encode, "__module__", None) in MODULES
        and pads_as_stock(hf)
    )


def pads_as_stock(hf: Any) -> bool:
    """Whether a tokenizer pads by the methods of transformers' base class."""
    kind = type(hf)
    return getattr(kind, "pad", None) is STOCK.pad and getattr(kind, "_pad", None) is STOCK._pad


def special_tokens(hf: Any) -> tuple[Any, ...]:
    """What the ids of special tokens follow from; asking for the ids themselves takes much longer.

    A token that is there keeps its id; one that is added later makes the vocabulary larger.
    """
    state = hf.__dict__
    named = state.get("_special_tokens_map")
    if named is None:
        return (hf.pad_token_id, *hf.all_special_ids, len(hf))
    return (tuple(named.values()), tuple(state.get("_extra_special_tokens", ())), len(hf))
