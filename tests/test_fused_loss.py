"""The Trainer with a fused head: losses, weights and evaluations of one without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from transformers.trainer_pt_utils import LabelSmoother

import fastft
from fastft.modeling.losses import lazy_logits
from fastft.modeling.losses.fuse_head import fused_head
from fastft.training.fused_loss import MIN_LOGITS, FusedLabelSmoother
from tests.fused_models import build
from tests.fused_trainers import lm_trainer, rows, weights
from tests.parity.recording import FastTrainer, arguments
from tests.tiny import sentences, tiny_model, tiny_tokenizer
from tests.tiny_lm import save_tiny_gpt2, story

if TYPE_CHECKING:
    from pathlib import Path


def assert_equal_runs(fused: Any, plain: Any) -> None:
    fused.train()
    plain.train()
    np.testing.assert_allclose(fused.losses, plain.losses, rtol=2e-5)
    for name, value in weights(plain).items():
        torch.testing.assert_close(weights(fused)[name], value, rtol=1e-3, atol=3e-4)


def record(trainer: Any) -> Any:
    head = fused_head(trainer.model)
    assert head is not None
    return head.record


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "bert", "t5", "bart"])
def test_a_run_with_a_fused_head_is_a_run_without(name: str, tmp_path: Path) -> None:
    fused = lm_trainer(tmp_path, 2, name)
    assert_equal_runs(fused, lm_trainer(tmp_path, 2, name, fuse_head=False))
    assert record(fused).fused == 6 and not record(fused).materialised


@pytest.mark.parametrize("accumulation", [1, 2, 4])
def test_accumulation_changes_nothing(accumulation: int, tmp_path: Path) -> None:
    options = {"per_device_train_batch_size": 8 // accumulation}
    fused = lm_trainer(tmp_path, gradient_accumulation_steps=accumulation, **options)
    whole = lm_trainer(tmp_path, fuse_head=False)
    assert_equal_runs(fused, whole)
    assert record(fused).fused == 3 * accumulation


@pytest.mark.parametrize("name", ["llama", "bert", "gpt2"])
def test_label_smoothing_runs_fused(name: str, tmp_path: Path) -> None:
    fused = lm_trainer(tmp_path, name=name, label_smoothing_factor=0.1)
    plain = lm_trainer(tmp_path, name=name, label_smoothing_factor=0.1, fuse_head=False)
    assert isinstance(fused.label_smoother, FusedLabelSmoother)
    assert isinstance(plain.label_smoother, LabelSmoother)
    assert_equal_runs(fused, plain)
    assert record(fused).fused == 3 and not record(fused).materialised
    assert fused.evaluate()["eval_loss"] == pytest.approx(plain.evaluate()["eval_loss"], rel=1e-5)


def test_mixed_precision_of_accelerate(tmp_path: Path) -> None:
    """accelerate casts every output to fp32 behind the forward; lazy ones stay lazy."""
    fused = lm_trainer(tmp_path, bf16=True)
    plain = lm_trainer(tmp_path, bf16=True, fuse_head=False)
    fused.train()
    plain.train()
    np.testing.assert_allclose(fused.losses, plain.losses, rtol=2e-3)
    assert record(fused).fused == 3 and not record(fused).materialised


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("items", [None, 19, torch.tensor(19)])
def test_the_label_smoother_is_that_of_transformers(shift: bool, items: Any) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 6, 11), torch.randint(0, 11, (3, 6))
    labels[0, :3] = -100
    for output in ({"logits": logits}, (logits,)):
        found = FusedLabelSmoother(0.3)(output, labels, shift, items)
        expected = LabelSmoother(0.3)(output, labels, shift, items)
        torch.testing.assert_close(found, expected)


def test_an_evaluation_of_the_loss_alone_makes_no_logits(tmp_path: Path) -> None:
    fused, plain = lm_trainer(tmp_path), lm_trainer(tmp_path, fuse_head=False)
    assert fused.evaluate()["eval_loss"] == pytest.approx(plain.evaluate()["eval_loss"], rel=1e-6)
    # 10 rows in batches of 4; none is filled up in one process.
    assert record(fused).fused == 3 and not record(fused).materialised


def test_metrics_and_predictions_get_the_true_logits(tmp_path: Path) -> None:
    def metrics(prediction: Any) -> dict[str, float]:
        return {"sum": float(np.abs(prediction.predictions).sum())}

    fused = lm_trainer(tmp_path, compute_metrics=metrics)
    plain = lm_trainer(tmp_path, compute_metrics=metrics, fuse_head=False)
    found, expected = fused.evaluate(), plain.evaluate()
    for name in ("eval_loss", "eval_sum"):
        assert found[name] == pytest.approx(expected[name], rel=1e-6)
    first, second = (one.predict(rows(5)).predictions for one in (fused, plain))
    np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)
    assert record(fused).fused == 0


def test_the_rows_that_count_come_from_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    stock = lazy_logits.linear_cross_entropy

    def noted(*args: Any, **kwargs: Any) -> Any:
        seen.append(kwargs["index"])
        return stock(*args, **kwargs)

    monkeypatch.setattr(lazy_logits, "linear_cross_entropy", noted)
    texts = [text for text, _ in sentences(24)]
    tokens = fastft.TokenDataset.from_texts(texts, tiny_tokenizer(), max_length=32)
    runs = []
    for fuse in (True, False):
        collator = fastft.DataCollatorForLanguageModeling(tiny_tokenizer(), mlm=False)
        runs.append(
            FastTrainer(
                build("llama"),
                arguments(fastft.TrainingArguments, tmp_path, num_train_epochs=1),
                train_dataset=tokens,
                eval_dataset=tokens,
                data_collator=collator,
                fuse_head=fuse,
            )
        )
    assert_equal_runs(*runs)
    assert len(seen) == 2 and all(one is not None for one in seen)
    assert runs[0].evaluate()["eval_loss"] == pytest.approx(runs[1].evaluate()["eval_loss"])
    assert len(seen) == 5 and all(one is not None for one in seen)


def test_a_loss_function_of_the_users_own_runs_fused(tmp_path: Path) -> None:
    def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        logits = outputs["logits"][..., :-1, :]
        flat, target = logits.reshape(-1, logits.shape[-1]), labels[..., 1:].reshape(-1)
        return F.cross_entropy(flat, target, reduction="sum") / num_items_in_batch

    runs = []
    for fuse in (True, False):
        trainer = lm_trainer(tmp_path, fuse_head=fuse)
        trainer.compute_loss_func = loss
        runs.append(trainer)
    assert_equal_runs(*runs)
    assert record(runs[0]).fused == 3 and not record(runs[0]).materialised


def test_a_model_made_by_model_init_is_fused(tmp_path: Path) -> None:
    trainer = lm_trainer(tmp_path, model_init=lambda: build("llama"))
    trainer.train()
    assert record(trainer).fused == 3
    trainer.model = trainer.call_model_init()
    assert fused_head(trainer.model) is not None


def test_auto_fuses_where_the_logits_are_large(tmp_path: Path) -> None:
    small = lm_trainer(tmp_path, fuse_head="auto")
    assert fused_head(small.model) is None
    assert small.explain_head().startswith("head: not fused, about 103,424 logits a batch")
    large = lm_trainer(tmp_path, fuse_head="auto", per_device_train_batch_size=128)
    assert MIN_LOGITS < 128 * 128 * 101 and fused_head(large.model) is not None
    assert large.explain_head() == "head: fused\n  losses without logits: 0"


def test_what_speaks_against_it_is_named(tmp_path: Path) -> None:
    off = lm_trainer(tmp_path, fuse_head=False)
    assert off.explain_head() == "head: not fused, fuse_head=False"
    classifier = FastTrainer(
        tiny_model(), arguments(fastft.TrainingArguments, tmp_path), train_dataset=rows(4)
    )
    assert classifier.explain_head() == "head: not fused, it has no output embedding"
    with pytest.raises(fastft.ConfigurationError, match="no output embedding"):
        FastTrainer(tiny_model(), arguments(fastft.TrainingArguments, tmp_path), fuse_head=True)
    with pytest.raises(fastft.ConfigurationError, match="argument fuse_head"):
        lm_trainer(tmp_path, fuse_head="yes")
    with pytest.raises(fastft.ConfigurationError, match="argument fuse_head"):
        lm_trainer(tmp_path, fuse_head=1)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks by an old name
def test_adapters_and_frozen_layers(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    runs = []
    for fuse in (True, False):
        torch.manual_seed(5)
        config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
        trainer = lm_trainer(tmp_path, model=get_peft_model(build("llama"), config), fuse_head=fuse)
        runs.append(trainer)
    assert_equal_runs(*runs)
    assert runs[0].explain_head() == "head: fused\n  losses without logits: 3"


def test_finetune_evaluates_a_language_model_without_logits(tmp_path: Path) -> None:
    save_tiny_gpt2(tmp_path / "gpt2")
    (tmp_path / "novel.txt").write_text(story(60), encoding="utf-8")
    results = []
    for fuse in (True, False, "auto"):
        result = fastft.finetune(
            tmp_path / "gpt2",
            tmp_path / "novel.txt",
            "causal-lm",
            max_length=32,
            num_train_epochs=1,
            output_dir=tmp_path / str(fuse),
            quiet=True,
            use_cpu=True,
            fuse_head=fuse,
        )
        results.append(result)
    fused, plain, auto = results
    assert fused.metrics["eval_perplexity"] == pytest.approx(plain.metrics["eval_perplexity"])
    head = fused_head(fused.model)
    assert head is not None and head.record.fused > 1 and not head.record.materialised
    assert fused_head(plain.model) is None and fused_head(auto.model) is None  # a tiny vocabulary
    assert fused.predict(["once"], max_new_tokens=4) == plain.predict(["once"], max_new_tokens=4)


def test_finetune_refuses_what_cannot_be(tiny_bert: Path) -> None:
    for value, words in ((3, "argument fuse_head"), (True, "no output embedding")):
        with pytest.raises(fastft.ConfigurationError, match=words):
            fastft.finetune(tiny_bert, sentences(20), quiet=True, use_cpu=True, fuse_head=value)


def test_false_takes_out_what_an_earlier_trainer_fused(tmp_path: Path) -> None:
    model = build("llama")
    fastft.fuse_head(model)
    settings = arguments(fastft.TrainingArguments, tmp_path)
    FastTrainer(model, settings, fuse_head=False)
    assert fused_head(model) is None and type(model.lm_head) is torch.nn.Linear


def test_a_batch_without_labels_weighs_nothing(tmp_path: Path) -> None:
    empty = [{**row, "labels": [-100] * len(row["input_ids"])} for row in rows(8)]
    for fuse in (True, False):
        trainer = lm_trainer(tmp_path, fuse_head=fuse)
        trainer.train_dataset = empty
        before = weights(trainer)
        trainer.args.weight_decay = 0.0
        trainer.train()
        assert trainer.losses == [0.0]
        assert all(torch.equal(value, before[name]) for name, value in weights(trainer).items())


def test_checkpoints_are_those_of_a_plain_model(tmp_path: Path) -> None:
    options = {"save_strategy": "epoch", "lr_scheduler_type": "constant"}
    trainer = lm_trainer(tmp_path / "a", **options)
    trainer.train()
    folder = next((tmp_path / "a").glob("checkpoint-*"))
    again = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert type(again.lm_head) is torch.nn.Linear
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    resumed = lm_trainer(tmp_path / "a", 2, **options)
    resumed.train(resume_from_checkpoint=str(folder))
    whole = lm_trainer(tmp_path / "b", 2, lr_scheduler_type="constant")
    whole.train()
    assert resumed.losses == pytest.approx(whole.losses, rel=1e-6)
