"""Instructions of the kernels and of the tokenizer: a guard that does not mind a busy machine.

A change that makes the compiler give up its vector instructions, or adds work to every token, shows
here though no test asserts a time. The counts are of rustc's release build on x86-64; another
compiler moves them by some percent.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from fastft.bench.data import Data
from fastft.bench.rows.instructions import KERNEL, NUM_CLASSES, NUM_ROWS, TOKENIZER, counted

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    shutil.which("valgrind") is None, reason="valgrind, which counts instructions, is not installed"
)

ALLOWED = 1.15
KERNELS = {"avx2": 643_814, "scalar": 2_069_765}
"""Of 32 x 2,000 logits, measured on 2026-11-29."""
TEXTS = 246_473_297
"""To load the definition of BERT's tokenizer and encode 500 short texts, measured on 2026-11-29."""


@pytest.mark.parametrize("level", ["avx2", pytest.param("scalar", marks=pytest.mark.slow)])
def test_the_loss_kernel_takes_no_more_instructions(level: str) -> None:
    program = KERNEL.format(rows=NUM_ROWS, classes=NUM_CLASSES, level=level)
    assert 0 < counted(program) <= ALLOWED * KERNELS[level]


def test_the_tokenizer_takes_no_more_instructions(tmp_path: Path) -> None:
    data = Data.find()
    definition = data.tokenizer("bert_uncased").backend_tokenizer.to_str()
    path = tmp_path / "texts.json"
    path.write_text(json.dumps([definition, data.corpus("short")[:500]]), encoding="utf-8")
    assert 0 < counted(TOKENIZER.format(path=str(path))) <= ALLOWED * TEXTS
