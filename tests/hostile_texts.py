"""Texts made to find where two tokenizers differ: scripts, marks, controls, literal tokens."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    *(" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u2028", "\u2029", "\u0085"),
    *("\x00", "\x01", "\x0b", "\x7f", "\u200b", "\u200d", "\ufeff", "\ufffd"),
    *(
        "'",
        '"',
        "''",
        "``",
        "'s",
        "'S",
        "'\u017f",
        "'LL",
        "'re",
        "...",
        "--",
        "\u2014",
        "$",
        "\u20ac",
        "_",
    ),
    *(
        "\u00e9",
        "e\u0301",
        "\u0301",
        "\u0323",
        "\u302e",
        "\U0001d165",
        "\u0130",
        "\u00df",
        "\u017f",
    ),
    *(
        "\ufb01",
        "\u2260",
        "\u226e",
        "\u037e",
        "\u00bd",
        "\u00b2",
        "\u2460",
        "\u4e2d",
        "\u6587",
        "\u306e",
    ),
    *(
        "\u30ab",
        "\ud55c",
        "\u1112\u1161\u11ab",
        "\u1100",
        "\u1161",
        "\u11a8",
        "\u0639",
        "\u0631",
        "\u064e",
    ),
    *("\u0600", "\u0d4e", "\u0e17", "\u0e33", "\u0928", "\u092e", "\u093f", "\U0001f917"),
    *("\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\U0001f44d\U0001f3fd"),
    *(
        "<s>",
        "</s>",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "<|endoftext|>",
        "<extra_id_0>",
        "<unk>",
        "<mask>",
    ),
    *("\u2581", "\u0120", "##"),
)


def hostile_texts(count: int, seed: int = 1) -> list[str]:
    """Gives mixtures of the parts, and a few very long words."""
    draw = random.Random(seed)
    mixed = ["".join(draw.choices(_PARTS, k=draw.randint(1, 14))) for _ in range(count)]
    return [*mixed, "".join(draw.choices("abcdefghij", k=10_000)), "-" * 500, "\u4e2d" * 3000]


def every_character(step: int = 1) -> Iterator[str]:
    """Gives each code point alone, between letters and after a space."""
    for code in range(0, 0x110000, step):
        if not 0xD800 <= code < 0xE000:
            character = chr(code)
            yield from (character, f"a{character}b", f" {character}")
