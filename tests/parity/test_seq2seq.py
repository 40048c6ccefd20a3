"""Text to text against transformers: batches, losses of every step, evaluation, generation.

Without accumulation the stock Seq2SeqTrainer is exact, and ours must agree with it. With it, T5
takes no count of labels, and the stock loss is the sum of the micro-means; the factor is pinned.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sacrebleu
import torch
import transformers

import fastft
from fastft.data.sources import open_source
from fastft.data.tokenizer import Tokenizer
from fastft.tasks.seq2seq import Translation
from tests.parity.recording import _Recording, arguments
from tests.tiny_seq2seq import shouts, t5_tokenizer, tiny_t5

ROWS = 163  # 11 steps of 16 an epoch, the last of 3 rows
SPLIT = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}


class StockTrainer(_Recording, transformers.Seq2SeqTrainer):
    """transformers' own, recorded."""


class FastTrainer(_Recording, fastft.Seq2SeqTrainer):
    """Ours, recorded."""


HF = t5_tokenizer()
TOKENIZER = Tokenizer.from_hf(HF)


def prepared(pairs: list[tuple[str, str]]) -> tuple[Translation, Any]:
    source = open_source(pairs)
    task = Translation.from_source(source, Translation.options)
    return task, task.data(source.splits["train"], TOKENIZER, 64)


def stock_rows(pairs: list[tuple[str, str]]) -> list[dict[str, Any]]:
    sources, targets = zip(*pairs, strict=True)
    encoded = HF(list(sources), text_target=list(targets))
    return [{name: encoded[name][row] for name in encoded} for row in range(len(pairs))]


def stock_run(folder: Any, pairs: Any = None, **overrides: Any) -> StockTrainer:
    pairs, model = pairs or shouts(ROWS), tiny_t5()
    trainer = StockTrainer(
        model,
        arguments(transformers.Seq2SeqTrainingArguments, folder, **overrides),
        train_dataset=stock_rows(pairs),
        data_collator=transformers.DataCollatorForSeq2Seq(HF, model=model),
        processing_class=HF,
    )
    trainer.train()
    return trainer


def fast_run(folder: Any, pairs: Any = None, **overrides: Any) -> FastTrainer:
    model = tiny_t5()
    task, data = prepared(pairs or shouts(ROWS))
    trainer = FastTrainer(
        model,
        arguments(fastft.Seq2SeqTrainingArguments, folder, **overrides),
        train_dataset=data.dataset,
        data_collator=task.collator(HF, model),
        processing_class=HF,
    )
    trainer.train()
    return trainer


def exact_losses(batches: list[list[list[int]]], pairs: Any, steps: int) -> list[float]:
    """Trains by hand: the model's own forward, the fp64 mean over the labels, plain AdamW."""
    by_source = {tuple(row["input_ids"]): row["labels"] for row in stock_rows(pairs)}
    model = tiny_t5().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    losses = []
    for batch in batches:
        rows = [{"input_ids": ids, "labels": by_source[tuple(ids)]} for ids in batch]
        inputs = transformers.DataCollatorForSeq2Seq(HF, model=model)(rows)
        logits = model(**inputs).logits.double()
        labels = inputs["labels"].view(-1)
        total = torch.nn.functional.cross_entropy(
            logits.view(len(labels), -1), labels, ignore_index=-100, reduction="sum"
        )
        loss = total / (labels != -100).sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def distinct(number: int) -> list[tuple[str, str]]:
    return list(dict(shouts(2 * number)).items())[:number]


