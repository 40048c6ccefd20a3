"""Tensors that are not there yet: logits as hidden states, a weight and what was done to them.

A lazy tensor is a real tensor for everything that looks at its shape, dtype or device, and for
autograd. Operations that a loss does on logits are recorded (`lazy_logits`), all others make the
true values by replaying what was recorded, and go on with these. The values are made once and
kept, views of them are views, so an in-place change is seen wherever it would be seen without us:
from then on nothing runs lazily.

Gradients flow on two ways, both right: the true values come from plain operations on the hidden
states and the weight; and the lazy tensor itself has a node in the graph (`_Identity`), for code
below Python that never asks for the values (the reducer of DDP walks the graph of the outputs).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F

from fastft.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastft.modeling.losses.head_record import HeadRecord

Op = tuple[Any, tuple[Any, ...], dict[str, Any]]
"""A function, and what it takes behind the tensor."""


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

    @property
    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Hidden states, weight and bias."""
        return self.hidden, self.weight, self.bias

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the logits have."""
        return self.autocast_dtype or self.hidden.dtype

    def _current_versions(self) -> list[int]:
        return [one._version for one in self.tensors if one is not None]

    def check(self) -> None:
        """Raises when the logits can no longer be made as the head would have made them."""
        is_freed = self.weight.numel() > 0 and self.weight.untyped_storage().size() == 0
        if is_freed or self._versions != self._current_versions():
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


def replay(source: Source, tensors: Any, ops: tuple[Op, ...]) -> torch.Tensor:
    """Makes the values from the start, with plain operations."""
    with source.in_mode():
        values = F.linear(*tensors)
        for func, args, kwargs in ops:
            values = func(values, *args, **kwargs)
    return values


class _Identity(torch.autograd.Function):
    """The node of a lazy tensor in the graph."""

    @staticmethod
    def forward(
        ctx: Any, make: Callable[[], LazyTensor], source: Source, ops: tuple[Op, ...], *tensors: Any
    ) -> LazyTensor:
        ctx.source, ctx.ops = source, ops
        ctx.save_for_backward(*tensors)
        return make()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        needed = ctx.needs_input_grad[3:]
        inputs = [
            None if one is None else one.detach().requires_grad_(need)
            for one, need in zip(ctx.saved_tensors, needed, strict=True)
        ]
        with torch.enable_grad():
            values = replay(ctx.source, inputs, ctx.ops)
        wanted = [one for one in inputs if one is not None and one.requires_grad]
        found = iter(torch.autograd.grad(values, wanted, grads[0].to(values.dtype)))
        return None, None, None, *(next(found) if need else None for need in needed)


class LazyTensor(torch.Tensor):
    """A tensor whose values are made when somebody needs them.

    Attributes:
        source: What they follow from.
        ops: What was done since the head.
        parent: The lazy tensor that the last operation was done on.
    """

    source: Source
    ops: tuple[Op, ...]
    parent: LazyTensor | None
    _made: torch.Tensor | None
    _hooks: list[Any]

    handlers: ClassVar[dict[Any, Callable[..., Any]]] = {}
    """Operations that are recorded; a handler gives NotImplemented where it cannot."""

    @classmethod
    def create(
        cls,
        source: Source,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        parent: LazyTensor | None = None,
        op: Op | None = None,
    ) -> Any:
        """Makes one; with a parent, what `op` gives on it."""

        def wrapper() -> Any:
            return torch.Tensor._make_wrapper_subclass(
                cls, shape, dtype=dtype, device=source.hidden.device, requires_grad=False
            )

        ops = () if parent is None or op is None else (*parent.ops, op)
        needs_grad = torch.is_grad_enabled() and (
            any(one is not None and one.requires_grad for one in source.tensors)
            if parent is None
            else parent.requires_grad
        )
        lazy = _Identity.apply(wrapper, source, ops, *source.tensors) if needs_grad else wrapper()
        lazy.source, lazy.ops, lazy.parent, lazy._made = source, ops, parent, None
        lazy._hooks = []
        return lazy

    @property
    def has_values(self) -> bool:
        """Whether the values of it, or of what it came from, were made."""
        lazy: LazyTensor | None = self
        while lazy is not None:
            if lazy._made is not None:
                return True
            lazy = lazy.parent
        return False

    def made(self) -> torch.Tensor:
        """Gives the true tensor, with the graph that it would have had."""
        if self._made is None:
            with torch.set_grad_enabled(self.requires_grad), self.source.in_mode():
                if self.parent is None:
                    self.source.check()
                    self._made = F.linear(*self.source.tensors)
                else:
                    func, args, kwargs = self.ops[-1]
                    self._made = func(self.parent.made(), *args, **kwargs)
            for hook in self._hooks:
                self._made.register_hook(hook)
        return self._made

    def materialised(self, what: str) -> torch.Tensor:
        """Gives the true tensor, and counts why when it had to be made."""
        if not self.has_values:
            self.source.record.note_materialised(what)
        return self.made()

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _METADATA:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        lazy = args[0] if args else None
        if isinstance(lazy, LazyTensor) and not lazy.has_values:
            handler = lazy.handlers.get(func)
            result = NotImplemented if handler is None else handler(*args, **kwargs)
            if result is not NotImplemented:
                return result
            if func in _GRADIENTS and lazy.source.was_fused:
                return _wait_for_gradient(func, lazy, *args[1:])
        what = getattr(func, "__name__", str(func))
        return func(*_with_values(args, what), **_with_values(kwargs, what))

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        what = str(func)
        with torch.no_grad():
            return func(*_detached(args, what), **_detached(kwargs or {}, what))


_GRADIENTS = (torch.Tensor.register_hook, torch.Tensor.retain_grad)


def _wait_for_gradient(func: Any, lazy: LazyTensor, *args: Any) -> Any:
    """Refuses what waits for a gradient of logits that the loss did not go through.

    FSDP2 puts a hook on every output, the loss among them, and needs the first that runs: its hook
    waits for the gradients of whatever else is done with the logits.
    """
    if args and getattr(args[0], "__module__", "").startswith("torch.distributed."):
        lazy._hooks.append(args[0])
        with torch._C.DisableTorchFunctionSubclass():
            return func(lazy, *args)
    raise ConfigurationError(
        "the gradient of the logits was asked for, but the loss ran without logits",
        place=f"logits.{func.__name__}",
        fix="call fastft.unfuse_head(model)",
    )


def _with_values(value: Any, what: str) -> Any:
    """Puts true tensors for lazy ones, in lists and dicts too."""
    if isinstance(value, LazyTensor):
        return value.materialised(what)
    if type(value) in (list, tuple):
        return type(value)(_with_values(one, what) for one in value)
    if type(value) is dict:
        return {name: _with_values(one, what) for name, one in value.items()}
    return value


def _detached(value: Any, what: str) -> Any:
    """Puts true values for lazy tensors below autograd."""
    if isinstance(value, LazyTensor):
        return value.materialised(what).detach()
    if type(value) in (list, tuple):
        return type(value)(_detached(one, what) for one in value)
    if type(value) is dict:
        return {name: _detached(one, what) for name, one in value.items()}
    return value


_METADATA = (
    frozenset(
        getattr(torch.Tensor, name).__get__
        for name in (
            *("shape", "dtype", "device", "ndim", "layout", "requires_grad", "is_leaf", "grad_fn"),
            *(
                "_base",
                "is_cuda",
                "is_cpu",
                "is_sparse",
                "is_nested",
                "is_quantized",
                "is_meta",
                "is_mps",
            ),
            *("is_mps", "is_xla", "is_xpu", "itemsize", "nbytes", "_version", "output_nr"),
        )
    )
    | {
        getattr(torch.Tensor, name)
        for name in (
            *("size", "dim", "ndimension", "numel", "nelement", "stride", "storage_offset"),
            *("is_contiguous", "is_floating_point", "is_complex", "is_signed", "element_size"),
            *("get_device", "is_inference", "__len__"),
        )
    }
    | {torch.is_floating_point, torch.is_complex, torch.numel}
)
