from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from fastft.errors import ConfigurationError, DataError, OutputError
from fastft.training.output import (
    check_disk_space,
    check_writable,
    choose_output_dir,
    is_finished,
    numbered_runs,
    save_files,
    short_path,
    verify_files,
)


def choose(given=None, resume=False):
    return choose_output_dir(given, "MiniLM/L6", "my data", resume=resume)


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def finished(folder):
    save_files(folder, lambda staging: (staging / "run.yaml").write_text("model: a\n"))
    return folder


def interrupted(folder, step=3):
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text("{}")
    return folder


def test_runs_are_numbered(tmp_path):
    first = choose()
    assert str(first) == "runs/MiniLM-L6-my-data-1"
    finished(tmp_path / first)
    assert str(choose()) == "runs/MiniLM-L6-my-data-2"


def test_numbered_runs_are_listed_newest_first_and_no_other_stem_is(tmp_path):
    for name in ("1", "10", "9", "02", "x", "more-3"):
        (tmp_path / "runs" / f"MiniLM-L6-my-data-{name}").mkdir(parents=True)
    assert [str(run) for run in numbered_runs("MiniLM/L6", "my data")] == [
        "runs/MiniLM-L6-my-data-10",
        "runs/MiniLM-L6-my-data-9",
        "runs/MiniLM-L6-my-data-1",
    ]
    assert str(choose(resume="auto")) == "runs/MiniLM-L6-my-data-11"
    assert numbered_runs("other", "data") == []


@pytest.mark.parametrize("make", [finished, interrupted])
def test_a_run_is_never_written_over(tmp_path, make):
    folder = make(tmp_path / "mine")
    with pytest.raises(ConfigurationError, match='resume="auto"'):
        choose(folder)
    assert choose(folder, resume="auto") == folder


def test_a_folder_without_a_run_may_be_used(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    assert choose(tmp_path) == tmp_path


@pytest.mark.parametrize("folder", ["a_file/run", "/proc/fastft-run"])
def test_a_folder_that_cannot_be_written_is_an_error(tmp_path, folder):
    (tmp_path / "a_file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        check_writable(tmp_path / folder)


def test_trying_a_folder_leaves_nothing_behind(tmp_path):
    check_writable(tmp_path / "deep" / "run")
    assert list(tmp_path.iterdir()) == []


def test_too_little_disk_is_an_error_with_both_figures(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=2_100_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    check_disk_space(tmp_path / "run", 2_000_000_000)
    with pytest.raises(OutputError) as caught:
        check_disk_space(tmp_path / "run", 3_900_000_000)
    assert "2.10 GB free" in str(caught.value)
    assert "3.90 GB" in str(caught.value)


def test_saving_into_a_file_is_an_error_that_leaves_it(tmp_path):
    (tmp_path / "a_file").write_text("mine")
    with pytest.raises(OutputError, match="argument folder='a_file'"):
        save_files(Path("a_file"), lambda staging: None)
    assert (tmp_path / "a_file").read_text() == "mine"


def test_a_path_below_the_working_directory_is_shown_from_there(tmp_path):
    assert str(short_path(tmp_path / "runs" / "a")) == "runs/a"
    assert short_path(Path("/elsewhere")) == Path("/elsewhere")


def test_saved_files_are_listed_with_checksums(tmp_path):
    save_files(tmp_path / "run", lambda staging: (staging / "a.json").write_text("{}"))
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["files"]["a.json"]["bytes"] == 2
    verify_files(tmp_path / "run")


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damage_is_found(tmp_path, damage):
    save_files(tmp_path, lambda staging: (staging / "weights").write_bytes(bytes(1000)))
    weights = tmp_path / "weights"
    if damage == "flip":
        weights.write_bytes(bytes(500) + b"\x01" + bytes(499))
    elif damage == "cut":
        weights.write_bytes(bytes(999))
    else:
        weights.unlink()
    with pytest.raises(DataError, match="weights"):
        verify_files(tmp_path)


def test_a_failing_write_leaves_the_old_files(tmp_path):
    save_files(tmp_path, lambda staging: (staging / "a").write_text("old"))

    def fail(staging):
        (staging / "a").write_text("new")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save_files(tmp_path, fail)
    assert (tmp_path / "a").read_text() == "old"
    verify_files(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a", "manifest.json"]


def test_what_a_killed_save_left_behind_is_cleared(tmp_path):
    (tmp_path / ".staging-dead").mkdir()
    save_files(tmp_path, lambda staging: (staging / "a").write_text("x"))
    assert not (tmp_path / ".staging-dead").exists()


def test_a_kill_before_the_manifest_leaves_a_run_that_is_not_finished(tmp_path, monkeypatch):
    save_files(tmp_path, lambda staging: (staging / "a").write_text("old"))
    assert is_finished(tmp_path)

    def killed(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    monkeypatch.setattr(type(tmp_path), "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save_files(tmp_path, lambda staging: (staging / "a").write_text("new"))
    assert not is_finished(tmp_path)
    assert (tmp_path / "a").read_text() == "old"
