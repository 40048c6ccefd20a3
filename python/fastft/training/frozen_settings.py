"""When frozen layers run once: the argument `frozen_cache=`, and what speaks against it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from fastft.data.collator import DataCollatorWithPadding, FixedWidthCollator
from fastft.data.flattening_collator import DataCollatorWithFlattening
from fastft.data.language_modeling_collator import DataCollatorForLanguageModeling
from fastft.data.packed_collator import PackedMaskingCollator
from fastft.data.seq2seq_collator import DataCollatorForSeq2Seq
from fastft.data.token_classification_collator import DataCollatorForTokenClassification

MEMORY_SHARE = 0.25
"""The part of the free memory that "auto" fills before it goes to the disk."""

MIN_PASSES = 2
"""Passes over the data from which "auto" keeps states: one pass saves nothing."""

FILL_TOKENS = {"cpu": 2048}
"""Tokens of a batch of the prefix, padding included. On a CPU more of them leave the cache: MiniLM
took 4.3 s of CPU time for 1,000 rows of SST-2 with 2,048, 5.7 s with 8,192."""

MOST_FILL_TOKENS = 16384
"""The same for other devices."""


def why_not_by_arguments(arguments: Any, choice: str) -> str | None:
    """Says which training argument keeps the frozen layers from running once; None when none."""
    if choice == "off":
        return 'frozen_cache="off"'
    for name, is_set in (
        ("neftune_noise_alpha", arguments.neftune_noise_alpha is not None),
        ("torch_compile", arguments.torch_compile),
        ("fsdp", bool(arguments.fsdp)),
        ("deepspeed", bool(arguments.deepspeed)),
    ):
        if is_set:
            return f"{name} is set"
    if arguments.n_gpu > 1:
        return "torch.nn.DataParallel copies the model in every step"
    return None


def why_not_by_collator(collator: Any) -> str | None:
    """Says why batches of a collator may show other tokens each time; None where they do not."""
    kind = type(collator)
    if kind is DataCollatorForLanguageModeling:
        return "random tokens are masked in every epoch" if collator.mlm else None
    if kind.__name__ == "AugmentingCollator":
        return "augment changes tokens in every epoch"
    if kind in (DataCollatorWithFlattening, PackedMaskingCollator):
        return "rows are packed, each time with others"
    if kind is DataCollatorForSeq2Seq and collator.tokenizer.padding_side != "right":
        return "the tokenizer pads labels on the left"
    known = (
        DataCollatorWithPadding,
        FixedWidthCollator,
        DataCollatorForSeq2Seq,
        DataCollatorForTokenClassification,
    )
    return None if kind in known else f"{kind.__name__} may show other tokens each time"


def reads_one_vector(arguments: Any) -> bool:
    """Whether nobody but the head looks at the tokens of a batch, so that one may stand for all."""
    counts_tokens = arguments.include_num_input_tokens_seen not in (False, "no")
    return not counts_tokens and "inputs" not in (arguments.include_for_metrics or ())


def num_training_passes(arguments: Any, num_rows: int) -> int:
    """Counts the passes over the training rows, one that is not finished included."""
    passes: float = arguments.num_train_epochs
    if arguments.max_steps > 0:
        passes = arguments.max_steps * _rows_of_a_step(arguments) / max(1, num_rows)
    return math.ceil(passes)


def num_evaluations(arguments: Any, num_rows: int) -> int:
    """Counts the evaluations during training, about: `num_rows` are those of training."""
    strategy = str(getattr(arguments.eval_strategy, "value", arguments.eval_strategy))
    if strategy == "epoch":
        return num_training_passes(arguments, num_rows)
    if strategy != "steps":
        return 0
    steps = arguments.max_steps
    if steps <= 0:
        steps = math.ceil(arguments.num_train_epochs * num_rows / _rows_of_a_step(arguments))
    every = arguments.eval_steps or 1
    return int(steps // every if every >= 1 else 1 / every)


def _rows_of_a_step(arguments: Any) -> int:
    rows = arguments.train_batch_size * arguments.gradient_accumulation_steps
    return int(rows * arguments.world_size)


def free_memory() -> int:
    """Gives the bytes of memory that are free, caches of files among them."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        sizes = dict(line.split(":", 1) for line in lines)
        return int(sizes["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 4 * 10**9


def readable_bytes(size: float) -> str:
    """Writes a size so that it is read at a glance.

    Example:
        >>> readable_bytes(15_360_000)
        '15.4 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError
