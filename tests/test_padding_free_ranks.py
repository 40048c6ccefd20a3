"""Padding-free models on two ranks, and in front of a compiler, do what padded ones do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import fastft
from fastft.modeling.padding_free.model import explain_padding
from tests import padding_free_models as zoo
from tests.padding_free_ranks import LENGTHS

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    run = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "tests.padding_free_ranks", str(folder)],
        cwd=ROOT,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        },
        capture_output=True,
        text=True,
        timeout=280,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


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
