"""The head that gives lazy logits: a `Linear` with the parameters of the one it stands for.

It is lazy only where that can pay: in training with gradients, and in an evaluation of which the
caller said that it wants the loss alone. Everywhere else it is the `Linear` that it was.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fastft.modeling.losses import (  # What they add to lazy logits is used.
    lazy_class_axis,  # noqa: F401
    lazy_log_probs,  # noqa: F401
)
from fastft.modeling.losses.head_record import HeadRecord
from fastft.modeling.losses.lazy_logits import LazyLogits
from fastft.modeling.losses.lazy_source import Source
from fastft.modeling.losses.supervised import wants_loss_alone
from fastft.modeling.losses.targets import PLAIN, is_traced

_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


class FusedHead(nn.Linear):
    """A `Linear` whose logits are made only when something other than the loss needs them.

    Made by `FusedHead.of`; it shares everything with the layer that it was made of.
    """

    fused_options: dict[str, Any]
    record: HeadRecord

    @classmethod
    def of(cls, linear: nn.Linear, options: dict[str, Any]) -> FusedHead:
        """Makes one of a `Linear`: the same parameters, hooks and attributes."""
        head = cls.__new__(cls)
        nn.Module.__init__(head)
        head.__dict__.update(linear.__dict__)
        head.fused_options, head.record = options, HeadRecord()
        return head

    def to_linear(self) -> nn.Linear:
        """Gives a plain `Linear` with the same parameters, hooks and attributes."""
        linear = nn.Linear.__new__(nn.Linear)
        nn.Module.__init__(linear)
        ours = ("fused_options", "record")
        kept = {name: value for name, value in self.__dict__.items() if name not in ours}
        linear.__dict__.update(kept)
        return linear

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Gives logits (..., V) for hidden states (..., H), lazy ones where that can pay."""
        if torch.compiler.is_compiling() or not self._can_pay():
            return super().forward(input)
        reason = self._why_plain(input)
        if reason is not None:
            self.record.note_plain(reason)
            return super().forward(input)
        device = input.device.type
        cast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if cast else None
        return LazyLogits.of(
            Source.of(
                *(input, self.weight, self.bias),
                autocast_dtype=dtype,
                options=self.fused_options,
                record=self.record,
            )
        )

    def _can_pay(self) -> bool:
        if torch.is_grad_enabled():
            return self.training or wants_loss_alone()
        return wants_loss_alone() and not torch.is_inference_mode_enabled()

    def _why_plain(self, hidden: torch.Tensor) -> str | None:
        """Says why this call gives plain logits; None when it gives lazy ones."""
        if is_traced() or torch._C._are_functorch_transforms_active():
            return "a trace or a transform of torch.func"
        if torch.autograd.forward_ad._current_level >= 0:
            return "forward-mode differentiation"
        if isinstance(self, _fsdp_module()):
            return "FSDP2 shards the head in a group of its own"
        is_managed = hasattr(self, "_is_fsdp_managed_module")
        if is_managed and type(self.weight) is torch.Tensor:
            # While it runs the weight is a view of one parameter for all, which may be taken back.
            return "FSDP1 lends the weight to the head"
        for name, one in (("hidden states", hidden), ("a weight", self.weight)):
            if type(one) not in PLAIN:
                return f"{name} of type {type(one).__name__}"
        if hidden.is_meta:
            return "the meta device, where nothing is computed"
        if hasattr(self.weight, "ds_id"):
            return "DeepSpeed shards the weight"
        return self._why_plain_dtype(hidden)

    def _why_plain_dtype(self, hidden: torch.Tensor) -> str | None:
        if hidden.dtype not in _FLOATS or self.weight.dtype not in _FLOATS:
            return f"hidden states of {hidden.dtype}"
        if hidden.is_inference() or self.weight.is_inference():
            return "tensors of inference mode"
        is_cast = torch.is_autocast_enabled(hidden.device.type)
        fits = hidden.dim() > 1 and hidden.shape[-1] == self.weight.shape[-1]
        if not fits or not (is_cast or hidden.dtype == self.weight.dtype):
            return "shapes or dtypes that do not fit the weight"
        return None


def _fsdp_module() -> type | tuple[type, ...]:
    if not torch.distributed.is_available():
        return ()
    from torch.distributed.fsdp import FSDPModule

    return FSDPModule
