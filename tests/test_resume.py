"""`resume="auto"`: a run goes on exactly where it was, or says why it does not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import fastft
from fastft.errors import ConfigurationError, OutputError
from fastft.training.trainer import TrainerMixin
from tests.tiny import save_tiny_bert, sentences

# 54 rows are left to train on: 4 steps an epoch, so a checkpoint after 4, 8 and 12.
ROWS = sentences(60)
QUICK = {"num_train_epochs": 3, "learning_rate": 1e-3, "use_cpu": True}
ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_bert(tmp_path_factory.mktemp("model") / "tiny-bert")


class Killed(Exception):
    """Ends a run at a step, as a kill would."""


def killed_at(step, *args, **options):
    original = TrainerMixin.training_step

    def training_step(self, *inputs, **others):
        if self.state.global_step == step:
            raise Killed
        return original(self, *inputs, **others)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(TrainerMixin, "training_step", training_step)
        fastft.finetune(*args, **{**QUICK, "quiet": True, **options})


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    """A run that nothing interrupted; its losses are logged at every step."""
    folder = tmp_path_factory.mktemp("whole")
    return fastft.finetune(model, ROWS, quiet=True, output_dir=folder / "run", **QUICK)


@pytest.fixture(scope="module")
def template(model, tmp_path_factory):
    """A run that was killed in its third epoch, with the checkpoints of the first two."""
    folder = tmp_path_factory.mktemp("cut") / "run"
    killed_at(10, model, ROWS, output_dir=folder, save_total_limit=2)
    return folder


@pytest.fixture
def cut(template, tmp_path):
    return Path(shutil.copytree(template, tmp_path / "cut"))


def resume(model, folder, data=ROWS, **options):
    call = {**QUICK, "save_total_limit": 2, "quiet": True, "resume": "auto", **options}
    return fastft.finetune(model, data, output_dir=folder, **call)


def refused(model, folder, data=ROWS, **options):
    """The message of the refusal; the folder is as it was."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ConfigurationError) as caught:
        resume(model, folder, data, **options)
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert after == before
    return str(caught.value)


def assert_same(resumed, whole):
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


# -- what is the same -----------------------------------------------------------------------------


def test_a_resumed_run_ends_with_weights_and_figures_of_an_uninterrupted_one(model, cut, whole):
    resumed = resume(model, cut)
    assert_same(resumed, whole)
    assert resumed.metrics["eval_loss"] == whole.metrics["eval_loss"]
    assert resumed.metrics["train_loss"] == pytest.approx(whole.metrics["train_loss"], rel=1e-6)
    assert resumed.history[-1]["train_loss"] == resumed.metrics["train_loss"]
    assert {path.name for path in cut.glob("checkpoint-*")} == {"checkpoint-8", "checkpoint-12"}


def test_the_training_loss_of_a_run_is_the_mean_of_its_logged_losses(whole):
    losses = [entry["loss"] for entry in whole.history if "loss" in entry]
    assert len(losses) == 12
    assert whole.metrics["train_loss"] == pytest.approx(sum(losses) / 12, rel=1e-6)


def test_the_training_loss_counts_what_was_not_logged_at_the_checkpoint(model, whole, tmp_path):
    options = {"logging_steps": 3}  # the checkpoint after step 8 stands between two lines
    killed_at(10, model, ROWS, output_dir=tmp_path / "run", save_total_limit=2, **options)
    resumed = resume(model, tmp_path / "run", **options)
    assert resumed.metrics["train_loss"] == pytest.approx(whole.metrics["train_loss"], rel=1e-6)


def test_a_checkpoint_without_the_sum_of_the_losses_is_said_so(model, cut, capsys):
    path = cut / "checkpoint-8" / "trainer_state.json"
    state = json.loads(path.read_text())
    del state["stateful_callbacks"]["fastft_train_loss"]
    path.write_text(json.dumps(state))
    resumed = resume(model, cut, quiet=False)
    assert "the mean of the steps since the resume" in capsys.readouterr().err
    losses = [entry["loss"] for entry in resumed.history if "loss" in entry]
    assert resumed.metrics["train_loss"] == pytest.approx(sum(losses[8:]) / 4, rel=1e-6)


