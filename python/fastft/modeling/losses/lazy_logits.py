"""Logits that are not there yet, and the cross entropy that runs without them.

Recorded: what the losses of transformers do to logits on the way. Each record keeps two things: the
operation, to replay it when the values are needed after all, and its effect on the scale of the
logits (`LogitChain`) or, in `lazy_rows`, on the hidden states.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
import torch.nn.functional as F

from fastft.modeling.losses.lazy_tensor import LazyTensor
from fastft.modeling.losses.linear_cross_entropy import linear_cross_entropy
from fastft.modeling.losses.logit_chain import LogitChain
from fastft.modeling.losses.supervised import supervised_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastft.modeling.losses.lazy_source import Source

_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


class LazyLogits(LazyTensor):
    """Logits (..., V) as hidden states (..., H), a head and a chain of what was done to them.

    Attributes:
        hidden: Float (..., H), the hidden states of these rows.
        chain: Scale, cap and buffer between head and loss.
    """

    hidden: torch.Tensor
    chain: LogitChain

    handlers: ClassVar[dict[Any, Callable[..., Any]]] = {}

    @classmethod
    def of(cls, source: Source) -> LazyLogits:
        """Makes the logits of a head."""
        shape = (*source.hidden.shape[:-1], source.weight.shape[0])
        lazy = cls.create(source, shape, source.dtype)
        lazy.hidden, lazy.chain = source.hidden, LogitChain()
        return cast("LazyLogits", lazy)

    def then(
        self,
        func: Any,
        *args: Any,
        hidden: torch.Tensor | None = None,
        chain: LogitChain | None = None,
        dtype: torch.dtype | None = None,
        added: tuple[torch.Tensor, ...] = (),
        **kwargs: Any,
    ) -> LazyLogits:
        """Gives what `func` makes of these logits."""
        hidden = self.hidden if hidden is None else hidden
        shape = (*hidden.shape[:-1], self.shape[-1])
        op = (func, args, kwargs)
        lazy = self.create(self.source, shape, dtype or self.dtype, self, op, added)
        lazy.hidden, lazy.chain = hidden, self.chain if chain is None else chain
        return cast("LazyLogits", lazy)

    def rows_for(self, other: LazyTensor) -> LazyLogits:
        """Gives (N, V) for the loss of what was made of these, without a graph if that has none."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and other.requires_grad):
            return cast("LazyLogits", self.reshape(-1, self.shape[-1]))


def fused_cross_entropy(
    logits: LazyLogits, labels: torch.Tensor, *, ignore_index: int = -100, **options: Any
) -> Any:
    """Runs `linear_cross_entropy` for lazy logits.

    Args:
        logits: (N, V).
        labels: int64 (N,).
        ignore_index: The label of rows that do not count.
        **options: `reduction`, `label_smoothing`, `class_weight` of `linear_cross_entropy`.

    Returns:
        The loss, fp32; NotImplemented where the chain has no fused form.
    """
    source, chain = logits.source, logits.chain.arguments()
    if chain is None:
        return NotImplemented
    source.check()
    hidden, weight, bias = _operands(logits)
    rows = supervised_rows(labels, ignore_index) if options.get("reduction") != "none" else None
    index, is_right = (None, None) if rows is None else rows
    if index is not None:
        labels = labels[index]
    more: dict[str, Any] = {**chain, **options, **source.options}
    with torch.autocast(hidden.device.type, enabled=False):
        loss = cast(
            "torch.Tensor",
            linear_cross_entropy(
                *(hidden, weight, labels),
                bias=bias,
                index=index,
                ignore_index=ignore_index,
                **more,
            ),
        )
    source.record.fused += 1
    source.was_fused = source.was_fused or loss.requires_grad
    # Rows of another batch, found out on a GPU where an error would have to wait: not a number.
    return loss if is_right is None else torch.where(is_right, loss, torch.nan)


