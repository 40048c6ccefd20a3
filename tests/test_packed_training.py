"""`batching="packed"`: rows end to end in a batch, and the run is that of the padded rows."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fastft
from fastft.data.packed_collator import PackedMaskingCollator
from fastft.errors import ConfigurationError
from fastft.modeling.padding_free.model import is_padding_free
from fastft.modeling.padding_free.packed_rows import BY_MASK, BY_ROWS
from fastft.training.frozen_settings import why_not_by_collator
from tests.chat_models import byte_tokenizer
from tests.chat_models import tiny_llama as chat_llama
from tests.packed_trainers import MAX_TOKENS, Padded, collator, rows, trainer
from tests.tiny import save_tiny_bert, sentences, tiny_tokenizer
from tests.tiny_lm import save_tiny_gpt2, save_tiny_mlm, stories, tiny_bert_mlm
from tests.two_processes import results_of_two_ranks

if TYPE_CHECKING:
    from pathlib import Path


def test_keys_that_are_kept_would_hide_the_rows(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="a row changes with its neighbours"):
        trainer("llama", tmp_path, training={"use_cache": True}).train()


# -- the run -------------------------------------------------------------------------------------


def assert_alike(packed: Any, padded: Any) -> None:
    assert packed.rows == padded.rows
    assert len(packed.losses) == 6
    np.testing.assert_allclose(packed.losses, padded.losses, rtol=1e-5)
    for ours, theirs in zip(packed.gradients, padded.gradients, strict=True):
        largest = max(float(one.abs().max()) for one in theirs.values())
        for name, one in theirs.items():
            assert float((ours[name] - one).abs().max()) <= 1e-5 * largest, name


@pytest.mark.parametrize(
    ("name", "padding_free"),
    [
        ("gpt2", False),
        ("bert", "auto"),
        *(
            pytest.param(*one, marks=pytest.mark.slow)
            for one in (
                *(("gpt2", "auto"), ("llama", "auto"), ("llama", False)),
                *(("chat", "auto"), ("chat", False), ("bert", False)),
            )
        ),
    ],
)
def test_a_packed_run_has_the_losses_and_gradients_of_the_padded_one(
    name: str, padding_free: Any, tmp_path: Path
) -> None:
    training = {"gradient_accumulation_steps": 2, "learning_rate": 1e-4}
    packed = trainer(name, tmp_path, training=training, padding_free=padding_free)
    padded = trainer(name, tmp_path, Padded, training=training, padding_free=False)
    for one in (packed, padded):
        one.train()
    assert_alike(packed, padded)
    assert all(shape[0] == 1 and shape[1] <= MAX_TOKENS for shape in packed.shapes)
    assert any(shape[0] > 1 for shape in padded.shapes)
    by_mask = padding_free is False and name != "bert"
    said = packed.explain_padding()
    assert said.startswith(f"rows: packed, kept apart by {BY_MASK if by_mask else BY_ROWS}\n")
    assert not is_padding_free(packed.model)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "bert"])
def test_a_fused_head_goes_with_it(name: str, tmp_path: Path) -> None:
    packed = trainer(name, tmp_path, fuse_head=True)
    padded = trainer(name, tmp_path, Padded, fuse_head=False, padding_free=False)
    for one in (packed, padded):
        one.train()
    assert packed.explain_head().startswith("head: fused")
    np.testing.assert_allclose(packed.losses, padded.losses, rtol=2e-5)


@pytest.mark.slow
def test_every_row_counts_once_an_epoch_in_an_order_of_its_own(tmp_path: Path) -> None:
    training = {"num_train_epochs": 3, "max_steps": -1, "gradient_accumulation_steps": 4}
    ours = trainer("gpt2", tmp_path, training=training)
    ours.train()
    size = len(ours.rows) // 3
    epochs = [ours.rows[start : start + size] for start in range(0, 3 * size, size)]
    assert len(ours.rows) == 3 * size
    assert any(not has_weight for _, has_weight in ours.rows)
    for epoch in epochs:
        counted = [row for batch, has_weight in epoch if has_weight for row in batch]
        assert sorted(counted) == list(range(37))
    assert len({str(epoch) for epoch in epochs}) == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_a_run_that_is_stopped_goes_on_with_the_same_tokens(name: str, tmp_path: Path) -> None:
    training = {"max_steps": -1, "num_train_epochs": 2, "logging_steps": 1}
    saving = {**training, "save_strategy": "steps", "save_steps": 4}
    whole = trainer(name, tmp_path / "whole", training=saving)
    whole.train()
    stops = sorted((tmp_path / "whole").glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
    for stop in (stops[0], stops[-2]):
        rest = trainer(name, tmp_path / "rest", training=training)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rest.train(resume_from_checkpoint=str(stop))
        done = int(stop.name[11:])
        assert rest.rows == whole.rows[done:]
        assert rest.tokens == whole.tokens[done:]
        assert rest.losses[-3:] == pytest.approx(whole.losses[-3:], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "chat", "bert"])
def test_an_evaluation_and_a_prediction_pad_as_ever(name: str, tmp_path: Path) -> None:
    data = rows(name, 11)
    packed = trainer(name, tmp_path, eval_dataset=data)
    plain = trainer(name, tmp_path, eval_dataset=data, batching="random", max_tokens=None)
    plain.model.load_state_dict(packed.model.state_dict())
    expected = plain.evaluate()["eval_loss"]
    assert packed.evaluate()["eval_loss"] == expected
    first, second = (one.predict(data).predictions for one in (packed, plain))
    np.testing.assert_array_equal(first, second)
    packed.train()
    assert packed.evaluate()["eval_loss"] != expected


@pytest.mark.slow
def test_rows_above_the_budget_are_named_or_cut_by_the_policy_of_the_caller(tmp_path: Path) -> None:
    data = rows("gpt2")
    with pytest.raises(ConfigurationError, match="a row is longer than max_tokens"):
        trainer("gpt2", tmp_path, max_tokens=10).train()
    for policy in ("split", "truncate", "drop"):
        fitted = data.fit(10, overlong=policy)
        ours = trainer("gpt2", tmp_path, train_dataset=fitted, max_tokens=10)
        ours.train()
        assert max(shape[1] for shape in ours.shapes) <= 10


def test_random_masks_are_those_of_the_padded_rows() -> None:
    data, inner = rows("bert"), collator("bert")
    packed = PackedMaskingCollator(inner, first_position=2)
    for epoch in (0, 1):
        packed.set_epoch(epoch)
        features = data.__getitems__([4, 0, 9])
        padded = inner(features)
        flat = packed(features)
        real = padded["attention_mask"].bool()
        for key in ("input_ids", "labels"):
            assert flat[key].tolist() == [padded[key][real].tolist()]
        lengths = real.sum(1).tolist()
        places = [place for length in lengths for place in range(2, 2 + length)]
        assert flat["position_ids"].tolist() == [places]
        assert flat.rows.tolist() == [4, 0, 9]
        assert flat.num_loss_tokens == padded.num_loss_tokens
        assert "attention_mask" not in flat


@pytest.mark.slow
def test_augmented_rows_are_packed_too(tmp_path: Path) -> None:
    ours = trainer("bert", tmp_path, augment={"delete": 0.5}, processing_class=tiny_tokenizer())
    plain = trainer("bert", tmp_path)
    for one in (ours, plain):
        one.train()
    assert sum(shape[1] for shape in ours.shapes) < sum(shape[1] for shape in plain.shapes)


@pytest.mark.slow
def test_two_ranks_train_as_one_with_twice_the_accumulation(tmp_path: Path) -> None:
    ranks = results_of_two_ranks("tests.packed_ranks", tmp_path)
    for name in ("gpt2", "bert"):
        training = {"num_train_epochs": 2, "max_steps": -1, "gradient_accumulation_steps": 4}
        one = trainer(name, tmp_path, training=training)
        one.train()
        first, second = (rank[name] for rank in ranks)
        for rank in (first, second):
            assert rank["rows"] == rank["padded_rows"]
            assert rank["losses"] == pytest.approx(rank["padded_losses"], rel=1e-5)
            assert rank["losses"] == pytest.approx(one.losses, rel=1e-5)
            assert rank["difference"] < 1e-4
        joined = [row for pair in zip(first["rows"], second["rows"], strict=True) for row in pair]
        assert joined == [list(row) for row in one.rows]
        assert not all(has_weight for _, has_weight in joined)


# -- what is refused -----------------------------------------------------------------------------


def test_batches_whose_labels_are_not_of_tokens_are_refused(tmp_path: Path) -> None:
    for name, collate in (
        ("gpt2", fastft.DataCollatorWithPadding(tiny_tokenizer())),
        ("gpt2", fastft.DataCollatorForLanguageModeling(tiny_tokenizer())),
        ("bert", fastft.DataCollatorForTokenClassification(tiny_tokenizer())),
    ):
        refused = trainer(name, tmp_path, data_collator=collate)
        with pytest.raises(ConfigurationError, match="rows of such batches cannot be packed"):
            refused.train()


def test_other_data_and_other_models_are_refused_before_the_first_step(tmp_path: Path) -> None:
    plain = [{"input_ids": [5, 6, 7], "labels": [5, 6, 7]}] * 4
    with pytest.raises(ConfigurationError, match="only a TokenDataset can be packed"):
        trainer("gpt2", tmp_path, train_dataset=plain).train()
    eager = tiny_bert_mlm()
    eager.set_attn_implementation("eager")
    refused = trainer("bert", tmp_path, model=eager)
    with pytest.raises(ConfigurationError, match="packed rows would see each other"):
        refused.train()
    assert not refused.rows


def test_states_of_frozen_layers_are_not_kept_of_packed_rows(tmp_path: Path) -> None:
    ours = trainer("gpt2", tmp_path)
    assert "rows are packed" in str(why_not_by_collator(ours._collator(True)))


# -- finetune ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("task", ["causal-lm", "masked-lm"])
def test_finetune_packs_the_rows_of_language_models(task: str, tmp_path: Path) -> None:
    save = save_tiny_gpt2 if task == "causal-lm" else save_tiny_mlm
    data = {"text": stories(40)}
    result = fastft.finetune(
        save(tmp_path / "model"), data, task=task, batching="packed", max_tokens=64,
        join_documents=False, max_length=32, num_train_epochs=2, output_dir=tmp_path / "run",
        quiet=True,
    )  # fmt: skip
    assert result.plan["total_steps"] == max(entry["step"] for entry in result.history)
    assert result.trainer.explain_padding().startswith(f"rows: packed, kept apart by {BY_ROWS}")
    assert "batching: packed" in (tmp_path / "run" / "run.yaml").read_text()
    assert np.isfinite(result.metrics["eval_loss"])


@pytest.mark.slow
def test_the_command_packs_the_replies_of_a_chat(tmp_path: Path) -> None:
    hf = byte_tokenizer("plain")
    chat_llama(len(hf)).save_pretrained(tmp_path / "model")
    hf.save_pretrained(tmp_path / "model")
    lines = [json.dumps({"prompt": text, "completion": text.upper()}) for text, _ in sentences(40)]
    (tmp_path / "chats.jsonl").write_text("\n".join(lines))
    options = ["--batching", "packed", "--max-tokens", "400", "--num-train-epochs", "1"]
    run = subprocess.run(
        [sys.executable, "-m", "fastft", "train", "model", "chats.jsonl", "--task", "chat",
         "--output-dir", "run", *options],
        cwd=tmp_path, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    assert f"rows: packed, kept apart by {BY_ROWS}" in run.stdout + run.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert np.isfinite(metrics["eval_loss"])


def test_other_tasks_say_which_can(tmp_path: Path) -> None:
    model = save_tiny_bert(tmp_path / "model")
    with pytest.raises(ConfigurationError, match=r"(?s)task text-classification.*causal-lm, chat"):
        fastft.check(model, sentences(20), batching="packed", quiet=True)