def test_a_run_that_was_killed_before_it_was_saved_keeps_its_training_loss(model, whole, tmp_path):
    folder = Path(shutil.copytree(whole.output_dir, tmp_path / "run"))
    (folder / "manifest.json").unlink()
    (folder / "metrics.json").unlink()
    resumed = resume(model, folder, save_total_limit=1)
    assert_same(resumed, whole)
    assert resumed.metrics["train_loss"] == pytest.approx(whole.metrics["train_loss"], rel=1e-6)


def test_early_stopping_counts_on_and_the_best_weights_are_found_where_the_run_is_now(
    model, tmp_path
):
    # Nothing is learnt: the first evaluation stays the best one, the third ends the run.
    options = {"learning_rate": 0.0, "early_stopping": 2, "num_train_epochs": 6}
    whole = fastft.finetune(
        model, ROWS, output_dir=tmp_path / "whole", quiet=True, **{**QUICK, **options}
    )
    assert whole.trainer.state.global_step == 12
    killed_at(10, model, ROWS, output_dir=tmp_path / "cut", **options)
    moved = shutil.move(tmp_path / "cut", tmp_path / "moved")
    resumed = resume(model, moved, save_total_limit=1, **options)
    assert resumed.trainer.state.global_step == 12
    assert resumed.trainer.state.best_model_checkpoint == str(tmp_path / "moved" / "checkpoint-4")


# -- what may differ ------------------------------------------------------------------------------


def test_what_changes_no_number_may_differ_and_takes_effect(model, cut, whole):
    resumed = resume(model, cut, logging_steps=2, per_device_eval_batch_size=3, save_total_limit=1)
    assert_same(resumed, whole)
    steps = [entry["step"] for entry in resumed.history if "loss" in entry]
    assert steps == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12]


def test_a_run_of_constant_rate_is_made_longer_like_one_that_was_planned_so(
    model, tmp_path, capsys
):
    options = {"lr_scheduler_type": "constant", "quiet": True}
    long = fastft.finetune(model, ROWS, output_dir=tmp_path / "long", **{**QUICK, **options})
    short = {**QUICK, **options, "num_train_epochs": 2}
    first = fastft.finetune(model, ROWS, output_dir=tmp_path / "short", **short)
    killed_at(10, model, ROWS, output_dir=first.output_dir, resume="auto", **options)
    assert not (first.output_dir / "manifest.json").exists()  # an interrupted run again
    longer = resume(model, first.output_dir, **{**options, "quiet": False})
    assert_same(longer, long)
    assert longer.metrics["train_loss"] == pytest.approx(long.metrics["train_loss"], rel=1e-6)


# -- what is another run --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"learning_rate": 2e-3}, ("learning_rate: 0.002", "learning_rate: 0.001")),
        ({"seed": 1, "train": "head"}, ("seed: 1", "seed: 42", "train: 'head'", "train: 'full'")),
        ({"num_train_epochs": 4}, ("4 (16 steps)", "3 (12 steps)", "lr_scheduler_type")),
        ({"validation": None}, ("60 rows", "54 rows", "validation data: none")),
    ],
)
def test_other_arguments_are_refused_by_name(model, cut, options, expected):
    text = refused(model, cut, **options)
    for part in ("another one", "resume=False", *expected):
        assert part in text


def test_other_data_and_other_classes_are_refused(model, cut):
    text = refused(model, cut, sentences(60, seed=1))
    assert "train data: 54 rows with other texts and labels" in text
    three = [(text, "neutral" if row % 3 else label) for row, (text, label) in enumerate(ROWS)]
    text = refused(model, cut, three)
    assert "'neutral'" in text
    assert "labels: ['negative', 'positive']" in text


def test_fewer_steps_than_are_done_are_refused(model, tmp_path):
    options = {"lr_scheduler_type": "constant"}
    killed_at(10, model, ROWS, output_dir=tmp_path / "run", **options)
    text = refused(model, tmp_path / "run", num_train_epochs=1, **options)
    assert "argument num_train_epochs" in text
    assert "1 (4 steps), 8 steps done" in text


def test_a_finished_run_is_not_gone_on_with(model, whole):
    text = refused(model, whole.output_dir)
    assert "finished" in text
    assert "12 of 12 steps done" in text


