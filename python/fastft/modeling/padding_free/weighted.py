"""Attention that keeps its weights, for a slab of rows: with dropout, or a bias that is trained.

torch has no fused kernel for either on a CPU, and its plain way copies queries, keys and values
more than once, since heads and tokens lie the wrong way round. Here each is moved once, to where
the products need it, and once back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fastft.modeling.drawn_dropout import drawn
from fastft.modeling.padding_free.kernels import refuse_second_derivative

if TYPE_CHECKING:
    from fastft.modeling.padding_free.rows import Slab


def weighted_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    slab: Slab,
    keys: Slab,
    *,
    mask: torch.Tensor | None,
    bias: torch.Tensor | None,
    dropout: float,
    scaling: float,
) -> torch.Tensor:
    """Attends within each row of a slab.

    Args:
        query: fp32 (num_tokens, h, d), the tokens of `slab`.
        key: fp32 (num_tokens, h, d), the tokens of `keys`.
        value: Like `key`.
        slab: The rows of the queries.
        keys: The rows of the keys.
        mask: Bool, broadcast to (n, h, L, S), True where a query sees a key; None for everywhere.
        bias: Is added to the scores, (1, h, L, S); gets a gradient when it wants one.
        dropout: The share of weights that is dropped, 0 to 1.
        scaling: Of the scores.

    Returns:
        (num_tokens, h, d).
    """
    out: torch.Tensor = _Weighted.apply(query, key, value, bias, mask, slab, keys, dropout, scaling)
    return out


class _Weighted(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        bias: torch.Tensor | None,
        mask: torch.Tensor | None,
        slab: Slab,
        keys: Slab,
        dropout: float,
        scaling: float,
    ) -> torch.Tensor:
        heads = query.shape[1]
        q, k, v = (
            _by_head(states, of) for states, of in ((query, slab), (key, keys), (value, keys))
        )
        scores = _added(bias, mask, (slab.num_rows, heads, slab.longest, keys.longest), query)
        if scores is None:
            scores = torch.bmm(q, k.transpose(1, 2)).mul_(scaling)
        else:
            scores = torch.baddbmm(scores, q, k.transpose(1, 2), alpha=scaling)
        weights = torch.softmax(scores, -1)
        kept = drawn(weights, dropout) if dropout > 0 else None
        used = weights if kept is None else weights * kept
        ctx.save_for_backward(q, k, v, weights, kept)
        ctx.slab, ctx.keys, ctx.scaling, ctx.heads = slab, keys, scaling, heads
        ctx.wants_bias = bias is not None and bias.requires_grad
        return _by_token(torch.bmm(used, v), slab, heads)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[Any, ...]:
        refuse_second_derivative()
        q, k, v, weights, kept = ctx.saved_tensors
        slab, keys, heads = ctx.slab, ctx.keys, ctx.heads
        out = _by_head(grads[0], slab)
        used = weights if kept is None else weights * kept
        by_value = torch.bmm(used.transpose(1, 2), out)
        by_weight = torch.bmm(out, v.transpose(1, 2))
        if kept is not None:
            by_weight.mul_(kept)
        by_score = torch._softmax_backward_data(by_weight, weights, -1, weights.dtype)
        by_query = torch.bmm(by_score, k).mul_(ctx.scaling)
        by_key = torch.bmm(by_score.transpose(1, 2), q).mul_(ctx.scaling)
        by_bias = None
        if ctx.wants_bias:
            by_bias = by_score.view(slab.num_rows, heads, *by_score.shape[1:]).sum(0, keepdim=True)
        moved = (
            _by_token(by_query, slab, heads),
            _by_token(by_key, keys, heads),
            _by_token(by_value, keys, heads),
        )
        return (*moved, by_bias, *(None,) * 5)


def _added(
    bias: torch.Tensor | None,
    mask: torch.Tensor | None,
    shape: tuple[int, int, int, int],
    like: torch.Tensor,
) -> torch.Tensor | None:
    """Gives what is added to the scores, broadcast to (n * h, L, S); None for nothing."""
    if mask is None and bias is None:
        return None
    if mask is None:
        assert bias is not None
        return bias.expand(shape).reshape(-1, *shape[2:])
    hidden = torch.finfo(like.dtype).min
    if bias is None:
        added = like.new_zeros(mask.shape).masked_fill_(~mask, hidden)
    else:
        added = bias.masked_fill(~mask, hidden)
    rows, heads = shape[:2]
    return added.expand(rows, heads, *added.shape[2:]).reshape(rows * heads, *added.shape[2:])


def _by_head(states: torch.Tensor, slab: Slab) -> torch.Tensor:
    """Moves tokens (num_tokens, h, d) to (n * h, L, d); zeros behind short rows."""
    heads, width = states.shape[1:]
    if slab.is_full:
        rows = states.reshape(slab.num_rows, slab.longest, heads, width)
        return rows.transpose(1, 2).reshape(-1, slab.longest, width)
    places = slab.num_rows * heads * slab.longest
    out = states.new_zeros((places, width))
    out.index_copy_(0, slab.head_index(heads), states.reshape(-1, width))
    return out.view(-1, slab.longest, width)


def _by_token(states: torch.Tensor, slab: Slab, heads: int) -> torch.Tensor:
    """Moves (n * h, L, d) to tokens (num_tokens, h, d)."""
    width = states.shape[-1]
    if slab.is_full:
        rows = states.view(slab.num_rows, heads, slab.longest, width)
        return rows.transpose(1, 2).reshape(-1, heads, width)
    flat = states.reshape(-1, width).index_select(0, slab.head_index(heads))
    return flat.view(-1, heads, width)
