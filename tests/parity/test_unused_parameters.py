"""Two processes: DDP looks for no unused weights, and the head alone is trained too."""

from __future__ import annotations

import json

import pytest

import fastft
from tests.parity.test_two_ranks import torchrun
from tests.tiny import save_tiny_bert, sentences


@pytest.mark.slow
@pytest.mark.parametrize("train", ["full", "head"])
def test_ranks_train_what_one_process_trains_and_ddp_stays_silent(train, tmp_path):
    model = save_tiny_bert(tmp_path / "tiny-bert")
    data = tmp_path / "rows.jsonl"
    lines = [json.dumps({"text": text, "label": label}) for text, label in sentences(80)]
    data.write_text("\n".join(lines) + "\n")
    options = ["--num-train-epochs", "1", "--learning-rate", "1e-2", "--train", train]
    words = ["-m", "fastft", "train", model, data, *options, "--output-dir", "two"]
    run = torchrun(*words, "--per-device-train-batch-size", "4", cwd=tmp_path)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "find_unused_parameters" not in run.stderr
    two = json.loads((tmp_path / "two" / "metrics.json").read_text())
    one = fastft.finetune(
        str(model), str(data), num_train_epochs=1, learning_rate=1e-2, train=train,
        per_device_train_batch_size=8, use_cpu=True, quiet=True, output_dir=tmp_path / "one",
    ).metrics  # fmt: skip
    assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-5)
    assert two["eval_loss"] == pytest.approx(one["eval_loss"], rel=1e-4)