def test_a_run_without_a_fingerprint_is_not_gone_on_with(model, cut):
    (cut / "fingerprint.json").write_text('{"version": 1, "sett')
    assert "fingerprint.json is no JSON" in refused(model, cut)
    (cut / "fingerprint.json").unlink()
    assert "fingerprint.json is missing" in refused(model, cut)


def test_resume_from_checkpoint_is_refused_with_what_to_pass_instead(model, cut):
    text = refused(model, cut, resume_from_checkpoint=str(cut / "checkpoint-8"))
    assert 'resume="auto"' in text
    assert "output_dir=" in text


# -- damaged checkpoints --------------------------------------------------------------------------


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_gone_on_from(
    model, cut, whole, capsys
):
    weights = cut / "checkpoint-8" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    (cut / "checkpoint-8" / "rng_state.pth").unlink()
    resumed = resume(model, cut, quiet=False)
    said = capsys.readouterr().err
    assert "checkpoint-8 cannot be used: rng_state.pth is missing; model.safetensors has" in said
    assert "goes on from cut/checkpoint-4" in said
    assert_same(resumed, whole)
    assert (cut / "damaged-checkpoint-8" / "optimizer.pt").is_file()


def test_only_damaged_checkpoints_are_an_error_that_names_each(model, cut):
    (cut / "checkpoint-8" / "trainer_state.json").write_text('{"global_step": 8, "log_')
    (cut / "checkpoint-4" / "optimizer.pt").write_bytes(b"")
    text = refused(model, cut)
    assert "checkpoint-8: trainer_state.json is no JSON" in text
    assert "checkpoint-4: optimizer.pt is empty" in text


def test_checkpoints_of_the_model_alone_are_an_error(model, tmp_path):
    options = {"save_only_model": True, "save_total_limit": 2}
    killed_at(10, model, ROWS, output_dir=tmp_path / "run", **options)
    assert "save_only_model=True" in refused(model, tmp_path / "run", **options)


def test_a_run_without_any_checkpoint_starts_from_the_beginning(model, whole, tmp_path, capsys):
    killed_at(2, model, ROWS, output_dir=tmp_path / "run")
    # The first save was cut off: transformers writes the state last.
    (tmp_path / "run" / "checkpoint-4").mkdir()
    (tmp_path / "run" / "checkpoint-4" / "model.safetensors").write_bytes(b"half")
    resumed = resume(model, tmp_path / "run", quiet=False)
    said = capsys.readouterr().err
    assert "nothing to go on with in run/ (the run in it has no checkpoint yet)" in said
    assert "checkpoint-4 was never completed and is set aside as damaged-checkpoint-4" in said
    assert (tmp_path / "run" / "damaged-checkpoint-4" / "model.safetensors").is_file()
    assert_same(resumed, whole)


# -- the folder -----------------------------------------------------------------------------------


def test_without_a_folder_the_run_is_found_by_what_it_trains_on(model, whole, capsys):
    options = {**QUICK, "resume": "auto"}
    for seed in (0, 1):
        killed_at(5, model, sentences(60, seed=seed))
    first = fastft.finetune(model, ROWS, quiet=True, **options)
    assert first.output_dir.name == "tiny-bert-list-1"
    assert_same(first, whole)
    other = fastft.finetune(model, sentences(60, seed=2), **options)
    assert other.output_dir.name == "tiny-bert-list-3"
    said = capsys.readouterr().err
    assert "runs/tiny-bert-list-2: the interrupted run was another one; a new run begins" in said
    assert "saved runs/tiny-bert-list-3" in said
    with pytest.raises(ConfigurationError, match="a new run begins"):
        fastft.finetune(model, sentences(60, seed=3), quiet=True, check="strict", **options)
    second = fastft.finetune(model, sentences(60, seed=1), quiet=True, **options)
    assert second.output_dir.name == "tiny-bert-list-2"


def test_the_folder_of_a_result_stays_when_the_working_directory_changes(
    model, tmp_path, monkeypatch
):
    result = fastft.finetune(model, ROWS, output_dir="out", quiet=True, **QUICK)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert (result.output_dir / "model.safetensors").is_file()
    (tmp_path / "a_file").write_text("")
    with pytest.raises(OutputError, match="argument folder"):
        result.save(tmp_path / "a_file")


