"""Two processes on gloo with a fused head give what one process gives, under DDP and FSDP2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.fused_models import assert_same_gradients, batch, build, gradients
from tests.fused_ranks import ROWS
from tests.fused_trainers import lm_trainer
from tests.two_processes import results_of_two_ranks

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    return results_of_two_ranks("tests.fused_ranks", folder)


def one_process(name: str) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of a plain model on the undivided batch."""
    model = build(name)
    loss = model(**batch(rows=ROWS)).loss
    loss.backward()
    return loss.item(), gradients(model)


@pytest.mark.parametrize(
    ("run", "name", "num_fused"),
    [
        ("ddp-1", "llama", 1),
        ("ddp-2", "llama", 2),
        ("ddp-4", "llama", 4),
        ("ddp-tied", "gpt2", 2),
        ("ddp-capped", "gemma2", 2),
        ("ddp-unused", "llama", 2),
        ("ddp-outside", "llama", 1),
        ("ddp-outside-unused", "llama", 1),
        ("fsdp-1", "llama", 1),
        ("fsdp-2", "llama", 2),
        ("fsdp-tied", "llama-tied", 2),
        ("fsdp-own", "llama", 0),
        ("fsdp-outside", "llama", 0),
        ("fsdp1", "llama", 0),
        ("fsdp1-own", "llama", 0),
    ],
)
def test_ranks_give_what_one_process_gives(
    ranks: list[dict[str, Any]], run: str, name: str, num_fused: int
) -> None:
    loss, expected = one_process(name)
    for rank in ranks:
        found = {key: torch.tensor(value) for key, value in rank[run]["gradients"].items()}
        assert rank[run]["loss"] == pytest.approx(loss, rel=1e-6)
        assert_same_gradients(found, expected)
        assert rank[run]["fused"] == num_fused


def test_no_logits_are_made_where_the_loss_runs_fused(ranks: list[dict[str, Any]]) -> None:
    for name, run in ranks[0].items():
        if run.get("fused"):
            assert not run["made"] and not run["plain"], name
    reason = "FSDP2 shards the head in a group of its own"
    assert ranks[0]["fsdp-own"]["plain"] == {reason: 2}
    for name in ("fsdp1", "fsdp1-own"):
        assert ranks[0][name]["plain"] == {"FSDP1 lends the weight to the head": 1}
    # FSDP2 waits for a gradient of the logits here, so they are made.
    assert ranks[0]["fsdp-outside"]["made"] == {"register_hook": 1}


def test_a_trainer_on_two_ranks_is_one_on_one(ranks: list[dict[str, Any]], tmp_path: Path) -> None:
    whole = lm_trainer(tmp_path, 2, fuse_head=False)
    whole.train()
    for rank in ranks:
        assert rank["trainer"]["losses"] == pytest.approx(whole.losses, rel=2e-5)
        assert rank["trainer"]["evaluation"] == pytest.approx(
            whole.evaluate()["eval_loss"], rel=1e-5
        )
        assert rank["trainer"]["fused"] >= 12


def test_a_weight_that_was_taken_back_is_an_error(ranks: list[dict[str, Any]]) -> None:
    assert "the weight was taken back by FSDP" in ranks[0]["fsdp-parent"]["error"]
    assert ranks[1]["fsdp-parent"] == ranks[0]["fsdp-parent"]


def test_names_in_the_state_are_the_stock_ones(ranks: list[dict[str, Any]]) -> None:
    assert ranks[0]["fsdp-1"]["keys"] == list(build("llama").state_dict())