def _operands(logits: LazyLogits) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Gives hidden states, weight and bias in the dtype that the head would compute in."""
    dtype = logits.source.dtype
    bias, added = logits.source.bias, logits.chain.added
    if added is not None:
        bias = added if bias is None else bias + added
    operands = [logits.hidden.reshape(-1, logits.hidden.shape[-1]), logits.source.weight, bias]
    if not logits.requires_grad:
        operands = [None if one is None else one.detach() for one in operands]
    hidden, weight, bias = (None if one is None else one.to(dtype) for one in operands)
    assert hidden is not None and weight is not None
    return hidden, weight, bias


def records(*functions: Any) -> Callable[[Any], Any]:
    """Makes a function the handler of others; it is told first which of them was called."""

    def register(handler: Any) -> Any:
        for func in functions:
            LazyLogits.handlers[func] = _bound(handler, func)
        return handler

    return register


def _bound(handler: Any, func: Any) -> Any:
    return partial(handler, func)


_T = torch.Tensor


@records(_T.float, _T.bfloat16, _T.half, _T.to, _T.type_as)
def _cast(func: Any, logits: LazyLogits, *args: Any, **kwargs: Any) -> Any:
    fixed = {_T.float: torch.float32, _T.bfloat16: torch.bfloat16, _T.half: torch.float16}
    asked = fixed.get(func, args[0] if len(args) == 1 else kwargs.get("dtype"))
    if isinstance(asked, torch.Tensor):
        asked = asked.dtype if asked.device == logits.device else None
    if isinstance(asked, torch.device | str) and torch.device(asked) == logits.device:
        asked = logits.dtype
    is_plain = not kwargs.keys() - {"dtype", "non_blocking"}
    if asked not in _FLOATS or not is_plain or len(args) + len(kwargs) > 1:
        return NotImplemented
    return logits if asked == logits.dtype else logits.then(_T.to, asked, dtype=asked)


@records(_T.contiguous, _T.clone, torch.clone)
def _copy(func: Any, logits: LazyLogits, *args: Any, **kwargs: Any) -> Any:
    if args or kwargs:
        return NotImplemented
    return logits if func is _T.contiguous and logits.is_in_order else logits.then(func)


@records(_T.detach, torch.detach)
def _detach(func: Any, logits: LazyLogits) -> Any:
    return NotImplemented if logits.requires_grad else logits


@records(_T.mul, _T.__mul__, _T.__rmul__, torch.mul, torch.multiply, _T.multiply)
def _multiply(func: Any, logits: LazyLogits, factor: Any) -> Any:
    if type(factor) not in (int, float):
        return NotImplemented
    return logits.then(_T.mul, factor, chain=logits.chain.times(factor))


@records(_T.div, _T.__truediv__, torch.div, torch.true_divide, torch.divide)
def _divide(func: Any, logits: LazyLogits, divisor: Any) -> Any:
    chain = logits.chain.over(divisor) if type(divisor) in (int, float) else None
    return NotImplemented if chain is None else logits.then(_T.div, divisor, chain=chain)


@records(_T.tanh, torch.tanh, F.tanh)
def _tanh(func: Any, logits: LazyLogits) -> Any:
    chain = logits.chain.tanh()
    return NotImplemented if chain is None else logits.then(_T.tanh, chain=chain)


@records(_T.add, _T.__add__, torch.add)
def _add(func: Any, logits: LazyLogits, other: Any) -> Any:
    """What is the same for every row: `final_logits_bias` of BART, the bias of ESM."""
    if not isinstance(other, torch.Tensor) or isinstance(other, LazyTensor):
        return NotImplemented
    is_row = other.shape[-1:] == logits.shape[-1:] and other.numel() == logits.shape[-1]
    if not is_row or other.dim() > logits.dim() or other.dtype not in _FLOATS:
        return NotImplemented
    has_trained = any(one is not None and one.requires_grad for one in logits.source.tensors)
    if other.requires_grad and has_trained and not logits.requires_grad:
        # Made without a graph: the gradient of `other` must not reach the head.
        return NotImplemented
    other = other.clone()  # a buffer may be changed before the loss runs
    chain = logits.chain.plus(other.reshape(-1))
    if chain is None:
        return NotImplemented
    dtype = torch.promote_types(logits.dtype, other.dtype)
    added = (other,) if other.requires_grad else ()
    return logits.then(_T.add, other, chain=chain, dtype=dtype, added=added)


@records(F.cross_entropy)
def _cross_entropy(
    func: Any,
    logits: LazyLogits,
    target: Any,
    weight: torch.Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    has_rows = type(target) is torch.Tensor and target.dtype in (torch.int64, torch.int32)
    is_old = size_average is not None or reduce is not None
    if is_old or not has_rows or logits.dim() > 2 or target.shape != logits.shape[:-1]:
        return NotImplemented
    loss = fused_cross_entropy(
        logits,
        target.reshape(-1),
        ignore_index=ignore_index,
        class_weight=weight,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
    return (
        loss.reshape(target.shape) if reduction == "none" and loss is not NotImplemented else loss
    )
