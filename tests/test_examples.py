"""The examples run as a user would run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(script, *words, cwd):
    return subprocess.run(
        [sys.executable, str(EXAMPLES / script), *map(str, words)],
        cwd=cwd, capture_output=True, text=True, env={**os.environ}, timeout=280,
    )  # fmt: skip


@pytest.mark.parametrize("script", ["text_classification.py", "question_answering.py"])
def test_an_example_is_short_and_runs(script, tiny_bert, tmp_path):
    assert len((EXAMPLES / script).read_text().splitlines()) <= 15
    done = run(script, tiny_bert, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_reaches_its_accuracy(minilm_path, tmp_path):
    done = run("demo.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    accuracy = re.search(r"accuracy on 800 held-out questions: (0\.\d+)", done.stdout)
    assert accuracy and float(accuracy[1]) >= 0.93
    assert "-> card_arrival" in done.stdout
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / "model.safetensors").is_file()


def test_the_data_that_is_carried_has_a_source_and_a_licence():
    text = (EXAMPLES / "data" / "SOURCES.md").read_text()
    for folder in EXAMPLES.joinpath("data").iterdir():
        if folder.is_dir():
            assert folder.name in text
    assert "CC BY 4.0" in text
