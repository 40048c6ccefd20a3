"""Two processes on gloo: the stock batches, the loss of one process with the undivided batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import fastft
from tests.parity.recording import FastTrainer, arguments
from tests.parity.two_ranks import FLATTENED, flattened
from tests.tiny import save_tiny_bert, sentences, tiny_model, tiny_tokenizer

ROOT = Path(__file__).parent.parent.parent
BAD_LINES = '{"text": "a", "label": "x"}\n{"text": "b"\n'


def torchrun(*words, cwd=ROOT):
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         *map(str, words)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}"},
        capture_output=True,
        text=True,
        timeout=280,
    )  # fmt: skip


def jsonl(path, rows):
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, data for its head, and data with a damaged line."""
    folder = tmp_path_factory.mktemp("ranks")
    save_tiny_bert(folder / "tiny-bert")
    jsonl(folder / "rows.jsonl", sentences(80))
    (folder / "bad.jsonl").write_text(BAD_LINES)
    return folder


@pytest.fixture(scope="module")
def ran(folder):
    """What each rank saw; starting two processes takes longer than all that they do then."""
    # With 157 rows, five of the second rank's count in the last step; with 149, none.
    run = torchrun("-m", "tests.parity.two_ranks", folder, 160, 149, 157)
    assert run.returncode == 0, run.stderr[-3000:]
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def even(ran):
    """160 rows: ten steps of 2 x 8 an epoch, nothing left over."""
    return [rank["160"] for rank in ran]


def one_process(folder, rows, accumulation=1, **options):
    texts, names = zip(*sentences(rows), strict=True)
    labels = np.array([name == "positive" for name in names], dtype=np.int64)
    trainer = FastTrainer(
        tiny_model(),
        arguments(
            fastft.TrainingArguments,
            folder,
            num_train_epochs=2,
            gradient_accumulation_steps=accumulation,
        ),
        train_dataset=fastft.TokenDataset.from_texts(
            list(texts), tiny_tokenizer(), max_length=64, columns={"labels": labels}
        ),
        processing_class=tiny_tokenizer(),
        **options,
    )
    trainer.train()
    return trainer


def test_each_rank_sees_the_stock_batches(even):
    for rank in even:
        assert rank["fast"]["batches"] == rank["stock"]["batches"]
    assert even[0]["fast"]["batches"] != even[1]["fast"]["batches"]


def test_the_loss_is_that_of_one_process_with_the_undivided_batch(even, tmp_path):
    whole = one_process(tmp_path, 160)
    np.testing.assert_allclose(even[0]["fast"]["losses"], whole.losses, rtol=1e-5)
    together = [
        first + second
        for first, second in zip(*(rank["fast"]["batches"] for rank in even), strict=True)
    ]
    assert together == whole.batches


def test_batches_by_budget_are_those_of_one_process_that_accumulates(even, tmp_path):
    """One plan for all: the ranks take in turn what one process takes one after the other."""
    whole = one_process(tmp_path, 160, accumulation=2, batching="tokens", max_tokens=96)
    first, second = (rank["tokens"]["batches"] for rank in even)
    assert len(first) == len(second)
    assert [batch for pair in zip(first, second, strict=True) for batch in pair] == whole.batches
    np.testing.assert_allclose(even[0]["tokens"]["losses"], whole.losses, rtol=1e-5)


def test_the_stock_trainer_multiplies_the_loss_by_the_number_of_ranks(even):
    """Pins a fault of transformers 5.23: when this fails, it has been repaired there."""
    first_stock, first_fast = even[0]["stock"]["losses"][0], even[0]["fast"]["losses"][0]
    assert first_stock / first_fast == pytest.approx(2.0, rel=1e-4)


def test_metrics_count_every_row_once(even):
    assert [rank["metrics"]["eval_rows"] for rank in even] == [13, 13]


def test_arrays_and_json_arrive_as_they_were_sent(ran):
    assert ran[1]["broadcast"] == ran[0]["broadcast"]
    assert ran[1]["broadcast"][0] == ["uint16", [0, 1, 2, 3, 4], [5]]
    assert ran[1]["broadcast"][1] == ["float32", [], [0, 3]]
    assert ran[1]["broadcast"][-1] == {"größe": [1, None]}


