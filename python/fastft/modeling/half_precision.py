"""Half precision that a model cannot train in, and what it trains in instead.

T5 and its kin were pretrained in bfloat16; their feed-forward layers reach values beyond the 65,504
of float16, and the loss becomes NaN after some steps. bfloat16 has the range of float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

T5_MODEL_TYPES = ("t5", "mt5", "umt5", "longt5", "switch_transformers")

# What takes the place of each argument.
_BF16 = {"fp16": "bf16", "fp16_full_eval": "bf16_full_eval"}


def safe_precision(
    arguments: Mapping[str, Any], model_type: str | None, device: torch.device | str
) -> tuple[dict[str, bool], str | None]:
    """Gives the arguments to change where float16 would overflow.

    Args:
        arguments: Training arguments; `fp16` and `fp16_full_eval` are looked at.
        model_type: The `model_type` of the model's configuration.
        device: Where the model trains.

    Returns:
        The changed arguments, empty when all is well, and a note for the user.

    Example:
        >>> safe_precision({"fp16": True}, "bert", "cpu")
        ({}, None)
    """
    asked = [name for name in _BF16 if arguments.get(name) is True]
    if not asked or model_type not in T5_MODEL_TYPES:
        return {}, None
    has_bf16 = _has_bf16(torch.device(device))
    changes = dict.fromkeys(asked, False)
    if has_bf16:
        changes |= {_BF16[name]: True for name in asked}
    instead = "bfloat16" if has_bf16 else "float32 (this device does not train in bfloat16)"
    return changes, (
        f"{' and '.join(asked)} is left out: {model_type} overflows in float16, so that its loss "
        f"becomes NaN; it runs in {instead} instead"
    )


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type in ("xpu", "npu", "hpu", "mlu", "musa")
