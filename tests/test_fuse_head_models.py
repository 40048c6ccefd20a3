"""With a fused head every architecture gives the loss, gradients and files that it gave without."""

from __future__ import annotations

import copy
import hashlib
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F

from fastft.modeling.losses import lazy_logits
from fastft.modeling.losses.fuse_head import explain_head, fuse_head, fused_head, unfuse_head
from fastft.modeling.losses.supervised import supervised
from tests.fused_models import ENCODERS, MODELS, assert_same_gradients, batch, build, gradients

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the fused function was called with, call by call."""
    made: list[dict[str, Any]] = []
    stock = lazy_logits.linear_cross_entropy

    def counted(*args: Any, **kwargs: Any) -> Any:
        made.append(kwargs)
        return stock(*args, **kwargs)

    monkeypatch.setattr(lazy_logits, "linear_cross_entropy", counted)
    return made


@pytest.mark.floor
@pytest.mark.parametrize("small", ["in torch", "in rust"])
@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_are_equal(
    name: str, small: str, calls: list[dict[str, Any]], request: pytest.FixtureRequest
) -> None:
    if small == "in rust":
        request.getfixturevalue("small_losses_in_rust")
    plain, fused = build(name), build(name)
    fuse_head(fused)
    inputs = batch()
    expected, found = plain(**inputs), fused(**inputs)
    expected.loss.backward()
    found.loss.backward()
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-6, atol=1e-6)
    assert_same_gradients(gradients(fused), gradients(plain))
    head = fused_head(fused)
    assert len(calls) == 1 and head is not None
    assert head.record.fused == 1 and not head.record.materialised and not head.record.plain
    torch.testing.assert_close(found.logits + 0, expected.logits, rtol=1e-5, atol=1e-5)
    assert head.record.materialised == {"add": 1}


@pytest.mark.parametrize("name", MODELS)
def test_the_number_of_items_divides_the_loss(name: str, calls: list[dict[str, Any]]) -> None:
    plain, fused = build(name), build(name)
    fuse_head(fused)
    inputs = {**batch(), "num_items_in_batch": torch.tensor(57)}
    if name in ("t5", "bart", "distilbert"):  # these heads take no such argument
        inputs.pop("num_items_in_batch")
    expected, found = plain(**inputs).loss, fused(**inputs).loss
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert len(calls) == 1


@pytest.mark.parametrize("name", MODELS)
def test_files_and_tying_are_equal(name: str, tmp_path: Path) -> None:
    plain, fused = build(name), build(name)
    fuse_head(fused)
    assert list(fused.state_dict()) == list(plain.state_dict())
    names = [one for one, _ in plain.named_parameters()]
    assert [one for one, _ in fused.named_parameters()] == names
    for folder, model in (("plain", plain), ("fused", fused)):
        model.save_pretrained(tmp_path / folder)
    assert _digests(tmp_path / "plain") == _digests(tmp_path / "fused")
    again = type(fused).from_pretrained(tmp_path / "fused")
    for key, value in plain.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


def _digests(folder: Path) -> dict[str, str]:
    return {
        one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in sorted(folder.iterdir())
    }


@pytest.mark.parametrize("name", sorted(set(MODELS) - set(ENCODERS)))
def test_generation_is_equal(name: str) -> None:
    plain, fused = build(name).eval(), build(name).eval()
    fuse_head(fused)
    inputs = {key: value[:2, :5] for key, value in batch().items() if key != "labels"}
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    for beams in (1, 2):
        expected = plain.generate(**inputs, num_beams=beams, **options)
        assert torch.equal(fused.generate(**inputs, num_beams=beams, **options), expected)
    head = fused_head(fused)
    assert head is not None and not head.record.fused and not head.record.materialised


@pytest.mark.parametrize("name", MODELS)
def test_an_evaluation_of_the_loss_alone_keeps_no_logits(
    name: str, calls: list[dict[str, Any]]
) -> None:
    plain, fused = build(name).eval(), build(name).eval()
    fuse_head(fused)
    inputs = batch()
    with torch.no_grad():
        expected = plain(**inputs)
        assert type(fused(**inputs).logits) is torch.Tensor and not calls
        with supervised(inputs):
            found = fused(**inputs)
    assert len(calls) == 1 and not found.loss.requires_grad
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.logits.detach(), expected.logits)


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "bart", "bert"])
def test_unfused_it_is_the_stock_layer_again(name: str) -> None:
    model = build(name)
    before = type(model.get_output_embeddings())
    weight = model.get_output_embeddings().weight
    with fuse_head(model) as inside:
        assert inside is model and fused_head(model) is not None
    head = model.get_output_embeddings()
    assert type(head) is before and head.weight is weight
    assert explain_head(model) == "head: not fused, fuse_head(model) was not called"
    unfuse_head(model)
    assert model.get_output_embeddings() is head


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5", "bert"])
def test_a_copy_of_a_fused_model_is_fused(name: str, calls: list[dict[str, Any]]) -> None:
    model = build(name)
    fuse_head(model)
    again = copy.deepcopy(model)
    inputs = batch()
    assert torch.equal(again(**inputs).loss, model(**inputs).loss)
    assert len(calls) == 2
    head, old = fused_head(again), fused_head(model)
    assert head is not None and old is not None
    assert head.record.fused == 1 and old.record.fused == 1
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert tied == (again.get_output_embeddings().weight is again.get_input_embeddings().weight)


def test_a_loss_outside_the_model_runs_fused(calls: list[dict[str, Any]]) -> None:
    plain, fused = build("llama"), build("llama")
    fuse_head(fused)
    inputs = batch()
    labels = inputs.pop("labels")

    def loss(model: Any) -> torch.Tensor:
        logits = model(**inputs).logits
        return F.cross_entropy(logits[..., :-1, :].reshape(-1, 101), labels[..., 1:].reshape(-1))

    expected, found = loss(plain), loss(fused)
    expected.backward()
    found.backward()
    torch.testing.assert_close(found, expected)
    assert_same_gradients(gradients(fused), gradients(plain))
    assert len(calls) == 1
