"""Padding-free models on two ranks, and in front of a compiler, do what padded ones do."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fastft
from fastft.modeling.padding_free.model import explain_padding
from tests import padding_free_models as zoo
from tests.padding_free_ranks import LENGTHS
from tests.two_processes import results_of_two_ranks

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    return results_of_two_ranks("tests.padding_free_ranks", folder)


@pytest.mark.parametrize("way", ["ddp", "fsdp"])
@pytest.mark.parametrize(("family", "head"), [("bert", "sequence"), ("llama", "causal")])
def test_two_ranks_have_the_mean_of_the_padded_gradients(
    ranks: list[dict[str, Any]], way: str, family: str, head: str
) -> None:
    model = zoo.model(family, head)
    for rank, lengths in enumerate(LENGTHS):
        (model(**zoo.batch(lengths, head, seed=rank)).loss / 2).backward()
    largest = max(float(one.grad.abs().max()) for one in model.parameters())
    for rank in ranks:
        found = rank[f"{way}-{family}"]["gradients"]
        for name, one in model.named_parameters():
            assert float((torch.tensor(found[name]) - one.grad).abs().max()) < 1e-5 * largest
    texts = [rank[f"{way}-{family}"]["text"] for rank in ranks]
    assert "batches without padding: 1" in texts[0]
    assert "there is hardly any padding: 1" in texts[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_compiled_model_stays_padded_and_right() -> None:
    model, given = zoo.model("bert", "sequence"), zoo.batch([17, 3, 9, 2], "sequence")
    expected = model(**given).loss
    fastft.padding_free(model)
    compiled = torch.compile(model, backend="aot_eager")
    torch.testing.assert_close(compiled(**given).loss, expected)
    assert "batches without padding: 0" in explain_padding(model)
    torch.testing.assert_close(model(**given).loss, expected)
    assert "batches without padding: 1" in explain_padding(model)
