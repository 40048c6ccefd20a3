"""The self-check of a tokenizer: do two routes give the same ids on texts chosen to tell?

A definition may hold what one of the routes does not know, or be overridden by a Python class.
About 120 short texts, alone and in pairs, whole and cut, show it in a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

TEXTS = (
    *("", " ", "  ", "\t", "\n", "\r\n", " \n ", "a", " a", "a ", "  a  b  ", ".", "...", "?!"),
    *("Hello, world!", "hello world", "HELLO WORLD", "The quick brown fox.", "don't", "I'll we've"),
    *("it's \u2019quoted\u2019 \u201ctext\u201d", "e-mail: a.b@c.org", "https://x.org/?q=1&r=%20"),
    *("1", "12", "123", "1234567890", "3.14159", "1,000,000", "1e-5", "0x1F", "\u0661\u0662\u0663"),
    *("\u00bd \u00b2 \u2460", "$5 \u20ac6 \u00a37", "a_b-c/d\\e", "(a) [b] {c} <d>", "~`@#^&*+=|"),
    *(
        "na\u00efve caf\u00e9",
        "nai\u0308ve cafe\u0301",
        "\u00c5ngstr\u00f6m",
        "A\u030angstro\u0308m",
    ),
    *("stra\u00dfe STRASSE", "\u0130stanbul \u0131", "\u01c5 \ufb01 \ufb03", "\u1e9e", "\u0149"),
    *(
        "\u041f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440",
        "\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c2",
    ),
    *(
        "\u4f60\u597d\u4e16\u754c",
        "\u4f60\u597dworld\u4e16\u754c1",
        "\u3053\u3093\u306b\u3061\u306f",
    ),
    *(
        "\u30ab\u30bf\u30ab\u30ca \uff76\uff80\uff76\uff85",
        "\uff21\uff22\uff23\uff11\uff12",
        "\u3002\u3001",
    ),
    *(
        "\uc548\ub155\ud558\uc138\uc694",
        "\u1112\u1161\u11ab\u1100\u1173\u11af",
        "\U00020000\U0002a6d6",
    ),
    *(
        "\u0645\u0631\u062d\u0628\u0627",
        "\u0645\u064e\u0631\u0652\u062d\u064e\u0628\u0627",
        "\u05e9\u05dc\u05d5\u05dd",
    ),
    *(
        "\u0928\u092e\u0938\u094d\u0924\u0947",
        "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
        "\u1019\u103c\u1014\u103a",
    ),
    *(
        "\U0001f600",
        "a\U0001f600b",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\U0001f44d\U0001f3fd",
    ),
    *(
        "\u2764\ufe0f",
        "\U0001f1e9\U0001f1ea",
        "\u0301",
        "a\u0301\u0302\u0303",
        "\u0301a",
        "a \u0301b",
    ),
    *("\u00a0", "a\u00a0b", "a\u2003b", "a\u200bb", "a\u200db", "a\u2028b", "a\u0085b", "\ufeffa"),
    *("\u00ada", "a\u00adb", "\u202ea\u202c", "\ufffd", "\ufffe", "\U0010ffff", "\ue000", "\u0378"),
    *("\x00", "a\x00b", "\x01\x02", "a\x07b", "\x1b[0m", "\x7f", "\x0b\x0c", "\x80\x9f"),
    *(
        "x" * 99,
        "x" * 101,
        "x" * 250,
        "ab" * 200,
        "supercalifragilisticexpialidocious",
        "a b " * 60,
    ),
    *(
        "antidisestablishmentarianism",
        "Donaudampfschifffahrt",
        "1" * 60,
        "." * 40,
        " " * 40,
        "\n" * 9,
    ),
    *("\u2581a \u2581", "a\u2581b", "\u0120a", "##a ##", "a##b", "Ġ Ċ", "<0x0A> <0xFF>", "</w> @@"),
    *(
        "def f(x):\n    return x  # \t",
        '{"k": [1, null]}',
        "<b>t</b>",
        "a,b;c:d",
        "--",
        "\u2014\u2026",
    ),
)
"""Blanks, punctuation, digits, accents, scripts, emoji, marks, controls, long words, signs."""

Encode = Callable[..., Iterable[tuple[list[int], list[int]]]]
"""`encode(texts, pairs, max_length=, truncation_side=)` gives (ids, type ids) of each row."""


class Difference(NamedTuple):
    """The first text on which two routes differ."""

    text: str
    expected: list[int]
    found: list[int]


def probe_texts(special_tokens: Iterable[str]) -> list[str]:
    """Gives the probes, with the tokenizer's own special tokens written into some of them."""
    literal = [
        text
        for token in special_tokens
        for text in (token, f"a {token} b", f"a{token}b{token}", f" {token.lower()} ")
    ]
    return [*TEXTS, *literal]


def first_difference(
    texts: list[str], expected: Encode, found: Encode, *, max_length: int
) -> Difference | None:
    """Compares two routes on single texts and pairs, whole and cut from both sides."""
    others = [*texts[7:], *texts[:7]]
    cuts: list[dict[str, Any]] = [
        {"max_length": None, "truncation_side": "right"},
        {"max_length": max_length, "truncation_side": "right"},
        {"max_length": max_length, "truncation_side": "left"},
    ]
    for pairs in (None, others):
        for cut in cuts:
            rows = zip(
                texts, expected(texts, pairs, **cut), found(texts, pairs, **cut), strict=True
            )
            for text, expected_row, found_row in rows:
                if expected_row != found_row:
                    return Difference(text, expected_row[0], found_row[0])
    return None
