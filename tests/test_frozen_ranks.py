"""Two processes on gloo train on kept states as they do with the layers run in every step."""

from __future__ import annotations

from typing import Any

import pytest

from tests.two_processes import results_of_two_ranks

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    return results_of_two_ranks("tests.frozen_ranks", folder, FASTFT_CACHE=str(folder / "cache"))


@pytest.mark.parametrize("run", ["bert head", "bert last:1", "t5 last:1"])
def test_ranks_train_as_with_the_layers_run_in_every_step(
    ranks: list[dict[str, Any]], run: str
) -> None:
    for rank in ranks:
        memory, disk, plain = (rank[f"{run} {choice}"] for choice in ("memory", "disk", "off"))
        assert memory["carried"] and disk["carried"] and not plain["carried"], memory["note"]
        assert memory["losses"] == disk["losses"]
        assert memory["losses"] == pytest.approx(plain["losses"], rel=2e-4)  # logged in 4 digits
        assert memory["evaluations"] == disk["evaluations"]
        assert memory["evaluations"] == pytest.approx(plain["evaluations"], rel=1e-4)
        assert memory["note"].count("run once") == 2
