"""T5 and float16: what takes its place, in the arguments and in the Trainers."""

from __future__ import annotations

import pytest
import torch

import fastft
from fastft.modeling import half_precision
from fastft.modeling.half_precision import safe_precision
from tests.tiny import tiny_model
from tests.tiny_seq2seq import shouts, t5_tokenizer, tiny_t5


@pytest.mark.parametrize(
    ("has_bf16", "expected"),
    [(True, {"fp16": False, "bf16": True}), (False, {"fp16": False})],
)
def test_t5_in_float16_becomes_bfloat16_where_the_gpu_has_it(monkeypatch, has_bf16, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_bf16)
    changes, note = safe_precision({"fp16": True, "fp16_full_eval": False}, "mt5", "cuda")
    assert changes == expected
    assert "mt5 overflows in float16" in note
    assert ("bfloat16 instead" in note) is has_bf16


def test_evaluation_in_float16_is_changed_too():
    changes, note = safe_precision({"fp16_full_eval": True}, "t5", "cpu")
    assert changes == {"fp16_full_eval": False}
    assert note.startswith("fp16_full_eval is left out") and "float32" in note


@pytest.mark.parametrize(
    ("arguments", "model_type"),
    [({"fp16": True}, "bert"), ({"bf16": True}, "t5"), ({"fp16": "auto"}, "t5"), ({}, None)],
)
def test_nothing_else_is_changed(arguments, model_type):
    assert safe_precision(arguments, model_type, "cpu") == ({}, None)


def tokens(hf):
    return fastft.TokenDataset.from_texts([text for text, _ in shouts(8)], hf)


def arguments(cls, folder, **overrides):
    return cls(str(folder), report_to="none", use_cpu=True, **overrides)


def test_the_trainers_change_a_copy_and_warn(tmp_path):
    hf = t5_tokenizer()
    given = arguments(fastft.Seq2SeqTrainingArguments, tmp_path, fp16=True, seed=3)
    for words in ((tiny_t5(), given), ()):
        named = {} if words else {"model": tiny_t5(), "args": given}
        with pytest.warns(UserWarning, match="fp16 is left out: t5 overflows"):
            trainer = fastft.Seq2SeqTrainer(
                *words, **named, train_dataset=tokens(hf), processing_class=hf
            )
        assert given.fp16 and not trainer.args.fp16
        assert trainer.args.seed == 3 and trainer.accelerator.mixed_precision == "no"


def test_a_trainer_of_another_model_is_left_alone(tmp_path):
    given = arguments(fastft.TrainingArguments, tmp_path)
    assert fastft.Trainer(tiny_model(), given).args is given
    assert half_precision.T5_MODEL_TYPES[0] == "t5"
