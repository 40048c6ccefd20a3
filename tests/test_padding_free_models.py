"""Padding-free models against padded ones: every family, every head, every kind of batch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fastft import padding_free
from fastft.modeling.padding_free.flash import fits
from fastft.modeling.padding_free.model import explain_padding
from tests import padding_free_models as zoo

LENGTHS = {
    "ragged": [17, 3, 9, 9, 1],
    "one long row": [33, 1, 1, 1],
    "two rows": [2, 5],
}


def run(model: Any, given: dict[str, torch.Tensor]) -> tuple[Any, list[Any]]:
    """Gives the outputs, and the gradients of the loss, or else of all real outputs."""
    model.zero_grad()
    outputs = model(**given)
    loss = outputs.get("loss")
    if loss is None:
        loss = outputs.last_hidden_state[given["attention_mask"].bool()].square().sum()
    loss.backward()
    return outputs, [parameter.grad for parameter in model.parameters()]


def assert_equal(model: Any, given: dict[str, torch.Tensor], head: str) -> None:
    padded, gradients = run(model, given)
    gradients = [None if one is None else one.clone() for one in gradients]
    with padding_free(model):
        packed, others = run(model, given)
        assert "batches with padding" not in explain_padding(model), explain_padding(model)
    for name, expected in padded.items():
        if isinstance(expected, torch.Tensor):
            is_decoded = head == "seq2seq" and not name.startswith("encoder_")
            real = given["labels"] != -100 if is_decoded else given["attention_mask"].bool()
            where: Any = real if expected.shape[:2] == real.shape else ...
            torch.testing.assert_close(packed[name][where], expected[where], rtol=1e-5, atol=2e-5)
    largest = max(float(one.abs().max()) for one in gradients if one is not None)
    for one, other in zip(gradients, others, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert float((one - other).abs().max()) < 1e-5 * largest


@pytest.fixture(params=[0, 6, 128], ids=["slabs", "short rows and slabs", "short rows"])
def longest(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Up to which length rows count as short, for which attention has a kernel of its own."""
    monkeypatch.setattr("fastft.modeling.padding_free.row_attention.LONGEST", request.param)
    return int(request.param)


@pytest.mark.usefixtures("longest")
@pytest.mark.parametrize(("family", "head"), zoo.MODELS)
def test_outputs_and_gradients_are_those_of_the_padded_model(family: str, head: str) -> None:
    model = zoo.model(family, head)
    for seed, lengths in enumerate(LENGTHS.values()):
        assert_equal(model, zoo.batch(lengths, head, seed=seed), head)


@pytest.mark.usefixtures("longest")
@pytest.mark.parametrize("family", ["bert", "modernbert", "gpt2", "llama", "mistral", "t5"])
@pytest.mark.parametrize("cost", [0.0, 30.0, 1e9])
def test_every_cut_of_the_rows_gives_the_same(
    family: str, cost: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slab for each length, some of mixed lengths, and one for all rows."""
    monkeypatch.setattr("fastft.modeling.padding_free.slabs.CALL_COST", cost)
    head = {"gpt2": "causal", "llama": "causal", "mistral": "causal", "t5": "seq2seq"}
    kind = head.get(family, "tokens")
    assert_equal(zoo.model(family, kind), zoo.batch([4, 13, 4, 1, 12, 13], kind), kind)


@pytest.mark.parametrize(
    ("family", "head"), [("bert", "bare"), ("llama", "bare"), ("t5", "encoder")]
)
def test_embeddings_may_be_given_in_place_of_tokens(family: str, head: str) -> None:
    model = zoo.model(family, head)
    given = zoo.batch(LENGTHS["ragged"], head)
    given["inputs_embeds"] = model.get_input_embeddings()(given.pop("input_ids")).detach()
    assert_equal(model, given, head)


@pytest.mark.parametrize("family", ["llama", "qwen3", "modernbert"])
def test_positions_may_be_given(family: str) -> None:
    """Rotations of the user's own positions go with their tokens."""
    model = zoo.model(family, "bare")
    given = zoo.batch(LENGTHS["ragged"], "bare")
    given["position_ids"] = torch.arange(given["input_ids"].shape[1]).expand(5, -1) + 7
    given["position_ids"][1] += 3
    assert_equal(model, given, "bare")


@pytest.mark.usefixtures("longest")
@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "t5"])
def test_all_attention_dropped_is_the_same_both_ways(family: str) -> None:
    """With a dropout of 1 the result is known: so it reaches attention over the packed rows."""
    head = {"bert": "tokens", "t5": "seq2seq"}.get(family, "causal")
    model = zoo.model(family, head)
    given = zoo.batch(LENGTHS["ragged"], head)
    before = model(**given).loss.item()
    for module in model.modules():
        kind = type(module).__name__
        if kind.endswith("SelfAttention") or kind == "GPT2Attention":
            (module.dropout if hasattr(module, "dropout") else module.attn_dropout).p = 1.0
        elif kind in ("LlamaAttention", "T5Attention"):
            setattr(module, "dropout" if kind == "T5Attention" else "attention_dropout", 1.0)
    assert abs(model(**given).loss.item() - before) > 1e-3
    assert_equal(model, given, head)


