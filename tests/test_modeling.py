from __future__ import annotations

import json
import shutil

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from fastft.errors import ConfigurationError
from fastft.modeling.freeze import choose_trainable
from fastft.modeling.load import load_config, load_model
from fastft.modeling.structure import count_parameters, describe_model, model_blocks
from tests.tiny import tiny_model


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

    from tests.tiny import tiny_config

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
    with pytest.raises(ConfigurationError, match="'full' or 'head'"):
        choose_trainable(tiny_model(), "tail", ())
