"""The nodes of lazy tensors in the graph of autograd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fastft.modeling.losses.lazy_source import replay

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastft.modeling.losses.lazy_source import Op, Source


class LazyNode(torch.autograd.Function):
    """The node of a lazy tensor in the graph."""

    @staticmethod
    def forward(
        ctx: Any,
        make: Callable[[], torch.Tensor],
        source: Source,
        ops: tuple[Op, ...],
        *tensors: Any,
    ) -> torch.Tensor:
        """Gives what `make` does, as something made of `tensors`."""
        ctx.source, ctx.ops = source, ops
        # What was added is part of an operation: the replay finds it there, not here.
        ctx.added = tensors[3:]
        ctx.save_for_backward(*tensors[:3])
        """Gives the values that `make` does."""
        return make()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        """Makes the values again, for their gradients."""
        needed = ctx.needs_input_grad[3:]
        inputs = [
            None if one is None else one.detach().requires_grad_(need)
            for one, need in zip(ctx.saved_tensors, needed[:3], strict=True)
        ]
        with torch.enable_grad():
            values = replay(ctx.source, inputs, ctx.ops)
        wanted = [one for one in inputs if one is not None and one.requires_grad]
        wanted += [one for one, need in zip(ctx.added, needed[3:], strict=True) if need]
        found = iter(torch.autograd.grad(values, wanted, grads[0].to(values.dtype)))
        return None, None, None, *(next(found) if need else None for need in needed)


class Attached(torch.autograd.Function):
    """True values behind a function of somebody else, which has the next word on the gradient."""

    @staticmethod
    def forward(ctx: Any, lazy: torch.Tensor, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Gives the values that `make` does."""
        return make()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        """Hands the gradient on to the lazy tensor."""
        return grads[0], None
