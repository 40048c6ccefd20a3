"""Texts that are left where `max_length` is reached: the tokens of the whole text, cut afterwards.

The reference is the call of transformers, which encodes every text to its end.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fastft import _fastft
from fastft.data.python_tokenizer import PythonTokenizer
from fastft.data.text_column import as_arrow
from fastft.data.tokenizer import Tokenizer
from fastft.data.tokenizer_route import encode_in_rust
from fastft.errors import ConfigurationError
from tests.hostile_texts import hostile_texts

if TYPE_CHECKING:
    from fastft.data.token_batch import TokenBatch

DETAILS: dict[str, Any] = {
    "return_offsets_mapping": True,
    "return_word_ids": True,
    "return_special_tokens_mask": True,
}
PARTS = (
    *("ids", "row_offsets", "offset_mapping", "word_ids", "special_tokens_mask"),
    *("num_truncated_rows", "num_truncated_tokens", "num_truncated_characters"),
)
ROUTES: tuple[dict[str, Any], ...] = (
    *({}, {"memo_slots": 0}, {"memo_slots": 16}),
    {"reference_only": True},
)


def assert_equal(expected: TokenBatch, found: TokenBatch, texts: list[str]) -> None:
    """Compares all that was asked for, and names the first row that differs."""
    rows = [batch.row_offsets.astype(int) for batch in (expected, found)]
    for row, text in enumerate(texts):
        ours, theirs = (
            batch.ids[ends[row] : ends[row + 1]].tolist()
            for batch, ends in zip((found, expected), rows, strict=True)
        )
        assert ours == theirs, repr(text)
    for name in PARTS:
        assert np.array_equal(getattr(expected, name), getattr(found, name)), name


def assert_routes_agree(
    hf: Any, texts: list[str], pairs: list[str] | None = None, **options: Any
) -> TokenBatch:
    """Compares every Rust route with the Python route, with offsets and without."""
    python, rust = _routes(hf)
    columns = as_arrow(texts), None if pairs is None else as_arrow(pairs)
    for details in (DETAILS, {}):
        expected = python.encode(*columns, **options, **details)
        for route in rust:
            assert_equal(expected, encode_in_rust(route, *columns, **options, **details), texts)
    return expected


_LOADED: dict[int, tuple[Any, PythonTokenizer, list[Any]]] = {}


def _routes(hf: Any) -> tuple[PythonTokenizer, list[Any]]:
    """Loads the routes of a tokenizer once."""
    if id(hf) not in _LOADED:
        python = PythonTokenizer(hf)
        rust = [_fastft.Tokenizer(python.definition(), **options) for options in ROUTES]
        _LOADED[id(hf)] = hf, python, rust
    return _LOADED[id(hf)][1:]


def joined_texts(count: int, seed: int, longest: int) -> list[str]:
    """Hostile texts one behind the other, so that they are cut anywhere inside."""
    draw, texts = random.Random(seed), hostile_texts(count, seed=seed)
    return [" ".join(draw.choices(texts, k=draw.randint(1, longest))) for _ in range(count)]


class TestExactness:
    @pytest.mark.parametrize("max_length", [6, 7, 23, 40, 60])
    def test_hostile_texts(self, hf: Any, max_length: int) -> None:
        texts = joined_texts(60, max_length, 4)
        batch = assert_routes_agree(hf, texts, max_length=max_length)
        assert 0 < batch.num_truncated_rows < 60
        assert batch.num_truncated_characters

    @pytest.mark.parametrize("max_length", [10, 11, 24])
    def test_hostile_pairs(self, hf: Any, max_length: int) -> None:
        # Short ones: transformers makes a row of every pair of windows, and throws them away.
        texts = [text[:50] for text in joined_texts(60, max_length, 2)]
        assert_routes_agree(hf, texts, texts[::-1], max_length=max_length)

    def test_what_is_counted_changes_no_token(self, hf: Any) -> None:
        texts = joined_texts(40, 5, 3)
        counted = assert_routes_agree(hf, texts, max_length=9, count_truncated_tokens=True)
        assert counted.num_truncated_characters is None
        whole = hf(texts, verbose=False)["input_ids"]
        assert counted.num_truncated_tokens == sum(max(len(row) - 9, 0) for row in whole)
        left = assert_routes_agree(hf, texts, max_length=9, truncation_side="left")
        assert left.num_truncated_tokens == counted.num_truncated_tokens

    def test_what_stands_behind_the_end(self, hf: Any) -> None:
        # Each of these sends the whole text to the crate, or is taken away by a normalizer.
        behind = [
            "<mask>",
            "[MASK]",
            "</s>",
            "e\u0301",
            "\u0301",
            "\u2581",
            "\u200b",
            "\x00",
            "\ufeff",
        ]
        begins = [
            "a b c d e f g h",
            "\u200ba b c d e f g",
            "caf\u00e9, \u4e2d\u6587 x y z",
            "\u200b" + "a bc " * 20,
        ]
        texts = [
            f"{begin}{space}{odd}{space}end"
            for begin in begins
            for odd in behind
            for space in ("", " ", "  ", "\n")
        ]
        for max_length in (4, 9, 10, 11, 24, 42):
            assert_routes_agree(hf, texts, max_length=max_length)


class TestPairs:
    @pytest.mark.parametrize("max_length", range(4, 13))
    def test_an_odd_token_goes_to_the_longer_text(
        self, tiny_tokenizer: Any, max_length: int
    ) -> None:
        # Beyond the room both look alike; which text is longer must be found out all the same.
        lengths = [0, 1, 2, 3, 4, 5, 6, 9, 10, 11, 40, 41, 300]
        firsts = ["a " * first for first in lengths for _ in lengths]
        seconds = ["a " * second for _ in lengths for second in lengths]
        tokenizer = Tokenizer.from_hf(tiny_tokenizer)
        batch = tokenizer.encode(firsts, seconds, max_length=max_length)
        expected = tiny_tokenizer(firsts, seconds, max_length=max_length, truncation=True)
        for row, type_ids in enumerate(expected["token_type_ids"]):
            assert batch.row_type_ids(row).tolist() == type_ids, (firsts[row], seconds[row])

    @pytest.mark.parametrize("truncation", ["only_first", "only_second"])
    def test_one_text_loses_and_the_other_is_left(
        self, tiny_tokenizer: Any, truncation: str
    ) -> None:
        long, short = ["a good film " * 50] * 2, ["bad", "a bad film"]
        texts = (long, short) if truncation == "only_first" else (short, long)
        batch = assert_routes_agree(
            tiny_tokenizer, *texts, max_length=11, truncation_strategy=truncation
        )
        assert batch.num_truncated_rows == 2

    def test_the_error_says_how_many_tokens_there_are(self, tiny_tokenizer: Any) -> None:
        tokenizer = Tokenizer.from_hf(tiny_tokenizer)
        with pytest.raises(ConfigurationError, match="too few to lose") as caught:
            tokenizer.encode(["a"], ["a " * 500], max_length=7, truncation="only_first")
        assert "501 tokens" in str(caught.value)


class TestCounts:
    def test_characters_behind_the_last_token_are_counted(self, tiny_tokenizer: Any) -> None:
        tokenizer = Tokenizer.from_hf(tiny_tokenizer)

        def lost(*texts: str, max_length: int = 4) -> tuple[int, int | None]:
            batch = tokenizer.encode(list(texts), max_length=max_length)
            return batch.num_truncated_rows, batch.num_truncated_characters

        assert lost("a bad") == (0, 0)
        # The space at the end is no token, but stands behind one.
        assert lost("a bad ") == (0, 0)
        assert lost("a bad film ", "the good \u4e2d\u6587") == (2, 6 + 3)
        # No token has room, so that the whole text is lost.
        assert lost("a bad", "", "\u4e2d\u6587 ", max_length=2) == (2, 5 + 3)
        assert lost("a bad ", max_length=2) == (1, 6)

    def test_both_texts_of_a_pair_count(self, tiny_tokenizer: Any) -> None:
        batch = Tokenizer.from_hf(tiny_tokenizer).encode(
            ["the good film", "a"], ["bad \u4e2d a", "bad"], max_length=6
        )
        # Kept are "the" and "bad \u4e2d".
        assert (batch.num_truncated_rows, batch.num_truncated_characters) == (1, 10 + 2)

    def test_nothing_to_cut(self, tiny_tokenizer: Any) -> None:
        tokenizer = Tokenizer.from_hf(tiny_tokenizer)
        batch = tokenizer.encode(["a good film"])
        assert (batch.num_truncated_tokens, batch.num_truncated_characters) == (0, None)
        batch = tokenizer.encode([], max_length=5)
        assert (batch.num_truncated_tokens, batch.num_truncated_characters) == (None, 0)

    def test_rows_that_overflow_are_counted_in_tokens(self, tiny_tokenizer: Any) -> None:
        batch = Tokenizer.from_hf(tiny_tokenizer).encode(
            ["a bad film the good film"], max_length=5, return_overflowing_tokens=True
        )
        assert (batch.num_truncated_tokens, batch.num_truncated_characters) == (3, None)