def one_row_at_a_time(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None,
    window_size: tuple[int, int],
    enable_gqa: bool = False,
) -> torch.Tensor:
    """What `varlen_attn` of torch says that it computes, by its plainest means."""
    assert int(cu_seq_q.diff().max()) == max_q and int(cu_seq_k.diff().max()) == max_k
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert int(cu_seq_q[-1]) == len(query) and int(cu_seq_k[-1]) == len(key) == len(value)
    outs = []
    ends = zip(cu_seq_q, cu_seq_q[1:], cu_seq_k, cu_seq_k[1:], strict=False)
    for start, end, key_start, key_end in ends:
        q, k, v = query[start:end], key[key_start:key_end], value[key_start:key_end]
        back = torch.arange(len(q))[:, None] - torch.arange(len(k))
        behind, ahead = (len(q) + len(k) if side == -1 else side for side in window_size)
        out = torch.nn.functional.scaled_dot_product_attention(
            *(states.transpose(0, 1) for states in (q, k, v)),
            attn_mask=(back <= behind) & (back >= -ahead),
            scale=scale,
            enable_gqa=enable_gqa,
        )
        outs.append(out.transpose(0, 1))
    return torch.cat(outs)


@pytest.mark.parametrize(
    ("family", "head"),
    [
        *(("bert", "tokens"), ("modernbert", "masked"), ("gpt2", "causal")),
        *(("llama", "causal"), ("mistral", "causal"), ("qwen2", "causal")),
    ],
)
def test_the_kernel_of_a_gpu_gets_the_rows_as_it_wants_them(
    family: str, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", one_row_at_a_time)
    monkeypatch.setattr("fastft.modeling.padding_free.flash.fits", lambda *_: True)
    assert_equal(zoo.model(family, head), zoo.batch(LENGTHS["ragged"], head), head)


def test_the_kernel_of_a_gpu_is_not_asked_for_what_it_cannot_do() -> None:
    query = torch.zeros(1, 1, 1, 8, dtype=torch.bfloat16, device="meta")
    on_gpu = SimpleNamespace(is_cuda=True, dtype=torch.bfloat16)
    assert fits(on_gpu, {})
    assert not fits(query, {})
    assert not fits(on_gpu, {"dropout": 0.1})
    assert not fits(on_gpu, {"position_bias": query})
    assert not fits(SimpleNamespace(is_cuda=True, dtype=torch.float32), {})


@pytest.mark.parametrize(
    ("family", "head"),
    [("bert", "tokens"), ("modernbert", "masked"), ("distilbert", "masked"), ("llama", "causal")],
)
def test_rows_that_were_packed_before_do_not_see_each_other(family: str, head: str) -> None:
    """Stock attention lets the rows of an encoder leak into each other, without a word."""
    model = zoo.model(family, head).eval()
    given = zoo.batch([7, 3, 9, 9, 1], head)
    rows = [
        {name: one[row : row + 1, :length] for name, one in given.items()}
        for row, length in enumerate(given["attention_mask"].sum(1))
    ]
    expected = torch.cat([model(**row, use_cache=False).logits[0] if head == "causal"
                          else model(**row).logits[0] for row in rows])  # fmt: skip
    tokens = torch.cat([row["input_ids"][0] for row in rows])
    positions = torch.cat([torch.arange(row["input_ids"].shape[1]) for row in rows])
    packed = {"input_ids": tokens[None], "position_ids": positions[None]}
    if head == "causal":
        packed["use_cache"] = False
    if family not in ("llama", "distilbert"):
        leaked = model(**packed).logits[0]
        assert float((leaked - expected).detach().abs().max()) > 1e-2
    with padding_free(model):
        found = model(**packed).logits[0]
        assert "batches without padding: 1" in explain_padding(model)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)
