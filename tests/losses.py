"""Problems for tests of losses, and what they give in float64, written apart from fastft."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F

import fastft


@dataclass
class Problem:
    hidden: torch.Tensor
    weight: torch.Tensor
    labels: torch.Tensor
    bias: torch.Tensor | None = None

    def leaves(self, dtype: torch.dtype | None = None) -> list[torch.Tensor]:
        """Fresh leaves: hidden, weight and, where there is one, bias."""
        whole = [one for one in (self.hidden, self.weight, self.bias) if one is not None]
        return [one.detach().clone().to(dtype or one.dtype).requires_grad_() for one in whole]

    def to(self, dtype: torch.dtype) -> Problem:
        bias = None if self.bias is None else self.bias.to(dtype)
        return replace(self, hidden=self.hidden.to(dtype), weight=self.weight.to(dtype), bias=bias)


def problem(
    num_rows: int,
    width: int,
    num_classes: int,
    *,
    seed: int = 0,
    scale: float = 1.0,
    bias: bool = False,
    ignored: int = 4,
    dtype: torch.dtype = torch.float32,
) -> Problem:
    """Random rows; every `ignored`th label is -100 (0: none is)."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(num_rows, width, generator=generator) * scale
    weight = torch.randn(num_classes, width, generator=generator) / max(width, 1) ** 0.5
    labels = torch.randint(num_classes, (num_rows,), generator=generator)
    if ignored:
        labels[::ignored] = -100
    whole = Problem(hidden, weight, labels)
    if bias:
        whole.bias = torch.randn(num_classes, generator=generator)
    return whole.to(dtype)


def exact_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    class_weight: torch.Tensor | None = None,
    token_weight: torch.Tensor | None = None,
    denominator: float | None = None,
    ignore_index: int = -100,
) -> torch.Tensor:
    """The formula, term by term, with torch's cross entropy for the first of them."""
    logits = logits * logit_scale
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    counts = labels != ignore_index
    weights = None if class_weight is None else class_weight.to(logits.dtype)
    losses = F.cross_entropy(
        logits,
        labels,
        weight=weights,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
        reduction="none",
    )
    losses = losses + z_loss * logits.logsumexp(-1).square() * counts
    each = torch.ones_like(losses) * counts
    if weights is not None:
        each = each * weights[labels.where(counts, 0)]
    if token_weight is not None:
        losses, each = losses * token_weight, each * token_weight
    if reduction == "none":
        return losses
    if denominator is not None:
        return losses.sum() / denominator
    return losses.sum() / each.sum() if reduction == "mean" else losses.sum()


def gradients(loss: torch.Tensor, leaves: list[torch.Tensor]) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, leaves))


class Anew(torch.autograd.Function):
    """A function whose loss is computed again for each backward.

    `gradcheck` goes backward through one graph many times; ours goes once.
    """

    @staticmethod
    def forward(ctx: Any, function: Any, *leaves: torch.Tensor) -> torch.Tensor:
        ctx.function = function
        ctx.save_for_backward(*leaves)
        return function(*leaves)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        leaves = [leaf.detach().requires_grad_() for leaf in ctx.saved_tensors]
        with torch.enable_grad():
            loss = ctx.function(*leaves)
        return None, *torch.autograd.grad(loss, leaves, grads[0])


def relative(found: torch.Tensor, exact: torch.Tensor) -> float:
    """The largest difference over the largest exact value."""
    difference = (found.double() - exact.double()).abs().max()
    return float(difference / exact.double().abs().max().clamp_min(1e-300))


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "sum": {"reduction": "sum"},
    "none": {"reduction": "none"},
    "denominator": {"denominator": 37},
    "label smoothing": {"label_smoothing": 0.2},
    "z-loss": {"z_loss": 0.05},
    "softcap": {"softcap": 3.0},
    "logit scale": {"logit_scale": 0.3},
    "class weight": {"class_weight": True},
    "token weight": {"token_weight": True},
    "weighted smoothing": {"class_weight": True, "label_smoothing": 0.1},
    "all": {
        "class_weight": True,
        "token_weight": True,
        "label_smoothing": 0.1,
        "z_loss": 0.01,
        "softcap": 5.0,
        "logit_scale": 1.5,
    },
    "all of none": {
        "class_weight": True,
        "token_weight": True,
        "label_smoothing": 0.1,
        "z_loss": 0.01,
        "softcap": 5.0,
        "reduction": "none",
    },
}


def options_for(name: str, num_rows: int, num_classes: int) -> dict[str, Any]:
    """The options of this name with weights of the right length."""
    options = dict(OPTIONS[name])
    generator = torch.Generator().manual_seed(11)
    if options.get("class_weight"):
        options["class_weight"] = torch.rand(num_classes, generator=generator) + 0.1
    if options.get("token_weight"):
        options["token_weight"] = torch.rand(num_rows, generator=generator) * 2
    return options


def both(case: Any, **options: Any) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Loss and gradients: ours, and exactly."""
    leaves, exact = case.leaves(), case.leaves(torch.float64)
    bias = leaves[2] if case.bias is not None else None
    backend = options.pop("backend", "rust")
    chunk_tokens = options.pop("chunk_tokens", None)
    accum_dtype = options.pop("accum_dtype", "auto")
    loss = fastft.linear_cross_entropy(
        *leaves[:2],
        case.labels,
        bias=bias,
        backend=backend,
        chunk_tokens=chunk_tokens,
        accum_dtype=accum_dtype,
        **options,
    )
    logits = F.linear(exact[0], exact[1], exact[2] if case.bias is not None else None)
    reference = exact_loss(logits, case.labels, **options)
    # A weight for each loss, so that reduction="none" is looked at row by row.
    mix = torch.linspace(0.5, 1.5, loss.numel()).reshape(loss.shape)
    found = [loss.detach(), *gradients((loss * mix.to(loss.dtype)).sum(), leaves)]
    return found, [reference.detach(), *gradients((reference * mix).sum(), exact)]


def logits_and_labels(
    *shape: int, scale: float = 1.0, offset: float = 0.0, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(*shape, generator=generator) * scale + offset
    labels = torch.randint(shape[-1], shape[:-1], generator=generator)
    labels.view(-1)[::5] = -100
    return logits, labels
