"""AdamW on the rows of an embedding that it moves, in place of all of them.

A batch touches a few hundred rows of a vocabulary of 30,000. Its gradient is kept as those rows
(`torch.nn.Embedding(sparse=True)`), clipped as those rows, and AdamW moves the rows that have a
gradient or had one before: for all others its moments are zero and it would do nothing. What comes
out is the step of `torch.optim.AdamW` on the whole weight, moments and step count included, so
checkpoints are the same; `torch.optim.SparseAdam`, by contrast, is another method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastft import _fastft

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

MIN_ELEMENTS = 1 << 20
"""Weights of an embedding from which it pays: 4 MiB in fp32, about a millisecond a step."""

_PLAIN_ADAMW = ("amsgrad", "maximize", "capturable", "differentiable")
"""Settings of `torch.optim.AdamW` that change what it computes, or where."""


def row_embeddings(model: torch.nn.Module) -> dict[str, torch.nn.Embedding]:
    """The large embeddings whose gradient is a few rows, by name: only embeddings use their weight.

    Args:
        model: The model, as it is trained.
    """
    modules = dict(model.named_modules())
    others = {
        id(parameter)
        for module in modules.values()
        if type(module) is not torch.nn.Embedding or not _has_sparse_gradient(module)
        for parameter in module._parameters.values()
    }
    return {
        name: module
        for name, module in modules.items()
        if type(module) is torch.nn.Embedding and id(module.weight) not in others
    }


def _has_sparse_gradient(embedding: torch.nn.Embedding) -> bool:
    weight = embedding.weight
    return (
        type(weight) is torch.nn.Parameter
        and weight.requires_grad
        and weight.is_cpu
        and weight.dtype == torch.float32
        and weight.is_contiguous()
        and weight.numel() >= MIN_ELEMENTS
        and embedding.max_norm is None
        and not (embedding.scale_grad_by_freq or embedding.sparse)
        and not weight._backward_hooks
        and not weight._post_accumulate_grad_hooks
    )


def why_not_adamw(optimizer: Any) -> str | None:
    """Says why the steps of an optimizer are not those of plain AdamW; None where they are.

    Args:
        optimizer: An optimizer of torch.
    """
    if type(optimizer) is not torch.optim.AdamW:
        return f"the optimizer is {type(optimizer).__name__}, not torch's AdamW"
    for group in optimizer.param_groups:
        for name in _PLAIN_ADAMW:
            if group.get(name):
                return f"AdamW runs with {name}={group[name]!r}"
    return None


@dataclass
class SparseWhereFew:
    """A forward hook: the gradient is kept as rows where a step touches less than half of them.

    Args:
        num_batches: Batches of an optimizer step.
        is_active: Whether it decides; in a copy of the model it only undoes.
    """

    num_batches: int
    is_active: bool = True

    def __call__(self, embedding: torch.nn.Embedding, args: tuple[Any, ...]) -> None:
        """Decides for the call that follows."""
        touched = args[0].numel() * self.num_batches if args else embedding.num_embeddings
        is_eager = self.is_active and not torch.compiler.is_compiling()
        embedding.sparse = is_eager and 2 * touched <= embedding.num_embeddings

    def __deepcopy__(self, memo: dict[int, Any]) -> SparseWhereFew:
        """The optimizer of a copy is not known here."""
        return SparseWhereFew(self.num_batches, is_active=False)


@dataclass
class _Moments:
    """The first moments that were looked at, and which rows have any."""

    exp_avg: torch.Tensor
    live: NDArray[np.bool_]


class RowUpdates:
    """Takes the steps of some embeddings for an AdamW, until `detach`.

    Args:
        embeddings: What `row_embeddings` gives.
        optimizer: An AdamW of torch that `why_not_adamw` has nothing against.
        num_batches: Batches of an optimizer step.
    """

    def __init__(
        self,
        embeddings: Mapping[str, torch.nn.Embedding],
        optimizer: torch.optim.AdamW,
        num_batches: int,
    ) -> None:
        self.embeddings = dict(embeddings)
        self.optimizer = optimizer
        self._weights = {id(one.weight) for one in self.embeddings.values()}
        self._moments: dict[int, _Moments] = {}
        hook = SparseWhereFew(num_batches)
        self._handles: list[Any] = [
            one.register_forward_pre_hook(hook) for one in self.embeddings.values()
        ]
        self._handles.append(optimizer.register_step_pre_hook(self._before_step))

    def detach(self) -> None:
        """Leaves the embeddings and the optimizer as they were."""
        for handle in self._handles:
            handle.remove()
        for embedding in self.embeddings.values():
            embedding.sparse = False

    def num_live(self) -> dict[str, int]:
        """How many rows the steps moved so far, by the name of the first embedding of a weight."""
        names: dict[int, str] = {}
        for name, embedding in self.embeddings.items():
            names.setdefault(id(embedding.weight), name)
        moments = {name: self._moments.get(weight) for weight, name in names.items()}
        return {name: int(one.live.sum()) if one else 0 for name, one in moments.items()}

    # -- the step ------------------------------------------------------------------------------

    @torch.no_grad()
    def _before_step(self, optimizer: Any, *_: Any) -> None:
        """Steps the embeddings; what has no gradient then is passed over by the optimizer."""
        for group in optimizer.param_groups:
            for weight in group["params"]:
                if id(weight) in self._weights and weight.grad is not None:
                    self._step(weight, group)

    def _step(self, weight: torch.Tensor, group: dict[str, Any]) -> None:
        state = _state(self.optimizer, weight)
        live = self._live_rows(weight, state)
        gradient: Any = weight.grad
        if not gradient.is_sparse:  # the optimizer itself takes this step
            np.logical_or(live, (gradient != 0).any(dim=1).numpy(), out=live)
            return
        gradient = gradient.coalesce()
        state["step"] += 1
        lr = float(group["lr"])
        if group["weight_decay"]:
            weight.mul_(1 - lr * group["weight_decay"])
        _fastft.adamw_rows(
            weight.detach().numpy(),
            state["exp_avg"].numpy(),
            state["exp_avg_sq"].numpy(),
            live,
            gradient.indices()[0].contiguous().numpy(),
            gradient.values().contiguous().numpy(),
            lr=lr,
            betas=(float(group["betas"][0]), float(group["betas"][1])),
            eps=float(group["eps"]),
            step=float(state["step"]),
            num_threads=torch.get_num_threads(),
        )
        torch.autograd.graph.increment_version([weight, state["exp_avg"], state["exp_avg_sq"]])
        weight.grad = None

    def _live_rows(self, weight: torch.Tensor, state: dict[str, Any]) -> NDArray[np.bool_]:
        """Which rows have moments; looked for anew where others were loaded."""
        known = self._moments.get(id(weight))
        if known is None or known.exp_avg is not state["exp_avg"]:
            has_any = (state["exp_avg"] != 0) | (state["exp_avg_sq"] != 0)
            known = _Moments(state["exp_avg"], has_any.any(dim=1).numpy())
            self._moments[id(weight)] = known
        return known.live


def _state(optimizer: torch.optim.Optimizer, weight: torch.Tensor) -> dict[str, Any]:
    """What AdamW keeps of a weight, made as it makes it itself."""
    state: dict[str, Any] = optimizer.state[weight]
    if not state:
        state["step"] = torch.tensor(0.0)
        state["exp_avg"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
        state["exp_avg_sq"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
    return state


@torch.no_grad()
def clip_grad_norm(parameters: Iterable[torch.Tensor], max_norm: float) -> torch.Tensor:
    """`torch.nn.utils.clip_grad_norm_`, for gradients of which some are rows.

    Gradients that are small enough are left alone, where the original multiplies them by one.

    Args:
        parameters: Tensors on the CPU.
        max_norm: The greatest norm of all gradients together.

    Returns:
        The norm before.
    """
    gradients = [_values(one) for one in parameters if one.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    factor = max_norm / (norm + 1e-6)
    if not float(factor) >= 1:  # NaN is multiplied too
        torch._foreach_mul_(gradients, factor)
    return norm


def _values(parameter: torch.Tensor) -> torch.Tensor:
    """The numbers of a gradient that may not be zero; they can be changed in place."""
    gradient: Any = parameter.grad
    if not gradient.is_sparse:
        return gradient  # type: ignore[no-any-return]
    parameter.grad = rows = gradient.coalesce()
    values: torch.Tensor = rows.values()
    return values
