"""Attention over all packed rows in one kernel of a GPU: torch's own `varlen_attn` (flash)."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel, varlen

if TYPE_CHECKING:
    from fastft.modeling.padding_free.rows import Rows

HALF = (torch.float16, torch.bfloat16)
_TAKES_WINDOWS = "window_size" in inspect.signature(varlen.varlen_attn).parameters
"""Whether this version of torch lets the kernel look back only, which causal rows need."""


def fits(query: torch.Tensor, kwargs: dict[str, Any]) -> bool:
    """Whether the kernel computes what is asked: it has no dropout, no bias and no fp32.

    Args:
        query: (1, h, N, d).
        kwargs: The arguments of the attention function.
    """
    is_plain = not kwargs.get("dropout") and kwargs.get("position_bias") is None
    return is_plain and query.is_cuda and query.dtype in HALF and _TAKES_WINDOWS


def flash_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    rows: Rows,
    keys: Rows,
    *,
    is_causal: bool,
    window: int | None,
    scaling: float | None,
) -> torch.Tensor:
    """Attends within each row.

    Args:
        query: (1, h, N, d).
        key: (1, g, M, d), where h is a multiple of g.
        value: Like `key`.
        rows: The rows of the queries.
        keys: The rows of the keys.
        is_causal: Whether a query sees no later key.
        window: A query sees keys nearer than this; None for all.
        scaling: Of the scores; `d ** -0.5` when None.

    Returns:
        (1, N, h, d).
    """
    near = -1 if window is None else window - 1
    shared: dict[str, Any] = {"enable_gqa": True} if query.shape[1] != key.shape[1] else {}
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # cuDNN makes a plan anew for each shape
        out: Any = varlen.varlen_attn(
            q[: rows.num_tokens],
            k[: keys.num_tokens],
            v[: keys.num_tokens],
            rows.offsets,
            keys.offsets,
            int(rows.lengths.max()),
            int(keys.lengths.max()),
            scale=scaling,
            window_size=(near, 0 if is_causal else near),
            **shared,
        )
    behind = rows.size - rows.num_tokens
    if behind:
        out = torch.cat([out, out.new_zeros((behind, *out.shape[1:]))])
    result: torch.Tensor = out.unsqueeze(0)
    return result
