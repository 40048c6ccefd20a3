"""Ways to train: all weights, the head, the last layers, adapters; and dropout by one argument."""

from __future__ import annotations

import pytest
import torch
import transformers

import fastft
from fastft.errors import ConfigurationError, ModelNotFoundError
from fastft.modeling.dropout import dropout_overrides
from fastft.modeling.freeze import check_train_mode, choose_trainable
from fastft.modeling.lora import add_lora, check_lora
from tests.tiny import save_tiny_bert, sentences, tiny_config, tiny_model, tiny_tokenizer

SIZES = {"vocab_size": 40, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}


def gpt2(**settings):
    config = transformers.GPT2Config(vocab_size=40, n_positions=32, n_embd=16, n_layer=3, n_head=2)
    return transformers.GPT2LMHeadModel(config)


def llama(**settings):
    config = transformers.LlamaConfig(
        num_hidden_layers=3, num_key_value_heads=2, **SIZES, **settings
    )
    return transformers.LlamaForCausalLM(config)


def t5():
    config = transformers.T5Config(
        vocab_size=40, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        decoder_start_token_id=0,
    )  # fmt: skip
    return transformers.T5ForConditionalGeneration(config)


def albert():
    config = transformers.AlbertConfig(embedding_size=8, num_hidden_layers=3, **SIZES)
    return transformers.AlbertForSequenceClassification(config)


def trained(model, train, new_weights=()):
    choose_trainable(model, train, new_weights)
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


def layers(names):
    return {name.rpartition("layer.")[2].split(".")[0] for name in names if ".layer." in name}


def test_the_last_layers_and_all_above_them_are_trained():
    names = trained(tiny_model(num_hidden_layers=3), "last:2")
    assert layers(names) == {"1", "2"}
    assert {"classifier.weight", "bert.pooler.dense.weight"} <= names
    assert not any("embeddings" in name for name in names)


def test_a_tied_output_layer_stays_frozen():
    names = trained(gpt2(), "last:1")
    assert {name.split(".")[2] for name in names if ".h." in name} == {"2"}
    assert {"transformer.ln_f.weight", "transformer.ln_f.bias"} <= names
    assert not any("wte" in name or "lm_head" in name for name in names)


def test_an_output_layer_of_its_own_is_trained_with_the_last_layers():
    assert "lm_head.weight" in trained(llama(tie_word_embeddings=False), "last:1")


def test_of_an_encoder_and_a_decoder_the_last_layers_are_those_of_the_decoder():
    names = trained(t5(), "last:1")
    assert all(name.startswith("decoder.") for name in names)
    assert {name.split(".")[2] for name in names if ".block." in name} == {"1"}


def test_what_a_decoder_applies_before_its_layers_stays_frozen():
    config = transformers.BartConfig(
        vocab_size=40, d_model=16, encoder_layers=1, decoder_layers=2, encoder_ffn_dim=32,
        decoder_ffn_dim=32, encoder_attention_heads=2, decoder_attention_heads=2,
    )  # fmt: skip
    names = trained(transformers.BartForConditionalGeneration(config), "last:1")
    assert names
    assert all(name.startswith("model.decoder.layers.1.") for name in names)


@pytest.mark.parametrize(
    ("model", "train", "words"),
    [
        (albert, "last:1", "all layers share their weights"),
        (gpt2, "last:4", "at most last:3"),
        (gpt2, "head", "last:2"),
        (t5, "head", 'train="lora"'),
        (lambda: llama(tie_word_embeddings=True), "head", "tied embeddings"),
    ],
)
def test_what_cannot_be_trained_alone_says_what_can(model, train, words):
    with pytest.raises(ConfigurationError) as caught:
        choose_trainable(model(), train, ())
    assert words in str(caught.value)


@pytest.mark.parametrize("train", ["last:0", "last:", "last:x", "Last:2", 5, None, "lora "])
def test_a_way_to_train_that_does_not_exist_is_refused(train):
    with pytest.raises(ConfigurationError, match="no such way to train"):
        check_train_mode(train)


