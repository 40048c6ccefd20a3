"""Runs the rows of a GPU and keeps each in a file of `fastft bench`, which reports and compares.

    python -m benches.gpu [loss|train|batches|all|ROW] [--json FILE] [--minutes 7] [--list]

`--device cpu --tiny` shows on any machine that every row runs; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from benches.gpu import loading, losses, training
from benches.gpu.device import Device

from fastft.bench import machine, runner
from fastft.bench.data import Data
from fastft.bench.results import Results
from fastft.bench.row import Context
from fastft.bench.tables import report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastft.bench.row import Row

DATA = "random ids and weights, lengths of IMDB and SST-2"


def all_rows(device: Device, *, tune: bool = False) -> list[Row]:
    """Every row of this folder."""
    return [*losses.rows(device, tune=tune), *training.rows(device), *loading.rows(device)]


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benches.gpu", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("what", nargs="?", default="all", help="a group, a row, or all")
    parser.add_argument("--json", type=Path, help="keeps finished rows; a later call goes on there")
    parser.add_argument("--minutes", type=float, default=7, help="begin no row after so many")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes that only show that it runs")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--tune", action="store_true", help="blocks and warps of the kernel too")
    parser.add_argument("--list", action="store_true", help="show all rows, run none")
    return parser.parse_args(words)


def header(size: str, device: Device) -> dict[str, Any]:
    """What a result says about its run."""
    return {
        "size": f"{size}, tiny" if device.tiny else size,
        "data": DATA,
        "machine": machine.machine(),
        "versions": machine.versions(),
        "commit": machine.commit(),
        "command": " ".join(["python -m benches.gpu", *sys.argv[1:]]),
        "began": machine.now(),
    }


def run(rows: list[Row], device: Device, size: str, results: Results, minutes: float) -> bool:
    """Runs rows until the time is over; returns whether all that ran are sound."""
    began, sound = time.monotonic(), True
    for row in rows:
        if time.monotonic() - began > 60 * minutes:
            print(f"{row.name}: not begun, {minutes:g} minutes are over; call again", flush=True)
            continue
        context = Context(Data(), size)
        say = partial(print, flush=True)
        sound = runner.run([row], context, results, say, clocks=device.clocks()) and sound
        if device.is_gpu:
            torch.cuda.empty_cache()
    return sound


def main(words: Sequence[str] | None = None) -> int:
    asked = parsed(words)
    device = Device(asked.device, asked.tiny)
    rows = all_rows(device, tune=asked.tune)
    if asked.list:
        print("\n".join(f"{row.name}  {row.title}" for row in rows))
        return 0
    if device.is_gpu and not torch.cuda.is_available():
        print("there is no CUDA here; --device cpu --tiny shows that the rows run")
        return 1
    size = "quick" if asked.quick or asked.tiny else "full"
    results = Results.open(header(size, device), asked.json)
    sound = run(runner.chosen(rows, asked.what), device, size, results, asked.minutes)
    print(report(results.as_json()))
    return 0 if sound else 1


if __name__ == "__main__":
    raise SystemExit(main())
