"""What is looked at before the first step, so that a run does not fail, or mislead, hours later.

An *error* stops the run whatever `check=` says. A *warning* is printed under `check="warn"`, stops
the run under `check="strict"` and is not looked for under `check="off"`.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers

from fastft.errors import ArgumentError, ConfigurationError, Error, TokenizerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from fastft.data.token_dataset import TokenDataset
    from fastft.tasks.base import Task


# Schedules that lower the learning rate when an evaluation is no better than those before.
EVALUATED_SCHEDULES = ("reduce_lr_on_plateau", "greedy")


@dataclass(frozen=True)
class CheckReport:
    """What `fastft.check` found.

    Attributes:
        warnings: Things that a user probably wants to change.
        notes: Things that a user should know.
        plan: The plan that the run would follow.
    """

    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    plan: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether nothing was found that `check="strict"` would stop at."""
        return not self.warnings


def raise_or_return(warnings: list[Error], check: str) -> list[str]:
    """Raises the first warning under "strict", returns their texts otherwise."""
    if check == "strict" and warnings:
        raise warnings[0]
    return [] if check == "off" else [str(warning) for warning in warnings]


# -- before the model is loaded ------------------------------------------------------------------


def check_precision(arguments: Mapping[str, Any], device: torch.device) -> None:
    """Refuses half precision on a device that has none.

    Raises:
        ConfigurationError: `bf16` or `fp16` was asked for in vain.
    """
    if arguments.get("bf16") is True and arguments.get("fp16") is True:
        raise ConfigurationError(
            "bf16 and fp16 exclude each other",
            place="arguments bf16, fp16",
            found="both are True",
            expected="one of them at most",
            fix="keep bf16 where the device has it",
        )
    for name in ("bf16", "fp16"):
        if arguments.get(name) is True and not _device_has(name, device):
            raise ConfigurationError(
                f"this device cannot train in {name}",
                place=f"argument {name}",
                found=_device_name(device),
                expected="a GPU that supports it",
                fix=f"remove {name}=True (bf16='auto' turns it on where it is supported)",
            )


def _device_has(name: str, device: torch.device) -> bool:
    if device.type == "cuda":
        return name == "fp16" or torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type in ("xpu", "npu", "hpu", "mlu", "musa")


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"device {device.type}"


def check_max_length(max_length: Any, positions: int | None, num_special: int) -> int:
    """Holds `max_length` against the positions of the model and the special tokens of a row.

    Args:
        max_length: What was asked for.
        positions: Positions of the model, None for no limit.
        num_special: Special tokens that every row carries.

    Raises:
        ConfigurationError: It is no whole number, above the positions, or leaves no room for text.
    """
    if isinstance(max_length, bool) or not isinstance(max_length, int) or max_length < 1:
        raise ConfigurationError(
            "max_length is not a number of tokens",
            place="argument max_length",
            found=repr(max_length),
            expected='a whole number above 0, or "auto"',
            fix='pass max_length="auto"',
        )
    if positions is not None and max_length > positions:
        raise ConfigurationError(
            "max_length is more than the model has positions for",
            place="argument max_length",
            found=str(max_length),
            expected=f"at most {positions}",
            fix=f"pass max_length={positions} or less; longer texts are cut and counted",
        )
    if max_length <= num_special:
        raise ConfigurationError(
            "max_length leaves no room for text",
            place="argument max_length",
            found=f"{max_length}, of which {num_special} are special tokens",
            expected=f"at least {num_special + 1}",
            fix='pass max_length="auto"',
        )
    return max_length


# -- before training ----------------------------------------------------------------------------


def check_token_ids(dataset: TokenDataset, model: PreTrainedModel, name: str) -> None:
    """Looks for token ids that have no embedding.

    Raises:
        TokenizerError: There is one; its row is named.
    """
    num_embeddings = model.get_input_embeddings().weight.shape[0]
    ids = dataset.arrays()["ids"]
    if not ids.size or int(ids.max()) < num_embeddings:
        return
    position = int(np.argmax(ids >= num_embeddings))
    row = int(np.searchsorted(np.cumsum(dataset.lengths), position, side="right"))
    raise TokenizerError(
        "a token id lies beyond the model's embedding",
        place=f"{name} split, row {row} (counted from 0)",
        found=f"id {int(ids[position])}",
        expected=f"ids below {num_embeddings}",
        fix="use the tokenizer that belongs to the model, or call "
        "model.resize_token_embeddings(len(tokenizer)) before",
    )


def tokenizer_warnings(
    tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig
) -> Iterator[Error]:
    """Looks for signs that a tokenizer belongs to another model."""
    vocab_size = getattr(config, "vocab_size", None)
    if vocab_size is not None and not 0.9 * vocab_size <= len(tokenizer) <= vocab_size:
        yield TokenizerError(
            "the tokenizer does not fit the model",
            place=f"{type(tokenizer).__name__} and {type(config).__name__}",
            found=f"{len(tokenizer):,} tokens for an embedding of {vocab_size:,}",
            expected="about as many tokens as the embedding has rows",
            fix="pass the tokenizer that the model was trained with",
        )
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        ours, theirs = getattr(tokenizer, name, None), getattr(config, name, None)
        if isinstance(ours, int) and isinstance(theirs, int) and ours != theirs:
            yield TokenizerError(
                f"tokenizer and model disagree on {name}",
                place=f"{type(tokenizer).__name__} and {type(config).__name__}",
                found=f"{ours} in the tokenizer, {theirs} in the model",
                expected="the same id",
                fix="pass the tokenizer that the model was trained with",
            )


