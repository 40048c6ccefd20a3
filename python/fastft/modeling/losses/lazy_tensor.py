"""Tensors that are not there yet: logits as hidden states, a weight and what was done to them.

A lazy tensor is a real tensor for everything that looks at its shape, dtype or device, and for
autograd. Operations that a loss does on logits are recorded (`lazy_logits`), all others make the
true values by replaying what was recorded, and go on with these. The values are made once and
kept, views of them are views, so an in-place change is seen wherever it would be seen without us:
from then on nothing runs lazily.

Gradients flow on two ways, both right: the true values come from plain operations on the hidden
states and the weight; and the lazy tensor itself has a node in the graph (`LazyNode`), for code
below Python that never asks for the values (the reducer of DDP walks the graph of the outputs).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F

from fastft.errors import ConfigurationError
from fastft.modeling.losses.lazy_layout import LAYOUT, METADATA, layout_after, share_memory
from fastft.modeling.losses.lazy_node import Attached, LazyNode
from fastft.modeling.losses.lazy_saving import (
    check_unchanged,
    is_in_backward,
    is_watched,
    kept_unwatched,
)
from fastft.modeling.losses.lazy_source import fits, replay

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastft.modeling.losses.lazy_source import Op, Source


_TRANSPARENT = ("LazyNodeBackward", "_DDPSinkBackward")
"""Nodes that pass a gradient on as it is: ours, and the copy that DDP makes of outputs."""


class LazyTensor(torch.Tensor):
    """A tensor whose values are made when somebody needs them.

    Attributes:
        source: What they follow from.
        ops: What was done since the head.
        parent: The lazy tensor that the last operation was done on.
        added: Tensors with a gradient that operations have added.
    """

    source: Source
    ops: tuple[Op, ...]
    parent: LazyTensor | None
    added: tuple[torch.Tensor, ...]
    _made: torch.Tensor | None
    _unchanged: int
    """The version of the values before anybody changed them in place."""
    _is_attached: bool
    """Whether the values stand behind a function of somebody else."""
    _hooks: list[Any]
    _was_watched: bool
    """Whether hooks saw what autograd kept when the values would have been made."""
    _version_seen: int | None
    """The version of the values that a checkpoint looked at."""

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
        added: tuple[torch.Tensor, ...] = (),
    ) -> Any:
        """Makes one; with a parent, what `op` gives on it, which takes `added` too."""

        def wrapper() -> Any:
            return torch.Tensor._make_wrapper_subclass(
                cls, shape, dtype=dtype, device=source.hidden.device, requires_grad=False
            )

        before = source.tensors if parent is None else (parent, *added)
        needs_grad = any(one is not None and one.requires_grad for one in before)
        ops = () if parent is None or op is None else (*parent.ops, op)
        added = added if parent is None else (*parent.added, *added)
        if needs_grad and torch.is_grad_enabled():
            with kept_unwatched(unless=source.was_watched):
                lazy = LazyNode.apply(wrapper, source, ops, *source.tensors, *added)
        else:
            lazy = wrapper()
        lazy.source, lazy.ops, lazy.parent, lazy.added = source, ops, parent, added
        lazy._made, lazy._hooks, lazy._unchanged, lazy._is_attached = None, [], 0, False
        lazy._was_watched, lazy._version_seen = is_watched(), None
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

    @property
    def is_foreign(self) -> bool:
        """Whether it came out of a function of autograd that may change the gradient."""
        with torch._C.DisableTorchFunctionSubclass():
            node = self.grad_fn
        return node is not None and node.name() not in _TRANSPARENT

    def without_memory(self) -> torch.Tensor | None:
        """Gives a tensor that lies as the values would; None where they have to be looked at."""
        if self.has_values or self.is_foreign:
            return None
        if self.parent is None:
            return torch.empty(self.shape, dtype=self.dtype, device="meta")
        return layout_after(self.parent.without_memory(), self.ops, self.shape)

    @property
    def is_in_order(self) -> bool:
        """Whether the values would be contiguous: then `contiguous` gives the tensor itself."""
        layout = self.without_memory()
        return layout is not None and layout.is_contiguous()

    def made(self) -> torch.Tensor:
        """Gives the true tensor, with the graph that it would have had."""
        if self._made is None:
            # Whoever looks first may do so without a graph; who looks next may want it.
            with (
                torch.inference_mode(False),
                torch.set_grad_enabled(self.requires_grad),
                self.source.in_mode(),
                kept_unwatched(unless=self._was_watched),
            ):
                self._is_attached = self.is_foreign
                self._made = Attached.apply(self, self._make) if self._is_attached else self._make()
            self._unchanged = self._made._version
            if self.parent is not None and share_memory(self._made, self.parent.made()):
                self._unchanged = self.parent._unchanged
            for hook in self._hooks:
                self._made.register_hook(hook)
        elif self.is_foreign and not self._is_attached:
            # The function has changed them in place, and has the next word on their gradient.
            values, self._is_attached = self._made, True
            self._made = Attached.apply(self, values.detach)
        if is_watched():
            self._note_look(self._made)
        return self._made

    def _note_look(self, values: torch.Tensor) -> None:
        """Holds a look in a checkpoint, and the same when it runs again, to the same values.

        A checkpoint sees whether its inputs were changed in place, but not those that are lazy.
        """
        if self._version_seen is None:
            self._version_seen = values._version
        elif is_in_backward():
            check_unchanged(values, self._version_seen)

    def _make(self) -> torch.Tensor:
        if self.parent is None:
            self.source.check()
            return F.linear(*self.source.tensors)
        func, args, kwargs = self.ops[-1]
        before = self.parent.made()
        values: torch.Tensor = func(before, *args, **kwargs)
        if before._version != self.parent._unchanged and not share_memory(values, before):
            # A copy does not see what was done to the original after it was taken.
            self.source.check()
            return replay(self.source, self.source.tensors, self.ops)
        return values

    def materialised(self, what: str) -> torch.Tensor:
        """Gives the true tensor, and counts why when it had to be made."""
        if self.numel() == 0 and not self.requires_grad:
            return torch.empty(self.shape, dtype=self.dtype, device=self.device)
        if not self.has_values:
            self.source.record.note_materialised(what)
        return self.made()

    def _waits_in_vain(self, hooks: tuple[Any, ...]) -> bool:
        """Whether a hook would wait for a gradient that went past these logits."""
        return self.source.was_fused and not (self.has_values and _is_distributed(hooks))

    def recorded(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Gives what is recorded of a function; NotImplemented where the values are needed."""
        if self.has_values or self.is_foreign:
            return NotImplemented
        handler = self.handlers.get(func)
        if handler is None or not fits(handler, args, kwargs):
            return NotImplemented
        return handler(*args, **kwargs)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        lazy = args[0] if args else None
        if func in METADATA:
            with torch._C.DisableTorchFunctionSubclass():
                return func(_as_changed(lazy), *args[1:], **kwargs)
        if func is torch.autograd.grad:
            _refuse_gradients(args, kwargs)
        if isinstance(lazy, LazyTensor):
            if func in _GRADIENTS and lazy._waits_in_vain(args[1:]):
                return _wait_for_gradient(func, lazy, *args[1:])
            result = lazy.recorded(func, args, kwargs)
            if result is not NotImplemented:
                return result
            if func in LAYOUT and (layout := lazy.without_memory()) is not None:
                return func(layout, *args[1:], **kwargs)
        what = getattr(func, "__name__", str(func))
        result = func(*_with_values(args, what), **_with_values(kwargs, what))
        # What gives a tensor itself, as all that works in place does, gives this one.
        return lazy if isinstance(lazy, LazyTensor) and result is lazy._made else result

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        what = str(func)
        with torch.no_grad():
            return func(*_detached(args, what), **_detached(kwargs or {}, what))


