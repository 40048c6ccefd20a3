"""What attention by kernels of our own needs, and what it cannot do."""

from __future__ import annotations

import torch

from fastft.errors import ConfigurationError


def are_float32_on_cpu(*states: torch.Tensor) -> bool:
    """Whether tensors are what the kernels are made for.

    Under autocast torch decides on the precision of attention, and rotations leave queries and keys
    in float32 there beside values in half precision. A subclass (DTensor) may have no memory of its
    own that could be handed over.

    Args:
        *states: Queries, keys and values.
    """
    return not torch.is_autocast_enabled("cpu") and all(
        type(one) is torch.Tensor and one.device.type == "cpu" and one.dtype == torch.float32
        for one in states
    )


def refuse_second_derivative() -> None:
    """Is called in a backward pass that cannot itself be differentiated.

    torch's `once_differentiable` says nothing where the gradient of the outputs is a constant: what
    depends on the first derivative would then be taken for a constant too.

    Raises:
        ConfigurationError: The pass runs with `create_graph=True`.
    """
    if torch.is_grad_enabled():
        raise ConfigurationError(
            "attention over packed rows has no second derivative",
            place="a backward pass",
            found="create_graph=True",
            expected="first derivatives alone",
            fix="pass padding_free=False, or call fastft.restore_padding(model) first",
        )
