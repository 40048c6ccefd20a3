"""Question answering against the recipe of transformers (run_qa): features, losses, answers, F1.

The recipe is written out plainly here; where it is known to be wrong, `test_question_answering.py`
pins the difference.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoTokenizer, BertForQuestionAnswering, BertTokenizer, EvalPrediction

import fastft
from fastft.data.sources import open_source
from fastft.data.tokenizer import Tokenizer
from fastft.tasks.question_answering import QuestionAnswering, Reference
from fastft.tasks.squad_metrics import squad_scores
from tests.parity.recording import FastTrainer, StockTrainer, arguments
from tests.tiny import tiny_config

MAX_LENGTH = 384
STRIDE = 128


def task_and_split(path: Any, **given: Any) -> tuple[QuestionAnswering, Any]:
    source = open_source(path)
    task = QuestionAnswering.from_source(source, {**QuestionAnswering.options, **given})
    return task, source.splits["train"]


def run_qa_features(hf: Any, rows: list[dict[str, Any]], max_length: int) -> list[dict[str, Any]]:
    """The training features of run_qa."""
    encoded = hf(
        [row["question"].lstrip() for row in rows],
        [row["context"] for row in rows],
        truncation="only_second",
        max_length=max_length,
        stride=min(STRIDE, max_length // 3),
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding=False,
    )
    features = []
    for window, offsets in enumerate(encoded["offset_mapping"]):
        row = encoded["overflow_to_sample_mapping"][window]
        segments = encoded.sequence_ids(window)
        inside = [position for position, segment in enumerate(segments) if segment == 1]
        start, end = marks(rows[row], offsets, inside)
        feature = {name: encoded[name][window] for name in hf.model_input_names}
        feature |= {"start_positions": start, "end_positions": end, "row": row}
        feature["offsets"] = [
            offset if segment == 1 else None
            for offset, segment in zip(offsets, segments, strict=True)
        ]
        features.append(feature)
    return features


def marks(row: dict[str, Any], offsets: Any, inside: list[int]) -> tuple[int, int]:
    """The positions of the answer as run_qa finds them; `[CLS]` stands first in BERT."""
    begin = row["answers"]["answer_start"][0]
    end = begin + len(row["answers"]["text"][0])
    first, last = inside[0], inside[-1]
    if offsets[first][0] > begin or offsets[last][1] < end:
        return 0, 0
    while first < len(offsets) and offsets[first][0] <= begin:
        first += 1
    while offsets[last][1] >= end:
        last -= 1
    return first - 1, last + 1


def stock_inputs(features: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in one.items() if k not in ("row", "offsets")} for one in features]


@pytest.mark.parametrize("max_length", [MAX_LENGTH, 128])
def test_the_features_of_xquad_are_those_of_run_qa(shared_data, minilm_tokenizer, max_length):
    task, split = task_and_split(shared_data / "qa/xquad/xquad.en.json")
    data = task.data(split, Tokenizer.from_hf(minilm_tokenizer), max_length)
    features = run_qa_features(minilm_tokenizer, split.table.to_pylist(), max_length)
    assert [data.dataset[i] for i in range(len(data.dataset))] == stock_inputs(features)
    assert data.reference.windows.rows.tolist() == [one["row"] for one in features]


def test_the_features_of_a_chinese_set_are_those_of_run_qa(shared_data):
    hf = BertTokenizer.from_pretrained(shared_data / "tokenizers" / "bert_chinese")
    task, split = task_and_split(shared_data / "qa/drcd/DRCD_dev.json")
    split = type(split)(split.name, split.table.slice(0, 300), split.origin)
    data = task.data(split, Tokenizer.from_hf(hf), MAX_LENGTH)
    features = run_qa_features(hf, split.table.to_pylist(), MAX_LENGTH)
    assert [data.dataset[i] for i in range(len(data.dataset))] == stock_inputs(features)


# -- losses --------------------------------------------------------------------------------------


class ExactTrainer(FastTrainer):
    """Also notes the loss of each micro-batch in fp64, from the model's own logits."""

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            output = model(**inputs)
        losses = [
            torch.nn.functional.cross_entropy(logits.double(), inputs[name], reduction="none")
            for logits, name in (
                (output.start_logits, "start_positions"),
                (output.end_logits, "end_positions"),
            )
        ]
        self.exact = [*getattr(self, "exact", []), (losses[0] + losses[1]) / 2]
        return super().training_step(model, inputs, *args, **kwargs)


