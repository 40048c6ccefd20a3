"""What logits follow from, kept so that they can be made later as the head would have made them."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from fastft.errors import ConfigurationError
from fastft.modeling.losses.lazy_saving import is_watched

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastft.modeling.losses.head_record import HeadRecord

Op = tuple[Any, tuple[Any, ...], dict[str, Any]]
"""A function, and what it takes behind the tensor."""


SAMPLED = 16
"""Rows and columns of a weight, about, whose values are compared."""


@dataclass
class Source:
    """What the logits follow from, and in which mode the head ran.

    Attributes:
        hidden: Float (..., H).
        weight: Float (V, H).
        bias: Float (V,) or None.
        autocast_dtype: The dtype of autocast when the head ran; None without autocast.
        options: Arguments of every fused call.
        record: Where the head counts.
        was_fused: Whether a loss ran on these logits without making them.
        was_watched: Whether hooks saw what autograd kept when the head ran.
    """

    hidden: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor | None
    autocast_dtype: torch.dtype | None
    options: dict[str, Any]
    record: HeadRecord
    was_fused: bool = False

    def __post_init__(self) -> None:
        self._versions = self._current_versions()
        self._sample = _sample(self.weight)
        self.was_watched = is_watched()

    @classmethod
    def of(
        cls, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, **how: Any
    ) -> Source:
        """Makes one; what needs no gradient now gets none, whatever becomes of it later."""
        return cls(_kept(hidden), _kept(weight), None if bias is None else _kept(bias), **how)

    @property
    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Hidden states, weight and bias."""
        return self.hidden, self.weight, self.bias

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the logits have."""
        return self.autocast_dtype or self.hidden.dtype

    def _current_versions(self) -> list[tuple[int, int]]:
        return [(one._version, one.data_ptr()) for one in self.tensors if one is not None]

    def _has_changed(self) -> bool:
        """Whether somebody changed what the logits follow from.

        Through `weight.data` too, which no version counts, by a look at some of the values; on a
        GPU that would wait.
        """
        if self._versions != self._current_versions():
            return True
        return self._sample is not None and self._sample != _sample(self.weight)

    def check(self) -> None:
        """Raises when the logits can no longer be made as the head would have made them."""
        is_freed = self.weight.numel() > 0 and self.weight.untyped_storage().size() == 0
        if is_freed or self._has_changed():
            raise ConfigurationError(
                "logits that were not kept cannot be made any more",
                place="fused head",
                found="the weight was taken back by FSDP"
                if is_freed
                else "weight or hidden states were changed in place since the forward",
                expected="logits that are looked at before the optimizer steps",
                fix="look at the logits before that, or call fastft.unfuse_head(model)",
            )

    def in_mode(self) -> Any:
        """Gives the context of autocast in which the head ran."""
        device, dtype = self.hidden.device.type, self.autocast_dtype
        if not torch.amp.is_autocast_available(device):
            return torch.autograd.set_grad_enabled(torch.is_grad_enabled())
        return torch.autocast(device, dtype, enabled=dtype is not None)


def _kept(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.requires_grad else tensor.detach()


def _sample(weight: torch.Tensor) -> bytes | None:
    """Some of the values of a weight (V, H) on the CPU, as bytes: NaN is equal to itself there."""
    if not weight.is_cpu or not weight.untyped_storage().size():
        return None
    steps = [max(size // SAMPLED, 1) for size in weight.shape]
    some = weight.detach()[:: steps[0], :: steps[1]].contiguous()
    return some.view(torch.uint8).numpy().tobytes()


def replay(source: Source, tensors: Any, ops: tuple[Op, ...]) -> torch.Tensor:
    """Makes the values from the start, with plain operations."""
    with source.in_mode():
        values = F.linear(*tensors)
        for func, args, kwargs in ops:
            values = func(values, *args, **kwargs)
    return values


def fits(handler: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a handler knows these arguments; others are left to the true tensor."""
    try:
        _signature(handler).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


@lru_cache(maxsize=256)
def _signature(handler: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(handler)
