"""The examples run as a user would run them."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
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


def run_here(script, *words, cwd, monkeypatch):
    """Runs an example on a tenth of its data, in this process: no import, few steps."""
    folder = cwd / "examples"
    folder.mkdir()
    shutil.copy(EXAMPLES / script, folder)
    for path in EXAMPLES.glob("data/*/*"):
        target = folder / path.relative_to(EXAMPLES)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(a_tenth(path), encoding="utf-8")
    monkeypatch.chdir(cwd)
    monkeypatch.setattr(sys, "argv", [script, *map(str, words)])
    runpy.run_path(str(folder / script), run_name="__main__")


def a_tenth(path):
    """The first line, which may name columns, and every tenth after it: of all classes."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".json":
        first, *lines = text.splitlines(keepends=True)
        return "".join([first, *lines[::10]])
    whole = json.loads(text)
    return json.dumps({**whole, "data": whole["data"][:2]})


SCRIPTS = ("text_classification.py", "question_answering.py")


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_example_is_short_and_runs(script, tiny_bert, tmp_path, monkeypatch, capsys):
    assert len((EXAMPLES / script).read_text().splitlines()) <= 15
    run_here(script, tiny_bert, cwd=tmp_path, monkeypatch=monkeypatch)
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_an_example_runs_on_all_its_data(script, tiny_bert, tmp_path):
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
