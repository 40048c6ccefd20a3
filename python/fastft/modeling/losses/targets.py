"""Which rows a loss looks at, and what each has to predict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch._C import _get_dispatch_mode, _get_tracing_state

from fastft.errors import LabelError
from fastft.modeling.losses.settings import check_weight, wrong

if TYPE_CHECKING:
    from fastft.modeling.losses.settings import Settings

PLAIN = (torch.Tensor, torch.nn.Parameter)
"""The classes whose values lie in their memory; others may be spread over ranks, or have none."""
LABEL_TYPES = (torch.int64, torch.int32)
_MAKE_FX = torch._C._TorchDispatchModeKey.PROXY


@dataclass(frozen=True, slots=True)
class Targets:
    """The labels of rows, flat."""

    labels: torch.Tensor
    """int64 (M,): the label of each row."""
    shape: tuple[int, ...]
    """The shape in which the labels were given."""
    rows: torch.Tensor | None = None
    """int64 (M,): the row that each label belongs to; None for the rows 0 to M - 1."""
    token_weight: torch.Tensor | None = None
    """(M,): a weight for each label."""
    places: torch.Tensor | None = None
    """int64 (M,): where each label has its place in results of `shape`; None for 0 to M - 1."""

    def supervised(self, ignore_index: int) -> Targets:
        """The labels that count, without those that are ignored.

        Only where looking costs nothing: another device would be waited for, and a graph that is
        compiled knows no lengths that depend on values. There all rows stay.
        """
        if not may_look(self.labels):
            return self
        counts = self.labels != ignore_index
        kept = counts.nonzero().squeeze(1)
        if len(kept) == len(self.labels):
            return self
        return Targets(
            labels=self.labels[kept],
            shape=self.shape,
            rows=kept if self.rows is None else self.rows[kept],
            token_weight=None if self.token_weight is None else self.token_weight[kept],
            places=kept,
        )

    def constants(self, settings: Settings) -> tuple[torch.Tensor | None, ...]:
        """What a backward that computes again reads: autograd sees whether somebody changed it."""
        return self.labels, self.token_weight, self.rows, settings.class_weight

    def spread(self, values: torch.Tensor) -> torch.Tensor:
        """Values of the labels, (M,), in the shape of the labels; 0 where one is missing."""
        if self.places is None:
            return values.reshape(self.shape)
        whole = values.new_zeros(_size(self.shape))
        return whole.index_copy(0, self.places, values).reshape(self.shape)

    def check(self, num_classes: int, ignore_index: int, *, shift: bool) -> None:
        """Looks whether every label is a class.

        Raises:
            LabelError: One is not; the message names the first, with its place.
        """
        labels = self.labels
        if not labels.numel() or not may_look(labels):
            return
        low, high = torch.aminmax(labels)
        if low >= 0 and high < num_classes:
            return
        is_wrong = ((labels < 0) | (labels >= num_classes)) & (labels != ignore_index)
        if not is_wrong.any():
            return
        first = int(is_wrong.nonzero()[0])
        place = first if self.places is None else int(self.places[first])
        # With a shift the label of a row is that of the token behind it.
        at = torch.unravel_index(torch.tensor(place + shift, device="cpu"), self.shape)
        raise LabelError(
            "the label is not a class",
            place=f"labels[{', '.join(str(int(one)) for one in at)}]",
            found=str(int(labels[first])),
            expected=f"{_classes(num_classes)}, or ignore_index {ignore_index}",
        )


def targets_of(
    rows_shape: torch.Size,
    labels: torch.Tensor,
    *,
    device: torch.device,
    settings: Settings,
    shift: bool = False,
    index: torch.Tensor | None = None,
    token_weight: torch.Tensor | None = None,
) -> Targets:
    """Labels and weights beside rows of shape `rows_shape` on `device`, checked and flat.

    Raises:
        ConfigurationError: Shapes or types do not fit.
    """
    for name, one in (("labels", labels), ("index", index)):
        if not isinstance(one, torch.Tensor) and not (one is None and name == "index"):
            raise wrong(name, type(one).__name__, "a tensor of int64 or int32")
    expected = rows_shape if index is None else index.shape
    if labels.dtype not in LABEL_TYPES:
        raise wrong("labels", f"the type {labels.dtype}", "int64 or int32")
    if labels.device != device:
        raise wrong("labels", f"labels on {labels.device}", f"labels on {device}, as the rows")
    if labels.shape != expected:
        raise wrong("labels", f"the shape {tuple(labels.shape)}", f"{tuple(expected)}")
    check_weight("token_weight", token_weight)
    if token_weight is not None and token_weight.shape != expected:
        found = f"the shape {tuple(token_weight.shape)}"
        raise wrong("token_weight", found, f"{tuple(expected)}, that of the labels")
    if index is not None:
        _check_index(index, _size(rows_shape), shift=shift)
    if shift:
        if labels.dim() < 2:
            raise wrong("labels", f"the shape {tuple(labels.shape)} with shift=True", "(B, T)")
        labels = shifted(labels.long(), settings.ignore_index)
        token_weight = None if token_weight is None else shifted(token_weight, 0)
    return Targets(
        labels=labels.reshape(-1).long(),
        shape=tuple(labels.shape),
        rows=None if index is None else index,
        token_weight=None if token_weight is None else token_weight.detach().reshape(-1),
    )


def may_look(*tensors: torch.Tensor | None) -> bool:
    """Whether the values are here, now; a transform of torch.func may hold many of them."""
    if torch.compiler.is_compiling() or is_traced():
        return False
    return all(one is None or _is_here(one) for one in tensors)


def is_traced() -> bool:
    """Whether operations are written down to run again, on other values.

    `torch.jit.trace` and `make_fx` do so, and take what no operation of torch gave for a constant.
    """
    return _get_tracing_state() is not None or _get_dispatch_mode(_MAKE_FX) is not None


def _is_here(tensor: torch.Tensor) -> bool:
    is_wrapped: bool = torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    return type(tensor) in PLAIN and tensor.device.type == "cpu" and not is_wrapped


def shifted(values: torch.Tensor, fill: int) -> torch.Tensor:
    """Each value one place to the left in its row, `fill` in the last place."""
    if not values.shape[-1]:
        return values
    return torch.nn.functional.pad(values[..., 1:], (0, 1), value=fill)


def _check_index(index: torch.Tensor, num_rows: int, *, shift: bool) -> None:
    if shift:
        raise wrong("index", "an index with shift=True", "labels that are shifted already")
    if index.dtype not in LABEL_TYPES or index.dim() != 1:
        found = f"{index.dtype} of shape {tuple(index.shape)}"
        raise wrong("index", found, "int64 of shape (M,)")
    # Where we may not look, torch itself checks when it gathers.
    if may_look(index) and index.numel():
        low, high = (int(end) for end in torch.aminmax(index))
        if low < 0 or high >= num_rows:
            found = str(low if low < 0 else high)
            raise wrong("index", found, f"rows from 0 to {num_rows - 1}")


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for one in shape:
        size *= one
    return size


def _classes(num_classes: int) -> str:
    return f"0 to {num_classes - 1}" if num_classes else "nothing: there are no classes"
