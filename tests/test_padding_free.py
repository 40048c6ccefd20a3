"""What stays padded and why, and what padding-free models share with plain ones."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import peft
import pytest
import torch
import transformers

import fastft
from fastft.modeling.drawn_dropout import drawn
from fastft.modeling.padding_free.attention import KEYWORD
from fastft.modeling.padding_free.comparison import few_rows
from fastft.modeling.padding_free.decision import has_padding
from fastft.modeling.padding_free.model import explain_padding, is_padding_free, why_padded
from fastft.modeling.padding_free.moves import gather, spread
from fastft.modeling.padding_free.rows import Rows, Slab
from fastft.modeling.padding_free.weighted import weighted_attention
from tests import padding_free_models as zoo
from tests.test_padding_free_models import assert_equal, run

if TYPE_CHECKING:
    from pathlib import Path

RAGGED = [17, 3, 9, 9, 1]


def assert_padded(model: Any, given: dict[str, Any], reason: str) -> None:
    """The outputs are the stock ones to the last bit, and `explain` says why."""
    model.eval()
    expected = model(**given)
    with fastft.padding_free(model) as same:
        found = same(**given)
        text = explain_padding(same)
    assert f"batches with padding, {reason}: 1" in text.replace(": 2", ": 1"), text
    assert "batches without padding: 0" in text
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(found[name], value, rtol=0, atol=0, equal_nan=True)


# -- batches that stay padded ------------------------------------------------------------------


def masked(change: Any, head: str = "tokens") -> dict[str, torch.Tensor]:
    given = zoo.batch(RAGGED, head)
    given["attention_mask"] = change(given["attention_mask"])
    given.pop("labels", None)
    return given


def with_hole(mask: torch.Tensor) -> torch.Tensor:
    mask[0, 4] = 0
    return mask


def with_empty_row(mask: torch.Tensor) -> torch.Tensor:
    mask[2] = 0
    return mask


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda mask: mask.flip(1), "the padding is not on the right of the rows"),
        (with_hole, "the padding is not on the right of the rows"),
        (with_empty_row, "a row has no real token"),
        (
            lambda mask: mask[:, None, None].bool().expand(-1, 1, 17, -1),
            "the attention mask is not one of rows and tokens",
        ),
        (lambda mask: mask.float(), "the attention mask is not one of rows and tokens"),
        (lambda mask: None, "no attention_mask was given"),
        (torch.ones_like, "there is hardly any padding"),
    ],
    ids=["left", "hole", "empty row", "4-D", "float", "none", "full"],
)
@pytest.mark.parametrize("head", ["sequence", "tokens"])
def test_masks_that_keep_the_padding(change: Any, reason: str, head: str) -> None:
    assert_padded(zoo.model("bert", head), masked(change, head), reason)


@pytest.mark.parametrize("lengths", [[7], [7, 7, 7]])
def test_rows_of_one_length_are_left_alone(lengths: list[int]) -> None:
    given = zoo.batch(lengths, "sequence")
    assert_padded(zoo.model("bert", "sequence"), given, "there is hardly any padding")


@pytest.mark.parametrize(
    ("name", "by_config"),
    [("output_hidden_states", True), ("output_hidden_states", False), ("output_attentions", False)],
)
def test_what_shows_the_inside_keeps_the_padding(name: str, by_config: bool) -> None:
    model, given = zoo.model("gpt2", "bare"), zoo.batch(RAGGED, "bare")
    model.config.use_cache = False
    if by_config:
        setattr(model.config, name, True)
    else:
        given[name] = True
    assert_padded(model, given, f"{name}=True")


def test_keys_that_are_kept_keep_the_padding() -> None:
    model, given = zoo.model("llama", "causal"), zoo.batch(RAGGED, "causal")
    assert_padded(model, given, "keys and values are kept (use_cache)")
    with fastft.padding_free(model.train()):
        assert model(**given, use_cache=True).logits.isfinite().all()
        assert "batches without padding: 0" in explain_padding(model)
        model(**given)
        model.eval()(**given, use_cache=False)
        assert "batches without padding: 2" in explain_padding(model)


def test_keys_of_earlier_tokens_keep_the_padding() -> None:
    model = zoo.model("gpt2", "causal").eval()
    given = zoo.batch([4, 4], "bare")
    cache = model(**given, use_cache=True)
    name = "cache" if "cache" in cache else "past_key_values"
    after = {
        "input_ids": torch.tensor([[5, 6], [7, 0]]),
        "attention_mask": torch.tensor([[1] * 6, [1] * 5 + [0]]),
        name: cache[name],
        "use_cache": False,
    }
    with fastft.padding_free(model):
        model(**after)
        assert "keys and values of earlier tokens are given: 1" in explain_padding(model)


def test_the_loss_of_question_answering_reads_padding() -> None:
    given = zoo.batch(RAGGED, "bare")
    positions = {"start_positions": torch.zeros(5).long(), "end_positions": torch.ones(5).long()}
    model = zoo.model("bert", "questions", num_labels=2)
    reason = "the loss of question answering is over all positions, padding too"
    assert_padded(model, {**given, **positions}, reason)
    expected = model(**given)
    with fastft.padding_free(model):
        found = model(**given)
        assert "batches without padding: 1" in explain_padding(model)
    real = given["attention_mask"].bool()
    torch.testing.assert_close(found.start_logits[real], expected.start_logits[real])


def test_labels_on_padding_keep_it() -> None:
    given = zoo.batch(RAGGED, "tokens")
    given["labels"][1, 5] = 1
    assert_padded(zoo.model("bert", "tokens"), given, "labels stand on padding")


def test_labels_on_the_padding_of_an_encoder_of_t5_keep_it() -> None:
    given = zoo.batch(RAGGED, "tokens")
    given["labels"][1, 5] = 1
    assert_padded(zoo.model("t5", "tokens"), given, "labels stand on padding")


def test_chunks_of_a_row_keep_the_padding() -> None:
    model, given = zoo.model("bert", "bare", chunk_size_feed_forward=17), zoo.batch(RAGGED, "bare")
    assert_padded(model, given, "chunk_size_feed_forward cuts the tokens of a row")


def test_a_head_that_reads_the_last_token_may_read_padding() -> None:
    """The stock head looks for the last token that is not the pad token, whatever the mask says."""
    given = zoo.batch(RAGGED, "sequence")
    given["input_ids"][1, 8] = 5
    given["use_cache"] = False
    assert_padded(
        zoo.model("llama", "sequence"), given, "the head reads a token that the mask hides"
    )


def test_a_decoder_that_attends_to_another_encoder_stays_padded() -> None:
    model = zoo.model("bert", "bare", is_decoder=True, add_cross_attention=True)
    given = {**zoo.batch(RAGGED, "bare"), "use_cache": False}
    given["encoder_hidden_states"] = torch.randn(5, 4, 32)
    assert_padded(model, given, "the layers also attend to an encoder")


def test_a_decoder_of_bert_runs_packed() -> None:
    assert_equal(zoo.model("bert", "bare", is_decoder=True), zoo.batch(RAGGED, "bare"), "bare")


def test_attention_that_somebody_sets_later_keeps_the_padding() -> None:
    model, given = zoo.model("bert", "tokens"), zoo.batch(RAGGED, "tokens")
    fastft.padding_free(model)
    model.set_attn_implementation("eager")
    model(**given)
    assert "the attention was set to 'eager' since: 1" in explain_padding(model)
    fastft.restore_padding(model)
    assert model.config._attn_implementation == "eager"


def test_attention_that_does_not_know_of_the_packing_fails_instead_of_leaking() -> None:
    model, given = zoo.model("bert", "tokens"), zoo.batch(RAGGED, "tokens")
    fastft.padding_free(model)
    for layer in model.bert.encoder.layer:  # what a wrapper that drops keywords would do
        layer.attention.register_forward_pre_hook(
            lambda _, args, kwargs: (args, {k: v for k, v in kwargs.items() if k != KEYWORD}),
            with_kwargs=True,
        )
    with pytest.raises(RuntimeError, match=r"size|expand"):
        model(**given)


# -- models that cannot ------------------------------------------------------------------------


def test_an_unknown_model_is_refused() -> None:
    model = transformers.OPTModel(
        transformers.OPTConfig(
            vocab_size=9,
            hidden_size=8,
            num_hidden_layers=1,
            ffn_dim=8,
            num_attention_heads=1,
            word_embed_proj_dim=8,
        )
    )
    with pytest.raises(fastft.ConfigurationError, match="OPTModel is of no family that is known"):
        fastft.padding_free(model)
    with pytest.raises(fastft.ConfigurationError, match="no model of transformers"):
        fastft.padding_free(torch.nn.Linear(2, 2))


def test_eager_attention_is_left_alone() -> None:
    model = zoo.model("bert", "tokens")
    model.set_attn_implementation("eager")
    assert why_padded(model) == "its attention is 'eager'"


class MeanOfAll(transformers.BertForSequenceClassification):
    """A head of a user that takes the mean over padding too."""

    reads_padding = True

    def forward(self, input_ids: Any, attention_mask: Any, **kwargs: Any) -> Any:
        states = self.bert(input_ids, attention_mask=attention_mask, **kwargs).last_hidden_state
        if not self.reads_padding:
            states = states * attention_mask[..., None]
        return transformers.modeling_outputs.SequenceClassifierOutput(
            logits=self.classifier(states.mean(1))
        )


class MeanOfReal(MeanOfAll):
    reads_padding = False


def test_a_head_that_is_not_known_is_looked_at_with_a_batch() -> None:
    given = zoo.batch(RAGGED, "bare")
    reads, does_not = (kind(zoo.config("bert")).train() for kind in (MeanOfAll, MeanOfReal))
    with pytest.raises(fastft.ConfigurationError, match="its head, MeanOfReal, is not known"):
        fastft.padding_free(does_not)
    fastft.padding_free(does_not, given)
    assert is_padding_free(does_not)
    assert does_not.training
    with pytest.raises(fastft.ConfigurationError, match="outputs differ by"):
        fastft.padding_free(reads, given)
    assert not is_padding_free(reads)
    assert reads.config._attn_implementation == "sdpa"


class Swallows(MeanOfAll):
    """Takes keyword arguments, and hands none on."""

    def forward(self, input_ids: Any, attention_mask: Any, **kwargs: Any) -> Any:
        return super().forward(input_ids, attention_mask)


class TakesNone(MeanOfAll):
    def forward(self, input_ids: Any, attention_mask: Any) -> Any:  # type: ignore[override]
        return super().forward(input_ids, attention_mask)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(Swallows, "does not hand keyword arguments on"), (TakesNone, "takes no further keyword")],
)
def test_a_head_through_which_no_keyword_comes_stays_padded(kind: Any, reason: str) -> None:
    model = kind(zoo.config("bert"))
    with pytest.raises(fastft.ConfigurationError, match=reason):
        fastft.padding_free(model, zoo.batch(RAGGED, "bare"))
    assert not is_padding_free(model)


def test_comparing_draws_no_random_numbers_and_keeps_the_modes() -> None:
    model = zoo.model("bert", "sequence", dropout=0.5)
    model.bert.encoder.layer[1].eval()
    torch.manual_seed(3)
    fastft.padding_free(model, zoo.batch(RAGGED, "sequence"))
    drawn = torch.rand(3)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(3))
    assert model.training
    assert not model.bert.encoder.layer[1].output.dropout.training


# -- what must not change ----------------------------------------------------------------------


@pytest.mark.parametrize(("family", "head"), [("bert", "sequence"), ("t5", "seq2seq")])
def test_what_is_saved_is_what_a_plain_model_saves(tmp_path: Path, family: str, head: str) -> None:
    model = zoo.model(family, head)
    model.save_pretrained(tmp_path / "plain")
    names = list(model.state_dict())
    fastft.padding_free(model)
    assert list(model.state_dict()) == names
    model.save_pretrained(tmp_path / "packed")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "packed" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    assert "attn" not in json.dumps(json.loads((tmp_path / "packed/config.json").read_text()))
    again = type(model).from_pretrained(tmp_path / "packed")
    assert again.config._attn_implementation == "sdpa"


def test_everything_is_put_back() -> None:
    model = zoo.model("t5", "seq2seq")
    hooks = [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules()]
    for _ in range(2):
        fastft.padding_free(model)
    fastft.restore_padding(model)
    fastft.restore_padding(model)
    after = [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules()]
    assert after == hooks
    for part in (model, model.encoder, model.decoder):
        assert part.config._attn_implementation == "sdpa"


def test_a_deep_copy_is_a_model_of_its_own() -> None:
    model, given = zoo.model("bert", "sequence"), zoo.batch(RAGGED, "sequence")
    fastft.padding_free(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.bert.encoder.layer[0].output.dense.weight.zero_()
    other(**given)
    assert "batches without padding: 0" in explain_padding(model)
    assert "batches without padding: 1" in explain_padding(other)
    fastft.restore_padding(other)
    assert_equal(other, given, "sequence")
    assert is_padding_free(model)
    model(**given)
    assert "batches without padding: 1" in explain_padding(model)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # the name before transformers 5.24
@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize(
    ("family", "head"), [("bert", "tokens"), ("llama", "causal"), ("t5", "seq2seq")]
)
def test_checkpointing_with_two_forwards_before_a_backward(
    family: str, head: str, reentrant: bool
) -> None:
    model = zoo.model(family, head)
    model.config.use_cache = False
    batches = [zoo.batch(lengths, head, seed=3) for lengths in (RAGGED, [4, 11, 2])]

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        losses = [model(**given).loss for given in batches]
        (losses[0] + 2 * losses[1]).backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    expected = gradients()
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    fastft.padding_free(model)
    found = gradients()
    assert "batches with padding" not in explain_padding(model)
    largest = max(float(one.abs().max()) for one in expected)
    for one, other in zip(expected, found, strict=True):
        assert float((one - other).abs().max()) < 1e-5 * largest


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks by an old name
def test_adapters_are_trained_the_same() -> None:
    model = zoo.model("bert", "sequence")
    adapted = peft.get_peft_model(
        model,
        peft.LoraConfig(
            task_type="SEQ_CLS", target_modules=["query", "value"], r=2, init_lora_weights=False
        ),
    )
    given = zoo.batch(RAGGED, "sequence")
    padded, gradients = run(adapted, given)
    gradients = [None if one is None else one.clone() for one in gradients]
    fastft.padding_free(adapted)
    packed, others = run(adapted, given)
    torch.testing.assert_close(packed.loss, padded.loss)
    assert "batches without padding: 1" in explain_padding(adapted)
    for one, other in zip(gradients, others, strict=True):
        if one is not None:
            torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_generation_gives_the_same_tokens(family: str) -> None:
    model = zoo.model(family, "seq2seq" if family == "t5" else "causal").eval()
    given = zoo.batch([5, 5, 5] if family == "gpt2" else [5, 2, 4], "bare")
    expected = model.generate(**given, max_new_tokens=6, do_sample=False, pad_token_id=0)
    fastft.padding_free(model)
    found = model.generate(**given, max_new_tokens=6, do_sample=False, pad_token_id=0)
    assert torch.equal(found, expected)


def test_bf16_fills_the_tokens_up_and_changes_nothing() -> None:
    model, given = zoo.model("bert", "tokens"), zoo.batch(RAGGED, "tokens")
    seen = []
    model.bert.encoder.layer[1].register_forward_hook(lambda *call: seen.append(call[1][0].shape))
    fastft.padding_free(model)
    with torch.autocast("cpu", torch.bfloat16):
        packed = model(**given)
    packed.loss.backward()
    assert seen[0][:2] == (1, 64)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    fastft.restore_padding(model)
    with torch.autocast("cpu", torch.bfloat16):
        padded = model(**given)
    torch.testing.assert_close(packed.loss, padded.loss, rtol=2e-2, atol=2e-2)


def test_filled_up_tokens_have_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastft.modeling.padding_free.hooks._multiple", lambda *_: 64)
    for family, head in (("bert", "tokens"), ("modernbert", "masked"), ("t5", "seq2seq")):
        assert_equal(zoo.model(family, head), zoo.batch(RAGGED, head), head)


def test_the_bias_of_t5_is_made_for_the_longest_row(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sizes = zoo.model("t5", "seq2seq"), []
    attention = model.encoder.block[0].layer[0].SelfAttention
    compute = type(attention).compute_bias

    def noting(self: Any, query: int, key: int, **kwargs: Any) -> torch.Tensor:
        sizes.append((query, key))
        return compute(self, query, key, **kwargs)

    monkeypatch.setattr(type(attention), "compute_bias", noting)
    fastft.padding_free(model)
    model(**zoo.batch(RAGGED, "seq2seq"))
    assert sizes == [(17, 17), (8, 8)]


# -- the pieces --------------------------------------------------------------------------------


def test_moves_have_each_other_as_gradient() -> None:
    index = torch.tensor([4, 0, 3])
    values = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    few = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: gather(v, index), values)
    assert torch.autograd.gradcheck(lambda v: spread(v, index, 5), few)
    assert torch.autograd.gradgradcheck(lambda v: gather(v, index).square(), values)
    assert torch.autograd.gradgradcheck(lambda v: spread(v, index, 5).square(), few)


@pytest.mark.parametrize("seed", range(20))
def test_rows_come_back_where_they_were(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    num_rows = int(torch.randint(1, 9, (1,), generator=generator))
    lengths = torch.randint(1, 12, (num_rows,), generator=generator)
    width = int(lengths.max()) + seed % 3
    mask = torch.arange(width) < lengths[:, None]
    rows = Rows(lengths.tolist(), width, torch.device("cpu"), multiple=1 + seed % 4)
    states = torch.randn(num_rows, width, 3, generator=generator)
    packed = rows.take(states)
    assert packed.shape == (1, rows.size, 3)
    assert torch.equal(rows.put(packed), states * mask[..., None])
    assert rows.offsets[-1] == rows.num_tokens == int(lengths.sum())
    for start, end, row in zip(rows.offsets, rows.offsets[1:], rows.order, strict=False):
        assert torch.equal(packed[0, start:end], states[row, : lengths[row]])


@pytest.mark.parametrize("lengths", [[3, 3, 3], [2, 3, 5], [1]])
@pytest.mark.parametrize("added", ["nothing", "mask", "bias", "both"])
@pytest.mark.parametrize("dropout", [0.0, 0.3, 1.0])
def test_attention_with_weights_is_the_formula(
    lengths: list[int], added: str, dropout: float
) -> None:
    torch.manual_seed(1)
    heads, width = 2, 4
    slab = Slab(np.array(lengths), torch.device("cpu"))
    keys = Slab(np.array(lengths) + 1, torch.device("cpu"))
    query, key, value = (
        torch.randn(of.num_tokens, heads, width, dtype=torch.float64, requires_grad=True)
        for of in (slab, keys, keys)
    )
    shape = (1, heads, slab.longest, keys.longest)
    bias = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    hides = added in ("mask", "both") or not keys.is_full
    mask = keys.is_real if not keys.is_full else torch.ones(1, 1, 1, keys.longest).bool()
    if hides:
        mask = mask & (torch.arange(keys.longest) != 1 if keys.longest > 2 else True)
    settings = {"mask": mask if hides else None, "dropout": dropout, "scaling": 0.7}

    def ours(q: Any, k: Any, v: Any, b: Any) -> torch.Tensor:
        torch.manual_seed(2)
        given = b if added in ("bias", "both") else None
        return weighted_attention(q, k, v, slab, keys, bias=given, **settings)

    def formula(q: Any, k: Any, v: Any, b: Any) -> torch.Tensor:
        torch.manual_seed(2)
        q, k, v = (of.pad(x) for of, x in ((slab, q), (keys, k), (keys, v)))
        scores = q @ k.transpose(2, 3) * 0.7
        if added in ("bias", "both"):
            scores = scores + b
        if hides:
            scores = scores.masked_fill(~mask, -torch.inf)
        weights = scores.softmax(-1)
        if dropout:
            weights = weights * drawn(weights.flatten(0, 1), dropout).view_as(weights)
        return slab.unpad((weights @ v).transpose(1, 2))

    inputs = (query, key, value, bias)
    torch.testing.assert_close(ours(*inputs), formula(*inputs))
    weight = torch.randn(slab.num_tokens, heads, width, dtype=torch.float64)
    found, expected = (
        torch.autograd.grad((f(*inputs) * weight).sum(), inputs, allow_unused=True)
        for f in (ours, formula)
    )
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other)


def test_heads_that_share_keys_take_the_attention_of_torch() -> None:
    """Grouped queries with dropout: the attention with weights has as many heads as keys."""
    model = zoo.model("llama", "causal")
    zoo.set_dropout(model, 0.5)
    fastft.padding_free(model)
    loss = model(**zoo.batch(RAGGED, "causal")).loss
    loss.backward()
    assert loss.isfinite()


def test_a_few_rows_of_different_lengths_stand_for_a_batch() -> None:
    given = {**zoo.batch([9, 2, 7, 5, 3, 8, 4, 6], "tokens"), "use_cache": False}
    few = few_rows(given)
    assert few["attention_mask"].sum(1).tolist() == [2, 4, 6, 9]
    assert torch.equal(few["labels"], given["labels"][[1, 6, 7, 0]])
    assert few["use_cache"] is False
    small = zoo.batch([9, 2, 7, 5], "tokens")
    assert few_rows(small) is small


def test_a_batch_whose_few_rows_have_hardly_any_padding_is_looked_at_whole() -> None:
    lengths = torch.tensor([87] * 5 + [100] * 11)
    given = {"attention_mask": (torch.arange(100) < lengths[:, None]).long()}
    assert has_padding(given)
    assert few_rows(given) is given