# -- command line and ranks -----------------------------------------------------------------------


def data_file(folder):
    lines = [json.dumps({"text": text, "label": label}) for text, label in ROWS]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "rows.jsonl"


def command(*words, cwd, ranks=1):
    launcher = [
        "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)
    ]  # fmt: skip
    return subprocess.run(
        [sys.executable, *(launcher if ranks > 1 else []), "-m", "fastft", *map(str, words)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}"},
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.mark.parametrize("words", [["--resume"], ["--resume", "--seed", "1"], ["--resume", "auto"]])
def test_a_bare_resume_means_auto(words, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("fastft.api.finetune", lambda **call: calls.append(call))
    from typer.testing import CliRunner

    from fastft.cli import app

    outcome = CliRunner().invoke(app, ["train", "bert", "data", *words])
    assert outcome.exit_code == 0, outcome.output
    assert calls[0]["resume"] == "auto"
    assert (calls[0]["model"], calls[0]["data"]) == ("bert", "data")


@pytest.mark.slow
def test_two_ranks_resume_alike_or_stop_alike(model, tmp_path):
    data = data_file(tmp_path)
    options = [
        "--num-train-epochs", "3", "--learning-rate", "1e-3", "--output-dir", "run",
        "--save-total-limit", "3", "--per-device-train-batch-size", "8", "--logging-steps", "3",
    ]  # fmt: skip
    first = command("train", model, data, *options, cwd=tmp_path, ranks=2)
    assert first.returncode == 0, first.stderr[-3000:]
    expected = json.loads((tmp_path / "run" / "metrics.json").read_text())
    # As if it had been killed in its third epoch.
    (tmp_path / "run" / "manifest.json").unlink()
    shutil.rmtree(tmp_path / "run" / "checkpoint-12")
    before = (tmp_path / "run" / "run.yaml").read_text()
    other = command(
        "train", model, data, *options, "--seed", "7", "--resume", cwd=tmp_path, ranks=2
    )
    assert other.returncode != 0
    assert other.stderr.count("the interrupted run was another one") == 1
    assert (tmp_path / "run" / "run.yaml").read_text() == before
    resumed = command("train", model, data, *options, "--resume", cwd=tmp_path, ranks=2)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert found["eval_loss"] == expected["eval_loss"]
    assert found["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-6)
    assert yaml.safe_load(before)["seed"] == 42


@pytest.mark.slow
@pytest.mark.parametrize("batching", ["random", "tokens"])
def test_a_run_goes_on_on_another_number_of_processes(model, batching, tmp_path):
    data = data_file(tmp_path)
    options = [
        "--num-train-epochs", "3", "--learning-rate", "1e-3", "--save-total-limit", "3",
        "--per-device-train-batch-size", "8", "--logging-steps", "1", "--batching", batching,
    ]  # fmt: skip
    train = ("train", model, data, *options)
    whole = command(*train, "--output-dir", "run", cwd=tmp_path, ranks=2)
    assert whole.returncode == 0, whole.stderr[-3000:]
    expected = losses(tmp_path / "run")
    for folder, ranks in (("one", 1), ("three", 3)):
        shutil.copytree(tmp_path / "run", tmp_path / folder)
        (tmp_path / folder / "manifest.json").unlink()
        last = max((tmp_path / folder).glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
        shutil.rmtree(last)  # as if it had been killed in its third epoch
        resumed = command(*train, "--output-dir", folder, "--resume", cwd=tmp_path, ranks=ranks)
        if ranks == 3:
            assert resumed.returncode != 0
            assert resumed.stderr.count("do not go round") == 1
            assert "expected: 1 or 2" in resumed.stderr
            continue
        assert resumed.returncode == 0, resumed.stderr[-3000:]
        assert "gradient_accumulation_steps=2" in resumed.stderr + resumed.stdout
        found = losses(tmp_path / folder)
        assert found.keys() == expected.keys()
        assert list(found.values()) == pytest.approx(list(expected.values()), rel=1e-5)


def losses(folder):
    """The loss of each step of a finished run."""
    last = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
    history = json.loads((last / "trainer_state.json").read_text())["log_history"]
    return {entry["step"]: entry["loss"] for entry in history if "loss" in entry}