def schedule_warnings(arguments: Mapping[str, Any], steps: int) -> Iterator[Error]:
    """Looks for a warm-up that never ends, a rate of 0, and step counts that nothing reads."""
    if arguments.get("learning_rate") == 0:
        yield ConfigurationError(
            "nothing is learnt",
            place="argument learning_rate",
            found="0",
            expected="a number above 0",
            fix="leave learning_rate out",
        )
    for kind in ("eval", "save"):
        name, strategy = f"{kind}_steps", arguments.get(f"{kind}_strategy")
        if arguments.get(name) is not None and strategy != "steps":
            yield ConfigurationError(
                f"{name} has no effect",
                place=f"argument {name}",
                found=f"{kind}_strategy={strategy!r}",
                expected=f'{kind}_strategy="steps"',
                fix=f"remove {name} or {kind}_strategy",
            )
    warmup = arguments["warmup_steps"]
    if warmup >= 1 and warmup >= steps:
        yield ConfigurationError(
            "the run never leaves warm-up: the learning rate never reaches its value",
            place="argument warmup_steps",
            found=f"{warmup:g} warm-up steps, the run has {steps}",
            expected=f"fewer than {steps}",
            fix=f"pass warmup_steps={min(500, steps // 10)}, or train for more epochs",
        )


def check_evaluation(
    arguments: Mapping[str, Any], early_stopping: Any, has_validation: bool
) -> None:
    """Refuses evaluation and early stopping when there is nothing to evaluate on.

    Raises:
        ConfigurationError: There is no validation split, or the patience is no number.
    """
    is_count = isinstance(early_stopping, int) and not isinstance(early_stopping, bool)
    if early_stopping is not None and not (is_count and early_stopping >= 1):
        raise ConfigurationError(
            "early_stopping is a number of evaluations",
            place="argument early_stopping",
            found=repr(early_stopping),
            expected="how many evaluations without improvement end the run, 1 or more",
            fix="pass early_stopping=2",
        )
    asked = {
        "early_stopping": early_stopping is not None,
        "load_best_model_at_end": bool(arguments.get("load_best_model_at_end")),
        "eval_strategy": arguments.get("eval_strategy") not in ("no", "auto", None),
        "eval_steps": arguments.get("eval_steps") is not None,
        "eval_on_start": bool(arguments.get("eval_on_start")),
        "save_strategy": arguments.get("save_strategy") == "best",
        "lr_scheduler_type": arguments.get("lr_scheduler_type") in EVALUATED_SCHEDULES,
    }
    for name, is_asked in asked.items():
        if is_asked and not has_validation:
            raise ConfigurationError(
                f"{name} needs a validation split",
                place=f"argument {name}",
                found="no validation split (validation=None)",
                expected="data to evaluate on",
                fix=f"pass validation=0.1 to hold a tenth back, or remove {name}",
            )


def check_generation(arguments: Mapping[str, Any], task: Task) -> None:
    """Refuses arguments of generation for a task that generates nothing while it is evaluated.

    Raises:
        ArgumentError: There is one.
    """
    if task.generates:
        return
    known = {field.name for field in dataclasses.fields(transformers.TrainingArguments)}
    extra = {field.name for field in dataclasses.fields(transformers.Seq2SeqTrainingArguments)}
    for name in arguments:
        if name in extra - known:
            raise ArgumentError(
                f"{name} is about generated text, which {task.name} does not evaluate",
                place=f"argument {name}",
                found=f"task {task.name!r}",
                expected="a task that generates: translation, summarization or seq2seq",
                fix=f"remove {name}",
            )


def checkpoint_bytes(model: PreTrainedModel, arguments: Mapping[str, Any], steps: int) -> int:
    """Estimates the disk that a run takes: its checkpoints and the result.

    A checkpoint holds the weights and, for each trained weight, two moments of AdamW in fp32; one
    more than `save_total_limit` exists while the oldest is being deleted.

    Args:
        model: The model.
        arguments: Training arguments, no "auto" left.
        steps: Optimizer steps of the run.
    """
    weights: int = sum(tensor.numel() * tensor.element_size() for tensor in model.parameters())
    trained: int = sum(tensor.numel() for tensor in model.parameters() if tensor.requires_grad)
    kept = _num_saves(arguments, steps)
    if arguments.get("save_total_limit") is not None:
        kept = min(kept, int(arguments["save_total_limit"]) + 1)
    return weights + kept * (weights + 8 * trained)


def _num_saves(arguments: Mapping[str, Any], steps: int) -> int:
    strategy = str(arguments.get("save_strategy"))
    if strategy == "no":
        return 0
    if strategy == "steps":
        every = float(arguments.get("save_steps", 500))
        interval = every if every >= 1 else max(1.0, every * steps)  # below 1 it is a share
        return max(1, int(steps // interval))
    return max(1, math.ceil(float(arguments["num_train_epochs"])))
