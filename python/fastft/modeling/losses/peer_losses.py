"""The fused losses of others, when they are asked for by name: `backend="torch_fused"`, `"quack"`.

They have fewer options than ours, and the digits that they have: torch sums the loss of bfloat16 in
bfloat16. Here a sum is asked of them and divided by our divisor, so that the mean means the same.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from fastft.errors import ConfigurationError
from fastft.modeling.losses.choice import loss_type
from fastft.modeling.losses.divisor import divisor
from fastft.modeling.losses.settings import wrong

if TYPE_CHECKING:
    from fastft.modeling.losses.chunks import Linear
    from fastft.modeling.losses.settings import Settings
    from fastft.modeling.losses.targets import Targets

PEERS = ("torch_fused", "quack")
QUACK = "quack.linear_cross_entropy"
QUACK_CHUNK = 4096


def peer_loss(
    backend: str,
    linear: Linear,
    targets: Targets,
    settings: Settings,
    *,
    chunk_tokens: int | None,
    return_stats: bool,
) -> torch.Tensor:
    """The loss of a linear layer as one of `PEERS` computes it; float64 for float64, else float32.

    Raises:
        ConfigurationError: It is not installed, or has not got an option that is asked for.
    """
    _refuse(backend, linear, targets, settings, return_stats=return_stats)
    rows = linear.hidden if targets.rows is None else linear.hidden[targets.rows]
    linear = linear._replace(hidden=rows)
    if backend == "quack":
        loss = _quack(linear, targets.labels, settings, chunk_tokens)
    else:
        loss = _torch(linear, targets.labels, settings, chunk_tokens)
    dtype = loss_type(rows.dtype)
    if settings.reduction == "none":
        return targets.spread(loss.to(dtype))
    mean: torch.Tensor = loss.to(dtype) / divisor(targets, settings)
    return mean.to(dtype)


def _torch(
    linear: Linear, labels: torch.Tensor, settings: Settings, chunk_tokens: int | None
) -> Any:
    if not hasattr(torch.nn, "LinearCrossEntropyOptions"):
        raise _missing("torch_fused", f"torch {torch.__version__}", "pip install 'torch>=2.15'")
    method: dict[str, Any] = {} if chunk_tokens is None else {"chunking_method": None}
    weights = settings.class_weight
    return F.linear_cross_entropy(
        *(linear.hidden, linear.weight, labels),
        linear_bias=linear.bias,
        weight=None if weights is None else weights.detach().to(linear.weight.dtype),
        reduction="none" if settings.reduction == "none" else "sum",
        ignore_index=settings.ignore_index,
        options=torch.nn.LinearCrossEntropyOptions(batch_chunk_size=chunk_tokens, **method),
    )


def _quack(
    linear: Linear, labels: torch.Tensor, settings: Settings, chunk_tokens: int | None
) -> Any:
    try:
        module = importlib.import_module(QUACK)
    except ImportError as error:
        raise _missing("quack", str(error), "pip install quack-kernels") from error
    if not _is_for_quack(linear.hidden):
        found = f"{linear.hidden.dtype} on {linear.hidden.device.type}"
        raise wrong("backend", found, "bfloat16 or float16 on a GPU with backend='quack'")
    try:
        return module.chunked_linear_cross_entropy(
            *(linear.hidden, linear.weight, labels),
            chunk_size=chunk_tokens or QUACK_CHUNK,
            ignore_index=settings.ignore_index,
            reduction="sum",
        )
    except (AssertionError, ValueError) as error:
        found = f"{tuple(linear.hidden.shape)} and {tuple(linear.weight.shape)}: {error}"
        raise wrong("backend", found, "shapes that quack can use") from error


def _is_for_quack(hidden: torch.Tensor) -> bool:
    return hidden.is_cuda and hidden.dtype in (torch.bfloat16, torch.float16)


def _refuse(
    backend: str, linear: Linear, targets: Targets, settings: Settings, *, return_stats: bool
) -> None:
    """Raises where an option is asked for that the peer has not got."""
    asked = {
        "label_smoothing": settings.label_smoothing > 0,
        "token_weight": targets.token_weight is not None,
        "z_loss": settings.z_loss > 0,
        "softcap": settings.softcap is not None,
        "logit_scale": settings.logit_scale != 1,
        "return_stats": return_stats,
    }
    if backend == "quack":
        asked["bias"] = linear.bias is not None
        asked["class_weight"] = settings.class_weight is not None
        asked["reduction"] = settings.reduction == "none"
    for name, is_asked in asked.items():
        if is_asked:
            raise ConfigurationError(
                f"backend={backend!r} has no {name}",
                place=name,
                fix="leave it out, or use backend='auto', which has it",
            )


def _missing(backend: str, found: str, fix: str) -> ConfigurationError:
    return ConfigurationError(
        f"backend={backend!r} is not installed", place="backend", found=found, fix=fix
    )
