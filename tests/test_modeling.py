from __future__ import annotations

import json
import logging
import shutil

import pytest
import torch
from huggingface_hub.utils import logging as hub_logging
from torch import nn
from transformers import AutoModelForSequenceClassification, BertModel, XLNetConfig
from transformers.utils import logging as transformers_logging

from fastft.errors import ConfigurationError
from fastft.modeling.fit import left_as_it_was
from fastft.modeling.freeze import choose_trainable, frozen_note
from fastft.modeling.load import load_config, load_model, pad_on_the_right
from fastft.modeling.quiet import KNOWN_NOISE, quiet_libraries
from fastft.modeling.structure import count_parameters, describe_model, model_blocks
from tests.tiny import tiny_config, tiny_model


def test_new_weights_are_named(tiny_bert):
    loaded = load_model(str(tiny_bert), "AutoModelForSequenceClassification", {"num_labels": 3})
    assert loaded.new_weights == ("classifier.bias", "classifier.weight")
    assert loaded.unused_weights == ()


def test_a_head_of_another_size_is_new(tmp_path):
    tiny_model(num_labels=5).save_pretrained(tmp_path)
    loaded = load_model(str(tmp_path), "AutoModelForSequenceClassification", {"num_labels": 2})
    assert set(loaded.new_weights) == {"classifier.bias", "classifier.weight"}
    assert loaded.model.classifier.weight.shape == (2, 32)


def test_weights_without_a_place_are_named(tmp_path):
    from transformers import BertForMaskedLM

    BertForMaskedLM(tiny_config()).save_pretrained(tmp_path)
    loaded = load_model(str(tmp_path), "AutoModelForSequenceClassification", {"num_labels": 2})
    assert any(name.startswith("cls.predictions") for name in loaded.unused_weights)


def test_half_precision_weights_are_held_in_fp32(tmp_path, tiny_bert):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    loaded = load_model(str(tmp_path), "AutoModelForSequenceClassification", {"num_labels": 2})
    assert {weight.dtype for weight in loaded.model.parameters()} == {torch.float32}


def test_code_of_a_repository_is_never_run(tiny_bert, tmp_path):
    folder = tmp_path / "remote"
    shutil.copytree(tiny_bert, folder)
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "mystery"
    config["auto_map"] = {"AutoConfig": "code.Config"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text("open('ran', 'w')")
    with pytest.raises(ConfigurationError, match="never run"):
        load_config(str(folder))
    assert not (tmp_path / "ran").exists()


def test_parameters_are_counted_once():
    layer = nn.Linear(3, 4)
    assert count_parameters(nn.Sequential(layer, layer)) == (16, 16)
    layer.bias.requires_grad_(False)
    assert count_parameters(layer) == (12, 16)


def test_the_blocks_hold_every_parameter():
    model = tiny_model()
    blocks = model_blocks(model)
    assert [block.name for block in blocks] == [
        "bert.embeddings",
        "bert.encoder.layer x 2",
        "bert.pooler",
        "classifier",
    ]
    assert sum(block.num_parameters for block in blocks) == count_parameters(model)[1]


def test_frozen_blocks_are_marked():
    model = tiny_model()
    choose_trainable(model, "head", ())
    model.bert.encoder.layer[0].requires_grad_(True)
    lines = describe_model(model).splitlines()
    assert lines[0].endswith("frozen")
    assert lines[1].endswith("partly frozen")
    assert lines[3].rstrip().endswith("66")
    assert lines[-1].startswith("trainable 8,610 of ")


@pytest.mark.parametrize("train", ["full", "head"])
def test_what_is_trained(train):
    model = tiny_model()
    choose_trainable(model, train, ["bert.pooler.dense.weight"])
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    head = {"classifier.weight", "classifier.bias", "bert.pooler.dense.weight"}
    everything = {name for name, _ in model.named_parameters()}
    assert trained == (everything if train == "full" else head)


def test_an_unknown_way_to_train_is_refused():
    with pytest.raises(ConfigurationError, match="'full', 'head'"):
        choose_trainable(tiny_model(), "tail", ())


def test_a_model_that_is_all_body_has_no_head_to_train():
    with pytest.raises(ConfigurationError, match="no head of its own"):
        choose_trainable(BertModel(tiny_config()), "head", ())


def test_what_the_user_froze_stays_frozen_and_is_counted():
    model = tiny_model()
    model.bert.embeddings.requires_grad_(False)
    choose_trainable(model, "full", ())
    assert not model.bert.embeddings.word_embeddings.weight.requires_grad
    note = frozen_note(model, "full")
    assert note is not None
    assert note.startswith("3,456 of 21,666 parameters stay frozen")
    assert "bert.embeddings.word_embeddings.weight" in note
    assert "(5 weights)" in note
    assert frozen_note(model, "head") is None
    assert frozen_note(tiny_model(), "full") is None


def test_a_model_is_left_as_it_was():
    model = tiny_model()
    before = dict(vars(model.config))
    with pytest.raises(KeyError), left_as_it_was(model):
        choose_trainable(model, "head", ())
        model.config.id2label = {0: "a", 1: "b"}
        model.config.something_new = 1
        raise KeyError
    assert vars(model.config) == before
    assert all(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_stands_on_the_right(tiny_tokenizer, side):
    tiny_tokenizer.padding_side = side
    padded, note = pad_on_the_right(tiny_tokenizer, tiny_config())
    assert padded.padding_side == "right"
    assert (note is None) == (side == "right")
    assert tiny_tokenizer.padding_side == side


def test_xlnet_reads_the_last_position_and_keeps_its_padding_on_the_left(tiny_tokenizer):
    tiny_tokenizer.padding_side = "left"
    assert pad_on_the_right(tiny_tokenizer, XLNetConfig()) == (tiny_tokenizer, None)


@pytest.mark.parametrize("quiet", [True, False])
@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING])
def test_the_log_settings_of_the_user_come_back(quiet, level):
    libraries = (transformers_logging, hub_logging)
    before = [library.get_verbosity() for library in libraries]
    bars = transformers_logging.is_progress_bar_enabled()
    try:
        for library in libraries:
            library.set_verbosity(level)
        with pytest.raises(KeyError), quiet_libraries(quiet=quiet):
            inside = [library.get_verbosity() for library in libraries]
            assert inside == ([logging.ERROR] * 2 if quiet else [level] * 2)
            assert not transformers_logging.is_progress_bar_enabled()
            assert all(logging.getLogger(name).filters for name in KNOWN_NOISE)
            raise KeyError
        assert [library.get_verbosity() for library in libraries] == [level] * 2
        assert transformers_logging.is_progress_bar_enabled() == bars
        assert not any(logging.getLogger(name).filters for name in KNOWN_NOISE)
    finally:
        for library, verbosity in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)
