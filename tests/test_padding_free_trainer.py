"""Trainers whose model computes real tokens only: the losses of padded ones, and what is said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import peft
import pytest
import torch
import transformers

import fastft
from fastft.modeling.padding_free.model import is_padding_free
from tests.fused_trainers import lm_trainer, rows, weights
from tests.parity.recording import FastTrainer, arguments
from tests.test_padding_free import MeanOfAll
from tests.tiny import sentences, tiny_config, tiny_model, tiny_tokenizer

if TYPE_CHECKING:
    from pathlib import Path


def classifier(folder: Path, model: Any = None, **options: Any) -> Any:
    rows = sentences(64)
    dataset = fastft.TokenDataset.from_texts(
        [text for text, _ in rows],
        fastft.Tokenizer.from_hf(tiny_tokenizer()),
        columns={"labels": np.array([label == "positive" for _, label in rows], np.int64)},
    )
    training = options.pop("training", {})
    return FastTrainer(
        tiny_model() if model is None else model,
        arguments(fastft.TrainingArguments, folder, **{"max_steps": 50, **training}),
        train_dataset=dataset,
        eval_dataset=dataset,
        processing_class=tiny_tokenizer(),
        **options,
    )


def test_fifty_steps_have_the_losses_of_the_padded_model(tmp_path: Path) -> None:
    packed, padded = classifier(tmp_path), classifier(tmp_path, padding_free=False)
    packed.train()
    padded.train()
    np.testing.assert_allclose(packed.losses, padded.losses, rtol=1e-5)
    text = packed.explain_padding()
    assert "was padding" in text and "batches with padding" not in text, text
    assert padded.explain_padding() == "padding: computed, padding_free=False"


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert", "t5"])
def test_a_fused_head_goes_with_it(name: str, tmp_path: Path) -> None:
    packed = lm_trainer(tmp_path, 2, name)
    padded = lm_trainer(tmp_path, 2, name, padding_free=False)
    packed.train()
    padded.train()
    assert "was padding" in packed.explain_padding(), packed.explain_padding()
    np.testing.assert_allclose(packed.losses, padded.losses, rtol=2e-5)
    for key, value in weights(padded).items():
        torch.testing.assert_close(weights(packed)[key], value, rtol=1e-3, atol=3e-4)


def test_the_model_is_as_it_was_behind_each_call(tmp_path: Path) -> None:
    trainer = classifier(tmp_path, training={"max_steps": 2})
    for call in (trainer.train, trainer.evaluate, lambda: trainer.predict(trainer.eval_dataset)):
        call()
        assert not is_padding_free(trainer.model)
        assert trainer.model.config._attn_implementation == "sdpa"
        assert "padding: removed inside the model" in trainer.explain_padding()


def test_an_evaluation_gives_the_loss_and_the_predictions_of_the_padded_model(
    tmp_path: Path,
) -> None:
    packed, padded = classifier(tmp_path), classifier(tmp_path, padding_free=False)
    assert packed.evaluate()["eval_loss"] == pytest.approx(padded.evaluate()["eval_loss"], rel=1e-6)
    first, second = (one.predict(one.eval_dataset).predictions for one in (packed, padded))
    np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)


class Reads(MeanOfAll):
    """The same head with a loss."""

    def forward(
        self, input_ids: Any, attention_mask: Any, labels: Any = None, **kwargs: Any
    ) -> Any:
        output = super().forward(input_ids, attention_mask, **kwargs)
        if labels is not None:
            output.loss = torch.nn.functional.cross_entropy(output.logits, labels)
        return output


def test_a_head_that_reads_padding_stays_padded_with_a_warning(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trainer = classifier(tmp_path, Reads(tiny_config()), training={"max_steps": 2})
    with pytest.warns(UserWarning, match="the model stays padded: outputs differ"):
        trainer.train()
    assert trainer.explain_padding().startswith("padding: computed, outputs differ by")


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    with pytest.raises(fastft.ConfigurationError, match="argument padding_free: there is no such"):
        classifier(tmp_path, padding_free="always")
    model = transformers.OPTForSequenceClassification(
        transformers.OPTConfig(
            vocab_size=60, hidden_size=8, num_hidden_layers=1, ffn_dim=8, num_attention_heads=1,
            word_embed_proj_dim=8, pad_token_id=0,
        )
    )  # fmt: skip
    trainer = classifier(tmp_path, model)
    assert "is of no family that is known" in trainer.explain_padding()
    with pytest.raises(fastft.ConfigurationError, match="is of no family that is known"):
        classifier(tmp_path, model, padding_free=True)


def test_a_stock_dataset_runs_without_padding_too(tmp_path: Path) -> None:
    trainer = lm_trainer(tmp_path, name="llama")
    trainer.train_dataset = rows(8)
    trainer.train()
    assert "batches without padding" in trainer.explain_padding()


def test_packed_rows_of_an_encoder_are_kept_apart_or_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = [{"input_ids": rng.integers(5, 40, rng.integers(3, 12)).tolist()} for _ in range(32)]
    for row in data:
        row["labels"] = list(row["input_ids"])

    def trainer(**options: Any) -> Any:
        torch.manual_seed(0)
        return fastft.Trainer(
            transformers.BertForMaskedLM(tiny_config()),
            arguments(fastft.TrainingArguments, tmp_path, max_steps=3),
            train_dataset=data,
            data_collator=options.pop("collator"),
            processing_class=tiny_tokenizer(),
            **options,
        )

    apart = trainer(collator=fastft.DataCollatorWithFlattening())
    apart.train()
    assert "batches without padding: 3" in apart.explain_padding()
    forced = trainer(collator=fastft.DataCollatorWithFlattening(), padding_free=False)
    forced.train()
    first, second = (
        [entry["loss"] for entry in one.state.log_history if "loss" in entry]
        for one in (apart, forced)
    )
    assert len(first) == 3 and first == second
    unknown = trainer(collator=fastft.DataCollatorWithFlattening())
    unknown.model.set_attn_implementation("eager")
    with pytest.raises(fastft.ConfigurationError, match="packed rows would attend to each other"):
        unknown.train()


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks by an old name
def test_adapters_are_trained_without_padding_in_every_run(tmp_path: Path) -> None:
    losses = {}
    for choice in ("auto", False):
        torch.manual_seed(0)
        adapted = peft.get_peft_model(
            tiny_model(),
            peft.LoraConfig(task_type="SEQ_CLS", target_modules=["query", "value"], r=2),
        )
        trainer = classifier(tmp_path, adapted, padding_free=choice, training={"max_steps": 6})
        trainer.train()
        losses[choice] = trainer.losses
        if choice == "auto":
            assert "batches without padding: 6" in trainer.explain_padding()
            assert not is_padding_free(adapted)
            trainer.evaluate()
            assert "batches without padding" in trainer.explain_padding()
    np.testing.assert_allclose(losses["auto"], losses[False], rtol=1e-5)
