"""Tokenizers with language codes (mBART, NLLB, M2M-100): each text carries the code of its own.

Other tokenizers write a target as they write a source, and Rust encodes both. Those that do not
have a method `_switch_to_target_mode`, which `tokenizer(text_target=...)` calls; their targets go
through that very call.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from transformers import PreTrainedTokenizerBase

from fastft.data.token_batch import TokenBatch
from fastft.data.tokenizer import Tokenizer
from fastft.errors import ConfigurationError, nearest

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class OwnTargets:
    """A tokenizer that writes targets in its own way; `encode` is that of `Tokenizer`.

    Args:
        hf: A private copy, since its call switches it back and forth.
    """

    hf: PreTrainedTokenizerBase

    def encode(
        self,
        texts: list[str] | pa.ChunkedArray,
        *,
        add_special_tokens: bool = True,
        max_length: int | None = None,
        count_truncated_tokens: bool = True,
    ) -> TokenBatch:
        """Encodes targets as `tokenizer(text_target=...)` does; lost tokens are always counted."""
        rows = texts if isinstance(texts, list) else texts.to_pylist()
        whole = self._call(rows, add_special_tokens, None)
        long = [row for row, ids in enumerate(whole) if max_length and len(ids) > max_length]
        kept, num_tokens = whole, sum(len(whole[row]) for row in long)
        if long:
            cut = self._call([rows[row] for row in long], add_special_tokens, max_length)
            kept = [*whole]
            for row, ids in zip(long, cut, strict=True):
                kept[row] = ids
        offsets = np.zeros(len(kept) + 1, np.uint64)
        np.cumsum([len(ids) for ids in kept], out=offsets[1:], dtype=np.uint64)
        flat = np.array([token for ids in kept for token in ids], np.uint32)
        lost = num_tokens - sum(len(kept[row]) for row in long)
        return TokenBatch(flat, offsets, num_truncated_rows=len(long), num_truncated_tokens=lost)

    def _call(
        self, rows: list[str], add_special_tokens: bool, max_length: int | None
    ) -> list[list[int]]:
        encoded = self.hf(
            text_target=rows,
            add_special_tokens=add_special_tokens,
            truncation=max_length is not None,
            max_length=max_length,
            padding=False,
            verbose=False,
        )
        ids: list[list[int]] = encoded["input_ids"]
        return ids


def source_tokenizer(tokenizer: Tokenizer, source_lang: str | None) -> Tokenizer:
    """Gives the tokenizer of the sources; the one given is left as it is.

    Raises:
        ConfigurationError: The tokenizer has no such language, or no languages at all.
    """
    if source_lang is None:
        return tokenizer
    hf = copy.deepcopy(_with_codes(tokenizer.hf, "source_lang", source_lang))
    hf.src_lang = source_lang
    return Tokenizer.from_hf(hf)


def target_tokenizer(tokenizer: Tokenizer, target_lang: str | None) -> Tokenizer | OwnTargets:
    """Gives the tokenizer of the targets; the one given is left as it is.

    Raises:
        ConfigurationError: The tokenizer has no such language, or needs one and got none.
    """
    hf = tokenizer.hf
    if not has_own_targets(hf):
        if target_lang is not None:
            _with_codes(hf, "target_lang", target_lang)
        return tokenizer
    if has_codes(hf):
        code = target_lang or hf.tgt_lang
        if code is None:
            raise ConfigurationError(
                "this tokenizer marks every text with the code of its language",
                place="argument target_lang",
                found="None",
                expected=f"codes of {type(hf).__name__}, such as {', '.join(_codes(hf)[:4])}",
                fix=f"pass source_lang={_codes(hf)[0]!r}, target_lang=... (the codes of your data)",
            )
        _with_codes(hf, "target_lang", code)
    hf = copy.deepcopy(hf)
    if has_codes(hf):
        hf.tgt_lang = code
    return OwnTargets(hf)


def has_own_targets(hf: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer writes targets in another way than sources."""
    stock = getattr(PreTrainedTokenizerBase, "_switch_to_target_mode", None)
    return getattr(type(hf), "_switch_to_target_mode", stock) is not stock


def has_codes(hf: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer knows languages by codes."""
    return hasattr(hf, "src_lang") and hasattr(hf, "tgt_lang")


def frame_of_targets(
    hf: PreTrainedTokenizerBase, target_lang: str | None
) -> tuple[int | None, int | None]:
    """Says how targets with a language code begin.

    Returns:
        The code, where every target begins with it (NLLB, mBART-50), else None; and the token from
        which a decoder without a start token of its own starts: the last one of a target (mBART).
    """
    if not (has_codes(hf) and has_own_targets(hf)):
        return None, None
    tokens = target_tokenizer(Tokenizer.from_hf(hf), target_lang).encode(["a"]).row(0).tolist()
    code = hf.convert_tokens_to_ids(target_lang or hf.tgt_lang)
    return (code if tokens[0] == code else None), tokens[-1]


def _codes(hf: PreTrainedTokenizerBase) -> list[str]:
    plain = {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token",
             "mask_token"}  # fmt: skip
    named = {str(getattr(hf, name, None)) for name in plain}
    return sorted(token for token in map(str, hf.all_special_tokens) if token not in named)


def _with_codes(hf: PreTrainedTokenizerBase, argument: str, code: str) -> PreTrainedTokenizerBase:
    """Gives the tokenizer back when it knows the code of a language."""
    codes = _codes(hf) if has_codes(hf) else []
    if code in codes:
        return hf
    close = nearest(code, codes, count=1)
    raise ConfigurationError(
        "the tokenizer has no such language" if codes else "this tokenizer has no language codes",
        place=f"argument {argument}",
        found=repr(code),
        expected=f"one of {', '.join(codes[:8])}, … ({len(codes)})" if codes else "none",
        fix=(f"did you mean {argument}={close[0]!r}?" if close else f"correct {argument}")
        if codes
        else f"leave {argument} out; a T5 is told the language by prefix=",
    )
