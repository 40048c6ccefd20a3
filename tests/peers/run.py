"""Runs the loader suites of torch and torchdata against `fastft.DataLoader`, test by test.

    make peer-tests PEER_TESTS=<a checkout of https://github.com/meta-pytorch/data>

That project keeps a copy of torch's own `test_dataloader.py` beside the tests of its states. Both
ask for one class by one import, so a stand-in package of the same name is enough to put another
class in its place. torch's file is run with torch's class and with ours; a test that ends otherwise
is named, and the exit status says whether there is one. Nothing of the suites is kept here.

What starts worker processes on purpose to kill them, or only measures time, is left out
(`LEFT_OUT`); of the tests of states those that start workers are (`IN_PROCESSES`, or skipped).
What is expected to differ is named with its reason (`EXPECTED`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

SUITES = {"test_dataloader.py": "torch", "test_state_dict.py": None, "test_sampler.py": None}
"""The files, and whose class they are compared with; None asks that all pass."""

LEFT_OUT = (
    "proper_exit or segfault or PersistentWorkers or fd_limit or multiprocessing_contexts "
    "or timeout"
)
IN_PROCESSES = (
    "test_mp or test_pw or Snapshot and not iterrupted or Mismatch or Concurrent or Fast "
    "or multi_process or InitialState or Dynamic or OutOfOrder"
)
EXPECTED = {
    "TestDatasetIteratorStateDuplication_shard0::test": "reads names inside torchdata's state",
    "TestSingleIterCalled_shard0::test_inline": "reads names inside torchdata's state",
    "TestSingleIterCalled_shard0::test_inline_iter": "reads names inside torchdata's state",
}

OURS = """
from typing import TypeVar

import fastft
from .stateful import Stateful

T = TypeVar("T")

class StatefulDataLoader(fastft.DataLoader[T]):
    def __init__(self, *args, snapshot_every_n_steps=1, **kwargs):
        super().__init__(*args, **kwargs)
"""
IN_ONE_PROCESS = """
import pytest
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

def skip(self, *args, **kwargs):
    self._shutdown = True
    pytest.skip("starts worker processes")

_MultiProcessingDataLoaderIter.__init__ = skip
"""
STOCK = "from torch.utils.data import DataLoader as StatefulDataLoader\n"


def stand_in(folder: Path, checkout: Path, text: str) -> Path:
    """Makes a package `torchdata.stateful_dataloader` with another class in it."""
    package = folder / "torchdata" / "stateful_dataloader"
    package.mkdir(parents=True)
    (folder / "torchdata" / "__init__.py").write_text("")
    for name in ("sampler", "stateful", "incremental_state", "worker"):
        shutil.copy(checkout / "torchdata" / "stateful_dataloader" / f"{name}.py", package)
    (package / "__init__.py").write_text(text)
    return folder


def outcomes(file: Path, package: Path, packages: Path, left_out: str) -> dict[str, str]:
    """Runs a file of tests and gives how each test ended."""
    report = package / f"{file.stem}.xml"
    paths = [str(package), str(packages), os.environ.get("PYTHONPATH", "")]
    command = [
        sys.executable, "-W", "ignore", "-m", "pytest", "-q", "--timeout", "120", "--tb", "no",
        "-p", "no:cacheprovider", f"--junitxml={report}", "-k", f"not ({left_out})", file.name,
    ]  # fmt: skip
    subprocess.run(
        command, cwd=file.parent, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    )
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        kinds = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        found[name] = kinds[0] if kinds else "passed"
    return found


def main() -> int:
    """Compares, prints, and gives the exit status."""
    checkout, packages = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    status = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tests = folder / "tests"
        tests.mkdir()
        ours = stand_in(folder / "ours", checkout, OURS)
        stock = stand_in(folder / "stock", checkout, STOCK)
        for file, peer in SUITES.items():
            shutil.copy(checkout / "test" / "stateful_dataloader" / file, tests)
            (tests / "conftest.py").write_text("" if peer else IN_ONE_PROCESS)
            left_out = LEFT_OUT if peer else IN_PROCESSES
            found = outcomes(tests / file, ours, packages, left_out)
            expected = outcomes(tests / file, stock, packages, left_out) if peer else {}
            different = {
                test: (end, expected.get(test, "passed"))
                for test, end in found.items()
                if end != expected.get(test, "passed") and end != "skipped"
            }
            print(
                f"{file}: {len(found)} tests, {len(different)} end otherwise than {peer or 'asked'}"
            )
            for test, (end, other) in different.items():
                reason = EXPECTED.get(test)
                print(
                    f"  {test}: {end}, not {other}{f' (expected: it {reason})' if reason else ''}"
                )
                status |= reason is None
    return status


if __name__ == "__main__":
    raise SystemExit(main())
