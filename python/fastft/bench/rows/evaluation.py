"""Evaluating a classifier, against the Trainer of transformers: the same rows, the same logits.

All cores, wall time. Both make their batches of 16; which rows lie in a batch together is up to
each, as logits come back in the order of the rows.
"""

from __future__ import annotations

import tempfile
from functools import partial
from typing import TYPE_CHECKING, Any

from fastft.bench.row import Case, Context, Row, Variant, demand, ours
from fastft.bench.rows import training
from fastft.bench.rows.encoders import encoder, labelled
from fastft.bench.rows.training import Job

if TYPE_CHECKING:
    from collections.abc import Iterable

STOCK = "transformers"
TOLERANCE = 1e-5


def rows() -> list[Row]:
    """An evaluation with its loss."""
    settings: dict[str, Any] = {
        "clock": "wall", "threads": None, "seconds": (0, 0), "repetitions": (3, 5),
    }  # fmt: skip
    title = "evaluate SST-2, MiniLM, batch 16"
    return [Row("train/evaluate", title, _evaluate, asked={STOCK: 2.5}, **settings)]


def _evaluate(context: Context, number: tuple[int, int] = (320, 10_000)) -> Iterable[Case]:
    dataset, tokenizer = labelled(context, "short", context.pick(*number), 128)
    collators = training.collators(tokenizer)
    batch = {"per_device_eval_batch_size": training.BATCH}
    job = Job(encoder(context), dataset, collators, tokenizer, arguments=batch)
    listed = job.listed()
    with tempfile.TemporaryDirectory() as folder:
        own, stock = (
            training.trainer(job, job.model(), data, folder, own=is_own)
            for data, is_own in ((dataset, True), (listed, False))
        )
        variants = [
            ours(partial(own.evaluate, dataset)), Variant(STOCK, partial(stock.evaluate, listed)),
        ]  # fmt: skip
        yield Case(variants, partial(_check, own, stock, job), len(dataset), "rows")


def _check(own: Any, stock: Any, job: Job) -> str:
    few = job.listed()[:500]
    found, expected = own.predict(job.dataset), stock.predict(few)
    worst = float(abs(found.predictions[: len(few)] - expected.predictions).max())
    demand(worst <= TOLERANCE, f"logits lie {worst:.1e} apart")
    demand((found.label_ids[: len(few)] == expected.label_ids).all(), "labels differ")
    return f"logits of {len(few)} rows within {worst:.0e}"
