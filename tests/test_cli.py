from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fastft.cli import main
from fastft.command_line import training_arguments
from fastft.errors import ArgumentError
from tests.tiny import sentences


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"text": text, "label": label}) for text, label in sentences(60)]
    path.write_text("\n".join(lines) + "\n")
    return path


def process(*words, cwd):
    return subprocess.run(
        [sys.executable, "-m", "fastft", *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ},
        timeout=200,
    )


@pytest.fixture(params=["here", pytest.param("process", marks=pytest.mark.slow)])
def fastft(request, monkeypatch, capsys):
    """Runs the command line; in this process, which has all that it imports, it is soon done."""

    def here(*words, cwd):
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.chdir(cwd)
            patch.setattr(sys, "argv", ["fastft", *map(str, words)])
            with pytest.raises(SystemExit) as ended:
                main()
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(words, ended.value.code, out, err)

    return process if request.param == "process" else here


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"]])
def test_help_shows_our_options_and_loads_nothing_heavy(words):
    code = (
        f"import sys; sys.argv = ['fastft', *{words}]\n"
        "from fastft.cli import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'numpy', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for option in (
        "--text",
        "--label",
        "--train",
        "--check",
        "--config",
        "--resume",
        "MODEL",
        "DATA",
    ):
        assert option in run.stdout


def test_the_version_is_that_of_the_crate():
    toml = (Path(__file__).parent.parent / "Cargo.toml").read_text()
    run = process("--version", cwd=".")
    assert f'version = "{run.stdout.split()[1]}"' in toml


def test_train_does_what_the_call_does(fastft, tiny_bert, data, tmp_path):
    import fastft as library

    run = fastft(
        "train", tiny_bert, data, "--num-train-epochs", "1", "--learning-rate=1e-3", "--use-cpu",
        "--output-dir", tmp_path / "cli", cwd=tmp_path,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "[4/4]" in run.stderr
    called = library.finetune(
        str(tiny_bert), str(data), num_train_epochs=1, learning_rate=1e-3, use_cpu=True, quiet=True,
        output_dir=tmp_path / "call",
    )  # fmt: skip
    metrics = json.loads((tmp_path / "cli" / "metrics.json").read_text())
    assert metrics["train_loss"] == called.metrics["train_loss"]
    assert metrics["eval_accuracy"] == called.metrics["eval_accuracy"]


def test_a_run_file_is_run_again_with_an_option_changed(fastft, tiny_bert, data, tmp_path):
    config = tmp_path / "run.yaml"
    call = {"model": str(tiny_bert), "data": str(data), "num_train_epochs": 3, "use_cpu": True}
    config.write_text(yaml.safe_dump(call))
    run = fastft(
        "train", "--config", config, "--num-train-epochs", "1", "--output-dir", "out", cwd=tmp_path
    )
    assert run.returncode == 0, run.stderr
    assert yaml.safe_load((tmp_path / "out" / "run.yaml").read_text())["num_train_epochs"] == 1


def test_an_error_is_its_message_and_exit_code_1(fastft, tiny_bert, data, tmp_path):
    run = fastft("train", tiny_bert, data, "--num-train-epoch", "1", cwd=tmp_path)
    assert run.returncode == 1
    assert run.stderr.startswith("error: argument num_train_epoch: there is no argument")
    assert "did you mean num_train_epochs" in run.stderr
    assert "Traceback" not in run.stderr


def test_model_and_data_must_be_named(fastft, tmp_path):
    run = fastft("train", "--epochs", "1", cwd=tmp_path)
    assert run.returncode == 1
    assert "model and data must be named" in run.stderr


def test_check_ends_with_2_under_strict_when_something_is_doubtful(
    fastft, tiny_bert, data, tmp_path
):
    words = ("check", tiny_bert, data, "--warmup-steps", "500", "--use-cpu")
    assert fastft(*words, cwd=tmp_path).returncode == 0
    run = fastft(*words, "--strict", cwd=tmp_path)
    assert run.returncode == 2
    assert "never leaves warm-up" in run.stderr
    assert not (tmp_path / "runs").exists()


def testtraining_arguments_are_read_as_yaml_reads_them():
    words = "--learning-rate 2e-4 --bf16 --seed=7 --label-names [a,b] --tf32 false --run-name x"
    assert training_arguments(words.split()) == {
        "learning_rate": 2e-4,
        "bf16": True,
        "seed": 7,
        "label_names": ["a", "b"],
        "tf32": False,
        "run_name": "x",
    }


def test_names_stay_words():
    words = ["7", "8", "--label", "3", "--text=1e3", "--output-dir", "2026", "--tokenizer", "true"]
    assert training_arguments(words) == {
        "model": "7",
        "data": "8",
        "label": "3",
        "text": "1e3",
        "output_dir": "2026",
        "tokenizer": "true",
    }


def test_a_negative_number_is_a_value():
    assert training_arguments(["--max-steps", "-1"]) == {"max_steps": -1}


def test_model_and_data_may_stand_anywhere():
    words = ["--seed", "1", "bert", "--lr", "1e-3", "rows.csv"]
    assert training_arguments(words) == {
        "model": "bert",
        "data": "rows.csv",
        "seed": 1,
        "lr": 1e-3,
    }


def test_a_third_word_that_stands_alone_is_an_error():
    with pytest.raises(ArgumentError, match="'oops' stands alone"):
        training_arguments(["bert", "rows.csv", "--seed", "1", "oops"])


def test_no_is_a_strategy_and_not_false():
    assert training_arguments(["--save-strategy", "no"]) == {"save_strategy": "no"}