# -- LoRA -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "train", "words"),
    [
        ({"r": 8}, "full", 'train="lora"'),
        ({"rank": 8}, "lora", "'rank'"),
        (8, "lora", "a dict"),
    ],
)
def test_settings_of_lora_that_nothing_reads_are_refused(settings, train, words):
    with pytest.raises(ConfigurationError) as caught:
        check_lora(settings, train)
    assert words in str(caught.value)


def test_settings_that_peft_refuses_are_ours_to_explain():
    with pytest.raises(ConfigurationError, match="LoRA cannot be set up"):
        add_lora(tiny_model(), {"target_modules": ["no_such_layer"]}, ())


def test_the_output_layer_of_a_language_model_is_not_trained_unless_asked_for():
    names = {n for n, p in add_lora(gpt2(), {"r": 2}, ()).named_parameters() if p.requires_grad}
    assert names
    assert all("lora_" in name for name in names)
    saved = add_lora(llama(), {"r": 2, "modules_to_save": ["lm_head"]}, ())
    names = {name for name, weight in saved.named_parameters() if weight.requires_grad}
    assert any("lm_head.modules_to_save" in name for name in names)


TEXTS = ["a good film", "bad", "the plot was awful and the music fine"]


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lora")
    model = save_tiny_bert(folder / "tiny")
    rows = [(text, ("no", "yes", "maybe")[i % 3]) for i, (text, _) in enumerate(sentences(60))]
    return fastft.finetune(
        model, rows, train="lora", lora={"r": 4}, num_train_epochs=2, learning_rate=1e-2,
        output_dir=folder / "run", quiet=True,
    )  # fmt: skip


def scores(model):
    return [row["score"] for row in model.predict(TEXTS)]


def test_an_adapter_is_saved_small_with_the_new_head_and_loads_to_the_same(adapted):
    folder = adapted.output_dir
    assert not (folder / "model.safetensors").exists()
    assert scores(fastft.load(folder)) == pytest.approx(scores(adapted), abs=1e-6)
    config = transformers.AutoConfig.from_pretrained(folder)
    assert config.id2label == {0: "maybe", 1: "no", 2: "yes"}


def test_a_merged_adapter_is_a_plain_model_with_the_same_outputs(adapted, tmp_path):
    before = scores(adapted)
    adapted.merge().save(tmp_path / "merged")
    assert scores(adapted) == pytest.approx(before, abs=1e-6)
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    batch = tiny_tokenizer()(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        chances = plain(**batch).logits.softmax(-1).max(-1).values
    assert chances.tolist() == pytest.approx(before, abs=1e-6)
    with pytest.raises(ConfigurationError, match="no adapter to merge"):
        adapted.merge()


def test_an_adapter_of_a_model_object_says_to_merge_it(tmp_path):
    result = fastft.finetune(
        tiny_model(), sentences(20), tokenizer=tiny_tokenizer(), train="lora", max_steps=1,
        output_dir=tmp_path / "run", quiet=True,
    )  # fmt: skip
    with pytest.raises(ModelNotFoundError, match="merge"):
        fastft.load(result.output_dir)


# -- dropout --------------------------------------------------------------------------------------


def test_dropout_sets_every_probability_of_the_configuration():
    found = dropout_overrides(tiny_config(), 0.3, is_object=False)
    expected = ("attention_probs_dropout_prob", "classifier_dropout", "hidden_dropout_prob")
    assert found == dict.fromkeys(expected, 0.3)
    assert dropout_overrides(transformers.T5Config(), 0.2, is_object=False)["dropout_rate"] == 0.2


@pytest.mark.parametrize("dropout", [-0.1, 1, "much", True, float("nan")])
def test_dropout_that_is_no_probability_is_refused(dropout):
    with pytest.raises(ConfigurationError, match="dropout cannot be set"):
        dropout_overrides(tiny_config(), dropout, is_object=False)


def test_dropout_for_a_model_that_is_built_already_comes_too_late():
    with pytest.raises(ConfigurationError, match="built already"):
        dropout_overrides(tiny_config(), 0.1, is_object=True)
