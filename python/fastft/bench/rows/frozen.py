"""Training above frozen layers, which ours runs once for every row and the stock Trainer each time.

MiniLM, with the head alone or the last two of its six layers trained for three epochs. Both freeze
the same weights and draw the same batches; the stock Trainer leaves the dropout of frozen layers
on, so losses are held together without dropout. For the head alone there is a third way, which
needs no library: encode all rows once, then train a linear layer on the vectors.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from fastft.bench.row import Case, Context, Row, Variant, demand
from fastft.bench.rows import training
from fastft.bench.rows.encoders import class_tables, encoder
from fastft.bench.rows.training import Job

if TYPE_CHECKING:
    from collections.abc import Iterable

EPOCHS, MAX_LENGTH, ENCODED_ROWS = 3, 128, 32
STOCK, ONCE = "transformers, base frozen", "encode once (SetFit-style)"


def rows() -> list[Row]:
    """The head alone, and the last two layers."""
    settings: dict[str, Any] = {
        "clock": "wall", "threads": None, "seconds": (0, 0), "repetitions": (2, 3),
    }  # fmt: skip
    return [
        Row("train/frozen/head", f"the head alone, {EPOCHS} epochs",
            partial(_train, part="head"), asked={STOCK: 8}, **settings),
        Row("train/frozen/last-2", f"the last two layers of six, {EPOCHS} epochs",
            partial(_train, part="last:2"), asked={STOCK: 2.5}, **settings),
    ]  # fmt: skip


def _train(context: Context, *, part: str, most: tuple[int, int] | None = None) -> Iterable[Case]:
    job = job_of(context, part, most or context.pick((320, 64), (10_000, 872)))
    listed, held_out = job.listed(), job.listed(job.validation)

    def model() -> tuple[Any]:
        return (job.model(),)

    def variant(name: str, data: Any, evaluated: Any, *, own: bool) -> Variant:
        run = training.train(job, data, own=own, num_train_epochs=EPOCHS)
        role: Any = "ours" if own else "peer"
        return Variant(name, run, role, fresh=model, note=partial(_note, evaluated))

    variants = [
        variant("fastft", job.dataset, job.validation, own=True),
        variant(STOCK, listed, held_out, own=False),
    ]
    if part == "head":
        note = partial(_accuracy_of_vectors, job)
        variants.append(Variant(ONCE, partial(encode_once, job), fresh=model, note=note))
    check = partial(_check, context, part)
    yield Case(variants, check, EPOCHS * len(job.dataset), "rows")


def _check(context: Context, part: str) -> str:
    import torch

    # Two passes over few rows, so that what is kept is used.
    exact = job_of(context, part, (128, 32), dropout=False)
    steps = context.pick(12, 50)
    text = training.check_losses(exact, exact.listed(), steps, _look)
    if part == "head":
        model = exact.model().eval()
        kept, _ = vectors_of(exact, model, exact.dataset)
        padded = exact.collators[1](exact.listed()[:8])
        padded.pop("labels")
        with torch.inference_mode():
            worst = (model.classifier(kept[:8]) - model(**padded).logits).abs().max()
        demand(worst <= 1e-4, f"logits of vectors lie {worst:.1e} apart")
        text += ", logits of vectors equal"
    return text


def _look(trainer: Any) -> None:
    text = trainer.explain_frozen()
    demand("run once" in text, f"the frozen layers ran in every step: {text}")


def _note(held_out: Any, trainer: Any) -> dict[str, Any]:
    found = trainer.predict(held_out)
    right = found.predictions.argmax(-1) == found.label_ids
    return {**training.note(trainer), "accuracy": round(float(right.mean()), 4)}


def _accuracy_of_vectors(job: Job, model: Any) -> dict[str, Any]:
    import torch

    vectors, labels = vectors_of(job, model.eval(), job.validation)
    with torch.inference_mode():
        right = model.classifier(vectors).argmax(-1) == labels
    return {"accuracy": round(float(right.float().mean()), 4)}


def encode_once(job: Job, model: Any) -> Any:
    """Encodes all rows with the stock model, then trains its linear layer on the vectors."""
    import torch

    vectors, labels = vectors_of(job, model.eval(), job.dataset)
    head, dropout = model.classifier, model.dropout.train()
    steps = EPOCHS * math.ceil(len(vectors) / job.batch)
    optimizer = torch.optim.AdamW(
        head.parameters(), lr=job.arguments["learning_rate"], weight_decay=0.0
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(vectors)).split(job.batch):  # type: ignore[no-untyped-call]
            logits = head(dropout(vectors[rows]))
            torch.nn.functional.cross_entropy(logits, labels[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    return model


def vectors_of(job: Job, model: Any, dataset: Any) -> tuple[Any, Any]:
    """What the head of a model in evaluation mode reads, for every row, and the labels."""
    import torch

    listed = job.listed(dataset)
    order = sorted(range(len(listed)), key=lambda row: len(listed[row]["input_ids"]))
    vectors = torch.empty(len(listed), model.config.hidden_size)
    with torch.no_grad():
        for rows in (order[at : at + ENCODED_ROWS] for at in range(0, len(order), ENCODED_ROWS)):
            batch = job.collators[1]([listed[row] for row in rows])
            batch.pop("labels")
            vectors[rows] = model.base_model(**batch).pooler_output
    return vectors, torch.tensor([row["labels"] for row in listed])


def job_of(context: Context, part: str, most: tuple[int, int], *, dropout: bool = True) -> Job:
    """SST-2 of `--data`, or else Banking77, with the same weights frozen on both sides."""
    from fastft.modeling.freeze import choose_trainable

    tokenizer = context.data.tokenizer("bert_uncased")
    splits = class_tables(context, most)
    found = training.task_data("text-classification", splits, tokenizer, MAX_LENGTH)
    num_labels = int(max(found["train"].columns["labels"])) + 1
    make = encoder(context, dropout=dropout, num_labels=num_labels)

    def model() -> Any:
        made = make()
        choose_trainable(made, part, [])
        return made

    arguments = {"learning_rate": 1e-2 if part == "head" else 5e-5}
    return Job(
        model, found["train"], training.collators(tokenizer), tokenizer, found["validation"],
        tolerance=1e-5, arguments=arguments,
    )  # fmt: skip
