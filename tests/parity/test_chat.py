"""Chat: the loss of every step is the exact mean over the tokens of replies.

The reference is the model's own logits with the weights of that step, and cross entropy in float64
over the labels, wherever the step was split.
"""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import fastft
from fastft.data.sources import open_source
from fastft.data.tokenizer import Tokenizer
from fastft.tasks.chat import Chat
from fastft.tasks.inference import Inference
from tests.chat_models import byte_tokenizer, tiny_llama
from tests.parity.recording import FastTrainer, StockTrainer, arguments
from tests.tiny import sentences

STEPS = 30


def nats(model: Any, inputs: Any) -> tuple[float, int]:
    """The sum of cross entropies over the labels in float64, and their number."""
    with torch.no_grad():
        logits = model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
        ).logits[:, :-1]
    labels = inputs["labels"][:, 1:]
    total = torch.nn.functional.cross_entropy(
        logits.double().reshape(-1, logits.shape[-1]), labels.reshape(-1), reduction="sum"
    )
    return float(total), int((labels != -100).sum())


class CheckedTrainer(FastTrainer):
    """Ours; beside each micro-batch the reference is computed with the same weights."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.reference: list[tuple[float, int]] = []
        super().__init__(*args, **kwargs)

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        self.reference.append(nats(model, inputs))
        return super().training_step(model, inputs, *args, **kwargs)

    def exact_losses(self, accumulation: int) -> list[float]:
        steps = np.array(self.reference).reshape(-1, accumulation, 2).sum(axis=1)
        return list(steps[:, 0] / steps[:, 1])


@pytest.fixture(scope="module")
def hf():
    return byte_tokenizer("chatml")


@pytest.fixture(scope="module")
def chats():
    """Conversations of one or two turns, of very different lengths."""
    rng, said = random.Random(3), iter([text[:30].strip() for text, _ in sentences(2000)])
    rows = []
    for _ in range(80):
        turns = [
            {"role": role, "content": next(said)}
            for _ in range(rng.randint(1, 2))
            for role in ("user", "assistant")
        ]
        rows.append({"messages": turns})
    return rows


@pytest.fixture(scope="module")
def task_and_data(hf, chats):
    source = open_source(chats)
    task = Chat.from_source(source, Chat.options)
    return task, task.data(source.splits["train"], Tokenizer.from_hf(hf), 256).dataset


def run(cls, task_and_data, hf, folder, *, dataset=None, **overrides):
    task, tokens = task_and_data
    trainer = cls(
        tiny_llama(len(hf)),
        arguments(
            transformers.TrainingArguments if cls is StockTrainer else fastft.TrainingArguments,
            folder,
            **{"max_steps": STEPS, "per_device_train_batch_size": 8, **overrides},
        ),
        train_dataset=tokens if dataset is None else dataset,
        data_collator=transformers.DataCollatorForSeq2Seq(hf)
        if cls is StockTrainer
        else task.collator(hf, None),
        processing_class=hf,
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize("accumulation", [1, 4])
def test_every_step_has_the_exact_mean_loss(task_and_data, hf, tmp_path, accumulation):
    size = {"per_device_train_batch_size": 8 // accumulation}
    trainer = run(
        CheckedTrainer,
        task_and_data,
        hf,
        tmp_path,
        gradient_accumulation_steps=accumulation,
        **size,
    )
    assert len(trainer.losses) == STEPS
    np.testing.assert_allclose(trainer.losses, trainer.exact_losses(accumulation), rtol=1e-5)


def test_a_split_step_is_the_undivided_step(task_and_data, hf, tmp_path):
    whole = run(FastTrainer, task_and_data, hf, tmp_path)
    split = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    divided = run(FastTrainer, task_and_data, hf, tmp_path, **split)
    np.testing.assert_allclose(divided.losses, whole.losses, rtol=1e-5)


def test_batches_and_losses_are_those_of_the_stock_trainer(task_and_data, hf, tmp_path):
    """Llama counts its labels, so the stock loss is exact too."""
    tokens = task_and_data[1]
    rows = [tokens[row] for row in range(len(tokens))]
    stock = run(StockTrainer, task_and_data, hf, tmp_path, dataset=rows)
    fast = run(FastTrainer, task_and_data, hf, tmp_path)
    assert fast.batches == stock.batches
    np.testing.assert_allclose(fast.losses, stock.losses, rtol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 80])
def test_the_evaluation_is_the_mean_over_all_reply_tokens(task_and_data, hf, tmp_path, batch_size):
    task, tokens = task_and_data
    trainer = fastft.Trainer(
        tiny_llama(len(hf)),
        arguments(
            fastft.TrainingArguments,
            tmp_path,
            per_device_eval_batch_size=batch_size,
            **task.training_defaults({}),
        ),
        eval_dataset=tokens,
        data_collator=task.collator(hf, None),
        processing_class=hf,
        loss_metrics=task.loss_metrics,
    )
    metrics = trainer.evaluate()
    collate = transformers.DataCollatorForSeq2Seq(hf)
    sums = [nats(trainer.model, collate([tokens[row]])) for row in range(len(tokens))]
    total, count = map(sum, zip(*sums, strict=True))
    assert metrics["eval_loss"] == pytest.approx(total / count, rel=1e-5)
    assert metrics["eval_perplexity"] == pytest.approx(np.exp(total / count), rel=1e-4)


@pytest.mark.slow
def test_a_real_model_learns_to_answer(shared_data, tmp_path):
    """BabyLlama has never seen an instruction; 105 pieces, so a token is about a letter."""
    folder = shared_data / "weights" / "babyllama_tok105" / "hf"
    hf = transformers.AutoTokenizer.from_pretrained(folder)
    hf.pad_token = hf.eos_token
    path = shared_data / "instruct" / "alpaca_demo" / "alpaca_en_demo.json"
    rows = [
        {**row, "input": ""}
        for row in json.loads(path.read_text())
        if not row["input"] and len(row["instruction"]) + len(row["output"]) < 240
    ]
    source = open_source(rows)
    task = Chat.from_source(source, {**Chat.options, "chat_template": "plain"})
    parts = task.hold_out(source.splits["train"], fraction=0.2, seed=0)
    train, held = (task.data(part, Tokenizer.from_hf(hf), 256) for part in parts)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    trainer = fastft.Trainer(
        model,
        arguments(fastft.TrainingArguments, tmp_path, num_train_epochs=4, learning_rate=1e-3),
        train_dataset=train.dataset,
        eval_dataset=held.dataset,
        data_collator=task.collator(hf, model),
        processing_class=hf,
        loss_metrics=task.loss_metrics,
    )
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    after = trainer.evaluate()["eval_loss"]
    assert after < 0.9 * before
    inference = Inference(model, Tokenizer.from_hf(hf), 256, options={"max_new_tokens": 40})
    asked = open_source([{"instruction": "Name a colour."}] * 2).splits["train"]
    one, other = task.predict(asked, inference)
    assert one == other and one["text"]
