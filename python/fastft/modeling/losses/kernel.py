"""The Rust kernel on tensors of the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fastft import _fastft
from fastft.modeling.losses.reference import Rows
from fastft.modeling.losses.targets import PLAIN, is_traced

if TYPE_CHECKING:
    from fastft.modeling.losses.settings import Settings

FORMATS = {
    torch.float32: "float32",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
    torch.float64: "float64",
}
HALF = (torch.bfloat16, torch.float16)


def is_transformed() -> bool:
    """Whether torch.func, forward-mode differentiation or a trace is at work.

    They have to see each operation: what a kernel computes has no tangent and no batch for them.
    """
    level: int = torch.autograd.forward_ad._current_level
    active: bool = torch._C._are_functorch_transforms_active()
    return active or level >= 0 or is_traced()


def is_batched(gradient: torch.Tensor) -> bool:
    """Whether it stands for many gradients at once (`is_grads_batched`, `vectorize`)."""
    functorch: Any = torch._C._functorch
    legacy: bool = functorch.is_legacy_batchedtensor(gradient)
    return legacy or bool(functorch.is_functorch_wrapped_tensor(gradient))


def is_plain(*tensors: torch.Tensor | None) -> bool:
    """Whether all are ordinary tensors on the CPU."""
    if is_transformed():
        return False
    for one in tensors:
        if one is not None and not (
            type(one) in PLAIN and one.is_cpu and one.layout == torch.strided
        ):
            return False
    return True


def is_readable(*tensors: torch.Tensor | None) -> bool:
    """Whether all lie in memory that Rust may look at."""
    return is_plain(*tensors) and all(one is None or _is_numbers(one) for one in tensors)


def _is_numbers(tensor: torch.Tensor) -> bool:
    """Whether its values lie in its memory as they are: not with the other sign, and aligned."""
    return not tensor.is_neg() and tensor.data_ptr() % tensor.element_size() == 0


def has_rows(logits: torch.Tensor) -> bool:
    """Whether the rows of (N, V) are contiguous and apart from each other."""
    num_rows, width = logits.shape
    steps = logits.stride()
    return (width <= 1 or steps[1] == 1) and (num_rows <= 1 or steps[0] >= width)


class RowKernel:
    """The kernel with the options of one call."""

    def __init__(self, settings: Settings, *, statistics: bool = False) -> None:
        self.options: dict[str, Any] = {
            "ignore_index": settings.ignore_index,
            "label_smoothing": settings.label_smoothing,
            "z_loss": settings.z_loss,
            "softcap": settings.softcap,
            "logit_scale": settings.logit_scale,
            "class_weight": _float64(settings.class_weight),
            "statistics": statistics,
            "num_threads": torch.get_num_threads(),
        }
        self.statistics = statistics

    def __call__(
        self,
        logits: torch.Tensor,
        labels: torch.Tensor,
        *,
        gradient: torch.Tensor | None = None,
        row_weight: torch.Tensor | None = None,
        factor: float = 1.0,
    ) -> Rows:
        """Losses of rows (N, V), each times its `row_weight`.

        Args:
            logits: Rows as `has_rows` wants them.
            labels: int64 (N,).
            gradient: Where the gradient of the losses goes, times `factor`; may be `logits`.
            row_weight: (N,).
            factor: What the gradient is multiplied by.

        Returns:
            float64 (N,) each, except `is_correct`.

        Raises:
            LabelError: A label is out of range; nothing was written.
        """
        loss, lse, entropy, is_correct = _fastft.cross_entropy(
            array(logits),
            labels.contiguous().numpy(),
            gradient=None if gradient is None else array(gradient),
            format=FORMATS[logits.dtype],
            row_weight=_float64(row_weight),
            gradient_factor=factor,
            **self.options,
        )
        rows = Rows(torch.from_numpy(loss), torch.from_numpy(lse))
        if not self.statistics:
            return rows
        return rows._replace(
            entropy=torch.from_numpy(entropy), is_correct=torch.from_numpy(is_correct)
        )

    def number(self, tensor: torch.Tensor) -> float:
        """A number as this kernel takes it: here, now."""
        return float(tensor)

    def scale_(self, gradient: torch.Tensor, factor: float) -> None:
        """Multiplies a gradient in place."""
        if factor != 1:
            gradient.mul_(factor)


def array(tensor: torch.Tensor) -> Any:
    """The memory of a tensor as numpy sees it; half precision as its bits."""
    tensor = tensor.detach()
    return (tensor.view(torch.uint16) if tensor.dtype in HALF else tensor).numpy()


def _float64(tensor: torch.Tensor | None) -> Any:
    return None if tensor is None else tensor.detach().double().contiguous().numpy()
