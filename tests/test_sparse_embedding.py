"""Trainers that step the touched rows of an embedding: the run of those that step all of them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import peft
import pytest
import torch
import transformers
from typer.testing import CliRunner

import fastft
from fastft import cli
from fastft.training import row_updates
from tests.row_trainers import VOCABULARY, classifier, rows, trainer
from tests.tiny import sentences

if TYPE_CHECKING:
    from pathlib import Path

WORDS = "bert.embeddings.word_embeddings"


@pytest.fixture(autouse=True)
def _small_embeddings_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_updates, "MIN_ELEMENTS", VOCABULARY * 24)


def norms(run: Any) -> list[float]:
    return [entry["grad_norm"] for entry in run.state.log_history if "grad_norm" in entry]


def assert_same_run(by_rows: Any, whole: Any) -> None:
    assert len(by_rows.losses) == len(whole.losses) > 0
    np.testing.assert_allclose(by_rows.losses, whole.losses, rtol=1e-5)
    np.testing.assert_allclose(norms(by_rows), norms(whole), rtol=1e-4)
    for one, other in zip(by_rows.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"weight_decay": 0.1, "lr_scheduler_type": "cosine", "warmup_steps": 5},
        {"gradient_accumulation_steps": 3, "max_steps": 8},
        {"max_grad_norm": 0.0},
        {"max_grad_norm": 0.05},
        {"optim": "adamw_torch"},
        {"adam_beta1": 0.8, "adam_beta2": 0.9, "adam_epsilon": 1e-6},
        {"bf16": True, "max_steps": 5},
    ],
    ids=str,
)
def test_the_run_is_that_of_all_rows(training: dict[str, Any], tmp_path: Path) -> None:
    training = {"logging_steps": 1, **training}
    by_rows = trainer(tmp_path / "a", training=training, sparse_embedding=True)
    whole = trainer(tmp_path / "b", training=training, sparse_embedding=False)
    by_rows.train()
    whole.train()
    assert_same_run(by_rows, whole)
    assert f"of {VOCABULARY:,} rows of {WORDS}" in by_rows.explain_embedding()
    assert whole.explain_embedding() == "embedding: all rows are stepped, sparse_embedding=False"


def test_the_gradient_of_a_step_is_rows_and_the_model_is_as_it_was(tmp_path: Path) -> None:
    seen = []

    class Look(transformers.TrainerCallback):
        def on_pre_optimizer_step(self, *_: Any, model: Any, **__: Any) -> None:
            seen.append(model.bert.embeddings.word_embeddings.weight.grad.is_sparse)

    run = trainer(tmp_path, callbacks=[Look()], training={"max_steps": 3})
    run.train()
    assert seen == [True] * 3
    words = run.model.bert.embeddings.word_embeddings
    assert not words.sparse and not words._forward_pre_hooks
    assert not run.optimizer.optimizer._optimizer_step_pre_hooks


def test_an_error_in_the_run_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    class Stop(transformers.TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

    run = trainer(tmp_path, callbacks=[Stop()])
    with pytest.raises(KeyboardInterrupt):
        run.train()
    words = run.model.bert.embeddings.word_embeddings
    assert not words.sparse and not words._forward_pre_hooks


@pytest.mark.parametrize("first", [True, False])
def test_a_checkpoint_of_either_is_gone_on_with_by_the_other(first: bool, tmp_path: Path) -> None:
    training = {"save_steps": 10, "save_strategy": "steps", "logging_steps": 1}
    before = trainer(tmp_path, training=training, sparse_embedding=first)
    before.train()
    after = trainer(tmp_path / "b", training=training, sparse_embedding=not first)
    after.train(resume_from_checkpoint=str(tmp_path / "checkpoint-10"))
    np.testing.assert_allclose(after.losses, before.losses, rtol=1e-5)
    for one, other in zip(after.model.parameters(), before.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-6)


def test_batches_of_many_tokens_are_stepped_whole(tmp_path: Path) -> None:
    data = rows(48, width=1200)  # now and then more than half of 5,000 ids
    model = classifier(max_position_embeddings=1200)
    other = classifier(max_position_embeddings=1200)
    training = {"max_steps": 6, "logging_steps": 1}
    by_rows = trainer(tmp_path / "a", model, train_dataset=data, training=training)
    whole = trainer(
        tmp_path / "b", other, train_dataset=data, training=training, sparse_embedding=False
    )
    by_rows.train()
    whole.train()
    assert_same_run(by_rows, whole)


def test_a_second_training_goes_on_by_the_same_means(tmp_path: Path) -> None:
    by_rows, whole = trainer(tmp_path / "a"), trainer(tmp_path / "b", sparse_embedding=False)
    for one in (by_rows, whole):
        one.train()
        one.train()
    assert_same_run(by_rows, whole)


def test_an_embedding_in_encoder_and_decoder(tmp_path: Path) -> None:
    def untied() -> Any:
        torch.manual_seed(0)
        config = transformers.T5Config(
            vocab_size=VOCABULARY, d_model=24, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
            dropout_rate=0.0, decoder_start_token_id=0,
        )  # fmt: skip
        model = transformers.T5ForConditionalGeneration(config)
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
        return model

    data = [{**row, "labels": row["input_ids"][:5]} for row in rows(48)]
    runs = []
    for mode in (True, False):
        model = untied()
        run = trainer(tmp_path / str(mode), model, train_dataset=data, sparse_embedding=mode)
        run.data_collator = transformers.DataCollatorForSeq2Seq(run.data_collator.tokenizer, model)
        run.train()
        runs.append(run)
    assert_same_run(*runs)
    assert "rows of shared" in runs[0].explain_embedding()


# -- where all rows are stepped -------------------------------------------------------------------


def why(run: Any) -> str:
    run.train()
    text: str = run.explain_embedding()
    return text.removeprefix("embedding: all rows are stepped, ")


def with_lora() -> Any:
    settings = peft.LoraConfig(task_type="SEQ_CLS", target_modules=["query"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks for a name that is going
        return peft.get_peft_model(classifier(), settings)


def tied() -> Any:
    return transformers.BertForMaskedLM(classifier().config)


def test_other_optimizers_step_all_rows(tmp_path: Path) -> None:
    short = {"max_steps": 2}
    assert why(trainer(tmp_path, training={**short, "optim": "sgd"})) == (
        "the optimizer is SGD, not torch's AdamW"
    )
    assert "Adafactor" in why(trainer(tmp_path, training={**short, "optim": "adafactor"}))


def test_adapters_step_all_rows(tmp_path: Path) -> None:
    assert why(trainer(tmp_path, with_lora(), training={"max_steps": 2})).startswith("no embedding")


def test_tied_weights_and_half_precision_step_all_rows(tmp_path: Path) -> None:
    for model in (tied(), classifier().to(torch.bfloat16)):
        assert "no embedding" in trainer(tmp_path, model).explain_embedding()
        with pytest.raises(fastft.Error, match="cannot be stepped alone") as caught:
            trainer(tmp_path, model, sparse_embedding=True)
        assert "float32" in str(caught.value)


def test_insisting_on_rows_under_another_optimizer_is_an_error(tmp_path: Path) -> None:
    run = trainer(tmp_path, training={"optim": "sgd"}, sparse_embedding=True)
    with pytest.raises(fastft.Error, match="SGD"):
        run.train()


def test_finetune_and_the_command_line_hand_it_on(tiny_bert: Path, tmp_path: Path) -> None:
    texts, labels = zip(*sentences(32), strict=True)
    (tmp_path / "data").mkdir()
    lines = [f"{text},{label}" for text, label in zip(texts, labels, strict=True)]
    (tmp_path / "data" / "train.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    words = [str(tiny_bert), str(tmp_path / "data")]
    with pytest.raises(fastft.Error, match="cannot be stepped alone"):
        fastft.finetune(*words, sparse_embedding=True, output_dir=tmp_path / "a")
    options = ["--sparse-embedding", "true", "--output-dir", str(tmp_path / "b")]
    refused = CliRunner().invoke(cli.app, ["train", *words, *options])
    assert "cannot be stepped alone" in str(refused.exception)


def test_what_is_no_choice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(fastft.Error, match="argument sparse_embedding"):
        trainer(tmp_path, sparse_embedding="yes")
