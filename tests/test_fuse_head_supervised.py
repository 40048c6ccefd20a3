"""The rows that count travel from the batch to the head, and are used only where they belong."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import fastft
from fastft.modeling.losses import lazy_logits
from fastft.modeling.losses import supervised as supervised_module
from fastft.modeling.losses.supervised import supervised_rows, wants_loss_alone
from tests.fused_models import assert_same_gradients, build, gradients
from tests.fused_trainers import rows
from tests.tiny import tiny_tokenizer


def token_batch(mlm: bool = False, number: int = 5) -> Any:
    """A batch of our collator for language models."""
    made = [{name: row[name] for name in ("input_ids", "attention_mask")} for row in rows(number)]
    lengths = [len(row["input_ids"]) for row in made]
    texts = [" ".join(["film", "good", "bad", "plot"][at % 4] for at in range(n)) for n in lengths]
    tokens = fastft.TokenDataset.from_texts(texts, tiny_tokenizer(), max_length=32)
    collator = fastft.DataCollatorForLanguageModeling(tiny_tokenizer(), mlm=mlm)
    return collator(tokens.__getitems__(list(range(number))))


def shifted(labels: torch.Tensor) -> torch.Tensor:
    return F.pad(labels, (0, 1), value=-100)[..., 1:].reshape(-1)


def positions(labels: torch.Tensor) -> list[int]:
    return (labels != -100).nonzero().flatten().tolist()


def test_shifted_labels_find_their_rows() -> None:
    batch = token_batch()
    labels = batch["labels"]
    with fastft.supervised(batch):
        for target in (shifted(labels), labels[:, 1:].reshape(-1)):
            found = supervised_rows(target, -100)
            assert found is not None and found[1] is None
            assert found[0].tolist() == positions(target)
    assert supervised_rows(shifted(labels), -100) is None


def test_labels_of_a_masked_model_find_their_rows() -> None:
    batch = token_batch(mlm=True)
    with fastft.supervised(batch):
        target = batch["labels"].reshape(-1)
        found = supervised_rows(target, -100)
        assert found is not None and found[0].tolist() == positions(target)


def test_what_does_not_belong_is_left_alone() -> None:
    batch = token_batch()
    target = shifted(batch["labels"])
    more, fewer = target.clone(), target.clone()
    counted = positions(target)
    fewer[counted[0]] = -100
    more[positions(torch.where(target == -100, 0, -100))[0]] = 5
    moved = fewer.clone()
    moved[positions(torch.where(target == -100, 0, -100))[0]] = 5
    with fastft.supervised(batch):
        for other in (more, fewer, moved, target[1:], target[:0], target.repeat(2)):
            assert supervised_rows(other, -100) is None
        assert supervised_rows(batch["labels"].reshape(-1), -100) is None
        assert supervised_rows(target, 0) is None
    for other in ({}, None, {"labels": batch["labels"]}, [], object()):
        with fastft.supervised(other):
            assert supervised_rows(target, -100) is None


def test_labels_that_were_taken_out_of_the_batch_are_known() -> None:
    """As by a Trainer with label smoothing."""
    batch = token_batch()
    target = shifted(batch.pop("labels"))
    with fastft.supervised(batch):
        found = supervised_rows(target, -100)
        assert found is not None and found[0].tolist() == positions(target)
        batch["labels"] = torch.zeros(2, 3)
        assert supervised_rows(target, -100) is None


def test_random_changes_of_labels_never_lose_a_row() -> None:
    batch = token_batch()
    target = shifted(batch["labels"])
    generator = np.random.default_rng(0)
    with fastft.supervised(batch):
        for _ in range(300):
            other = target.clone()
            for at in generator.integers(0, len(target), generator.integers(0, 4)):
                other[at] = -100 if generator.random() < 0.5 else 7
            found = supervised_rows(other, -100)
            assert found is None or found[0].tolist() == positions(other)


def test_it_ends_with_its_block_and_its_thread() -> None:
    assert not wants_loss_alone()
    with fastft.supervised({}):
        assert wants_loss_alone()
        with fastft.supervised({}, loss_alone=False):
            assert not wants_loss_alone()
        assert wants_loss_alone()
        seen: list[bool] = []
        thread = threading.Thread(target=lambda: seen.append(wants_loss_alone()))
        thread.start()
        thread.join()
        assert seen == [False]
    with pytest.raises(KeyError), fastft.supervised({}):
        raise KeyError
    assert not wants_loss_alone()


@pytest.mark.parametrize("kind", ["causal", "masked", "flattened"])
def test_the_loss_and_gradients_are_the_same(kind: str) -> None:
    batch = _flattened() if kind == "flattened" else token_batch(mlm=kind == "masked")
    name = "bert" if kind == "masked" else "llama"
    inputs = {key: one for key, one in batch.items() if key != "token_type_ids"}
    runs = []
    for fuse in (False, True):
        model = build(name)
        if fuse:
            fastft.fuse_head(model)
        with fastft.supervised(batch):
            loss = model(**inputs).loss
        loss.backward()
        runs.append((loss.detach(), gradients(model)))
    torch.testing.assert_close(runs[1][0], runs[0][0])
    assert_same_gradients(runs[1][1], runs[0][1])


def _flattened() -> Any:
    return fastft.DataCollatorWithFlattening()(
        [{"input_ids": row["input_ids"], "labels": row["labels"]} for row in rows(4)]
    )


def test_rows_of_another_batch_give_no_number_where_nobody_could_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a GPU, where the check is a tensor that nobody reads."""
    for is_right in (True, False):
        monkeypatch.setattr(
            lazy_logits,
            "supervised_rows",
            lambda labels, ignore, right=is_right: (torch.arange(3), torch.tensor(right)),
        )
        model = build("llama")
        fastft.fuse_head(model)
        loss = model(**{"input_ids": torch.ones(1, 6, dtype=torch.long)}, labels=torch.ones(
            1, 6, dtype=torch.long)).loss  # fmt: skip
        assert torch.isfinite(loss) == is_right


