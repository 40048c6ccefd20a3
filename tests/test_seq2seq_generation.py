"""The model of a text-to-text job: where its decoder starts, what it generates, what is scored."""

from __future__ import annotations

import numpy as np
import pytest
import transformers
from transformers import EvalPrediction

from fastft.data.sources import open_source
from fastft.errors import ArgumentError, ConfigurationError
from fastft.tasks.inference import Inference
from fastft.tasks.seq2seq import Translation
from tests.test_seq2seq import HF, TOKENIZER, columns, made, tokens
from tests.tiny_seq2seq import shouts, t5_config, tiny_t5


def test_a_model_that_does_not_say_where_its_decoder_starts_is_refused():
    config = t5_config()
    del config.decoder_start_token_id
    with pytest.raises(ConfigurationError, match="decoder_start_token_id = 0"):
        made(columns()).collator(HF, transformers.T5ForConditionalGeneration(config))


def test_an_evaluation_may_write_more_than_the_longest_target():
    data = {"source": ["a", "a"], "target": ["A", "B " * 60]}
    task = made(data)
    parts = {"train": task.data(open_source(data).splits["train"], TOKENIZER, 64)}
    assert task.training_defaults(parts) == {
        "predict_with_generate": True,
        "generation_max_length": 61 + 12 + 1,
    }
    short = made(data, head=transformers.BartConfig(max_position_embeddings=64))
    assert short.training_defaults(parts)["generation_max_length"] == 64
    with pytest.raises(ConfigurationError, match="generation_max_length=64"):
        short.check_arguments({"generation_max_length": 65})
    short.check_arguments({"generation_max_length": 64})
    task.check_arguments({"generation_max_length": 999})


def test_generated_tokens_become_text_and_are_scored_against_whole_targets():
    task = made(columns(2), Translation)
    reference = tokens({"source": ["a", "a"], "target": ["A FILM WAS GOOD", "THE END"]}).reference
    rows = [
        [0, *HF("A FILM WAS GOOD")["input_ids"], -100],
        [0, *HF("THE END")["input_ids"], 0, 0, -100],
    ]
    rows = np.array([*rows, rows[0]])  # a third row, repeated to fill a batch
    figures = task.compute_metrics(EvalPrediction(rows, rows), reference)
    assert set(figures) == {"bleu", "chrf"}
    assert figures["chrf"] == pytest.approx(100)
    assert task.compute_metrics(EvalPrediction(rows[:, :0], rows), reference) == {}


def test_predictions_are_those_of_the_model_itself():
    model, task = tiny_t5(seed=1), made(columns(), prefix="the film : ")
    task.prepare_model(model, HF, {"generation_max_length": 12, "generation_num_beams": 2})
    sources = [text for text, _ in shouts(7, seed=3)]
    split = open_source({"source": sources}).splits["train"]
    model.train()
    found = task.predict(split, Inference(model, TOKENIZER, 64, batch_size=3))
    assert model.training
    model.eval()
    for text, row in zip(sources, found, strict=True):
        ids = HF(f"the film : {text}", return_tensors="pt")
        out = model.generate(**ids, num_beams=2, max_length=12)
        assert row == {"text": HF.decode(out[0], skip_special_tokens=True).strip()}
    short = task.predict(split, Inference(model, TOKENIZER, 64, options={"max_new_tokens": 1}))
    assert all(len(row["text"].split()) <= 1 for row in short)


def test_a_prediction_is_not_cut_at_the_20_tokens_of_transformers():
    model, split = tiny_t5(seed=1), open_source({"source": ["a film"]}).splits["train"]
    model.generation_config.eos_token_id = 999  # never comes
    model.generation_config.max_length = 20  # what an evaluation by transformers leaves behind
    for most in (30, 12):
        task = made(columns(), max_target_length=most)
        (row,) = task.predict(split, Inference(model, TOKENIZER, 64))
        written = model.generate(**HF("a film", return_tensors="pt"), max_new_tokens=most - 1)[0]
        assert row["text"] == HF.decode(written, skip_special_tokens=True)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"num_beams": 0}, ConfigurationError, "num_beams is no number of beams"),
        ({"max_new_tokens": 2.5}, ConfigurationError, "max_new_tokens is no number of tokens"),
        ({"num_beam": 2}, ArgumentError, "did you mean 'num_beams'"),
    ],
)
def test_options_of_a_prediction_are_checked(options, error, words):
    task = made(columns())
    split = open_source({"source": ["a"]}).splits["train"]
    with pytest.raises(error, match=words):
        task.predict(split, Inference(tiny_t5(), TOKENIZER, 64, options=options))


def test_generation_settings_are_saved_with_the_model(tmp_path):
    model, task = tiny_t5(), made(columns())
    task.prepare_model(model, HF, {"generation_max_length": 33, "generation_num_beams": 3})
    model.save_pretrained(tmp_path)
    loaded = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path).generation_config
    assert (loaded.max_length, loaded.num_beams, loaded.decoder_start_token_id) == (33, 3, 0)
