"""The benchmarks of a GPU, on whatever is here: that they run, not what they find."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from benches.gpu import __main__ as suite
from benches.gpu import losses, rows_of_tokens
from benches.gpu.device import Device, activity, idle_share, usable

from fastft.bench.compare import compare
from fastft.bench.results import read_results
from fastft.bench.row import GROUPS

ROOT = Path(__file__).parent.parent
CPU = Device("cpu", tiny=True)
SIZES = {"imdb": (25_000, 200, 300), "sst2": (67_349, 10, 17)}


@pytest.mark.parametrize(
    ("spans", "share"),
    [
        ([], 0),
        ([(3, 3)], 0),
        ([(0, 2), (1, 3), (4, 8)], 0.125),
        ([(4, 8), (0, 8), (1, 2)], 0),
        ([(0, 1), (9, 10)], 0.8),
    ],
)
def test_the_device_idles_where_no_span_runs(spans, share):
    assert idle_share(spans) == pytest.approx(share)


def test_launches_are_counted_on_the_device_and_by_step():
    kinds = torch.autograd.DeviceType

    def event(kind, start, end):
        return SimpleNamespace(device_type=kind, time_range=SimpleNamespace(start=start, end=end))

    events = [event(kinds.CPU, 0, 100), *(event(kinds.CUDA, 4 * n, 4 * n + 3) for n in range(6))]
    found = activity(SimpleNamespace(events=lambda: events), 3)
    assert found == {"launches": 2, "idle_share": round(5 / 23, 4)}


def test_a_peer_that_fails_is_left_out_with_its_reason():
    def fails():
        raise RuntimeError("out of memory\nmore about it")

    found, reasons = usable({"one": lambda: 1, "other": fails})
    assert list(found) == ["one"]
    assert reasons == {"other": "RuntimeError: out of memory"}


@pytest.mark.parametrize("name", SIZES)
def test_lengths_are_those_of_the_real_sets(name):
    number, least, most = SIZES[name]
    counts = rows_of_tokens.counts(name)
    assert counts.sum() == number
    assert least < (counts * np.arange(len(counts))).sum() / number < most
    drawn = rows_of_tokens.lengths(name, 5_000)
    assert counts[drawn].min() > 0
    assert drawn.max() <= 512
    assert rows_of_tokens.lengths(name, 100, 16).max() == 16


@pytest.mark.parametrize("device", [CPU, Device()], ids=["tiny", "cuda"])
def test_rows_have_names_of_their_own_that_the_suite_does_not_have(device):
    from fastft.bench.registry import all_rows

    names = [row.name for row in suite.all_rows(device)]
    assert len(set(names)) == len(names)
    assert not set(names) & {row.name for row in all_rows()}
    assert {row.group for row in suite.all_rows(device)} <= set(GROUPS)


def test_our_gradients_and_losses_are_checked_and_a_wrong_one_is_told(monkeypatch):
    hidden, weight, labels = losses.inputs(losses.TINY, CPU)
    loss, missing = losses.losses(hidden, weight, labels)
    assert set(losses.PEERS) <= {*loss, *missing}
    exact = losses.exact_loss(hidden, weight, labels)
    assert float(loss["fastft"]().detach()) == pytest.approx(exact, rel=1e-5)
    assert losses.check_gradients(CPU).startswith("float32 ")
    right = losses.exact_gradients
    monkeypatch.setattr(losses, "exact_gradients", lambda *some: [1.01 * g for g in right(*some)])
    with pytest.raises(AssertionError, match="gradients in float32 are off by"):
        losses.check_gradients(CPU)


def test_the_kernel_of_a_gpu_is_called_as_it_wants_to_be():
    logits, labels = torch.randn(8, 100).bfloat16(), torch.arange(8)
    exact = torch.nn.functional.cross_entropy(logits.double(), labels)
    # Kernels in Triton run in its interpreter where there is no GPU.
    works = losses.kernels(Device("cuda"), logits, labels, tune=True)
    assert len(works) == 1 + len(losses.BLOCKS) * len(losses.WARPS)
    assert float(works["fastft"]()[0].mean()) == pytest.approx(float(exact), rel=1e-6)


def test_a_row_of_the_kernel_is_kept_and_found_again(tmp_path, capsys):
    words = ["loss/gpu/kernel", "--device", "cpu", "--tiny", "--json", str(tmp_path / "a.json")]
    assert suite.main(words) == 0
    found = read_results(tmp_path / "a.json")
    assert [row["state"] for row in found["rows"]] == ["done", "done"]
    assert not compare(found, found).regressed
    capsys.readouterr()
    assert suite.main(words) == 0
    assert capsys.readouterr().out.count("in the file already") == 2


def test_no_row_begins_when_the_time_is_over(tmp_path, capsys):
    words = ["all", "--device", "cpu", "--tiny", "--minutes", "-1"]
    assert suite.main([*words, "--json", str(tmp_path / "a.json")]) == 0
    assert capsys.readouterr().out.count("not begun") == len(suite.all_rows(CPU))
    assert not (tmp_path / "a.json").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, which would be measured")
def test_without_a_gpu_it_says_what_can_be_done(capsys):
    assert suite.main([]) == 1
    assert "--device cpu --tiny" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_row_runs_on_a_cpu(tmp_path):
    words = ["all", "--device", "cpu", "--tiny", "--minutes", "60", "--json", "a.json"]
    # A process of its own: loaders with workers fork it.
    path = os.pathsep.join([str(ROOT), str(ROOT / "python")])
    done = subprocess.run(
        [sys.executable, "-m", "benches.gpu", *words], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": path}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "a.json").read_text())["rows"]
    assert [row["name"] for row in rows] == [row.name for row in suite.all_rows(CPU)]
    assert {row["state"] for row in rows} == {"done"}
