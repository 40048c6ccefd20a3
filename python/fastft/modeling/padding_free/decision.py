"""Whether a batch runs without its padding, and if not, why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastft.modeling.padding_free.attention import NAME
from fastft.modeling.padding_free.families import bodies

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import nn

    from fastft.modeling.padding_free.families import Family

LEAST_PADDING = 0.04
"""The share of padding below which a batch runs as it is: less would not pay for the packing."""


def reason_of_call(body: nn.Module, family: Family, given: dict[str, Any]) -> str | None:
    """Says what in a call of a body, apart from its mask, asks for padded rows.

    Args:
        body: The body.
        family: How it is built.
        given: The arguments of the call, by name.
    """
    config: Any = body.config
    if config._attn_implementation != NAME:
        return f"the attention was set to {config._attn_implementation!r} since"
    for name in ("output_hidden_states", "output_attentions"):
        asked = given.get(name)
        if asked or (asked is None and getattr(config, name, False)):
            return f"{name}=True"
    if given.get("cache", given.get("past_key_values")) is not None:  # the name before 5.24
        return "keys and values of earlier tokens are given"
    if _keeps(body, family, given):
        return "keys and values are kept (use_cache)"
    if getattr(config, "chunk_size_feed_forward", 0):
        return "chunk_size_feed_forward cuts the tokens of a row"
    return None


def _keeps(body: nn.Module, family: Family, given: dict[str, Any]) -> bool:
    """Whether a call keeps keys and values for later tokens.

    In training nobody reads them where it is only the configuration that says so.
    """
    asked = given.get("use_cache")
    config: Any = body.config
    if asked is not None:
        return bool(asked)
    may = family.caches or getattr(config, "is_decoder", False)
    return may and not body.training and bool(getattr(config, "use_cache", False))


def row_lengths(mask: Any) -> list[int] | str:
    """Gives the real tokens of each row of a mask, or why the rows cannot be packed.

    Args:
        mask: The attention mask as it was given, (B, T) with 1 for real tokens.
    """
    if mask is None:
        return "no attention_mask was given"
    if not isinstance(mask, torch.Tensor) or mask.dim() != 2 or mask.is_floating_point():
        return "the attention mask is not one of rows and tokens"
    real = mask.detach().to("cpu") != 0
    lengths = real.sum(1)
    if not bool((lengths > 0).all()):
        return "a row has no real token"
    if not torch.equal(real, torch.arange(real.shape[1]) < lengths[:, None]):
        return "the padding is not on the right of the rows"
    found: list[int] = lengths.tolist()
    return found


def is_packed(given: Mapping[str, Any]) -> bool:
    """Whether a batch holds rows that somebody has packed, one behind the other.

    They have no attention mask, and positions that begin anew, as the collators with flattening of
    transformers and fastft give them.

    Args:
        given: The arguments of a model.
    """
    positions = given.get("position_ids")
    if given.get("attention_mask") is not None or not isinstance(positions, torch.Tensor):
        return False
    if positions.dim() != 2 or positions.numel() == 0:
        return False
    return len(row_starts(positions)) > len(positions)


def row_starts(positions: torch.Tensor) -> NDArray[np.int64]:
    """Finds where rows begin among packed tokens: where a position does not follow the last one.

    Args:
        positions: (B, T).

    Returns:
        int64 (R,), places `b * T + t`.
    """
    places = positions.detach().to("cpu").numpy()
    begins = np.ones(places.shape, dtype=bool)
    begins[:, 1:] = np.diff(places, axis=1) != 1
    return np.flatnonzero(begins)


def is_bidirectional(model: nn.Module) -> bool:
    """Whether no attention of a model is causal, so that nothing keeps packed rows apart."""
    return not any(getattr(module, "is_causal", False) is True for module in model.modules())


def is_dense(lengths: list[int], width: int) -> bool:
    """Whether there is so little padding that taking it out would not pay."""
    places = len(lengths) * width
    return sum(lengths) > (1 - LEAST_PADDING) * places


def has_padding(batch: Mapping[str, Any]) -> bool:
    """Whether a batch has padding that would be taken out.

    Args:
        batch: The arguments of a model.
    """
    mask: Any = batch.get("attention_mask")
    lengths = row_lengths(mask)
    return not isinstance(lengths, str) and not is_dense(lengths, mask.shape[1])


def reason_of_heads(
    model: nn.Module, given: dict[str, Any], *, is_seq2seq: bool, pools_last: bool
) -> str | None:
    """Says why a head reads padded positions of this batch; None when it reads none.

    Args:
        model: The model with its head.
        given: The arguments of the call, by name.
        is_seq2seq: Whether labels are those of a decoder.
        pools_last: Whether a head reads the last token that is not the pad token.
    """
    if given.get("start_positions") is not None:
        return "the loss of question answering is over all positions, padding too"
    mask = given.get("attention_mask")
    if not isinstance(mask, torch.Tensor) or mask.dim() != 2:
        return None
    if not is_seq2seq and _labels_padding(given.get("labels"), mask):
        return "labels stand on padding"
    if pools_last and _pools_padding(model, given.get("input_ids"), mask):
        return "the head reads a token that the mask hides"
    return None


def _labels_padding(labels: Any, mask: torch.Tensor) -> bool:
    if not isinstance(labels, torch.Tensor) or labels.shape != mask.shape:
        return False
    return bool(((labels != -100) & (mask == 0)).any())


def is_seq2seq(model: nn.Module) -> bool:
    """Whether the labels of a model are those of its decoder."""
    return _is_kind(model, "ForConditionalGeneration")


def pools_last(model: nn.Module) -> bool:
    """Whether a head reads the last token that is no padding, as classifiers of decoders do."""
    is_decoder = any(one.caches and not one.has_bias for _, one in bodies(model))
    return is_decoder and _is_kind(model, "ForSequenceClassification")


def _is_kind(model: nn.Module, ending: str) -> bool:
    return any(kind.__name__.endswith(ending) for kind in type(model).__mro__)


def _pools_padding(model: nn.Module, tokens: Any, mask: torch.Tensor) -> bool:
    config: Any = model.config
    if not isinstance(tokens, torch.Tensor) or config.pad_token_id is None:
        return True
    is_token = tokens != config.pad_token_id
    places = torch.arange(tokens.shape[1], device=tokens.device)
    last = (places * is_token).argmax(1, keepdim=True)
    return bool((mask.gather(1, last) == 0).any())