@pytest.mark.parametrize("rows", [149, 157])
def test_rows_repeated_at_an_uneven_end_weigh_nothing(rows, ran, tmp_path):
    """The batches are the stock ones; the loss and the weights are those of one process."""
    both = [rank[str(rows)] for rank in ran]
    for rank in both:
        assert rank["fast"]["batches"] == rank["stock"]["batches"]
    whole = one_process(tmp_path / "one", rows)
    np.testing.assert_allclose(both[0]["fast"]["losses"], whole.losses, rtol=1e-5)


@pytest.mark.parametrize("rows", FLATTENED)
def test_repeated_rows_that_stand_end_to_end_weigh_nothing(rows, ran, tmp_path):
    whole = flattened(tmp_path, rows, 8)
    for rank in ran:
        found = rank["flattened"][str(rows)]
        np.testing.assert_allclose(found["losses"], whole["losses"], rtol=1e-5)
        assert found["eval_loss"] == pytest.approx(whole["eval_loss"], rel=1e-5)


def test_a_head_alone_is_trained_as_by_one_process_and_nothing_unused_is_looked_for(ran, folder):
    one = fastft.finetune(
        folder / "tiny-bert", folder / "rows.jsonl", num_train_epochs=1, learning_rate=1e-2,
        train="head", per_device_train_batch_size=8, use_cpu=True, quiet=True,
        output_dir=folder / "one",
    ).metrics  # fmt: skip
    for rank in ran:
        assert rank["looks_for_unused"] is False
        assert rank["head"]["train_loss"] == pytest.approx(one["train_loss"], rel=1e-5)
        assert rank["head"]["eval_loss"] == pytest.approx(one["eval_loss"], rel=1e-4)


def test_bad_data_is_refused_by_both_ranks(ran, folder):
    """By the first one with the line; the other has not read it, and knows that it is wrong."""
    assert "bad.jsonl, line 2" in ran[0]["refusal"]
    assert "line 2" not in ran[1]["refusal"]
    assert not (folder / "runs").exists()


@pytest.fixture
def job(tmp_path):
    model = save_tiny_bert(tmp_path / "tiny-bert")
    for name, rows in (("train", sentences(160)), ("validation", sentences(37, seed=1))):
        (tmp_path / "data").mkdir(exist_ok=True)
        jsonl(tmp_path / "data" / f"{name}.jsonl", rows)
    return model, tmp_path / "data"


def test_torchrun_gives_one_folder_and_the_numbers_of_one_process(job, tmp_path):
    # No --use-cpu: a machine without a GPU must not need it.
    options = ["--num-train-epochs", "2", "--learning-rate", "1e-3"]
    words = ["-m", "fastft", "train", *job, *options, "--per-device-train-batch-size", "8"]
    run = torchrun(*words, cwd=tmp_path)
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stderr.count("[4/4]") == 1
    (folder,) = (tmp_path / "runs").iterdir()
    two = json.loads((folder / "metrics.json").read_text())
    assert yaml.safe_load((folder / "run.yaml").read_text())["per_device_train_batch_size"] == 8
    one = fastft.finetune(
        *map(str, job), num_train_epochs=2, learning_rate=1e-3, use_cpu=True, quiet=True,
        output_dir=tmp_path / "one",
    ).metrics  # fmt: skip
    assert two["eval_accuracy"] == one["eval_accuracy"]
    assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-5)
    assert two["eval_loss"] == pytest.approx(one["eval_loss"], rel=1e-5)


@pytest.mark.slow
def test_bad_data_ends_both_ranks_and_is_said_once(job, tmp_path):
    (job[1] / "train.jsonl").write_text(BAD_LINES)
    run = torchrun("-m", "fastft", "train", *job, "--use-cpu", cwd=tmp_path)
    assert run.returncode != 0
    assert run.stderr.count("train.jsonl, line 2") == 1
    assert not (tmp_path / "runs").exists()