def tiny_reader(hf: Any) -> BertForQuestionAnswering:
    torch.manual_seed(0)
    return BertForQuestionAnswering(
        tiny_config(vocab_size=len(hf), max_position_embeddings=MAX_LENGTH)
    )


@pytest.fixture(scope="module")
def xquad(shared_data, minilm_path):
    hf = AutoTokenizer.from_pretrained(minilm_path)
    task, split = task_and_split(shared_data / "qa/xquad/xquad.en.json")
    split = type(split)(split.name, split.table.slice(0, 200), split.origin)
    return hf, task, split, task.data(split, Tokenizer.from_hf(hf), 128)


def run(cls: type, arguments_class: type, hf: Any, dataset: Any, folder: Any, **given: Any) -> Any:
    settings = {"num_train_epochs": 2, "max_steps": 32, **given}
    trainer = cls(
        tiny_reader(hf),
        arguments(arguments_class, folder, **settings),
        train_dataset=dataset,
        data_collator=None if cls is not StockTrainer else transformers.DataCollatorWithPadding(hf),
        processing_class=hf,
    )
    trainer.train()
    return trainer


def test_batches_and_losses_equal_the_stock_trainer_over_32_steps(xquad, tmp_path):
    hf, _, split, data = xquad
    features = stock_inputs(run_qa_features(hf, split.table.to_pylist(), 128))
    stock = run(StockTrainer, transformers.TrainingArguments, hf, features, tmp_path)
    fast = run(ExactTrainer, fastft.TrainingArguments, hf, data.dataset, tmp_path)
    assert fast.batches == stock.batches
    assert len(fast.losses) == 32
    np.testing.assert_allclose(fast.losses, stock.losses, rtol=1e-5)
    exact = [float(losses.mean()) for losses in fast.exact]
    np.testing.assert_allclose(fast.losses, exact, rtol=1e-5)


