"""What keeps packed rows apart in a model, tried on three short rows; models where nothing does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers

from fastft.errors import ConfigurationError
from fastft.modeling.padding_free.model import is_padding_free, padding_free
from fastft.modeling.padding_free.packed_rows import (
    BY_MASK,
    BY_ROWS,
    first_position,
    way_to_keep_apart,
)
from tests import padding_free_models as zoo
from tests.tiny_lm import tiny_gpt2

IDS = np.arange(5, 45)


@pytest.mark.parametrize("family", zoo.DECODERS)
def test_decoders_keep_packed_rows_apart_in_both_ways(family: str) -> None:
    model = zoo.model(family, "causal")
    before = torch.get_rng_state()
    for way in (BY_ROWS, BY_MASK):
        assert way_to_keep_apart(model, IDS, ways=(way,)) == way
    assert model.training and not is_padding_free(model)
    assert before.equal(torch.get_rng_state())


@pytest.mark.parametrize("family", zoo.ENCODERS)
def test_encoders_do_so_by_attention_within_rows_alone(family: str) -> None:
    model = zoo.model(family, "masked")
    assert way_to_keep_apart(model, IDS) == BY_ROWS
    with pytest.raises(ConfigurationError, match="a row changes with its neighbours"):
        way_to_keep_apart(model, IDS, ways=(BY_MASK,))
    starts_behind_padding = family in ("roberta", "xlm-roberta", "camembert")
    assert first_position(model) == int(starts_behind_padding)
    model.set_attn_implementation("eager")
    with pytest.raises(
        ConfigurationError, match=r"(?s)its attention is 'eager'.*batching=\"tokens"
    ):
        way_to_keep_apart(model, IDS)


@pytest.mark.parametrize("kind", ["Bloom", "Mamba", "RecurrentGemma"])
def test_models_that_mix_packed_rows_are_refused(kind: str) -> None:
    """Attention with a bias by distance, a state that runs on, and both with windows."""
    sizes = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "n_head": 2}
    more = {"num_attention_heads": 2, "intermediate_size": 32, "lru_width": 16}
    more = more if kind == "RecurrentGemma" else {}
    config = getattr(transformers, f"{kind}Config")(**sizes, **more, pad_token_id=0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    with pytest.raises(ConfigurationError, match="packed rows would see each other"):
        way_to_keep_apart(model, IDS)


def test_eager_decoders_have_the_mask_and_models_stay_as_they_were() -> None:
    model = tiny_gpt2(attn_implementation="eager")
    assert way_to_keep_apart(model, IDS) == BY_MASK
    with pytest.raises(ConfigurationError, match="a row changes with its neighbours"):
        way_to_keep_apart(model, IDS, ways=(BY_MASK,), use_cache=True)
    assert model.config.use_cache
    attached = zoo.model("bert", "masked")
    padding_free(attached)
    assert way_to_keep_apart(attached, IDS) == BY_ROWS
    assert is_padding_free(attached)


def test_no_tokens_say_nothing() -> None:
    assert way_to_keep_apart(tiny_gpt2(), IDS[:0], ways=(BY_MASK,)) == BY_MASK
