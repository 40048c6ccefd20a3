"""Instructions of the kernels and of the tokenizer, counted by callgrind.

A count does not depend on how busy a machine is, so it can guard the kernels where wall time
cannot. callgrind knows no AVX-512: the scalar and the AVX2 kernel are counted, and an engine of
the tokenizer. Each is counted in two processes that do the work once and three times; half of the
difference is one call, without the start of Python.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fastft.bench.row import Case, Context, Row, SkippedRow, Variant, ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NUM_ROWS, NUM_CLASSES = 32, 2000
KERNEL = """
import sys
import numpy as np
from fastft import _fastft
logits = np.random.default_rng(0).standard_normal(({rows}, {classes})).astype(np.float32)
labels = np.arange({rows}, dtype=np.int64)
for _ in range(int(sys.argv[1])):
    _fastft.cross_entropy(logits, labels, gradient=logits.copy(), format="float32", simd="{level}")
"""
TOKENIZER = """
import json, sys
import numpy as np
from pathlib import Path
from fastft import _fastft
definition, texts = json.loads(Path({path!r}).read_text("utf-8"))
parts = [text.encode() for text in texts]
offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
column = np.frombuffer(b"".join(parts), np.uint8), offsets
_fastft.Tokenizer(definition).encode(column, num_threads=1)
for _ in range(int(sys.argv[1])):
    _fastft.Tokenizer(definition).encode(column, num_threads=1)
"""


def rows() -> list[Row]:
    """The kernel and an engine."""
    return [
        Row("loss/instructions", f"the loss kernel on {NUM_ROWS} x {NUM_CLASSES}", _kernels,
            clock="instructions", repetitions=(1, 1), seconds=(0, 0)),
        Row("tokens/instructions", "bert_uncased: load, short text to ids", _tokens,
            clock="instructions", repetitions=(1, 1), seconds=(0, 0)),
    ]  # fmt: skip


def valgrind() -> str:
    """The path of valgrind.

    Raises:
        SkippedRow: It is not installed.
    """
    found = shutil.which("valgrind")
    if found is None:
        raise SkippedRow("valgrind is not installed: its callgrind counts instructions")
    return found


def counted(program: str) -> int:
    """Instructions of one round of a program that takes the number of rounds."""
    once, thrice = (_instructions(program, rounds) for rounds in (1, 3))
    return (thrice - once) // 2


def _instructions(program: str, rounds: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "counts"
        words = [valgrind(), "--tool=callgrind", f"--callgrind-out-file={out}",
                 sys.executable, "-c", program, str(rounds)]  # fmt: skip
        # Hashes of strings decide how dictionaries of Python collide.
        settings = {**os.environ, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(words, capture_output=True, text=True, env=settings, check=False)
        if done.returncode != 0 or not out.exists():
            last = done.stderr.strip().splitlines()[-1:] or ["no word why"]
            raise SkippedRow(f"valgrind could not run it: {last[0]}")
        return _total(out.read_text(encoding="utf-8", errors="replace"))


def _total(text: str) -> int:
    """The count that callgrind writes behind "summary:" or "totals:"."""
    for word in ("summary:", "totals:"):
        for line in text.splitlines():
            if line.startswith(word):
                return int(line.split()[1])
    raise SkippedRow("callgrind wrote no count")


def _variant(name: str, program: str, make: Callable[..., Variant] = ours) -> Variant:
    # The work is a look at a count that was made before: its time means nothing.
    number = counted(program)
    return make(name=name, work=lambda: number, note=lambda count: {"instructions": [count]})


def _kernels(context: Context) -> Iterable[Case]:
    valgrind()
    variants = []
    for level in ("avx2", "scalar"):
        program = KERNEL.format(rows=NUM_ROWS, classes=NUM_CLASSES, level=level)
        variants.append(_variant("fastft" if level == "avx2" else "fastft, scalar", program))
    yield Case(variants, lambda: "", NUM_ROWS * NUM_CLASSES, "logits")


def _tokens(context: Context) -> Iterable[Case]:
    valgrind()
    stock = context.data.tokenizer("bert_uncased").backend_tokenizer
    texts = context.data.corpus("short")[:500]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.json"
        path.write_text(json.dumps([stock.to_str(), texts]), encoding="utf-8")
        variant = _variant("fastft", TOKENIZER.format(path=str(path)))
    yield Case([variant], lambda: "", len(texts), "texts")
