"""What attention over packed rows says to whoever asks for a second derivative."""

from __future__ import annotations

import torch

from fastft.errors import ConfigurationError


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
