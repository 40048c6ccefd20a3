"""`fingerprint.json`: what decides the numbers of a run, kept so that a resume is held against it.

The file is written before the first step. It holds the arguments that change the mathematics, the
label names, a digest of the tokens and labels, and one of the model. What only says where and how
often something is written or shown is not part of it. Cost: one BLAKE2 over the token arrays and 64
values of each weight.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers

from fastft._fastft import __version__

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from fastft.data.token_dataset import TokenDataset
    from fastft.tasks.base import Task
    from fastft.training.arguments import TrainingArguments

FINGERPRINT = "fingerprint.json"
VERSION = 2

# Options of `finetune` that are seen in the tokens and labels, or that change no number.
# fmt: off
OPTIONS_LEFT_OUT = frozenset((
    "check", "encoding", "frozen_cache", "label", "label_names", "layout", "output_dir", "pair",
    "quoting", "resume", "text", "tokenizer", "validation",
))
# fmt: on
PLAN_SETTINGS = ("task", "train", "max_length")
# How a step is divided; only the product is compared.
DIVISION = ("num_ranks", "gradient_accumulation_steps")
# Training arguments that leave the numbers of training as they are. Any other one is compared, also
# one that transformers adds tomorrow.
# fmt: off
WITHOUT_INFLUENCE = frozenset((
    "activation_checkpointing", "activation_checkpointing_kwargs", "batch_eval_metrics",
    "bf16_full_eval", "dataloader_in_order", "dataloader_multiprocessing_context",
    "dataloader_num_workers", "dataloader_persistent_workers", "dataloader_pin_memory",
    "dataloader_prefetch_factor", "ddp_backend", "ddp_bucket_cap_mb", "ddp_find_unused_parameters",
    "ddp_static_graph", "ddp_timeout", "debug", "disable_tqdm", "do_eval", "do_predict",
    "do_train", "enable_jit_checkpoint", "fp16_full_eval", "gradient_checkpointing",
    "gradient_checkpointing_kwargs", "include_for_metrics", "include_num_input_tokens_seen",
    "local_rank", "output_dir", "per_device_eval_batch_size", "prediction_loss_only", "project",
    "push_to_hub", "remove_unused_columns", "report_to", "restore_callback_states_from_checkpoint",
    "resume_from_checkpoint", "run_name", "skip_memory_metrics", "torch_compile",
    "torch_compile_backend", "torch_compile_mode", "torch_empty_cache_steps", "use_cache",
    "use_cpu",
))
# fmt: on
WITHOUT_INFLUENCE_PREFIXES = ("eval_", "hub_", "log_", "logging_", "save_", "trackio_")
# They do decide something when the best checkpoint is loaded back or evaluations end the run.
SELECTION = ("eval_delay", "eval_steps", "eval_strategy")
# The length of the run has a rule of its own.
LENGTH = ("max_steps", "num_train_epochs")

# With these the learning rate of a step does not depend on how many steps follow.
ENDLESS_SCHEDULES = ("constant", "constant_with_warmup", "inverse_sqrt")

# Of a model's configuration: what transformers and fastft set themselves, or what is only a name.
CONFIG_LEFT_OUT = (
    "dtype",
    "problem_type",
    "return_dict",
    "torch_dtype",
    "transformers_version",
    "use_cache",
)
VALUES_PER_WEIGHT = 64


def run_fingerprint(
    options: Mapping[str, Any],
    plan: Mapping[str, Any],
    *,
    arguments: TrainingArguments,
    task: Task,
    datasets: Mapping[str, TokenDataset],
    tokenizer: PreTrainedTokenizerBase,
    model: Mapping[str, Any],
) -> dict[str, Any]:
    """Puts the fingerprint of a run together.

    Args:
        options: The options of `finetune`, by name.
        plan: What they came to, `total_steps` among it.
        arguments: The training arguments.
        task: The task, which names the labels.
        datasets: The tokens of each split.
        tokenizer: The tokenizer; its padding is part of what the model sees.
        model: What `model_fingerprint` gave.
    """
    total_steps = int(plan["total_steps"])
    head = as_json(task.config_overrides())
    labels = head.pop("id2label", None)
    head.pop("label2id", None)
    division = {
        "num_ranks": int(plan["num_ranks"]),
        "gradient_accumulation_steps": int(arguments.gradient_accumulation_steps),
    }
    settings = {
        **{name: value for name, value in options.items() if name not in OPTIONS_LEFT_OUT},
        **{name: plan[name] for name in PLAN_SETTINGS},
        # Where states are kept changes no number; that frozen layers have no dropout then does.
        "frozen_cache": "off" if options.get("frozen_cache") == "off" else "on",
        "labels": None if labels is None else list(labels.values()),
        **head,
        "padding_side": tokenizer.padding_side,
        "pad_token": tokenizer.pad_token,
        **_argument_values(arguments, total_steps),
    }
    return {
        "version": VERSION,
        "versions": {
            "fastft": __version__,
            "transformers": transformers.__version__,
            "torch": torch.__version__,
        },
        "settings": as_json(settings),
        "division": division,
        "length": as_json(_length_values(arguments, total_steps)),
        "data": {name: data_fingerprint(dataset) for name, dataset in datasets.items()},
        "model": dict(model),
    }


def _argument_values(arguments: TrainingArguments, total_steps: int) -> dict[str, Any]:
    """Picks the training arguments that change the numbers; a share of the steps may be warm-up."""
    values = arguments.to_dict()
    picks_best = bool(values.get("load_best_model_at_end"))
    kept = {
        name: value
        for name, value in values.items()
        if (name in SELECTION and picks_best)
        or not (
            name in WITHOUT_INFLUENCE
            or name in LENGTH
            or name in DIVISION
            or name.startswith(WITHOUT_INFLUENCE_PREFIXES)
        )
    }
    kept["warmup_steps"] = arguments.get_warmup_steps(total_steps)
    if kept["lr_scheduler_type"] == "constant":
        del kept["warmup_steps"]  # this schedule has none
    return kept


def _length_values(arguments: TrainingArguments, total_steps: int) -> dict[str, Any]:
    """Gives how long a run is to be, as it was asked for and in steps."""
    asked = "max_steps" if arguments.max_steps > 0 else "num_train_epochs"
    return {"argument": asked, "value": getattr(arguments, asked), "total_steps": total_steps}


def data_fingerprint(dataset: TokenDataset) -> dict[str, Any]:
    """Gives size and digests of a dataset: texts and labels apart, so a message can say which."""
    arrays = {name: array for name, array in dataset.arrays().items() if name != "metadata"}
    texts = {name: array for name, array in arrays.items() if not name.startswith("column.")}
    columns = {name: array for name, array in arrays.items() if name.startswith("column.")}
    return {
        "rows": len(dataset),
        "tokens": dataset.num_tokens,
        "texts": _digest(texts),
        "labels": _digest(columns),
    }


def model_fingerprint(
    model: PreTrainedModel, name: str | None, new_weights: Collection[str]
) -> dict[str, Any]:
    """Gives what tells a model from another one.

    Args:
        model: The model, before its first step.
        name: The name that it was loaded by; None for an object, whose weights are not looked at:
            its head may be random, and a resume replaces every weight anyway.
        new_weights: Weights that are initialised at random; the seed tells them apart.
    """
    weights = dict(model.named_parameters())
    config = {
        name: value
        for name, value in model.config.to_dict().items()
        if isinstance(value, str | int | float)
        and not name.startswith(("_", "output_"))
        and not name.endswith("_token_id")
        and name not in CONFIG_LEFT_OUT
    }
    shapes = [f"{name} {tuple(weight.shape)}" for name, weight in sorted(weights.items())]
    trained = [name for name, weight in sorted(weights.items()) if weight.requires_grad]
    return {
        "name": name or f"a {type(model).__name__}",
        "architecture": type(model).__name__,
        "config": as_json(config),
        "shapes": _text_digest(shapes),
        "trained": _text_digest(trained),
        "weights": None if name is None else _weights_digest(weights, new_weights),
    }


def as_json(value: Any) -> Any:
    """Gives a value as it comes back from a JSON file; what JSON does not hold becomes text."""
    return json.loads(json.dumps(value, default=str))


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _text_digest(lines: list[str]) -> str:
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def _weights_digest(weights: Mapping[str, torch.Tensor], left_out: Collection[str]) -> str:
    """Looks at evenly spaced values of each weight: enough to tell two checkpoints apart."""
    sample = {}
    for name, weight in weights.items():
        if name not in left_out and not weight.is_meta:
            flat = weight.detach().reshape(-1)
            stride = max(1, flat.numel() // VALUES_PER_WEIGHT)
            sample[name] = flat[::stride].float().cpu().numpy()
    return _digest(sample)


def fingerprint_text(fingerprint: Mapping[str, Any]) -> str:
    """Writes a fingerprint as the text of its file."""
    return json.dumps(fingerprint, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
