"""The Triton kernel on tensors of a GPU, or of the CPU in Triton's interpreter.

Numbers that the kernel needs stay on the device: nothing here waits for it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from typing import TYPE_CHECKING, Any

import torch

from fastft.errors import ConfigurationError
from fastft.modeling.losses.reference import Rows

if TYPE_CHECKING:
    from fastft.modeling.losses.settings import Settings

FORMATS = (torch.float32, torch.bfloat16, torch.float16)
ONE_BLOCK = 16_384
"""The longest row that is kept in registers."""
BLOCK = 8_192
"""Logits at a time of longer rows."""
SCALE_BLOCK = 4_096


def kernels() -> Any:
    """The module of the kernels.

    Raises:
        ConfigurationError: triton is not installed.
    """
    try:
        return importlib.import_module("fastft.modeling.losses.triton_kernel")
    except ImportError as error:
        raise ConfigurationError(
            "the loss on a GPU needs triton",
            place="backend",
            found=str(error),
            fix="pip install triton (torch for CUDA brings it), or use backend='torch'",
        ) from error


@functools.cache
def is_there() -> bool:
    """Whether triton is installed."""
    try:
        kernels()
    except ConfigurationError:
        return False
    return True


class TritonKernel:
    """The kernel with the options of one call; see `kernel.RowKernel`.

    Args:
        settings: The options.
        statistics: Whether entropies and correct labels are wanted.
        block: Logits at a time, a power of 2; None for what fits the row.
        num_warps: Warps a row; None for what fits the block.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        statistics: bool = False,
        block: int | None = None,
        num_warps: int | None = None,
    ) -> None:
        self.settings = settings
        self.statistics = statistics
        self.block = block
        self.num_warps = num_warps
        weights = settings.class_weight
        self.class_weight = None if weights is None else weights.detach().contiguous()

    def __call__(
        self,
        logits: torch.Tensor,
        labels: torch.Tensor,
        *,
        gradient: torch.Tensor | None = None,
        row_weight: torch.Tensor | None = None,
        factor: float | torch.Tensor = 1.0,
    ) -> Rows:
        """Losses of rows (N, V), each times its `row_weight`.

        Args:
            logits: Rows as `has_rows` wants them.
            labels: int64 (N,). One that is no class makes loss and gradient of its row NaN.
            gradient: Where the gradient of the losses goes, times `factor`; may be `logits`.
            row_weight: (N,).
            factor: What the gradient is multiplied by; a tensor is read by the kernel.

        Returns:
            float64 (N,) each, except `is_correct`; what was computed is float32.
        """
        num_rows, num_classes = logits.shape
        rows = self._room(logits)
        if not num_rows:
            return rows
        is_tensor = isinstance(factor, torch.Tensor)
        block = self.block or _block(num_classes)
        with on(logits.device):
            kernels().rows[(num_rows,)](
                logits.detach(),
                None if gradient is None else gradient.detach(),
                labels.contiguous(),
                None if row_weight is None else row_weight.detach().contiguous(),
                self.class_weight,
                factor if is_tensor else None,
                *rows,
                logits.stride(0),
                0 if gradient is None else gradient.stride(0),
                num_classes,
                self.settings.ignore_index,
                1.0 if is_tensor else factor,
                *self._options(),
                **self._flags(),
                ONE_BLOCK=num_classes <= block,
                BLOCK=block,
                num_warps=self.num_warps or _num_warps(block),
                enable_fp_fusion=True,
            )
        if rows.is_correct is None:
            return rows
        return rows._replace(is_correct=rows.is_correct.bool())

    def number(self, tensor: torch.Tensor) -> torch.Tensor:
        """A number as this kernel takes it: where it is."""
        return tensor.detach()

    def scale_(self, gradient: torch.Tensor, factor: float | torch.Tensor) -> None:
        """Multiplies a gradient in place; on the device it is found out whether by 1."""
        if not gradient.numel() or (not isinstance(factor, torch.Tensor) and factor == 1):
            return
        if not gradient.is_contiguous():
            # The kernel would multiply what lies between the rows.
            gradient.mul_(factor)
            return
        if not isinstance(factor, torch.Tensor):
            factor = gradient.new_full((), factor, dtype=torch.float32)
        grid = (-(-gradient.numel() // SCALE_BLOCK),)
        with on(gradient.device):
            kernels().scale[grid](
                *(gradient, factor, gradient.numel()), BLOCK=SCALE_BLOCK, enable_fp_fusion=True
            )

    def _room(self, logits: torch.Tensor) -> Rows:
        wide: dict[str, Any] = {"dtype": torch.float64, "device": logits.device}
        num_rows = len(logits)
        # One array for all: the host is not to be slower than the device.
        loss, lse, entropy = torch.empty(3, num_rows, **wide)
        if not self.statistics:
            return Rows(loss, lse)
        correct = torch.empty(num_rows, dtype=torch.int8, device=logits.device)
        return Rows(loss, lse, entropy, correct)

    def _options(self) -> tuple[float, ...]:
        settings = self.settings
        softcap = 1.0 if settings.softcap is None else settings.softcap
        options = (settings.label_smoothing, settings.z_loss, softcap, settings.logit_scale)
        return tuple(float(one) for one in options)

    def _flags(self) -> dict[str, bool]:
        return {
            "SMOOTHS": self.settings.label_smoothing > 0,
            "SQUARES": self.settings.z_loss > 0,
            "CAPS": self.settings.softcap is not None,
            "STATISTICS": self.statistics,
        }


def on(device: torch.device) -> Any:
    """Makes the device the current one: triton launches there."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def _block(num_classes: int) -> int:
    return BLOCK if num_classes > ONE_BLOCK else 1 << max(num_classes - 1, 15).bit_length()


def _num_warps(block: int) -> int:
    """So that each thread holds 16 to 32 logits; at most 16 warps."""
    return min(max(block // 512, 1), 16)
