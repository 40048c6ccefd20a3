"""How much memory a variant takes above its inputs, measured in a process of its own.

The high-water mark of resident memory is a property of a process, so nothing else may have run in
it. The child builds the row anew, warms up on something small, sets the mark back and does the work
once. Linux alone lets the mark be set back; elsewhere the figure is left out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastft.bench.row import Context

RESET = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")


def peak_mb(row: str, variant: str, number: int, context: Context) -> float | None:
    """The peak of a variant in MB, or None where it cannot be known."""
    if not RESET.exists():
        return None
    asked = {"row": row, "variant": variant, "number": number, "size": context.size}
    words = [sys.executable, "-m", "fastft.bench.peak", json.dumps(asked)]
    if context.data.folder is not None:
        words.append(str(context.data.folder))
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ}, check=False)
    if done.returncode != 0:
        return None
    return float(done.stdout.split()[-1])


def peak_of(work: Callable[..., object], arguments: tuple[Any, ...] = ()) -> float:
    """Resident memory of this process that `work` adds at its peak, in MB."""
    RESET.write_text("5")
    before = _kilobytes("VmRSS")
    work(*arguments)
    return (_kilobytes("VmHWM") - before) / 1e3


def _kilobytes(name: str) -> int:
    lines = STATUS.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def main(asked: str, folder: str | None = None) -> None:
    """What the child does: prints one number."""
    from itertools import islice

    from fastft.bench.data import Data
    from fastft.bench.measure import threads
    from fastft.bench.registry import all_rows
    from fastft.bench.row import Context

    wanted = json.loads(asked)
    row = next(row for row in all_rows() if row.name == wanted["row"])
    context = Context(Data.find(None if folder is None else Path(folder)), wanted["size"])
    with threads(row.threads):
        case = next(islice(row.make(context), wanted["number"], None))
        variant = next(one for one in case.variants if one.name == wanted["variant"])
        if case.warm is not None:
            case.warm()
        print(peak_of(variant.work, variant.arguments()))


if __name__ == "__main__":
    main(*sys.argv[1:])
