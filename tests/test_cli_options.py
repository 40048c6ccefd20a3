"""Options of the command line that stand for arguments of `finetune`."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from fastft import cli, command_line
from fastft.request import OPTION_NAMES


def test_every_option_of_finetune_is_listed():
    for words in ([], ["train"]):
        text = CliRunner().invoke(cli.app, [*words, "--help"]).output
        for name in OPTION_NAMES:
            assert f"--{name.replace('_', '-')} " in text


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("negative,positive", ["negative", "positive"]),
        ("no, yes", ["no", "yes"]),
        ("[0, 1]", ["0", "1"]),
        ('"a, b", c', ["a, b", "c"]),
        ("{, }", ["{", " }"]),
    ],
)
def test_label_names_are_words_between_commas(text, names):
    assert command_line.training_arguments(["--label-names", text]) == {"label_names": names}


def test_task_tokenizer_and_label_names_reach_finetune(monkeypatch):
    import fastft.api

    calls = []
    monkeypatch.setattr(fastft.api, "finetune", lambda **call: calls.append(call))
    words = ["train", "bert", "rows.csv", "--task", "text-classification", "--tokenizer", "roberta"]
    result = CliRunner().invoke(cli.app, [*words, "--label-names", "no,yes", "--seed", "1"])
    assert result.exit_code == 0, result.output
    wanted = {"task": "text-classification", "tokenizer": "roberta", "label_names": ["no", "yes"]}
    assert {name: calls[0][name] for name in wanted} == wanted
    assert (calls[0]["model"], calls[0]["data"], calls[0]["seed"]) == ("bert", "rows.csv", 1)
