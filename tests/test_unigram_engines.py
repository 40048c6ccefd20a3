"""The engine of Unigram gives what the Python package gives, for each definition that it takes.

Transformers puts its SentencePiece tokenizers together in a dozen ways. All of them are built here
over the real vocabularies of T5 and ALBERT, and tried with texts that are dense in what the engine
must be careful with: white space, what becomes white space or nothing, marks, quotation marks.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fastft.data.text_column import as_arrow, buffers
from tests.hostile_texts import every_character, hostile_texts
from tests.test_tokenizer_engines import DETAILS, assert_exact, backend, engine_of, real_texts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CLASSES = (
    *("AlbertTokenizer", "XLMRobertaTokenizer", "XLNetTokenizer", "CamembertTokenizer"),
    *("MBartTokenizer", "MBart50Tokenizer", "BigBirdTokenizer", "DebertaV2Tokenizer"),
    *("RemBertTokenizer", "PegasusTokenizer", "BarthezTokenizer", "XGLMTokenizer"),
)


def replace(expression: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": expression}, "content": content}


STRIP = {"type": "Strip", "strip_left": False, "strip_right": True}
SPLIT = {"type": "WhitespaceSplit"}
META = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
# What published files hold beside what the classes make; `None` stands for Precompiled.
PUBLISHED: dict[str, tuple[list[Any], list[Any]]] = {
    "converted": ([None, STRIP, replace(" {2,}", "\u2581")], [META]),
    "converted and split": ([None, STRIP, replace(" {2,}", "\u2581")], [SPLIT, META]),
    "marks kept": ([{"type": "NFD"}, None, replace(r"\s+", " ")], [META]),
    "split, spaces merged": ([{"type": "NFKC"}, replace(" {2,}", " ")], [SPLIT, META]),
    "lower case": ([{"type": "Lowercase"}, None], [META]),
    "nothing normalised": ([], [META]),
}

_SPACES = (" ", " ", "  ", "   ", "\n", "\t", "\r", "\r\n", "\u00a0", "\u3000", "\u2028", "\x85")
_GONE = ("\u00ad", "\u200b", "\ufeff", "\x01", "\x7f", "\u200d", "\u0301", "\u0323", "\ufe0f")
_MARKS = ("\u0600", "\u0d4e", "\u093f", "\u094d", "\u102b", "\u0e33", "\uff9e", "\u3099", "\u20dd")
_WORDS = (
    *(
        "a",
        "The",
        "word",
        "I",
        "\u00e9",
        "\u00c5",
        "\u0130",
        "\u00df",
        "\ufb01",
        "\ufdfa",
        "\u00af",
    ),
    *("\u0915", "\u0e01", "\ud55c", "\u1100", "\u1161", "\u11a8", "\u3131", "\u314f", "\uffa1"),
    *("`", "'", "``", "''", '"', "-", "--", "(", ")", ".", "\u2013", "\u20ac", "\u2581", "<"),
    *("\u00bd", "\u2122", "\u337f", "\U0001d165", "\U0001f1e9", "\U0001f468", "fifteen-letters"),
)


def spaced_texts(count: int, seed: int) -> list[str]:
    """Gives short texts of words, white space, and what joins or vanishes beside it."""
    draw = random.Random(seed)
    kinds = (_SPACES, _SPACES, _GONE, _MARKS, _WORDS, _WORDS)
    return [
        "".join(draw.choice(draw.choice(kinds)) for _ in range(draw.randint(1, 12)))
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def load(shared_data: Path) -> Callable[[str], Any]:
    """Loads the real vocabulary of ALBERT or T5 through a tokenizer class."""
    import transformers

    def load(name: str) -> Any:
        folder = "albert" if name == "AlbertTokenizer" else "t5"
        cls = getattr(transformers, name)
        return backend(cls.from_pretrained(shared_data / "tokenizers" / folder))

    return load


def change(stock: Any, **parts: Any) -> Any:
    """Gives the tokenizer with other parts of its definition."""
    import tokenizers

    return tokenizers.Tokenizer.from_str(json.dumps({**json.loads(stock.to_str()), **parts}))


def published(stock: Any, name: str) -> Any:
    normalizers, pre_tokenizers = PUBLISHED[name]
    precompiled = json.loads(stock.to_str())["normalizer"]
    steps = [precompiled if step is None else step for step in normalizers]
    return change(
        stock,
        normalizer={"type": "Sequence", "normalizers": steps} if steps else None,
        pre_tokenizer={"type": "Sequence", "pretokenizers": pre_tokenizers},
    )


@pytest.fixture(scope="module", params=[*CLASSES, *PUBLISHED])
def stock(request: pytest.FixtureRequest, load: Callable[[str], Any]) -> Any:
    """Each definition of the family."""
    name = request.param
    return load(name) if name in CLASSES else published(load("T5Tokenizer"), name)


@pytest.fixture(scope="module")
def real(shared_data: Path) -> list[str]:
    """Some real text of every kind, read once."""
    return real_texts(shared_data, 3203)


class TestFamily:
    def test_the_engine_takes_it(self, stock: Any) -> None:
        rust = engine_of(stock)
        assert rust.engine == "Unigram", rust.refusal

    def test_real_and_hostile_texts(self, stock: Any, real: list[str]) -> None:
        rust = engine_of(stock)
        assert_exact(stock, rust, real)
        assert_exact(stock, rust, hostile_texts(500, seed=5))
        assert_exact(stock, rust, list(every_character(947)))

    def test_white_space_and_what_joins_or_vanishes_beside_it(self, stock: Any) -> None:
        assert_exact(stock, engine_of(stock), spaced_texts(3000, seed=6))

    def test_what_was_remembered_changes_nothing(self, stock: Any) -> None:
        texts = spaced_texts(600, seed=7)
        column = buffers(as_arrow([*texts, *texts]))
        expected = engine_of(stock, reference_only=True).encode(column, **DETAILS)
        for slots in (0, 16, None):
            rust = engine_of(stock, memo_slots=slots)
            # Without spans first: what is learned then must hold with spans too.
            assert np.array_equal(rust.encode(column).ids, expected.ids)
            found = rust.encode(column, **DETAILS)
            for name in ("ids", "row_offsets", "offset_mapping", "word_ids"):
                assert np.array_equal(getattr(found, name), getattr(expected, name)), name

    @pytest.mark.slow
    @pytest.mark.timeout(1800)
    def test_all_characters_and_many_texts(self, stock: Any) -> None:
        rust = engine_of(stock)
        assert_exact(stock, rust, list(every_character()))
        assert_exact(stock, rust, hostile_texts(20_000, seed=8))
        assert_exact(stock, rust, spaced_texts(100_000, seed=9))


class TestAddedTokens:
    def test_plain_ones_cut_the_text(self, load: Callable[[str], Any]) -> None:
        import tokenizers

        stock = change(load("AlbertTokenizer"))
        plain = ["--", "-->", "well", " "]
        stock.add_tokens([tokenizers.AddedToken(token, normalized=False) for token in plain])
        texts = [
            "a-b--c--->d",
            "well well-known.",
            " (a)",
            "--",
            "-",
            "-->-->",
            "\u2013\u20ac\u00a3",
        ]
        assert_exact(stock, engine_of(stock), [*texts, *spaced_texts(2000, seed=10)])

    @pytest.mark.parametrize("option", ["lstrip", "rstrip", "single_word", "special"])
    @pytest.mark.parametrize("split_special_tokens", [False, True])
    def test_others_are_left_to_the_crate(
        self, load: Callable[[str], Any], option: str, split_special_tokens: bool
    ) -> None:
        import tokenizers

        stock = change(load("AlbertTokenizer"))
        token = tokenizers.AddedToken("-mark-", normalized=False, **{option: True})
        (stock.add_special_tokens if option == "special" else stock.add_tokens)([token])
        stock.encode_special_tokens = split_special_tokens
        rust = engine_of(stock, split_special_tokens=split_special_tokens)
        assert rust.engine == "Unigram", rust.refusal
        texts = ["a -mark- b", "a-mark-b", "-mark", "-mark-", "a - -mark-\tb", "-mark--mark- -"]
        assert_exact(stock, rust, texts)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"pre_tokenizer": {**META, "prepend_scheme": "first"}}, "Metaspace does not split"),
        ({"pre_tokenizer": {**META, "split": False}}, "Metaspace does not split"),
        ({"pre_tokenizer": SPLIT}, "the pre-tokenizer is WhitespaceSplit"),
        ({"normalizer": {**STRIP, "strip_left": True}}, "the normalizer is Strip"),
        ({"normalizer": replace(" +$", " ")}, "the normalizer replaces"),
        ({"normalizer": replace(r"\s+", "")}, "the normalizer replaces"),
        ({"normalizer": {"type": "ByteLevel"}}, "the normalizer is ByteLevel"),
    ],
)
def test_what_is_not_of_the_family_is_refused(
    load: Callable[[str], Any], parts: dict[str, Any], reason: str
) -> None:
    stock = change(load("T5Tokenizer"), **parts)
    rust = engine_of(stock)
    assert rust.engine is None
    assert reason in rust.refusal
    assert_exact(stock, rust, spaced_texts(200, seed=11))
