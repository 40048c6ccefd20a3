"""Families that are said to use every weight do."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, BertModel

from fastft.modeling.freeze import choose_trainable
from fastft.training.unused_parameters import ALL_USED, uses_every_weight
from tests.tiny import tiny_config, tiny_model

# The same sizes under the names of each family.
SMALL = {
    "vocab_size": 60, "hidden_size": 16, "embedding_size": 16, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 64, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32,
    "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2,
}  # fmt: skip


def without_gradient(model):
    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 0]])
    labels = torch.tensor([0, 1])
    model.train()(input_ids=ids, attention_mask=(ids != 0).long(), labels=labels).loss.backward()
    weights = model.named_parameters()
    return [name for name, weight in weights if weight.requires_grad and weight.grad is None]


@pytest.mark.parametrize("model_type", ALL_USED)
def test_every_weight_of_a_family_gets_a_gradient(model_type):
    default = AutoConfig.for_model(model_type)
    sizes = {name: size for name, size in SMALL.items() if hasattr(default, name)}
    config = AutoConfig.for_model(model_type, num_labels=2, **sizes)
    model = AutoModelForSequenceClassification.from_config(config)
    assert uses_every_weight(model)
    assert without_gradient(model) == []


def test_the_weights_of_a_head_get_gradients_too():
    model = tiny_model()
    choose_trainable(model, "head", ())
    assert without_gradient(model) == []


def test_classes_that_may_hold_more_are_left_to_torch():
    class WithMore(type(tiny_model())):
        pass

    assert not uses_every_weight(WithMore(tiny_config()))
    assert not uses_every_weight(BertModel(tiny_config()))
