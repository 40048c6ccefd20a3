"""The self-check of a tokenizer: do two routes give the same tokens on texts chosen to tell?

A definition may hold what one of the routes does not know, or be overridden by a Python class.
About 2,000 short texts, with their offsets and words, show it in a tenth of a second; about 120 of
them go in pairs and are cut from both sides too.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from fastft.data.token_batch import TokenBatch

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

_PARTS = (
    *(
        "a",
        "B",
        "the",
        "Hello",
        "word",
        "ing",
        "x" * 20,
        "y" * 110,
        "123",
        "4567",
        "http://a.b/c?d=e",
    ),
    *(
        " ",
        "  ",
        "\t",
        "\n",
        "\r\n",
        "\u00a0",
        "\u3000",
        "\u2028",
        "\u0085",
        "\x00",
        "\x0b",
        "\x7f",
    ),
    *("'", '"', "''", "'s", "'S", "'\u017f", "'LL", "'re", "...", "--", "\u2014", "$", "_", "##"),
    *("\u00e9", "e\u0301", "\u0301", "\u0323", "\u302e", "\u0130", "\u00df", "\ufb01", "\u2260"),
    *(
        "\u037e",
        "\u00bd",
        "\u2460",
        "\u4e2d",
        "\u6587",
        "\u306e",
        "\u30ab",
        "\ud55c",
        "\u1112\u1161\u11ab",
    ),
    *("\u0639", "\u0631", "\u064e", "\u0600", "\u0d4e", "\u0e17", "\u0e33", "\u0928", "\u093f"),
    *("\U0001f917", "\U0001f468\u200d\U0001f469", "\U0001f1e9\U0001f1ea", "\u200b", "\u200d"),
    *("\u2581", "\u0120", "<unk>", "</s>", "[SEP]", "<|endoftext|>", "<0x0A>"),
)
"""What hostile texts are made of: scripts, marks, blanks, quotes, digits, signs, tokens."""

_NUM_MIXED = 1400
_CHARACTER_STEP = 211  # a prime, so that no script is met at the same place of each block


class Difference(NamedTuple):
    """The first text on which two routes differ."""

    text: str
    part: str
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


def more_texts() -> list[str]:
    """Gives about 1,900 texts: mixtures of what is hard, and characters of every block."""
    draw = random.Random(0)
    mixed = ["".join(draw.choices(_PARTS, k=draw.randint(2, 10))) for _ in range(_NUM_MIXED)]
    codes = [code for code in range(0x80, 0x1F000, _CHARACTER_STEP) if not 0xD800 <= code < 0xE000]
    return [*mixed, *(f"a{chr(code)}b {chr(code)}" for code in codes)]


Encode = Callable[..., "TokenBatch"]
"""`encode(texts, pairs, **options)` gives the tokens; the options are those of `Tokenizer`."""

_DETAILS = {
    "return_offsets_mapping": True,
    "return_word_ids": True,
    "return_special_tokens_mask": True,
}


def first_difference(
    texts: list[str], expected: Encode, found: Encode, *, max_length: int
) -> Difference | None:
    """Compares two routes on single texts and pairs, whole and cut from both sides."""
    others = [*texts[7:], *texts[:7]]
    for side in ("right", "left"):
        cut: dict[str, Any] = {"max_length": max_length, "truncation_side": side}
        for pairs in (None, others):
            for options in ({**_DETAILS, **cut}, _DETAILS if side == "right" else cut):
                difference = _compare(texts, pairs, expected, found, options)
                if difference is not None:
                    return difference
    return _compare(more_texts(), None, expected, found, _DETAILS)


def _compare(
    texts: list[str],
    pairs: list[str] | None,
    expected: Encode,
    found: Encode,
    options: dict[str, Any],
) -> Difference | None:
    one, other = expected(texts, pairs, **options), found(texts, pairs, **options)
    ends = one.row_offsets, other.row_offsets
    same_rows = np.array_equal(*ends)
    others = _parts(other)
    for name, array in _parts(one).items():
        if same_rows and np.array_equal(array, others[name]):
            continue
        for row, text in enumerate(texts):
            wanted = array[ends[0][row] : ends[0][row + 1]]
            given = others[name][ends[1][row] : ends[1][row + 1]]
            if not np.array_equal(wanted, given):
                return Difference(text, name, wanted.tolist(), given.tolist())
    return None


def _parts(batch: TokenBatch) -> dict[str, Any]:
    """What is compared, one entry a token."""
    lengths = np.diff(batch.row_offsets).astype(np.uint32)
    parts = {
        "ids": batch.ids,
        "type ids": batch.type_ids.expanded(lengths),
        "offsets": batch.offset_mapping,
        "word ids": batch.word_ids,
        "special tokens": batch.special_tokens_mask,
    }
    return {name: np.asarray(array) for name, array in parts.items() if array is not None}
