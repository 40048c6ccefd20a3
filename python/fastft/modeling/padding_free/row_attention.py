"""Attention within short rows by the core: each head of each row where it lies.

For rows of a few dozen tokens the products are small, and most of the time goes into calls and into
moving tokens to where a library wants them. `_fastft.attention_forward` does neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fastft import _fastft
from fastft.modeling.drawn_dropout import drawn
from fastft.modeling.padding_free.kernels import are_float32_on_cpu, refuse_second_derivative

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from fastft.modeling.padding_free.rows import Rows

LONGEST = 128
"""The longest row for which this is faster than torch, which then keeps no weights either."""
VECTOR = 16
"""What the elements of a head, and the queries of a row in the weights, are multiples of."""


def num_short(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    rows: Rows,
    kwargs: Mapping[str, Any],
) -> int:
    """Counts the first rows that `row_attention` takes.

    Args:
        query: (1, h, N, d).
        key: (1, h, N, d), the keys of the same rows.
        value: (1, h, N, d), their values.
        rows: The rows.
        kwargs: What the layer hands to attention.

    Returns:
        How many rows at the beginning of the packing are short; 0 where the kernel does not fit.
    """
    is_alike = query.shape == key.shape == value.shape and query.shape[-1] % VECTOR == 0
    has_bias = kwargs.get("position_bias") is not None
    if has_bias or not (is_alike and are_float32_on_cpu(query, key, value)):
        return 0
    window = kwargs.get("sliding_window")
    return rows.num_leading(LONGEST if window is None else min(LONGEST, window))


def row_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    lengths: NDArray[np.int64],
    *,
    is_causal: bool,
    dropout: float,
    scaling: float | None,
) -> torch.Tensor:
    """Attends within each row.

    Args:
        query: fp32 (num_tokens, h, d) on a CPU, the tokens of the rows end to end.
        key: Like `query`.
        value: Like `query`.
        lengths: int64 (n,), the tokens of each row.
        is_causal: Whether a query sees no later keys.
        dropout: The share of weights that is dropped, 0 to 1.
        scaling: Of the scores; the inverse root of d when None.

    Returns:
        (num_tokens, h, d).
    """
    options = {
        "lengths": lengths,
        "num_heads": query.shape[1],
        "head_dim": query.shape[2],
        "scaling": query.shape[2] ** -0.5 if scaling is None else scaling,
        "is_causal": is_causal,
        "num_threads": torch.get_num_threads(),
    }
    out: torch.Tensor = _RowAttention.apply(query, key, value, options, dropout)
    return out


class _RowAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        options: dict[str, Any],
        dropout: float,
    ) -> torch.Tensor:
        inputs = [states.contiguous() for states in (query, key, value)]
        out = torch.empty_like(inputs[0])
        lengths = options["lengths"]
        filled = -(-lengths // VECTOR) * VECTOR
        weights = out.new_empty(int(options["num_heads"] * (lengths * filled).sum()))
        kept = drawn(weights, dropout) if dropout > 0 else None
        q, k, v, to_out, to_weights = map(_flat, (*inputs, out, weights))
        _fastft.attention_forward(q, k, v, to_out, to_weights, kept=_optional(kept), **options)
        ctx.save_for_backward(*inputs, weights, kept)
        ctx.options = options
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[Any, ...]:
        refuse_second_derivative()
        *inputs, weights, kept = ctx.saved_tensors
        query, key, value = (_flat(states) for states in inputs)
        given = _flat(weights), _flat(grads[0].contiguous())
        of_query, of_key, of_value = (torch.empty_like(states) for states in inputs)
        to = _flat(of_query), _flat(of_key), _flat(of_value)
        _fastft.attention_backward(
            query, key, value, *given, to, kept=_optional(kept), **ctx.options
        )
        return of_query, of_key, of_value, None, None


def _flat(states: torch.Tensor) -> NDArray[np.float32]:
    return states.detach().view(-1).numpy()


def _optional(states: torch.Tensor | None) -> NDArray[np.float32] | None:
    return None if states is None else _flat(states)
