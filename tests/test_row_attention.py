"""Attention within short rows by the core, against torch row by row."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastft import _fastft, padding_free
from fastft.errors import ConfigurationError, DataError
from fastft.modeling.drawn_dropout import drawn
from fastft.modeling.padding_free.attention import Layout, padding_free_attention
from fastft.modeling.padding_free.row_attention import num_short, row_attention
from fastft.modeling.padding_free.rows import Rows
from tests import padding_free_models as zoo

LEVELS = ["scalar", _fastft.simd_level()]
CPU = torch.device("cpu")


def inputs(num_tokens: int, heads: int, width: int, seed: int = 0) -> list[torch.Tensor]:
    torch.manual_seed(seed)
    return [torch.randn(num_tokens, heads, width, requires_grad=True) for _ in range(3)]


def by_row(
    states: list[torch.Tensor],
    lengths: list[int],
    *,
    is_causal: bool = False,
    scaling: float | None = None,
    kept: list[torch.Tensor] | None = None,
) -> torch.Tensor:
    """The formula, row by row: `kept` multiplies the weights (h, L, L) of each."""
    outs = []
    for row, parts in enumerate(zip(*(torch.split(one, lengths) for one in states), strict=True)):
        query, key, value = (part.transpose(0, 1) for part in parts)
        scores = query @ key.transpose(1, 2) * (scaling or query.shape[-1] ** -0.5)
        if is_causal:
            later = torch.ones(scores.shape[1:], dtype=torch.bool).triu(1)
            scores = scores.masked_fill(later, -torch.inf)
        weights = scores.softmax(-1) * (1 if kept is None else kept[row])
        outs.append((weights @ value).transpose(0, 1))
    return torch.cat(outs)


def expect_equal(
    found: torch.Tensor, states: list[torch.Tensor], expected: Any, **options: Any
) -> None:
    """Holds outputs and gradients against the formula in float64."""
    upstream = torch.randn_like(found)
    gradients = torch.autograd.grad(found, states, upstream)
    exact = [one.detach().double().requires_grad_() for one in states]
    out = expected(exact, **options)
    torch.testing.assert_close(found, out, rtol=1e-5, atol=1e-5, check_dtype=False)
    others = torch.autograd.grad(out, exact, upstream.double())
    for one, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-5, check_dtype=False)


@settings(max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 70), min_size=1, max_size=5),
    heads=st.integers(1, 3),
    width=st.sampled_from([16, 32, 48]),
    is_causal=st.booleans(),
    scaling=st.sampled_from([None, 0.3]),
)
def test_outputs_and_gradients_are_those_of_the_formula(
    lengths: list[int], heads: int, width: int, is_causal: bool, scaling: float | None
) -> None:
    states = inputs(sum(lengths), heads, width)
    options = {"is_causal": is_causal, "scaling": scaling}
    found = row_attention(*states, np.array(lengths), dropout=0.0, **options)
    expect_equal(found, states, by_row, lengths=lengths, **options)


@pytest.mark.parametrize("dropout", [0.25, 1.0])
def test_what_is_drawn_decides_which_weights_count(dropout: float) -> None:
    lengths, heads = [3, 17, 20], 2
    states = inputs(sum(lengths), heads, 16)
    torch.manual_seed(4)
    found = row_attention(
        *states, np.array(lengths), is_causal=False, dropout=dropout, scaling=None
    )
    # Weights lie by row, head and key, each with queries up to the next multiple of sixteen.
    filled = [-(-length // 16) * 16 for length in lengths]
    sizes = [heads * length * places for length, places in zip(lengths, filled, strict=True)]
    torch.manual_seed(4)
    parts = drawn(torch.empty(sum(sizes)), dropout).split(sizes)
    kept = [
        part.view(heads, length, places)[:, :, :length].transpose(1, 2).double()
        for part, length, places in zip(parts, lengths, filled, strict=True)
    ]
    expect_equal(found, states, by_row, lengths=lengths, kept=kept)
    assert bool((found == 0).all()) == (dropout == 1.0)


def test_tokens_that_lie_apart_are_read_as_they_are() -> None:
    """GPT-2 cuts queries, keys and values out of one array."""
    lengths = [4, 9]
    whole = torch.randn(13, 3, 2, 16, requires_grad=True)
    found = row_attention(
        *whole.unbind(1), np.array(lengths), is_causal=True, dropout=0.0, scaling=None
    )
    expected = by_row(list(whole.unbind(1)), lengths, is_causal=True)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    upstream = torch.randn_like(found).transpose(0, 1).contiguous().transpose(0, 1)
    (gradient,) = torch.autograd.grad(found, whole, upstream)
    (other,) = torch.autograd.grad(expected, whole, upstream)
    torch.testing.assert_close(gradient, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("multiple", [1, 32])
def test_long_rows_take_slabs_beside_short_ones(
    window: int | None, is_causal: bool, multiple: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[int]] = []
    original = _fastft.attention_forward

    def spy(*args: Any, **kwargs: Any) -> None:
        calls.append(kwargs["lengths"].tolist())
        original(*args, **kwargs)

    monkeypatch.setattr(_fastft, "attention_forward", spy)
    lengths = [3, 140, 6, 129, 128]
    rows = Rows(lengths, 140, CPU, multiple=multiple)
    behind = rows.size - rows.num_tokens
    states = [torch.randn(1, 2, rows.size, 16) for _ in range(3)]
    module: Any = SimpleNamespace(is_causal=is_causal)
    found, _ = padding_free_attention(
        module, *states, None, padding_free=Layout(rows), sliding_window=window, dropout=0.0
    )
    assert calls == [[3, 6, 128] if window is None else [3, 6]]
    start = 0
    for length in rows.lengths:
        part = [one[:, :, start : start + length] for one in states]
        places = torch.arange(length)
        distance = places[:, None] - places
        near = distance.abs() < (window or 1000)
        mask = near & (distance >= 0) if is_causal else near
        expected = torch.nn.functional.scaled_dot_product_attention(*part, attn_mask=mask)
        torch.testing.assert_close(
            found[:, start : start + length], expected.transpose(1, 2), rtol=1e-5, atol=1e-5
        )
        start += int(length)
    assert not found[:, start:].any()
    assert found.shape[1] == start + behind


@pytest.mark.parametrize(
    ("shape", "dtype", "options", "expected"),
    [
        ((1, 2, 12, 16), torch.float32, {}, 2),
        ((1, 2, 12, 16), torch.float32, {"sliding_window": 7}, 2),
        ((1, 2, 12, 16), torch.float32, {"sliding_window": 6}, 1),
        ((1, 2, 12, 16), torch.bfloat16, {}, 0),
        ((1, 2, 12, 24), torch.float32, {}, 0),
        ((1, 2, 12, 16), torch.float32, {"position_bias": torch.zeros(1, 2, 7, 7)}, 0),
    ],
    ids=["plain", "wide window", "narrow window", "half precision", "narrow heads", "bias"],
)
def test_what_the_kernel_does_not_know_is_left_to_torch(
    shape: tuple[int, ...], dtype: torch.dtype, options: dict[str, Any], expected: int
) -> None:
    states = torch.zeros(shape, dtype=dtype)
    rows = Rows([5, 7], 7, CPU)
    assert num_short(states, states, states, rows, options) == expected
    shared = states[:, :1]  # one head of keys for two of queries
    others = [
        (states, shared, shared),
        (states, states, states.double()),
        [torch.nn.Parameter(states.float())] * 3,
    ]
    for unlike in others:
        assert num_short(*unlike, rows, options) == 0
    with torch.autocast("cpu", torch.bfloat16):
        assert num_short(states, states, states, rows, options) == 0


def test_only_rows_before_the_first_long_one_are_short() -> None:
    """In an order of somebody else's, short rows behind a long one stay in its slabs."""
    rows = Rows([5, 140, 3], 140, CPU, order=np.arange(3))
    states = torch.randn(1, 2, 148, 16)
    assert num_short(states, states, states, rows, {}) == 1
    module: Any = SimpleNamespace(is_causal=False)
    found, _ = padding_free_attention(
        module, states, states, states, None, padding_free=Layout(rows)
    )
    tokens = [states[0].transpose(0, 1)] * 3
    expected = by_row(tokens, [5, 140, 3])
    torch.testing.assert_close(found[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "llama", "qwen3"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_autocast_leaves_precision_to_torch(family: str, dropout: float) -> None:
    """Rotations leave queries and keys in float32, beside values in half precision."""
    model, batch = zoo.model(family, "tokens"), zoo.batch([3, 9, 5], "tokens")
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = dropout
    with torch.autocast("cpu", torch.bfloat16):
        padded = model(**batch).loss.item()
        with padding_free(model):
            loss = model(**batch).loss
    loss.backward()
    assert loss.item() == pytest.approx(padded, rel=0.02 if dropout == 0 else 0.5)
    assert all(one.grad.isfinite().all() for one in model.parameters() if one.grad is not None)


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_a_second_derivative_is_refused(family: str) -> None:
    model, batch = zoo.model(family, "tokens"), zoo.batch([3, 9], "tokens")
    with padding_free(model):
        loss = model(**batch).loss
        with pytest.raises(ConfigurationError, match="no second derivative"):
            torch.autograd.grad(loss, list(model.parameters()), create_graph=True)


def call(lengths: Any = (2, 3), *, width: int = 16, **changes: Any) -> Any:
    """Calls the binding with flat arrays, of which some are changed."""
    names = ("query", "key", "value", "out", "weights")
    arrays = {name: np.zeros(80, np.float32) for name in names}
    arrays["query"][:] = 1
    arrays.update({name: value for name, value in changes.items() if name in names})
    rest = {name: value for name, value in changes.items() if name not in names}
    _fastft.attention_forward(
        *(arrays[name] for name in names), lengths=np.array(lengths, np.int64), num_heads=1,
        head_dim=width, scaling=1.0, **rest,
    )  # fmt: skip
    return arrays


@pytest.mark.parametrize("simd", LEVELS)
def test_every_level_can_be_asked_for(simd: str) -> None:
    value = np.arange(80, dtype=np.float32)
    out = call(value=value, simd=simd)["out"].reshape(5, 16)
    rows = value.reshape(5, 16)
    np.testing.assert_allclose(out[:2], rows[:2].mean(0, keepdims=True).repeat(2, 0), rtol=1e-6)
    np.testing.assert_allclose(out[2:], rows[2:].mean(0, keepdims=True).repeat(3, 0), rtol=1e-6)


SHORT = np.zeros(79, np.float32)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"lengths": (2, 4)}, DataError, "query"),
        ({"lengths": (2, -3)}, ValueError, "a row of -3 tokens"),
        ({"width": 8}, DataError, "a head of 8 elements is no multiple of 16"),
        ({"key": SHORT}, DataError, "key"),
        ({"weights": SHORT}, DataError, "weights"),
        ({"kept": SHORT}, DataError, "kept"),
        ({"out": SHORT}, DataError, "out"),
        ({"value": np.zeros(160, np.float32)[::2]}, ValueError, "value must be contiguous"),
        ({"query": np.zeros(80)}, TypeError, "query"),
        ({"simd": "mmx"}, ConfigurationError, "mmx"),
    ],
)
def test_what_does_not_fit_is_named(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(**changes)
