"""A tokenizer that is called gives what that of transformers gives, in one step of Rust."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastft import _fastft
from fastft.data.tokenizer import Tokenizer, TokenizerFallbackWarning
from fastft.errors import DataError
from tests.test_collator import tokenizer_with
from tests.tiny import sentences, tiny_tokenizer

USUAL: dict[str, Any] = {"padding": True, "truncation": True, "return_tensors": "pt"}
TEXTS = [text for text, _ in sentences(12)] + ["", "word " * 90, "é 中 \U0001f600"]


def calls_of_rust(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A list that grows when a batch was made in Rust."""
    made: list[Any] = []
    inner = tokenizer._padded.batch

    def batch(*args: Any) -> Any:
        result = inner(*args)
        made.extend([] if result is None else [result])
        return result

    monkeypatch.setattr(tokenizer._padded, "batch", batch)
    return made


def assert_same(batch: Any, stock: Any) -> None:
    assert list(batch) == list(stock)
    for name in stock:
        assert batch[name].dtype == stock[name].dtype
        assert torch.equal(batch[name], stock[name]), name


@pytest.mark.floor
@pytest.mark.parametrize("pair", [None, TEXTS[::-1]])
@pytest.mark.parametrize("sides", [("right", "right"), ("left", "right"), ("right", "left")])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_length": 12},
        {"max_length": 12, "truncation": "only_first"},
        {"padding": "longest", "pad_to_multiple_of": 8},
        {"padding": "max_length", "max_length": 40},
        {"padding": "max_length"},
    ],
)
def test_a_batch_is_the_stock_one(
    options: dict[str, Any], sides: tuple[str, str], pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hf = tokenizer_with(padding_side=sides[0], truncation_side=sides[1], model_max_length=64)
    tokenizer = Tokenizer.from_hf(hf)
    made = calls_of_rust(tokenizer, monkeypatch)
    call = {**USUAL, **options}
    texts = TEXTS if "only_first" not in call.values() else TEXTS[:12]
    pair = pair and pair[-len(texts) :]
    try:
        stock = hf(texts, pair, **call)
    except Exception as error:  # a pair that cannot be cut by its first text alone
        pytest.fail(f"the stock call fails: {error}") if pair is None else None
        return
    assert_same(tokenizer(texts, pair, **call), stock)
    assert len(made) == 1


@pytest.mark.parametrize(
    ("texts", "options"),
    [
        ("one text", {}),
        (["a"], {"return_tensors": None}),
        (["a"], {"return_tensors": "np"}),
        (["a", "b c"], {"truncation": False}),
        (["a", "b c"], {"padding": False, "return_tensors": None}),
        (["a"], {"return_offsets_mapping": True}),
        (["a"], {"add_special_tokens": False}),
        ([["a", "b"], ["c"]], {"is_split_into_words": True}),
        ([("a", "b"), ("c", "d")], {}),
        (["a", "b"], {"max_length": 10, "pad_to_multiple_of": 5}),
    ],
)
def test_any_other_call_is_handed_on(texts: Any, options: dict[str, Any]) -> None:
    hf = tokenizer_with(model_max_length=64)
    tokenizer = Tokenizer.from_hf(hf)
    call = {**USUAL, **options}
    ours, stock = tokenizer(texts, **call), hf(texts, **call)
    assert list(ours) == list(stock)
    for name in stock:
        assert str(ours[name]) == str(stock[name])


@pytest.mark.parametrize("texts", [[], ["a", None], ["a", 3], None, 5])
def test_what_transformers_refuses_is_refused(texts: Any) -> None:
    hf = tokenizer_with(model_max_length=64)
    with pytest.raises(Exception) as stock:
        hf(texts, **USUAL)
    with pytest.raises(type(stock.value)):
        Tokenizer.from_hf(hf)(texts, **USUAL)


def test_a_text_that_is_not_valid_is_named() -> None:
    tokenizer = Tokenizer.from_hf(tokenizer_with(model_max_length=64))
    with pytest.raises(DataError, match="row 1"):
        tokenizer(["a", "\ud800"], **USUAL)
    with pytest.raises(DataError, match="row 0"):
        tokenizer(["a"], ["\ud800"], **USUAL)


def test_a_changed_tokenizer_is_seen() -> None:
    hf = tokenizer_with(model_max_length=64)
    tokenizer = Tokenizer.from_hf(hf)
    for change in (
        {"padding_side": "left"},
        {"model_max_length": 9},
        {"truncation_side": "left"},
        {"pad_token": "[MASK]"},
        {"model_input_names": ["input_ids", "attention_mask"]},
    ):
        for name, value in change.items():
            setattr(hf, name, value)
        assert_same(tokenizer(TEXTS, **USUAL), hf(TEXTS, **USUAL))


def test_a_tokenizer_without_a_limit_cuts_nothing() -> None:
    hf = tiny_tokenizer()
    hf.model_max_length = int(1e30)
    tokenizer = Tokenizer.from_hf(hf)
    assert tokenizer._padded.batch(TEXTS, None, USUAL) is None
    assert_same(tokenizer(TEXTS, max_length=30, **USUAL), hf(TEXTS, max_length=30, **USUAL))


def test_a_tokenizer_travels_and_a_class_of_its_own_is_left_alone() -> None:
    hf = tokenizer_with(model_max_length=64)
    again = pickle.loads(pickle.dumps(Tokenizer.from_hf(hf)))
    assert_same(again(TEXTS, **USUAL), hf(TEXTS, **USUAL))

    class Shouting(type(hf)):  # type: ignore[misc]
        def __call__(self, text: Any, *args: Any, **kwargs: Any) -> Any:
            return super().__call__([one.upper() for one in text], *args, **kwargs)

    hf.__class__ = Shouting
    with pytest.warns(TokenizerFallbackWarning):
        tokenizer = Tokenizer.from_hf(hf)
    assert tokenizer._padded.batch(TEXTS, None, USUAL) is None
    assert_same(tokenizer(TEXTS, **USUAL), hf(TEXTS, **USUAL))


@settings(max_examples=100)
@given(
    texts=st.lists(st.text(max_size=30), min_size=1, max_size=6),
    max_length=st.integers(4, 20),
    side=st.sampled_from(["left", "right"]),
)
def test_any_texts_make_the_stock_batch(texts: list[str], max_length: int, side: str) -> None:
    HF.padding_side = side
    call = {**USUAL, "max_length": max_length}
    assert_same(OURS(texts, **call), HF(texts, **call))


HF = tokenizer_with(model_max_length=64)
OURS = Tokenizer.from_hf(HF)


def test_a_recipe_that_pads_nothing_is_refused() -> None:
    rust = OURS._rust
    assert rust is not None
    with pytest.raises(ValueError, match="pads nothing"):
        rust.encode_padded(
            ["a"], None, _fastft.Recipe.flattened(),
            max_length=8, truncation_side="right", truncation_strategy="longest_first",
        )  # fmt: skip
