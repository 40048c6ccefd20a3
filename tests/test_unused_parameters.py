"""Models that are said to use every weight do."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BertModel,
)

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
    "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2,
    "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
}  # fmt: skip


CASES = [(kind, family) for kind, families in ALL_USED.items() for family in families]
AUTO_CLASSES = {
    "LMHeadModel": AutoModelForCausalLM,
    "ForCausalLM": AutoModelForCausalLM,
    "ForConditionalGeneration": AutoModelForSeq2SeqLM,
    "ForMaskedLM": AutoModelForMaskedLM,
    "ForQuestionAnswering": AutoModelForQuestionAnswering,
    "ForSequenceClassification": AutoModelForSequenceClassification,
}


def labels_for(kind, ids):
    if kind == "ForQuestionAnswering":
        return {"start_positions": torch.tensor([1, 2]), "end_positions": torch.tensor([2, 2])}
    return {"labels": torch.tensor([0, 1]) if kind == "ForSequenceClassification" else ids}


def without_gradient(model, kind="ForSequenceClassification"):
    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 0]])
    mask = (ids != 0).long()
    model.train()(input_ids=ids, attention_mask=mask, **labels_for(kind, ids)).loss.backward()
    weights = model.named_parameters()
    return [name for name, weight in weights if weight.requires_grad and weight.grad is None]


@pytest.mark.parametrize(("kind", "family"), CASES)
def test_every_weight_of_a_family_gets_a_gradient(kind, family):
    default = AutoConfig.for_model(family)
    sizes = {name: size for name, size in SMALL.items() if hasattr(default, name)}
    starts = {"decoder_start_token_id": 0} if kind == "ForConditionalGeneration" else {}
    config = AutoConfig.for_model(family, num_labels=2, **sizes, **starts)
    model = AUTO_CLASSES[kind].from_config(config)
    assert uses_every_weight(model)
    assert without_gradient(model, kind) == []


def test_a_model_that_drops_layers_at_random_is_left_to_torch():
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 60}
    config = AutoConfig.for_model("bart", decoder_layerdrop=0.1, **sizes)
    assert not uses_every_weight(AutoModelForSeq2SeqLM.from_config(config))


def test_the_weights_of_a_head_get_gradients_too():
    model = tiny_model()
    choose_trainable(model, "head", ())
    assert without_gradient(model) == []


def test_classes_that_may_hold_more_are_left_to_torch():
    class WithMore(type(tiny_model())):
        pass

    assert not uses_every_weight(WithMore(tiny_config()))
    assert not uses_every_weight(BertModel(tiny_config()))
