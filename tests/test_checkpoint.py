from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from fastft.training.checkpoint import checkpoints, find_faults


def save(path, value):
    torch.save(value, path)


@pytest.fixture
def checkpoint(tmp_path):
    """The files that transformers writes after step 20, small."""
    folder = tmp_path / "checkpoint-20"
    folder.mkdir()
    state = {"global_step": 20, "log_history": [], "best_model_checkpoint": None}
    (folder / "trainer_state.json").write_text(json.dumps(state))
    save_file(
        {"a": torch.zeros(3, 4), "b": torch.zeros(0)},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        save(folder / name, {"step": 20})
    return folder


def faults(folder, **options):
    return find_faults(folder, **{"num_ranks": 1, **options})


def cut(path, share=0.5):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def test_a_whole_checkpoint_has_no_fault(checkpoint):
    assert faults(checkpoint) == []


@pytest.mark.parametrize(
    "name",
    ["trainer_state.json", "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"],
)
def test_a_missing_empty_or_cut_file_is_named(checkpoint, name):
    cut(checkpoint / name)
    (line,) = faults(checkpoint)
    assert line.startswith(name)
    (checkpoint / name).write_bytes(b"")
    assert faults(checkpoint) == [f"{name} is empty"]
    (checkpoint / name).unlink()
    assert faults(checkpoint) == [f"{name} is missing"]


def test_weights_that_lack_their_last_bytes_are_found_without_reading_them(checkpoint):
    weights = checkpoint / "model.safetensors"
    size = weights.stat().st_size
    weights.write_bytes(weights.read_bytes()[:-1])
    assert faults(checkpoint) == [f"model.safetensors has {size - 1:,} of {size:,} bytes"]


@pytest.mark.parametrize(
    "data", [b"\xff" * 64, b"\x04\0\0\0\0\0\0\0null", b"\x02\0\0\0\0\0\0\0[]", b"abc"]
)
def test_a_header_that_makes_no_sense_is_a_fault(checkpoint, data):
    (checkpoint / "model.safetensors").write_bytes(data)
    (line,) = faults(checkpoint)
    assert line.startswith("model.safetensors")


def test_the_state_must_be_of_the_step_that_the_folder_names(checkpoint, tmp_path):
    moved = tmp_path / "checkpoint-30"
    shutil.copytree(checkpoint, moved)
    assert faults(moved) == ["trainer_state.json is of step 20"]
    (moved / "trainer_state.json").write_text("[]")
    assert faults(moved) == ["trainer_state.json is not the state of a Trainer"]


def test_a_checkpoint_of_the_model_alone_is_called_so(checkpoint):
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (checkpoint / name).unlink()
    (line,) = faults(checkpoint)
    assert "save_only_model=True" in line


def test_each_rank_needs_its_random_state_and_fp16_its_scale(checkpoint):
    assert faults(checkpoint, num_ranks=2, has_scaler=True) == [
        "rng_state_0.pth is missing",
        "rng_state_1.pth is missing",
        "scaler.pt is missing",
    ]


def test_every_shard_of_the_weights_is_looked_at(checkpoint):
    whole = checkpoint / "model.safetensors"
    for number in (1, 2):
        shutil.copy(whole, checkpoint / f"model-0000{number}-of-00002.safetensors")
    whole.unlink()
    shards = {
        name: f"model-0000{number}-of-00002.safetensors" for number, name in ((1, "a"), (2, "b"))
    }
    index = checkpoint / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": shards}))
    assert faults(checkpoint) == []
    (checkpoint / shards["b"]).unlink()
    assert faults(checkpoint) == [f"{shards['b']} is missing"]
    index.write_text("{")
    assert faults(checkpoint)[0].startswith("model.safetensors.index.json is no JSON")


def test_the_best_checkpoint_counts_when_it_is_loaded_at_the_end(checkpoint, tmp_path):
    state = {"global_step": 20, "log_history": [], "best_model_checkpoint": "/old/checkpoint-10"}
    (checkpoint / "trainer_state.json").write_text(json.dumps(state))
    assert faults(checkpoint) == []
    assert faults(checkpoint, needs_best=True) == [
        "the best checkpoint checkpoint-10: model.safetensors is missing"
    ]
    (tmp_path / "checkpoint-10").mkdir()
    shutil.copy(checkpoint / "model.safetensors", tmp_path / "checkpoint-10")
    assert faults(checkpoint, needs_best=True) == []


def test_of_a_sharded_checkpoint_only_the_state_is_known(checkpoint):
    (checkpoint / "optimizer.pt").unlink()
    assert faults(checkpoint, is_sharded=True) == []
    (checkpoint / "trainer_state.json").unlink()
    assert faults(checkpoint, is_sharded=True) == ["trainer_state.json is missing"]


def test_checkpoints_are_listed_by_their_step(tmp_path):
    for step in (900, 1000, 20):
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / "checkpoint-5000").write_text("a file")
    assert [entry.name for entry in checkpoints(tmp_path)] == [
        "checkpoint-1000",
        "checkpoint-900",
        "checkpoint-20",
    ]
