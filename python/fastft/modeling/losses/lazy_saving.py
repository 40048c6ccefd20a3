"""What autograd keeps for backward where values are made later than they would have been.

A checkpoint of activations counts what is kept while its function runs, and runs it again in
backward. Values that a look inside makes would have been there before without us, and the second
time they are: so what they keep is not shown to it.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def is_watched() -> bool:
    """Whether hooks see what autograd keeps, those of a checkpoint among them."""
    return torch._C._autograd._top_saved_tensors_default_hooks(True) is not None


def kept_unwatched(*, unless: bool) -> AbstractContextManager[Any]:
    """Lets autograd keep tensors past the hooks that there are, unless something is the case."""
    if unless or not is_watched():
        return nullcontext()
    return torch.autograd.graph.saved_tensors_hooks(_packed, _unpacked)


def _packed(tensor: torch.Tensor) -> tuple[torch.Tensor, int]:
    # Without its graph: a node that keeps its own result would never be freed.
    return tensor.detach(), tensor._version


def _unpacked(packed: tuple[torch.Tensor, int]) -> torch.Tensor:
    """Gives a tensor back; behind hooks autograd does not look whether it was changed."""
    tensor, version = packed
    check_unchanged(tensor, version)
    return tensor


def check_unchanged(tensor: torch.Tensor, version: int) -> None:
    """Raises what autograd does when something was changed in place since it was kept."""
    if tensor._version != version:
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace "
            f"operation: {tensor.type()} {list(tensor.shape)} is at version {tensor._version}; "
            f"expected version {version} instead"
        )


def is_in_backward() -> bool:
    """Whether a backward runs, in which a checkpoint runs its function again."""
    return torch._C._current_graph_task_id() != -1
