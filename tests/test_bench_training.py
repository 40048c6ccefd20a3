"""The rows of training, at sizes that take a moment: both sides run, and their check can fail."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from fastft.bench.data import Data
from fastft.bench.measure import threads
from fastft.bench.row import Context, SkippedRow, UnequalError
from fastft.bench.rows import chat, encoders, evaluation, first_step, frozen, train, unpadded
from fastft.errors import Error

BARE = Context(Data(), "quick")
CHECKOUT = Context(Data.find(), "quick")
SHORT = unpadded.Work("short", "", (2, 2), layers=1, grouped=True)


def run(case, *names):
    """Runs the check of a case and the variants that are named once each; gives their figures."""
    said = case.check()
    found = {}
    for variant in case.variants:
        if variant.name in names:
            result = variant.work(*variant.arguments())
            found[variant.name] = variant.note(result) if variant.note else result
    return said, found


@pytest.fixture(autouse=True)
def one_thread():
    with threads(1):
        yield


def test_without_padding_both_trainers_run_on_the_same_batches():
    (case,) = unpadded._train(BARE, work=SHORT)
    assert [one.name for one in case.variants] == ["fastft", unpadded.DEFAULT, unpadded.GROUPED]
    said, found = run(case, "fastft", unpadded.GROUPED)
    assert "losses of 2 steps" in said
    assert all(len(one["curve"]) == 2 for one in found.values())
    assert (case.amount, case.unit) == (32, "rows")


@pytest.mark.slow
@pytest.mark.parametrize("work", unpadded.WORKS, ids=lambda work: work.name)
def test_each_row_without_padding_has_the_losses_of_the_stock_trainer(work):
    (case,) = unpadded._train(BARE, work=replace(work, steps=(2, 2), layers=1))
    assert "losses of 2 steps" in case.check()
    assert set(work.asked) <= {one.name for one in case.variants}


def test_a_row_without_padding_refuses_other_losses_and_a_model_that_stayed_padded(monkeypatch):
    one = replace(SHORT, steps=(1, 1))
    (case,) = unpadded._train(BARE, work=one)
    losses = iter([[[1, 0.5], [2, 0.6]], [[1, 0.5], [2, 0.7]]])
    monkeypatch.setattr(unpadded.training, "curve", lambda _: next(losses))
    with pytest.raises(UnequalError, match="losses lie"):
        case.check()
    monkeypatch.undo()
    job = unpadded.job_of(BARE, one)
    padded = replace(job, own={"padding_free": False})
    with pytest.raises(UnequalError, match="stayed padded"):
        unpadded.training.check_losses(padded, padded.listed(), 1, unpadded._look)


def test_an_encoder_comes_without_a_pretrained_one(monkeypatch):
    monkeypatch.setattr(encoders, "pretrained", lambda _context: None)
    one, other = (encoders.encoder(BARE, layers=1, num_labels=3)() for _ in range(2))
    assert one.config.hidden_size == 384
    assert one.config.num_labels == 3
    assert one.classifier.weight.equal(other.classifier.weight)


@pytest.mark.parametrize("kind", ["short", "long"])
def test_rows_are_as_long_as_those_of_the_real_sets(kind):
    dataset, _ = encoders.labelled(BARE, kind, 2_000, 256)
    mean = dataset.num_tokens / len(dataset)
    assert mean == pytest.approx({"short": 13.3, "long": 207}[kind], rel=0.05)
    assert set(dataset.columns["labels"]) == {0, 1}


@pytest.mark.slow
def test_above_a_frozen_base_all_three_ways_learn():
    (case,) = frozen._train(CHECKOUT, part="head", most=(64, 16))
    said, found = run(case, "fastft", frozen.STOCK, frozen.ONCE)
    assert "losses of 12 steps" in said
    assert "logits of vectors equal" in said
    assert {0 <= one["accuracy"] <= 1 for one in found.values()} == {True}


def test_a_row_of_frozen_layers_refuses_a_run_that_ran_them_in_every_step():
    job = frozen.job_of(CHECKOUT, "last:2", (32, 16), dropout=False)
    often = replace(job, own={"frozen_cache": "off"})
    with pytest.raises(UnequalError, match="ran in every step"):
        frozen.training.check_losses(often, often.listed(), 1, frozen._look)


def test_classes_of_held_out_rows_are_those_of_training():
    tables = encoders.class_tables(CHECKOUT, (40, 16))
    assert len(tables["train"]["text"]) == 40
    assert len(tables["validation"]["label"]) == 16
    assert set(tables["validation"]["label"]) <= set(tables["train"]["label"])
    with pytest.raises(SkippedRow, match="no checkout"):
        encoders.class_tables(BARE, (1, 1))


def test_both_evaluate_to_the_same_logits():
    (case,) = evaluation._evaluate(BARE, (24, 24))
    said, found = run(case, "fastft", evaluation.STOCK)
    assert "logits of 24 rows" in said
    losses = [one["eval_loss"] for one in found.values()]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.slow
def test_both_come_from_a_file_to_a_step():
    for case in first_step._first_step(CHECKOUT, (40, 40)):
        said, found = run(case, "fastft", first_step.STOCK)
        assert said == "ids and labels of 40 rows equal"
        assert len(found) == 2


@pytest.mark.slow
def test_chats_become_the_same_tokens_and_an_absent_trl_costs_a_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "trl", None)
    (case,) = chat._chat(BARE, (48, 48), (2, 2))
    said, found = run(case, "fastft", chat.STOCK)
    assert said.startswith("tokens and labels of 48 rows equal, losses of 3 steps")
    assert len(found) == 2
    assert list(case.absent) == [chat.TRL]


def test_a_trl_that_fails_costs_a_line(monkeypatch):
    def falls_over(*_):
        raise TypeError("unexpected keyword argument\nand more")

    monkeypatch.setattr(chat, "_trl", falls_over)
    monkeypatch.setattr(chat, "absent", lambda *_: None)
    (case,) = chat._chat(BARE, (4, 4), (1, 1))
    assert case.absent == {chat.TRL: "TypeError: unexpected keyword argument"}


def test_lora_is_skipped_without_peft(monkeypatch):
    monkeypatch.setattr(train, "absent", lambda module: f"{module} is not installed")
    with pytest.raises(SkippedRow, match="peft is not installed"):
        train.classification(CHECKOUT, part="lora")
    assert not issubclass(SkippedRow, Error)
