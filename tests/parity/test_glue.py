"""Pairs of sentences of GLUE with a real pretrained encoder: what three epochs reach."""

from __future__ import annotations

import pytest

import fastft

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def train(model, data, folder, **options):
    return fastft.finetune(
        model, data, max_length=128, num_train_epochs=3, learning_rate=1e-4, quiet=True,
        save_strategy="no", output_dir=folder, **options,
    )  # fmt: skip


def test_mrpc_reaches_three_quarters(shared_data, minilm_path, tmp_path):
    folder = shared_data / "pairs" / "mrpc"
    data = {"train": folder / "train.tsv", "validation": folder / "dev.tsv"}
    columns = {"text": "#1 String", "pair": "#2 String", "label": "Quality"}
    metrics = train(minilm_path, data, tmp_path / "run", **columns).metrics
    print("MRPC", metrics)
    assert metrics["eval_accuracy"] >= 0.75


def test_sts_b_reaches_a_rank_correlation_of_four_fifths(shared_data, minilm_path, tmp_path):
    folder = shared_data / "pairs" / "stsb_glue"
    data = {"train": folder / "train.tsv", "validation": folder / "dev.tsv"}
    result = train(minilm_path, data, tmp_path / "run")
    print("STS-B", result.metrics)
    assert result.task.input_columns == ("sentence1", "sentence2")
    assert result.metrics["eval_spearman"] >= 0.80
