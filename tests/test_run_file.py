from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import fastft
from fastft.errors import DataError
from fastft.training.run_file import missing_objects, read_run_file, run_file_text
from tests.tiny import sentences

VERSIONS = {"fastft": "0.1.0"}


def test_plain_values_are_kept_as_they_are(tmp_path):
    call = {"model": "bert", "data": Path("rows.csv"), "seed": 1, "pair": None, "lr": 2e-5,
            "label_names": ["a", "b"], "splits": {"train": Path("t.csv")}}  # fmt: skip
    path = tmp_path / "run.yaml"
    path.write_text(run_file_text(call, VERSIONS))
    assert read_run_file(path) == {
        **call,
        "data": "rows.csv",
        "splits": {"train": "t.csv"},
    }


def test_objects_become_a_line_that_says_what_to_pass():
    text = run_file_text({"model": object(), "seed": 1}, VERSIONS)
    call = yaml.safe_load(text)
    assert call["model"] == "PASS THE OBJECT AGAIN: model was a builtins.object"
    assert missing_objects(call) == ["model"]
    assert "'model': …" in text


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "just words", "1: x"])
def test_a_file_that_is_no_run_file_is_an_error(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=r"run\.yaml"):
        read_run_file(path)


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"no\.yaml"):
        read_run_file(tmp_path / "no.yaml")


def test_nothing_in_a_file_is_run(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("model: !!python/object/apply:os.system ['touch ran']")
    with pytest.raises(DataError):
        read_run_file(path)
    assert not Path("ran").exists()


def test_no_file_of_a_run_holds_a_secret(tmp_path, tiny_bert):
    fastft.finetune(
        tiny_bert, sentences(20), max_steps=1, hub_token="hf_secret", output_dir=tmp_path / "run",
        quiet=True,
    )  # fmt: skip
    for path in (tmp_path / "run").glob("*.*"):
        if path.suffix in (".yaml", ".json", ".jsonl"):
            assert "hf_secret" not in path.read_text(encoding="utf-8"), path.name
