"""Two processes on gloo train on kept states as they do with the layers run in every step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    run = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "tests.frozen_ranks", str(folder)],
        cwd=ROOT,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "FASTFT_CACHE": str(folder / "cache"),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        },
        capture_output=True,
        text=True,
        timeout=280,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


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
