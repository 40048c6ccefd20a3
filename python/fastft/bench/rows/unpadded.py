"""Training without padding, against the Trainer of transformers on the same random batches.

Encoders of the shape of MiniLM and a T5 of the shape of t5-small, on rows as long as those of
SST-2, IMDB and Multi30k, and on rows without padding, where nothing can be gained. Losses are held
together without dropout; what is timed has the dropout of the model, but for two rows. All cores,
wall time, the start of each Trainer included.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from fastft.bench.row import Case, Context, Row, Variant, demand
from fastft.bench.rows import training
from fastft.bench.rows.encoders import encoder, labelled, sentence_pairs, translator
from fastft.bench.rows.training import Job

if TYPE_CHECKING:
    from collections.abc import Iterable

TOLERANCE = 1e-5
DEFAULT, GROUPED = (f"transformers, {name}" for name in ("default", "group_by_length"))


@dataclass(frozen=True)
class Work:
    """A row of this module.

    Args:
        name: The last words of its name.
        title: What is trained on what.
        steps: Steps of a quick and a full run.
        asked: What was to be reached.
        kind: The texts of `encoders.labelled`, or "pairs".
        max_length: Where rows are cut.
        layers: Layers of the encoder in a quick run.
        grouped: Whether rows of like length are also drawn together by the stock Trainer.
        dropout: Whether the timed runs have dropout.
    """

    name: str
    title: str
    steps: tuple[int, int]
    asked: dict[str, float] = field(default_factory=dict)
    kind: str = "short"
    max_length: int = 128
    layers: int = 6
    grouped: bool = False
    dropout: bool = True


WORKS = (
    Work("short", "SST-2, batch 16", (12, 150), {DEFAULT: 1.9, GROUPED: 1.0}, grouped=True),
    Work("short-no-dropout", "SST-2, batch 16, no dropout", (12, 150), {GROUPED: 1.1},
         grouped=True, dropout=False),
    Work("256", "IMDB at 256, batch 16", (6, 40), {DEFAULT: 1.12}, "long", 256, 2),
    Work("512", "IMDB at 512, batch 16", (5, 25), {DEFAULT: 1.4}, "long", 512, 2),
    Work("equal", "128 tokens in each row, batch 16, no dropout", (6, 150), {DEFAULT: 0.98},
         "equal", layers=2, dropout=False),
    Work("t5", "T5, translation, batch 32", (4, 50), {DEFAULT: 1.3}, "pairs", 128, 2),
)  # fmt: skip


def rows() -> list[Row]:
    """A row for each kind of text."""
    settings: dict[str, Any] = {
        "clock": "wall", "threads": None, "seconds": (0, 0), "repetitions": (2, 3),
    }  # fmt: skip
    return [
        Row(f"train/padding-free/{work.name}", f"without padding: {work.title}",
            partial(_train, work=work), asked=work.asked, **settings)
        for work in WORKS
    ]  # fmt: skip


def _train(context: Context, *, work: Work) -> Iterable[Case]:
    job, steps = job_of(context, work), context.pick(*work.steps)
    exact = replace(job, model=_model(context, work, dropout=False))
    rows = job.listed()

    def variant(name: str, data: Any, *, own: bool, **options: Any) -> Variant:
        run = training.train(job, data, own=own, max_steps=steps, **options)
        role: Any = "ours" if own else "peer"
        return Variant(name, run, role, fresh=lambda: (job.model(),), note=training.note)

    variants = [variant("fastft", job.dataset, own=True), variant(DEFAULT, rows, own=False)]
    if work.grouped:
        grouped = {"train_sampling_strategy": "group_by_length"}
        variants.append(variant(GROUPED, rows, own=False, **grouped))
    few = context.pick(2, min(50, work.steps[1]))
    check = partial(training.check_losses, exact, rows, few, _look)
    yield Case(variants, check, steps * job.batch, "rows")


def _look(trainer: Any) -> None:
    text = trainer.explain_padding()
    demand("removed" in text, f"the model stayed padded: {text}")


def job_of(context: Context, work: Work) -> Job:
    """What is trained: as many rows as the steps ask for, so that no row comes twice."""
    settings: dict[str, Any] = {
        "tolerance": TOLERANCE, "arguments": {"learning_rate": 5e-5}, "own": {"padding_free": True},
    }  # fmt: skip
    model = _model(context, work, dropout=work.dropout)
    steps = context.pick(*work.steps)
    if work.kind == "pairs":
        dataset, tokenizer = sentence_pairs(context, 32 * steps, work.max_length)
        collators = training.collators(tokenizer, "ForSeq2Seq")
        return Job(model, dataset, collators, tokenizer, seq2seq=True, batch=32, **settings)
    number = training.BATCH * steps
    dataset, tokenizer = labelled(context, work.kind, number, work.max_length)
    return Job(model, dataset, training.collators(tokenizer), tokenizer, **settings)


def _model(context: Context, work: Work, *, dropout: bool) -> Any:
    layers = context.pick(work.layers, 6)
    make = translator if work.kind == "pairs" else encoder
    return make(context, layers=layers, dropout=dropout)
