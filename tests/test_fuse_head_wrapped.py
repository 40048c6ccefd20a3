"""A fused head under peft, torch.compile, checkpointing, pickling; and models that have none."""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any

import pytest
import torch
import transformers as hf
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import nn

import fastft
from fastft.modeling.losses.fuse_head import explain_head, fused_head, why_not_fused
from tests.fused_models import assert_same_gradients, batch, build, gradients
from tests.tiny import tiny_model

if TYPE_CHECKING:
    from pathlib import Path

# peft and transformers speak of names that change in their next versions.
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`"),
]

LORA: dict[str, dict[str, Any]] = {
    "attention": {"target_modules": ["q_proj", "v_proj"]},
    "head too": {"target_modules": ["q_proj", "lm_head"]},
    "head trained": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
}


def adapted(fuse: bool, options: dict[str, Any]) -> Any:
    """A Llama with adapters; its head fused before."""
    model = build("llama")
    if fuse:
        fastft.fuse_head(model)
    torch.manual_seed(3)
    model = get_peft_model(model, LoraConfig(r=2, init_lora_weights=False, **options))
    return model.train()


@pytest.mark.parametrize("name", LORA)
def test_lora_on_a_fused_model(name: str, tmp_path: Path) -> None:
    plain, fused = adapted(False, LORA[name]), adapted(True, LORA[name])
    for model in (plain, fused):
        model(**batch()).loss.backward()
    assert_same_gradients(gradients(fused), gradients(plain))
    for folder, model in (("plain", plain), ("fused", fused)):
        model.save_pretrained(tmp_path / folder)
    first, second = (
        load_file(tmp_path / folder / "adapter_model.safetensors") for folder in ("plain", "fused")
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    text = explain_head(fused)
    if name == "attention":
        assert text == "head: fused\n  losses without logits: 1"
    else:
        assert text.startswith("head: fused, and wrapped by a ")
    assert ("losses without logits: 1" in text) == (name != "head too")
    fastft.unfuse_head(fused)
    torch.testing.assert_close(fused(**batch()).loss, plain(**batch()).loss)
    assert not any("Fused" in type(one).__name__ for one in fused.modules())


def test_adapters_elsewhere_leave_the_head_open() -> None:
    model = adapted(False, LORA["attention"])
    fastft.fuse_head(model)
    model(**batch()).loss.backward()
    assert explain_head(model) == "head: fused\n  losses without logits: 1"


@pytest.mark.parametrize("name", ["head too", "head trained"])
def test_a_head_that_peft_has_wrapped_is_refused(name: str) -> None:
    model = adapted(False, LORA[name])
    with pytest.raises(fastft.ConfigurationError, match="fuse first, then wrap"):
        fastft.fuse_head(model)
    assert "peft has wrapped the head" in explain_head(model)


def test_heads_that_cannot_be_fused_are_refused_with_the_reason() -> None:
    class Linear4bit(nn.Linear):
        """As libraries for quantised weights have it."""

    quantised = build("llama")
    quantised.set_output_embeddings(Linear4bit(32, 101))
    moved = build("llama")
    moved.lm_head.forward = moved.lm_head.forward
    normed = build("llama")
    nn.utils.parametrizations.weight_norm(normed.lm_head)
    for model, reason in (
        (tiny_model(), "no output embedding"),
        (nn.Linear(3, 3), "no set_output_embeddings"),
        (moved, "replaced the forward"),
        (normed, "Parametrized"),
        (quantised, "Linear4bit"),
    ):
        assert reason in (why_not_fused(model) or ""), reason
        with pytest.raises(fastft.ConfigurationError, match="cannot be fused"):
            fastft.fuse_head(model)


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(fastft.ArgumentError, match="chunk_tokens"):
        fastft.fuse_head(build("llama"), chunk_token=3)


def test_twice_fused_is_once_fused() -> None:
    model = build("llama")
    first = fastft.fuse_head(model)
    second = fastft.fuse_head(model, chunk_tokens=7)
    assert first.head is second.head and second.head.fused_options == {"chunk_tokens": 7}
    model(**batch()).loss.backward()
    assert second.explain() == "head: fused\n  losses without logits: 1"


def test_a_vocabulary_that_grows_makes_a_new_plain_head() -> None:
    model = build("llama")
    fastft.fuse_head(model)
    model.resize_token_embeddings(110)
    assert explain_head(model) == "head: not fused, fuse_head(model) was not called"
    fastft.fuse_head(model)
    model(**batch()).loss.backward()
    assert model.lm_head.weight.grad.shape == (110, 32)


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing(reentrant: bool) -> None:
    plain, fused = build("llama"), build("llama")
    fastft.fuse_head(fused)
    for model in (plain, fused):
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        model.enable_input_require_grads()
        model(**batch(), use_cache=False).loss.backward()
    assert_same_gradients(gradients(fused), gradients(plain))
    head = fused_head(fused)
    assert head is not None and head.record.fused == 1 and not head.record.materialised


def test_the_head_itself_in_a_checkpoint() -> None:
    plain, fused = build("llama"), build("llama")
    fastft.fuse_head(fused)
    inputs = batch()
    for model in (plain, fused):
        states = model.model(inputs["input_ids"]).last_hidden_state
        logits = torch.utils.checkpoint.checkpoint(model.lm_head, states, use_reentrant=False)
        model.loss_function(logits, inputs["labels"], vocab_size=101).backward()
    assert_same_gradients(gradients(fused), gradients(plain))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype: torch.dtype) -> None:
    plain, fused = build("llama"), build("llama")
    fastft.fuse_head(fused)
    losses = []
    for model in (plain, fused):
        with torch.autocast("cpu", dtype):
            losses.append(model(**batch()).loss)
        losses[-1].backward()
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-3, atol=1e-3)
    assert_same_gradients(gradients(fused), gradients(plain), tolerance=3e-2)
    assert explain_head(fused) == "head: fused\n  losses without logits: 1"


@pytest.mark.parametrize("name", ["llama", "t5", "bart", "gemma2"])
def test_a_model_in_bf16(name: str) -> None:
    plain, fused = build(name).bfloat16(), build(name).bfloat16()
    fastft.fuse_head(fused)
    losses = [model(**batch()).loss for model in (plain, fused)]
    for loss in losses:
        loss.backward()
    assert losses[1].dtype == torch.float32
    torch.testing.assert_close(losses[1], losses[0].float(), rtol=1e-2, atol=1e-2)
    assert_same_gradients(gradients(fused), gradients(plain), tolerance=0.1)


def test_a_pickled_model_is_fused() -> None:
    model = build("llama")
    fastft.fuse_head(model)
    for again in (pickle.loads(pickle.dumps(model)), _saved(model)):
        assert torch.equal(again(**batch()).loss, model(**batch()).loss)
        assert fused_head(again) is not None


def _saved(model: nn.Module) -> Any:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.slow
def test_under_torch_compile_the_head_is_a_plain_linear() -> None:
    plain, fused = build("llama"), build("llama")
    fastft.fuse_head(fused)
    compiled = torch.compile(fused, backend="aot_eager")
    losses = [plain(**batch()).loss, compiled(**batch()).loss]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(losses[1], losses[0])
    assert_same_gradients(gradients(fused), gradients(plain))
    head = fused_head(fused)
    assert head is not None and head.record.fused == 0
    # What is compiled around the head alone changes nothing for the head.
    fused.model = torch.compile(fused.model, backend="aot_eager")
    torch.testing.assert_close(fused(**batch()).loss, losses[0])
    assert head.record.fused == 1


def test_data_type_and_device_moves_keep_the_head() -> None:
    model = build("llama")
    fastft.fuse_head(model)
    model.double()
    loss = model(**batch()).loss
    assert explain_head(model).endswith("plain logits, hidden states of torch.float64: 1")
    model.float()
    torch.testing.assert_close(model(**batch()).loss, loss.float())


def test_tuples_instead_of_a_dict() -> None:
    model = build("gpt2")
    fastft.fuse_head(model)
    loss, logits, *_ = model(**batch(), return_dict=False)
    loss.backward()
    assert logits.shape == (3, 12, 101)
    assert explain_head(model) == "head: fused\n  losses without logits: 1"


def test_logits_to_keep() -> None:
    plain, fused = build("llama"), build("llama")
    fastft.fuse_head(fused)
    inputs = batch()
    labels = inputs.pop("labels")
    shifted = nn.functional.pad(labels, (0, 1), value=-100)[:, 1:]
    mask = shifted != -100
    keep = {"logits_to_keep": mask, "shift_labels": shifted[mask], "labels": labels}
    torch.testing.assert_close(fused(**inputs, **keep).loss, plain(**inputs, **keep).loss)
    assert explain_head(fused) == "head: fused\n  losses without logits: 1"


def test_hugging_face_models_with_two_heads_use_the_fused_one() -> None:
    torch.manual_seed(0)
    config = hf.GPT2Config(vocab_size=101, n_embd=32, n_layer=1, n_head=2, bos_token_id=1)
    config.eos_token_id = 2
    model = hf.GPT2DoubleHeadsModel(config).train()
    fastft.fuse_head(model)
    inputs = batch()
    model(input_ids=inputs["input_ids"][:, None], labels=inputs["labels"][:, None]).loss.backward()
    assert explain_head(model).startswith("head: fused\n  losses without logits: 1")