def _as_changed(lazy: Any) -> Any:
    """What knows shape and type: the values, once they were changed in place."""
    made = getattr(lazy, "_made", None)
    return lazy if made is None or made._version == lazy._unchanged else made


_GRADIENTS = (torch.Tensor.register_hook, torch.Tensor.retain_grad)


def _is_distributed(args: tuple[Any, ...]) -> bool:
    """Whether a hook is one of torch.distributed."""
    return bool(args) and getattr(args[0], "__module__", "").startswith("torch.distributed.")


def _refuse_gradients(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuses `torch.autograd.grad` by logits that the loss did not go through."""
    inputs = kwargs.get("inputs", args[1] if len(args) > 1 else ())
    for one in inputs if isinstance(inputs, (list, tuple)) else (inputs,):
        if isinstance(one, LazyTensor) and one.source.was_fused:
            raise _no_gradient("torch.autograd.grad")


def _no_gradient(place: str) -> ConfigurationError:
    return ConfigurationError(
        "the gradient of the logits was asked for, but the loss ran without logits",
        place=place,
        fix="call fastft.unfuse_head(model)",
    )


def _wait_for_gradient(func: Any, lazy: LazyTensor, *args: Any) -> Any:
    """Refuses what waits for a gradient of logits that the loss did not go through.

    FSDP2 puts a hook on every output, the loss among them, and needs the first that runs: its hook
    waits for the gradients of whatever else is done with the logits.
    """
    if _is_distributed(args):
        lazy._hooks.append(args[0])
        with torch._C.DisableTorchFunctionSubclass():
            return func(lazy, *args)
    raise _no_gradient(f"logits.{func.__name__}")


def _with_values(value: Any, what: str) -> Any:
    """Puts true tensors for lazy ones, in lists and dicts too."""
    return _replaced(value, lambda lazy: lazy.materialised(what))


def _detached(value: Any, what: str) -> Any:
    """Puts true values for lazy tensors below autograd."""
    return _replaced(value, lambda lazy: lazy.materialised(what).detach())


def _replaced(value: Any, true: Callable[[LazyTensor], torch.Tensor]) -> Any:
    if isinstance(value, LazyTensor):
        return true(value)
    if type(value) in (list, tuple):
        return type(value)(_replaced(one, true) for one in value)
    if type(value) is dict:
        return {name: _replaced(one, true) for name, one in value.items()}
    return value
