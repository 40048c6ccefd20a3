"""The plan of a run: every "auto" turned into a number by a rule that stands here.

The plan is made once, before training, from the sizes of data and model; it is printed, kept in
`run.yaml`, and given back as `result.plan`.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastft.errors import ConfigurationError
from fastft.modeling.half_precision import T5_MODEL_TYPES
from fastft.training.best_model import settle_best_model, settle_strategies

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import PreTrainedConfig

# What `learning_rate="auto"` stands for. Constants from common practice, not a search.
LEARNING_RATES = {"full": 5e-5, "head": 1e-3, "lora": 2e-4}
T5_LEARNING_RATE = 3e-4

# A text longer than this is cut unless the user asks for more.
MAX_LENGTH = 512

WARMUP_SHARE = 0.1
MAX_WARMUP_STEPS = 500

# fastft's own defaults where they differ from those of transformers.
DEFAULTS: dict[str, Any] = {
    "num_train_epochs": 3,
    "per_device_train_batch_size": 16,
    "per_device_eval_batch_size": 16,
    "learning_rate": "auto",
    "warmup_steps": "auto",
    "weight_decay": 0.01,
    "bf16": "auto",
    "seed": 42,
    "eval_strategy": "auto",
    "save_strategy": "epoch",
    "save_total_limit": 1,
    "logging_steps": "auto",
}


@dataclass(frozen=True)
class Sizes:
    """What the rules need to know about a run.

    Attributes:
        num_examples: Rows of the training split.
        has_validation: Whether there is a validation split.
        num_ranks: Processes that train together.
        num_batches: Micro-batches of an epoch on all ranks, where they are planned by length.
    """

    num_examples: int
    has_validation: bool
    num_ranks: int
    num_batches: int | None = None


def default_max_length(config: PreTrainedConfig, tokenizer: Any) -> int:
    """Gives the longest row that `max_length="auto"` keeps: the model's positions, at most 512."""
    return min(MAX_LENGTH, max_positions(config, tokenizer) or MAX_LENGTH)


def max_positions(config: PreTrainedConfig, tokenizer: Any) -> int | None:
    """Gives how many tokens a row may have, or None for a model without such a limit.

    RoBERTa and its kin count positions from `pad_token_id + 1`, so two of their 514 positions hold
    no token; their tokenizers know the right number, so the smaller of both counts.
    """
    if getattr(config, "model_type", None) in T5_MODEL_TYPES:
        return None  # relative positions
    positions = getattr(config, "max_position_embeddings", None)
    known = [
        int(limit)
        for limit in (positions, getattr(tokenizer, "model_max_length", None))
        # A tokenizer without a limit says so by a number that no text reaches.
        if isinstance(limit, int) and 0 < limit < 10**9
    ]
    return min(known, default=None)


def steps_per_epoch(arguments: Mapping[str, Any], sizes: Sizes) -> int:
    """Counts the optimizer steps of an epoch, the short last one included."""
    if sizes.num_batches is not None:
        return sizes.num_batches // (sizes.num_ranks * _accumulation(arguments))
    batches = sizes.num_examples / (int(arguments["per_device_train_batch_size"]) * sizes.num_ranks)
    drop_last = bool(arguments.get("dataloader_drop_last"))
    per_rank = math.floor(batches) if drop_last else math.ceil(batches)
    return max(1, math.ceil(per_rank / _accumulation(arguments)))


def _accumulation(arguments: Mapping[str, Any]) -> int:
    return int(arguments.get("gradient_accumulation_steps", 1))


def total_steps(arguments: Mapping[str, Any], sizes: Sizes) -> int:
    """Counts the optimizer steps of the run."""
    max_steps = int(arguments.get("max_steps", -1))
    if max_steps > 0:
        return max_steps
    return math.ceil(float(arguments["num_train_epochs"]) * steps_per_epoch(arguments, sizes))


def check_batches(
    arguments: Mapping[str, Any], num_rows: Mapping[str, int], num_ranks: int
) -> None:
    """Refuses batches of which none is full when `dataloader_drop_last` drops the others.

    Args:
        arguments: Training arguments, no "auto" left.
        num_rows: Rows of "train" and, if there is one, "validation".
        num_ranks: Processes that train together.

    Raises:
        ConfigurationError: Nothing would be trained, or evaluated.
    """
    kinds = {"train": "train", "validation": "eval"}
    for split, rows in num_rows.items():
        name = f"per_device_{kinds[split]}_batch_size"
        together = int(arguments[name]) * num_ranks
        if arguments.get("dataloader_drop_last") and rows < together:
            raise ConfigurationError(
                f"the {split} split fills no batch, and dataloader_drop_last drops the rest",
                place=f"arguments dataloader_drop_last, {name}",
                found=f"{rows:,} rows for a batch of {together:,}",
                expected=f"at most {rows:,} rows a batch",
                fix=f"remove dataloader_drop_last, or pass {name}={max(1, rows // num_ranks)}",
            )


def resolve_arguments(
    given: Mapping[str, Any],
    *,
    train: str,
    model_type: str,
    device: str,
    sizes: Sizes,
    early_stopping: int | None = None,
) -> dict[str, Any]:
    """Fills in fastft's defaults and turns every "auto" into a value.

    Args:
        given: Training arguments as the user gave them, under today's names.
        train: "full", "head", "last:N" or "lora".
        model_type: The architecture, as `config.model_type` names it.
        device: "cuda", "cpu", ...
        sizes: Sizes of data and run.
        early_stopping: Evaluations without improvement that end the run, or None.

    Returns:
        Arguments for `TrainingArguments`, without `output_dir`.

    Raises:
        ConfigurationError: Evaluating and saving do not fit together.
    """
    arguments = {**DEFAULTS, **given}
    settle_strategies(arguments, given)
    steps = total_steps(arguments, sizes)
    rules: dict[str, Any] = {
        "learning_rate": T5_LEARNING_RATE
        if train == "full" and model_type in T5_MODEL_TYPES
        else LEARNING_RATES.get(train, LEARNING_RATES["full"]),
        "warmup_steps": min(MAX_WARMUP_STEPS, int(WARMUP_SHARE * steps)),
        "bf16": device == "cuda" and _gpu_has_bf16() and not arguments.get("fp16"),
        "eval_strategy": "epoch" if sizes.has_validation else "no",
        "logging_steps": max(1, min(50, steps // 20)),
    }
    for name, value in rules.items():
        if arguments[name] == "auto":
            arguments[name] = value
    settle_best_model(arguments, given, early_stopping)
    # Where there is no GPU, transformers joins several processes only when told to use the CPU.
    arguments.setdefault("use_cpu", device == "cpu")
    arguments.setdefault("disable_tqdm", True)
    arguments.setdefault("report_to", "none")
    return arguments


def _gpu_has_bf16() -> bool:
    import torch

    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def num_ranks() -> int:
    """Gives how many processes train together, as torchrun says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def describe_plan(plan: Mapping[str, Any]) -> str:
    """Prints a plan, a few values a line, in the order in which they were decided."""
    items = [
        # As in transformers: a secret is named, never shown.
        f"{name}=<{name.upper()}>" if name.endswith("_token") else f"{name}={value}"
        for name, value in plan.items()
        if value is not None
    ]
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + len(item) < 88:
            lines[-1] += f"  {item}"
        else:
            lines.append(item)
    return "\n".join(lines)