def test_with_accumulation_the_loss_is_the_mean_over_all_windows_of_a_step(xquad, tmp_path):
    hf, task, rows, _ = xquad
    rows = type(rows)(rows.name, rows.table.slice(0, 60), rows.origin)
    data = task.data(rows, Tokenizer.from_hf(hf), 128)
    split = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}
    fast = run(
        ExactTrainer, fastft.TrainingArguments, hf, data.dataset, tmp_path, **split, max_steps=12
    )
    # The last step of an epoch is shorter.
    micro = -(-len(data.dataset) // 4)
    ends = [min(start + 4, micro) for start in range(0, micro, 4)]
    starts = [0, *ends[:-1]]
    steps = [slice(epoch * micro + a, epoch * micro + b) for epoch in range(2)
             for a, b in zip(starts, ends, strict=True)][:12]  # fmt: skip
    exact = [float(torch.cat(fast.exact[step]).mean()) for step in steps]
    np.testing.assert_allclose(fast.losses, exact, rtol=1e-5)


# -- answers -------------------------------------------------------------------------------------


def run_qa_answers(
    features: list[dict[str, Any]], logits: Any, contexts: list[str], *, with_null: bool
) -> list[tuple[str, list[tuple[str, float]]]]:
    """The answers of run_qa with their n-best lists, at 20 answers of 30 tokens, threshold 0."""
    answers = []
    for row, context in enumerate(contexts):
        found, null = [], None
        for window, feature in enumerate(features):
            if feature["row"] != row:
                continue
            size = len(feature["offsets"])
            starts, ends = logits[0][window][:size], logits[1][window][:size]
            if null is None or null[0] > starts[0] + ends[0]:
                null = (starts[0] + ends[0], (0, 0), starts[0], ends[0])
            for start in np.argsort(starts)[-1:-21:-1]:
                for end in np.argsort(ends)[-1:-21:-1]:
                    pair = feature["offsets"][start], feature["offsets"][end]
                    if None in pair or end < start or end - start + 1 > 30:
                        continue
                    place = pair[0][0], pair[1][1]
                    found.append((starts[start] + ends[end], place, starts[start], ends[end]))
        found = sorted([*found, null] if with_null else found, key=lambda one: one[0], reverse=True)
        best = found[:20]
        if with_null and all(one[1] != (0, 0) for one in best):
            best.append(null)
        scores = np.array([one[0] for one in best])
        shares = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
        texts = [context[slice(*one[1])] for one in best]
        chosen = next(index for index, text in enumerate(texts) if text)
        is_silent = with_null and null[0] - best[chosen][2] - best[chosen][3] > 0
        answers.append(("" if is_silent else texts[chosen], list(zip(texts, shares, strict=True))))
    return answers


@pytest.mark.parametrize("with_null", [False, True])
def test_the_answers_and_their_scores_are_those_of_run_qa(xquad, with_null):
    hf, task, split, data = xquad
    features = run_qa_features(hf, split.table.to_pylist(), 128)
    draw = np.random.default_rng(5)
    width = max(len(one["offsets"]) for one in features)
    logits = draw.normal(size=(2, len(features), width)).astype(np.float32) * 3
    logits[:, :, 0] += 6.0  # so that "no answer" wins about half of the time
    contexts = split.table.column("context").to_pylist()
    expected = run_qa_answers(features, logits, contexts, with_null=with_null)
    task.search.allow_null = with_null
    found = task.search.answers(*logits, data.reference.contexts, data.reference.windows)
    texts = [task.search.chosen_text(one) for one in found]
    assert texts == [text for text, _ in expected]
    assert with_null == (20 < texts.count("") < 180)
    for one, (_, best) in zip(found, expected, strict=True):
        shares = one.n_best.probabilities()
        assert [one.context[slice(*span)] for span in one.n_best.spans.tolist()] == [
            text for text, _ in best
        ]
        np.testing.assert_allclose(shares, [share for _, share in best], rtol=1e-5)
    task.search.allow_null = False


# -- real reading --------------------------------------------------------------------------------


def first_capitalised_phrase(context: str) -> str:
    """The answer of somebody who reads no question: the first name that is met."""
    found = re.search(r"(?<=[a-z,] )[A-Z]\w*(?: [A-Z]\w*)*", context)
    return found[0] if found else ""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_minilm_learns_to_read_articles_it_has_never_seen(shared_data, minilm_path, tmp_path):
    hf = AutoTokenizer.from_pretrained(minilm_path)
    task, split = task_and_split(shared_data / "qa/xquad/xquad.en.json")
    train, held = task.hold_out(split, fraction=0.2, seed=42)
    titles = [set(part.table.column("title").to_pylist()) for part in (train, held)]
    assert not titles[0] & titles[1]
    tokenizer = Tokenizer.from_hf(hf)
    data = {part.name: task.data(part, tokenizer, 256) for part in (train, held)}
    reference: Reference = data["validation"].reference
    guesses = [first_capitalised_phrase(one) for one in reference.contexts.to_pylist()]
    guessed = 100 * squad_scores(guesses, reference.answers, version_2=False)[:, 1].mean()

    def score(prediction: EvalPrediction) -> dict[str, float]:
        return task.compute_metrics(prediction, reference)

    model = transformers.AutoModelForQuestionAnswering.from_pretrained(minilm_path)
    trainer = fastft.Trainer(
        model,
        arguments(
            fastft.TrainingArguments,
            tmp_path,
            num_train_epochs=2,
            per_device_train_batch_size=8,
            learning_rate=4e-4,
            warmup_steps=30,
        ),
        train_dataset=data["train"].dataset,
        eval_dataset=data["validation"].dataset,
        processing_class=hf,
        preprocess_logits_for_metrics=task.preprocess_logits,
        compute_metrics=score,
    )
    trainer.train()
    figures = trainer.evaluate()
    print(f"F1 {figures['eval_f1']:.1f}, EM {figures['eval_exact_match']:.1f}, guess {guessed:.1f}")
    assert figures["eval_f1"] > 2 * guessed
