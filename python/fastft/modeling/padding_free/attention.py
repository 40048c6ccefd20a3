"""Attention over the real tokens of a batch, row by row, through transformers' own interface.

Beside the layers' usual arguments the function gets a `Layout`, which the hooks of a padding-free
model hand to the layers as the keyword argument `padding_free`. Without one it is stock attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from fastft.modeling.padding_free import flash
from fastft.modeling.padding_free.kernels import are_float32_on_cpu
from fastft.modeling.padding_free.row_attention import num_short, row_attention
from fastft.modeling.padding_free.weighted import weighted_attention

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastft.modeling.padding_free.rows import Rows, Slab

NAME = "fastft_padding_free"
"""The name of the attention in transformers' registry, and so in a model's configuration."""
STOCK = "sdpa"
"""The attention that a padded batch takes, and that each slab of long rows takes."""


@dataclass(frozen=True)
class Layout:
    """What travels through the layers of a padding-free model.

    Attributes:
        rows: The rows of the hidden states.
        keys: For a decoder, the rows of the encoder's states, in the order of `rows`.
    """

    rows: Rows
    keys: Rows | None = None


KEYWORD = "padding_free"
"""The keyword argument that carries a `Layout`, or what the whole model tells its bodies."""


def as_called(states: torch.Tensor, kwargs: Mapping[str, Any]) -> torch.Tensor:
    """Gives padded states in the form that the layers of a call take.

    Args:
        states: (B, T, H).
        kwargs: The keyword arguments of the call of a layer.

    Returns:
        (1, N, H) in a call with packed rows, else `states`.
    """
    layout = kwargs.get(KEYWORD)
    return layout.rows.take(states) if isinstance(layout, Layout) else states


def padding_free_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    padding_free: Layout | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attends within each row of a packed batch.

    Args:
        module: The attention layer, which says whether it is causal.
        query: (1, h, N, d).
        key: (1, h, N, d), in cross attention (1, h, M, d).
        value: Like `key`.
        attention_mask: Not looked at in a packed batch.
        padding_free: Where the rows are; None for a padded batch.
        **kwargs: As for stock attention: `dropout`, `scaling`, `position_bias`, ...

    Returns:
        (1, N, h, d), and None in place of the weights.
    """
    if padding_free is None:
        stock = ALL_ATTENTION_FUNCTIONS[STOCK]
        out: tuple[torch.Tensor, None] = stock(module, query, key, value, attention_mask, **kwargs)
        return out
    is_causal = bool(getattr(module, "is_causal", True))
    rows = padding_free.rows
    keys = rows if is_causal or padding_free.keys is None else padding_free.keys
    if flash.fits(query, kwargs):
        options = {"window": kwargs.get("sliding_window"), "scaling": kwargs.get("scaling")}
        packed = flash.flash_attention(
            query, key, value, rows, keys, is_causal=is_causal, **options
        )
        return packed, None
    short = num_short(query, key, value, rows, kwargs) if keys is rows else 0
    starts = rows.starts_with(keys, short)
    slabs, key_slabs = rows.slabs(starts), keys.slabs(starts)
    q, k, v = (
        _cut(states, of, short, own)
        for states, of, own in (
            (query, rows, slabs), (key, keys, key_slabs), (value, keys, key_slabs),
        )
    )  # fmt: skip
    outs = []
    if short:
        packed = row_attention(
            q.pop(0),
            k.pop(0),
            v.pop(0),
            rows.lengths[:short],
            is_causal=is_causal,
            dropout=kwargs.get("dropout", 0.0),
            scaling=kwargs.get("scaling"),
        )
        outs.append(packed)
    outs += [
        _in_slab(module, *states, is_causal=is_causal, kwargs=kwargs)
        for states in zip(q, k, v, slabs, key_slabs, strict=True)
    ]
    behind = rows.size - rows.num_tokens
    if behind:
        outs.append(outs[0].new_zeros((behind, *outs[0].shape[1:])))
    packed = torch.cat(outs) if len(outs) > 1 else outs[0]
    return packed.unsqueeze(0), None


def _cut(states: torch.Tensor, rows: Rows, short: int, slabs: list[Slab]) -> list[torch.Tensor]:
    """Gives the tokens (n, h, d) of the short rows and of each slab. One split, one gradient."""
    tokens = states.squeeze(0).transpose(0, 1)
    sizes = [slab.num_tokens for slab in slabs]
    if short:
        sizes.insert(0, int(rows.lengths[:short].sum()))
    behind = len(tokens) - sum(sizes)
    if len(sizes) == 1 and not behind:
        return [tokens]
    return list(torch.split(tokens, [*sizes, behind] if behind else sizes))[: len(sizes)]


def _in_slab(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    slab: Slab,
    keys: Slab,
    *,
    is_causal: bool,
    kwargs: dict[str, Any],
) -> torch.Tensor:
    """Attends within each row of a slab: tokens (num_tokens, h, d) to tokens."""
    mask = _slab_mask(slab, keys, is_causal, kwargs.get("sliding_window"))
    bias = _slab_bias(kwargs.get("position_bias"), slab, keys)
    if _keeps_weights(query, key, value, kwargs):
        return _with_weights(query, key, value, slab, keys, mask, bias, is_causal, kwargs)
    own = {**kwargs, "position_bias": bias}
    stock = ALL_ATTENTION_FUNCTIONS[STOCK]
    padded, _ = stock(module, slab.pad(query), keys.pad(key), keys.pad(value), mask, **own)
    return slab.unpad(padded)


def _keeps_weights(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, kwargs: dict[str, Any]
) -> bool:
    """Whether torch has no fused kernel, and `weighted_attention` takes its place."""
    bias = kwargs.get("position_bias")
    needs = kwargs.get("dropout", 0.0) > 0 or (bias is not None and bias.requires_grad)
    return needs and are_float32_on_cpu(query, key, value) and query.shape[1] == key.shape[1]


def _with_weights(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    slab: Slab,
    keys: Slab,
    mask: torch.Tensor | None,
    bias: torch.Tensor | None,
    is_causal: bool,
    kwargs: dict[str, Any],
) -> torch.Tensor:
    if is_causal and mask is None:
        places = torch.arange(slab.longest)
        mask = (places[:, None] >= places)[None, None]
    scaling = kwargs.get("scaling")
    return weighted_attention(
        query,
        key,
        value,
        slab,
        keys,
        mask=mask,
        bias=bias,
        dropout=kwargs.get("dropout", 0.0),
        scaling=query.shape[-1] ** -0.5 if scaling is None else scaling,
    )


def _slab_mask(slab: Slab, keys: Slab, is_causal: bool, window: int | None) -> torch.Tensor | None:
    """Gives the mask of a slab, bool and broadcast to (n, h, L, S); None where none is needed.

    A causal row never looks behind its end, so there it takes no mask to hide the padding.
    """
    if window is None or slab.longest <= window:
        return None if is_causal else keys.is_real
    places = torch.arange(slab.longest, device=slab.device)
    distance = places[:, None] - places
    near = (distance >= 0) & (distance < window) if is_causal else distance.abs() < window
    return near if keys.is_real is None else near & keys.is_real


def _slab_bias(bias: torch.Tensor | None, slab: Slab, keys: Slab) -> torch.Tensor | None:
    """Cuts the bias of the longest row; that of cross attention in T5 is zeros, and left out."""
    if bias is None or bias.shape[-1] < keys.longest:
        return None
    return bias[:, :, : slab.longest, : keys.longest]


AttentionInterface.register(NAME, padding_free_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
