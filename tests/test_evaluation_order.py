"""Evaluations by length: the batches, and the order in which predictions come out."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import transformers

import fastft
from fastft.training.evaluation_order import ByLength, _reordered
from tests.parity.recording import FastTrainer, StockTrainer, arguments
from tests.tiny import sentences, tiny_model, tiny_tokenizer

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("seed", range(15))
def test_every_row_is_drawn_once_within_the_budget(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 40, rng.integers(1, 60))
    budget = int(rng.integers(1, 200))
    sampler = ByLength(lengths, budget)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert sorted(functools.reduce(operator.iadd, batches, [])) == list(range(len(lengths)))
    assert functools.reduce(operator.iadd, batches, []) == sampler.order.tolist()
    for batch, after in zip(batches, [*batches[1:], []], strict=True):
        longest = lengths[batch].max()
        assert len(batch) == 1 or len(batch) * longest <= budget
        if after:  # none was left out that would have had a place
            assert lengths[after].min() >= longest
            assert (len(batch) + 1) * lengths[after[0]] > budget


def test_values_in_every_form_are_put_back() -> None:
    places = np.argsort(np.array([2, 0, 1]))
    array = np.array([[20], [0], [10]])
    expected = [[0], [10], [20]]
    assert _reordered(None, places) is None
    assert _reordered(array, places).tolist() == expected
    found = _reordered((array, {"a": [array]}), places)
    assert found[0].tolist() == found[1]["a"][0].tolist() == expected


def pair(folder: Path, **options: Any) -> tuple[Any, Any]:
    """Our Trainer and the stock one on the same 50 rows."""
    rows, tokenizer = sentences(50), tiny_tokenizer()
    dataset = fastft.TokenDataset.from_texts(
        [text for text, _ in rows],
        fastft.Tokenizer.from_hf(tokenizer),
        columns={"labels": np.array([label == "positive" for _, label in rows], np.int64)},
    )
    settings = {"per_device_eval_batch_size": 4, **options.pop("training", {})}
    stock = StockTrainer(
        tiny_model(),
        arguments(transformers.TrainingArguments, folder, **settings),
        eval_dataset=[dict(dataset[i]) for i in range(len(dataset))],
        processing_class=tokenizer,
        **options,
    )
    ours = FastTrainer(
        tiny_model(),
        arguments(fastft.TrainingArguments, folder, **settings),
        eval_dataset=dataset,
        processing_class=tokenizer,
        **options,
    )
    return ours, stock


def test_predictions_and_metrics_are_in_the_order_of_the_rows(tmp_path: Path) -> None:
    seen: list[tuple[Any, Any]] = []

    def metrics(prediction: Any) -> dict[str, float]:
        logits, labels = prediction
        seen.append((prediction.predictions, prediction.label_ids))
        return {
            "first": float(logits[0, 0]),
            "accuracy": float((logits.argmax(1) == labels).mean()),
        }

    ours, stock = pair(tmp_path, compute_metrics=metrics)
    found, expected = ours.evaluate(), stock.evaluate()
    for name in ("eval_first", "eval_accuracy"):
        assert found[name] == pytest.approx(expected[name], rel=1e-5)
    first, second = (one.predict(one.eval_dataset) for one in (ours, stock))
    np.testing.assert_allclose(first.predictions, second.predictions, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(first.label_ids, second.label_ids)
    for (logits, labels), (others, other_labels) in zip(seen[::2][:1], seen[1::2][:1], strict=True):
        np.testing.assert_allclose(logits, others, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(labels, other_labels)
    assert ours.compute_metrics is metrics
    assert len(ours.get_eval_dataloader()) < len(stock.get_eval_dataloader())


@pytest.mark.parametrize(
    "training",
    [
        {"batch_eval_metrics": True},
        {"include_for_metrics": ["inputs"]},
        {"eval_do_concat_batches": False},
        {"dataloader_drop_last": True},
    ],
)
def test_what_looks_at_batches_sees_them_in_the_order_of_the_rows(
    training: dict[str, Any], tmp_path: Path
) -> None:
    ours, _ = pair(tmp_path, training=training)
    batch = next(iter(ours.get_eval_dataloader()))
    assert batch["input_ids"][0].tolist()[: len(ours.eval_dataset[0]["input_ids"])] == list(
        ours.eval_dataset[0]["input_ids"]
    )
    assert len(batch["input_ids"]) == 4
