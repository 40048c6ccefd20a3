"""What rows of training share: data of a task, models from the same start, runs of both Trainers.

Both sides train on the same tokens, from the same weights, with the same seed and no dropout, so
that the losses of the stock Trainer in its default order can be held against ours step by step.
Making tokens is measured elsewhere. Loss curves are kept in the result.
"""

from __future__ import annotations

import inspect
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastft.bench.row import demand

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 16
STRATEGIES = ("group_by_length", "batch_rebalance")


@dataclass
class Job:
    """A thing to train.

    Args:
        model: Makes the model anew, from the same start.
        dataset: The tokens of the training split, ours.
        collators: Ours, and that of transformers.
        tokenizer: The tokenizer of transformers.
        validation: The tokens of the validation split.
        seq2seq: Whether the Trainers for encoder-decoders run.
        tolerance: How far the losses of both may lie apart, relatively.
        arguments: Further training arguments, of both.
        own: Arguments of our Trainer alone, such as `padding_free`.
        batch: Rows of a batch.
    """

    model: Callable[[], Any]
    dataset: Any
    collators: tuple[Any, Any]
    tokenizer: Any
    validation: Any = None
    seq2seq: bool = False
    tolerance: float = 1e-4
    arguments: dict[str, Any] = field(default_factory=dict)
    own: dict[str, Any] = field(default_factory=dict)
    batch: int = BATCH

    def listed(self, dataset: Any = None) -> list[dict[str, Any]]:
        """The rows as the list of dicts that the stock Trainer is made for."""
        data = self.dataset if dataset is None else dataset
        return [dict(data[row]) for row in range(len(data))]


def task_data(name: str, data: Any, tokenizer: Any, most: int, /, **given: Any) -> dict[str, Any]:
    """Tokens and labels of all splits of a task, by name; "task" is the task itself."""
    from fastft.api import finetune
    from fastft.data.sources import open_source
    from fastft.data.tokenizer import Tokenizer
    from fastft.request import OPTION_NAMES
    from fastft.tasks.registry import task_class, task_options

    parameters = inspect.signature(finetune).parameters
    options = {option: parameters[option].default for option in OPTION_NAMES}
    opened = open_source(data)
    task = task_class(name).from_source(opened, {**options, **task_options(name, given)})
    ours = Tokenizer.from_hf(tokenizer)
    splits = {split: task.data(opened.splits[split], ours, most).dataset for split in opened.splits}
    return {**splits, "task": task}


def collators(tokenizer: Any, kind: str = "WithPadding", **options: Any) -> tuple[Any, Any]:
    """Our collator of a kind, and that of transformers."""
    import transformers

    import fastft

    one, other = (getattr(home, f"DataCollator{kind}") for home in (fastft, transformers))
    return one(tokenizer, **options), other(tokenizer, **options)


def trainer(job: Job, model: Any, rows: Any, folder: str, *, own: bool, **options: Any) -> Any:
    """A Trainer, ours or the stock one."""
    import transformers

    import fastft

    home = fastft if own else transformers
    prefix = "Seq2Seq" if job.seq2seq else ""
    settings: dict[str, Any] = {
        "per_device_train_batch_size": job.batch, "per_device_eval_batch_size": 2 * job.batch,
        "learning_rate": 2e-4, "logging_steps": 1, "seed": 42, **job.arguments, **options,
    }  # fmt: skip
    arguments = getattr(home, f"{prefix}TrainingArguments")(
        output_dir=folder, save_strategy="no", report_to="none", disable_tqdm=True, use_cpu=True,
        **settings,
    )  # fmt: skip
    made = getattr(home, f"{prefix}Trainer")(
        model=model, args=arguments, train_dataset=rows, processing_class=job.tokenizer,
        data_collator=job.collators[0 if own else 1], **(job.own if own else {}),
    )  # fmt: skip
    made.remove_callback(transformers.PrinterCallback)
    return made


def train(job: Job, rows: Any, *, own: bool, **options: Any) -> Callable[[Any], Any]:
    """A run from a fresh model; it gives the Trainer, which knows its losses."""

    def run(model: Any) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            made = trainer(job, model, rows, folder, own=own, **options)
            made.train()
        return made

    return run


def curve(made: Any) -> list[list[float]]:
    """Steps and their losses."""
    return [
        [line["step"], round(float(line["loss"]), 6)]
        for line in made.state.log_history
        if "loss" in line
    ]


def note(made: Any) -> dict[str, Any]:
    """What is kept of a run."""
    return {"curve": curve(made)}


def check_losses(
    job: Job, rows: Any, steps: int = 3, look: Callable[[Any], None] | None = None
) -> str:
    """Demands that both Trainers have the same losses in their first steps.

    Args:
        job: What is trained, without dropout.
        rows: The rows for the stock Trainer.
        steps: How many losses are compared.
        look: Looks at our Trainer behind its run: whether it took the fast path at all.
    """
    own = train(job, job.dataset, own=True, max_steps=steps)(job.model())
    if look is not None:
        look(own)
    found = curve(own)
    expected = curve(train(job, rows, own=False, max_steps=steps)(job.model()))
    demand(len(found) == len(expected) == steps, f"{len(found)} and {len(expected)} steps")
    worst = max(abs(a[1] - b[1]) / b[1] for a, b in zip(found, expected, strict=True))
    demand(worst <= job.tolerance, f"losses lie {worst:.1e} apart: {found}, {expected}")
    return f"losses of {steps} steps within {worst:.0e} of the stock Trainer"
