"""The fused loss of a linear layer on its way through autograd.

A sum over the rows has its gradients ready when it is there; in backward they are scaled, once. For
a loss of each row, the weights of the rows come with backward, so the logits are made once more.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from fastft.modeling.losses.choice import finished, once, split_divisor, upstream
from fastft.modeling.losses.chunks import Gradients, Linear, Plan, losses
from fastft.modeling.losses.kernel import is_batched
from fastft.modeling.losses.reference import Rows, plain_linear
from fastft.modeling.losses.wide_sum import WideSum

if TYPE_CHECKING:
    from fastft.modeling.losses.chunks import Kernel
    from fastft.modeling.losses.divisor import Number
    from fastft.modeling.losses.settings import Settings
    from fastft.modeling.losses.targets import Targets


class FusedLinear:
    """One call on its way through autograd."""

    def __init__(
        self, targets: Targets, settings: Settings, plan: Plan, kernel: Kernel, divisor: Number
    ) -> None:
        self.targets = targets
        self.settings = settings
        self.plan = plan
        self.kernel = kernel
        self.divisor = divisor
        self.rows = Rows(torch.empty(0))

    def apply(
        self, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """The loss, with a graph where gradients are wanted."""
        wants = [
            torch.is_grad_enabled() and one is not None and one.requires_grad
            for one in (hidden, weight, bias)
        ]
        if not any(wants):
            nothing = self.plan_for(False, False, False)
            weights = self.targets.token_weight
            computed = self.compute(hidden, weight, bias, nothing, weights)
            return self.loss(computed, hidden.dtype)
        function = _Recomputed if self.settings.reduction == "none" else _Ready
        loss: torch.Tensor = function.apply(hidden, weight, bias, self, self.plan_for(*wants))
        return loss

    def plan_for(self, hidden: bool, weight: bool, bias: bool) -> Plan:
        """The plan with the gradients that are wanted."""
        return replace(self.plan, hidden=hidden, weight=weight, bias=bias)

    def compute(
        self,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        plan: Plan,
        row_weight: torch.Tensor | None = None,
        factor: Number = 1.0,
    ) -> tuple[Rows, Gradients]:
        """Losses and gradients of the rows that count; the gradient of hidden is for all rows."""
        rows = self.targets.rows
        chosen = hidden.detach() if rows is None else hidden.detach()[rows]
        linear = Linear(chosen, weight.detach(), None if bias is None else bias.detach())
        with torch.no_grad(), _without_autocast(hidden):
            found, gradients = losses(
                *(linear, self.targets.labels, self.kernel, plan),
                row_weight=row_weight,
                factor=factor,
            )
        if rows is not None and gradients.hidden is not None:
            whole = torch.zeros_like(hidden).index_add_(0, rows, gradients.hidden)
            gradients = gradients._replace(hidden=whole)
        return found, gradients

    def loss(self, computed: tuple[Rows, Gradients], dtype: torch.dtype) -> torch.Tensor:
        """The loss from what was computed, in the type that it has for `hidden`."""
        self.rows = computed[0]
        return finished(self.rows.loss, self.targets, self.settings, self.divisor, dtype)


def _without_autocast(tensor: torch.Tensor) -> Any:
    return torch.autocast(tensor.device.type, enabled=False)


class _Ready(torch.autograd.Function):
    """A sum, whose gradients are computed at once and scaled in backward."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        run: FusedLinear,
        plan: Plan,
    ) -> torch.Tensor:
        weights = run.targets.token_weight
        factor, ctx.divisor = split_divisor(
            *(run.divisor, hidden.dtype, run.kernel),
            weights=(weights, run.settings.class_weight),
        )
        computed = run.compute(hidden, weight, bias, plan, weights, factor)
        ctx.gradients, ctx.kernel, ctx.dtype = computed[1], run.kernel, hidden.dtype
        return run.loss(computed, hidden.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[Any, ...]:
        gradients = once(ctx, "gradients", grads[0])
        scale = ctx.kernel.number(grads[0]) / ctx.divisor
        return (*_scaled(gradients, ctx.kernel, scale, ctx.dtype), None, None)


class _Recomputed(torch.autograd.Function):
    """A loss for each label: what they weigh is known in backward, so the logits come once more."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        run: FusedLinear,
        plan: Plan,
    ) -> torch.Tensor:
        ctx.save_for_backward(hidden, weight, bias, *run.targets.constants(run.settings))
        ctx.run, ctx.plan = run, plan
        only = run.plan_for(False, False, False)
        computed = run.compute(hidden, weight, bias, only, run.targets.token_weight)
        return run.loss(computed, hidden.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[Any, ...]:
        run = ctx.run
        if torch.is_grad_enabled() or is_batched(grads[0]):
            return (*_plain_gradients(ctx, grads[0]), None, None)
        grad = grads[0].reshape(-1)
        if run.targets.places is not None:
            grad = grad[run.targets.places]
        weight, factor = upstream(
            grad, run.targets.token_weight, run.settings, run.divisor, run.kernel
        )
        inputs = ctx.saved_tensors[:3]
        _, gradients = run.compute(*inputs, ctx.plan, weight, factor)
        return (*_scaled(gradients, run.kernel, 1.0, inputs[0].dtype), None, None)


def _scaled(
    gradients: Gradients, kernel: Kernel, factor: Any, dtype: torch.dtype
) -> list[torch.Tensor | None]:
    """The gradients times a factor, narrowed where they had no place in their type before."""
    hidden, weight, bias = gradients
    sums = weight.halves if isinstance(weight, WideSum) else [weight]
    for one in (hidden, *sums, bias):
        if one is not None:
            kernel.scale_(one, factor)
    narrowed = weight.narrowed() if isinstance(weight, WideSum) else weight
    return [hidden, narrowed, None if bias is None else bias.to(dtype)]


def _plain_gradients(ctx: Any, grad: torch.Tensor) -> list[torch.Tensor | None]:
    """Gradients by the plain way, for `create_graph=True` and for a batch of gradients."""
    hidden, weight, bias = ctx.saved_tensors[:3]
    run, plan = ctx.run, ctx.plan
    wants_graph = torch.is_grad_enabled()
    with torch.enable_grad(), _without_autocast(hidden):
        loss = plain_linear(hidden, weight, bias, run.targets, run.settings)[0]
    wanted = (plan.hidden, plan.weight, plan.bias)
    leaves = [one for one, wants in zip((hidden, weight, bias), wanted, strict=True) if wants]
    found = iter(torch.autograd.grad(loss, leaves, grad, create_graph=wants_graph))
    return [next(found) if wants else None for wants in wanted]
