"""Which examples of training share a batch: the argument `batching=`, and what follows from it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fastft.data.batch_sampler import BatchSampler
from fastft.errors import ConfigurationError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastft.data.token_dataset import TokenDataset
    from fastft.tasks.base import Task

BATCHING_OPTIONS = ("batching", "max_tokens")
"""The arguments of `finetune` that this module is about."""

BATCHINGS = ("random", "bucketed", "tokens", "packed")
"""What `batching=` may be."""
BY_TOKENS = ("tokens", "packed")
"""Those whose batches are filled up to a budget of tokens."""


def check_batching(batching: Any, max_tokens: Any) -> None:
    """Looks at the two arguments before any data is read.

    Raises:
        ConfigurationError: There is no such batching, or the two do not fit together.
    """
    if batching not in BATCHINGS:
        close = nearest(str(batching), BATCHINGS, count=1)
        raise ConfigurationError(
            "there is no such batching",
            place="argument batching",
            found=repr(batching),
            expected=" or ".join(map(repr, BATCHINGS)),
            fix=f"pass batching={(close or BATCHINGS[:1])[0]!r}",
        )
    is_count = isinstance(max_tokens, int) and not isinstance(max_tokens, bool) and max_tokens > 0
    if max_tokens is not None and not (is_count and batching in BY_TOKENS):
        raise ConfigurationError(
            "max_tokens is a number of at least 1, for batches by a budget of tokens",
            place="argument max_tokens",
            found=f"{max_tokens!r} with batching={batching!r}",
            fix='pass batching="tokens", max_tokens=4096, or leave max_tokens out',
        )


def check_packable(batching: str, task: Task) -> None:
    """Looks whether the rows of a task can be packed.

    Raises:
        ConfigurationError: They cannot.
    """
    if batching != "packed" or task.packs:
        return
    raise ConfigurationError(
        f"the rows of the task {task.name} cannot be packed",
        place="argument batching",
        found="'packed'",
        expected="the task causal-lm, chat or masked-lm, whose loss is over tokens",
        fix='pass batching="tokens"',
    )


def settled_max_tokens(
    dataset: TokenDataset, batching: str, max_tokens: int | None, batch_size: int
) -> int | None:
    """Gives the budget of a batch, padding included where there is any; None without a budget.

    When none was given it is what `batch_size` rows of mean length take, so that a batch has about
    as many rows as was asked for; at least the longest row.
    """
    if batching not in BY_TOKENS or max_tokens is not None or not len(dataset):
        return max_tokens
    mean = math.ceil(batch_size * float(dataset.lengths.mean()))
    return max(mean, int(dataset.lengths.max()), 1)


def training_sampler(
    dataset: TokenDataset,
    batching: str,
    max_tokens: int | None,
    arguments: Mapping[str, Any],
    num_ranks: int,
) -> BatchSampler:
    """Gives the batches by length of a training run: every epoch with the same number of steps.

    Args:
        dataset: The rows.
        batching: "bucketed", "tokens" or "packed".
        max_tokens: The budget of a batch, for "tokens" and "packed".
        arguments: Training arguments. A batch has `per_device_train_batch_size` rows, or a budget
            that follows from it; the batches fill whole steps on all ranks. Those that are missing
            are earlier ones, repeated without weight; with `dataloader_drop_last` the last batches
            are left out instead.
        num_ranks: Processes that train together.

    Raises:
        ConfigurationError: A row is longer than the budget, or no step is filled.
    """
    batch_size = int(arguments["per_device_train_batch_size"])
    budget = settled_max_tokens(dataset, batching, max_tokens, batch_size)
    sizes: dict[str, Any] = {"max_tokens": budget}
    if budget is None:
        sizes = {"batch_size": batch_size}
    step = num_ranks * int(arguments.get("gradient_accumulation_steps", 1))
    seed = arguments.get("data_seed")
    sampler = BatchSampler(
        dataset,
        batching,
        **sizes,
        micro_batches_per_step=step,
        tail="drop" if arguments.get("dataloader_drop_last") else "pad",
        seed=int(arguments["seed"] if seed is None else seed),
    ).steady(math.ceil(float(arguments["num_train_epochs"])))
    if not len(sampler):
        raise ConfigurationError(
            "the training rows fill no step, and dataloader_drop_last drops the rest",
            found=f"{len(dataset)} rows for {step} batches a step",
            fix="remove dataloader_drop_last, or lower gradient_accumulation_steps",
        )
    return sampler
