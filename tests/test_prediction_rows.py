"""`fastft predict` and `fastft eval`: a run is used from the command line."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

import fastft
from fastft.cli import app
from fastft.errors import DataError, Error, ModelNotFoundError
from tests.tiny import save_tiny_bert, sentences


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    model = save_tiny_bert(folder / "tiny")
    fastft.finetune(model, sentences(40), num_train_epochs=1, output_dir=folder / "run", quiet=True)
    return folder / "run"


def invoke(*words, stdin=b""):
    return CliRunner().invoke(app, list(map(str, words)), input=stdin)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.txt", "a good film\n\nbad\r\n"),
        ("rows.jsonl", '{"text": "a good film"}\n{"text": "bad", "other": 1}\n'),
        ("rows.csv", "text\na good film\nbad\n"),
    ],
)
def test_rows_of_a_file_or_of_standard_input_get_a_line_each(run, tmp_path, name, content):
    file = tmp_path / name
    file.write_text(content, newline="")
    expected = fastft.load(run).predict(["a good film", "bad"])
    lines = invoke("predict", run, file).output.splitlines()
    assert [json.loads(line) for line in lines] == expected
    out = tmp_path / "out.jsonl"
    if name.endswith(".csv"):
        return
    assert invoke("predict", run, stdin=content.encode()).output.splitlines() == lines
    assert invoke("predict", run, file, "--output", out, "--batch-size", 1).exit_code == 0
    assert len(out.read_text().splitlines()) == 2


def test_no_rows_give_no_lines(run):
    result = invoke("predict", run)
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize(
    ("stdin", "words"),
    [
        (b'{"text": "a"}\nb\n', "standard input, line 2"),
        (b'{"text": "a"}\n[1]\n', "standard input, line 2: the line is no JSON object"),
        (b"\xff\n", "standard input, line 1"),
        (b'{"txt": "a"}\n', "'text'"),
    ],
)
def test_a_line_that_is_no_row_is_named(run, stdin, words):
    error = invoke("predict", run, stdin=stdin).exception
    assert isinstance(error, DataError)
    assert words in str(error)


def test_eval_prints_the_figures_of_the_run(run, tmp_path):
    rows = sentences(30, seed=5)
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    (tmp_path / "test.jsonl").write_text("\n".join(lines))
    figures = json.loads(invoke("eval", run, tmp_path / "test.jsonl").output)
    answers = fastft.load(run).predict([text for text, _ in rows])
    right = sum(a["label"] == label for a, (_, label) in zip(answers, rows, strict=True))
    assert figures["eval_accuracy"] == pytest.approx(right / 30)


@pytest.mark.parametrize("folder", ["missing", "."])
def test_a_folder_that_is_no_run_says_so(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (["predict", folder], ["eval", folder, "x.csv"]):
        assert isinstance(invoke(*words).exception, ModelNotFoundError)


def test_a_damaged_task_file_is_named(run, tmp_path):
    (tmp_path / "task.json").write_text('{"version": 1')
    with pytest.raises(DataError, match=r"task\.json"):
        fastft.load(tmp_path)
    content = json.loads((run / "task.json").read_text())
    (tmp_path / "task.json").write_text(json.dumps({**content, "version": 99}))
    with pytest.raises(Error, match="later version"):
        fastft.load(tmp_path)