@pytest.fixture
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: `supervised_rows` may not look at values."""
    monkeypatch.setattr(supervised_module, "may_look", lambda *tensors: False)


def test_without_waiting_labels_taken_out_are_told_apart(nobody_waits: None) -> None:
    batch = token_batch()
    labels = batch.pop("labels")
    with fastft.supervised(batch):
        found = supervised_rows(labels[:, 1:].reshape(-1), -100)
        assert found is not None and found[1] is not None and bool(found[1])
        assert supervised_rows(labels.reshape(-1), -100) is None


def loss_with(batch: Any, labels: torch.Tensor, name: str = "llama") -> tuple[float, float]:
    """What the batch says and what the labels say."""
    inputs = {key: one for key, one in batch.items() if key not in ("token_type_ids", "labels")}
    model = build(name)
    exact = model(**inputs, labels=labels).loss.item()
    fastft.fuse_head(model)
    with fastft.supervised(batch):
        return model(**inputs, labels=labels).loss.item(), exact


@pytest.mark.parametrize("kind", ["causal", "masked", "flattened"])
def test_without_waiting_the_loss_is_the_same(kind: str, nobody_waits: None) -> None:
    if kind == "flattened":
        texts = ["film good bad", "plot bad", "good"]
        tokens = fastft.TokenDataset.from_texts(texts, tiny_tokenizer())
        batch = fastft.DataCollatorWithFlattening()(tokens.__getitems__([0, 1, 2]))
    else:
        batch = token_batch(mlm=kind == "masked")
    own = batch["labels"]
    target = own.reshape(-1) if kind == "masked" else shifted(own)
    with fastft.supervised(batch):
        found = supervised_rows(target, -100)
        assert found is not None and found[1] is not None and bool(found[1])
    found_loss, exact = loss_with(batch, own, "bert" if kind == "masked" else "llama")
    assert found_loss == pytest.approx(exact, rel=1e-5)


def test_without_waiting_a_batch_for_another_kind_of_model_says_nothing(
    nobody_waits: None,
) -> None:
    """`DataCollatorForSeq2Seq` counts the labels where they stand; a causal model moves them."""
    batch = token_batch()
    batch.predicts_next = False
    found, exact = loss_with(batch, batch["labels"])
    assert found == pytest.approx(exact, rel=1e-5)
    batch = token_batch(mlm=True)
    batch.predicts_next = True
    found, exact = loss_with(batch, batch["labels"], "bert")
    assert found == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("how", ["replaced", "in place"])
def test_without_waiting_other_labels_are_those_that_count(how: str, nobody_waits: None) -> None:
    batch = token_batch()
    assert batch.loss_index is not None
    masked = batch["labels"].masked_fill(batch["labels"] % 2 == 0, -100)
    if how == "replaced":
        batch["labels"] = masked
    else:
        batch["labels"].copy_(masked)
    found, exact = loss_with(batch, batch["labels"])
    assert found == pytest.approx(exact, rel=1e-5)