def test_losses_are_the_exact_ones_over_33_steps(tmp_path):
    pairs = distinct(ROWS)
    fast = fast_run(tmp_path, pairs)
    assert len(fast.losses) == 33
    np.testing.assert_allclose(fast.losses, exact_losses(fast.batches, pairs, 33), rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_batches_and_losses_are_those_of_the_stock_trainer(smoothing, tmp_path):
    stock = stock_run(tmp_path, label_smoothing_factor=smoothing)
    fast = fast_run(tmp_path, label_smoothing_factor=smoothing)
    assert fast.batches == stock.batches
    assert len(fast.losses) == 33
    np.testing.assert_allclose(fast.losses, stock.losses, rtol=1e-5)


@pytest.mark.parametrize(("batch_size", "accumulation"), [(4, 4), (8, 2)])
def test_a_divided_step_has_the_loss_of_the_whole(batch_size, accumulation, tmp_path):
    pairs = shouts(80)
    options = {"num_train_epochs": 1, "label_smoothing_factor": 0.1}
    divided = fast_run(
        tmp_path,
        pairs,
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        **options,
    )
    whole = fast_run(tmp_path, pairs, **options)
    assert len(divided.losses) == 5
    np.testing.assert_allclose(divided.losses, whole.losses, rtol=1e-5)


def test_the_stock_trainer_multiplies_the_loss_by_the_accumulation(tmp_path):
    """Pins a fault of transformers 5.23: when this fails, it has been repaired there."""
    pairs = [(text, " ".join(target.split()[:1])) for text, target in shouts(64)]
    whole = stock_run(tmp_path, pairs, max_steps=1).losses[0]
    divided = stock_run(tmp_path, pairs, max_steps=1, **SPLIT).losses[0]
    assert divided / whole == pytest.approx(4.0, rel=1e-4)
    ours = fast_run(tmp_path, pairs, max_steps=1, **SPLIT).losses[0]
    assert ours == pytest.approx(whole, rel=1e-5)


def test_a_trainer_without_a_collator_takes_the_one_for_seq2seq(tmp_path):
    task, data = prepared(shouts(20))
    model = tiny_t5()
    trainer = fastft.Seq2SeqTrainer(
        model,
        arguments(fastft.Seq2SeqTrainingArguments, tmp_path, max_steps=1),
        train_dataset=data.dataset,
        processing_class=HF,
    )
    batch = next(iter(trainer.get_train_dataloader()))
    assert "decoder_input_ids" in batch
    assert task.collator(HF, model).why_not_rust(data.dataset) is None


def evaluator(
    model: Any, folder: Any, pairs: Any, **overrides: Any
) -> tuple[Any, Translation, Any]:
    task, data = prepared(pairs)
    settings = task.training_defaults({"validation": data}) | overrides
    trainer = fastft.Seq2SeqTrainer(
        model,
        arguments(fastft.Seq2SeqTrainingArguments, folder, **settings),
        eval_dataset=data.dataset,
        data_collator=task.collator(HF, model),
        processing_class=HF,
        compute_metrics=lambda found: task.compute_metrics(found, data.reference),
        preprocess_logits_for_metrics=task.preprocess_logits,
    )
    return trainer, task, settings


def test_an_evaluation_scores_what_plain_transformers_generates(tmp_path):
    model, pairs = (
        fast_run(tmp_path, shouts(ROWS), num_train_epochs=9, learning_rate=5e-3).model,
        shouts(12, seed=5),
    )
    for beams in (1, 3):
        trainer, task, settings = evaluator(
            model, tmp_path, pairs, per_device_eval_batch_size=7, generation_num_beams=beams
        )
        task.prepare_model(model, HF, settings)
        figures = trainer.evaluate()
        model.save_pretrained(tmp_path / "saved")
        plain = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "saved").eval()
        texts = [
            HF.decode(plain.generate(**HF(text, return_tensors="pt"))[0], skip_special_tokens=True)
            for text, _ in pairs
        ]
        wanted = [[target for _, target in pairs]]
        assert figures["eval_bleu"] == pytest.approx(
            sacrebleu.corpus_bleu(texts, wanted, force=True).score, abs=1e-9
        )
        assert figures["eval_chrf"] == pytest.approx(sacrebleu.corpus_chrf(texts, wanted).score)
        assert figures["eval_chrf"] > 5


def test_the_evaluation_loss_is_the_mean_over_all_labels(tmp_path):
    model, pairs = tiny_t5(), shouts(16, seed=5)
    evaluations = [
        evaluator(model, tmp_path, pairs, per_device_eval_batch_size=size)[0].evaluate()
        for size in (1, 7, 16)
    ]
    total = count = 0.0
    for row in stock_rows(pairs):
        labels = torch.tensor([row["labels"]])
        with torch.no_grad():
            mean = model.eval()(input_ids=torch.tensor([row["input_ids"]]), labels=labels).loss
        total, count = total + mean.double().item() * labels.numel(), count + labels.numel()
    found = [figures["eval_loss"] for figures in evaluations]
    np.testing.assert_allclose(found, total / count, rtol=1e-5)


def test_without_generation_only_the_loss_is_given(tmp_path):
    trainer, _, _ = evaluator(tiny_t5(), tmp_path, shouts(9), predict_with_generate=False)
    figures = trainer.evaluate()
    assert "eval_loss" in figures and "eval_bleu" not in figures
