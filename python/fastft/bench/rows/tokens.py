"""Text to ids, against the Python package `tokenizers` and tiktoken: new, cold and repeated text.

Of a corpus the first half is read before (untimed), then the second is timed: its texts are new,
its words mostly are not. "cold" is the second half read by a tokenizer that has seen nothing,
"repeated" once more by one that has just read it. One thread. The limit looks every byte up in a
table once and does nothing with it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastft import _fastft
from fastft.bench.made import first_bytes, megabytes
from fastft.bench.row import Case, Context, Row, SkippedRow, Variant, absent, demand, limit, ours
from fastft.data.text_column import as_arrow, buffers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ASKED = {
    ("bert_uncased", "long"): (50, 35), ("bert_uncased", "short"): (40, 40),
    ("bert_uncased", "arabic"): (10, 10), ("bert_uncased", "japanese"): (10, 10),
    ("bert_cased", "long"): (50, 35), ("bert_cased", "short"): (40, 40),
    ("bert_chinese", "chinese"): (10, 10),
    ("gpt2", "long"): (45, 30), ("gpt2", "short"): (35, 30), ("gpt2", "arabic"): (6, 6),
    ("gpt2", "chinese"): (6, 6), ("gpt2", "japanese"): (6, 6),
    ("roberta_base", "long"): (45, 30), ("roberta_base", "short"): (35, 30),
    ("t5", "long"): (20, 15), ("t5", "short"): (18, 15), ("t5", "arabic"): (4, 4),
    ("albert", "long"): (20, 15), ("albert", "short"): (18, 15),
    ("llama2", "long"): (15, 12), ("llama2", "short"): (15, 12), ("llama2", "chinese"): (2, 2),
    ("llama2", "japanese"): (2, 2), ("llama2", "arabic"): (2, 2),
}  # fmt: skip
"""Tokenizer and text; times `tokenizers` without and with offsets."""
PART = 2_000_000
GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""


def rows() -> list[Row]:
    """A row for ids and one with offsets for each tokenizer and text, and one for threads."""
    found = []
    for (name, text), (plain, offsets) in ASKED.items():
        for kind, asked in (("ids", plain), ("offsets", offsets)):
            found.append(
                Row(
                    f"tokens/{name}/{text}/{kind}",
                    f"{name}: {text} text to ids" + (" with offsets" * (kind == "offsets")),
                    partial(_cases, name=name, text=text, offsets=kind == "offsets"),
                    asked={"tokenizers": asked},
                    seconds=(0.02, 0.2),
                )
            )
    return [*found, Row("tokens/threads", "bert_uncased: long text to ids on all cores",
                        _threads, clock="wall", threads=None)]  # fmt: skip


def halves(context: Context, text: str) -> tuple[list[str], list[str]]:
    """What is read before, and what is timed."""
    texts = context.data.corpus(text)
    half = len(texts) // 2
    return texts[:half], first_bytes(texts[half:], PART)


def _stock(context: Context, name: str) -> tuple[Any, str]:
    stock = context.data.tokenizer(name).backend_tokenizer
    stock.no_padding()
    stock.no_truncation()
    return stock, stock.to_str()


def _cases(context: Context, *, name: str, text: str, offsets: bool) -> Iterable[Case]:
    first, second = halves(context, text)
    stock, definition = _stock(context, name)
    seen, column = buffers(as_arrow(first)), buffers(as_arrow(second))
    wanted: dict[str, Any] = {"return_offsets_mapping": offsets, "num_threads": 1}

    def encode(tokenizer: _fastft.Tokenizer) -> Any:
        return tokenizer.encode(column, **wanted)

    def read(*columns: Any) -> Callable[[], tuple[_fastft.Tokenizer]]:
        def fresh() -> tuple[_fastft.Tokenizer]:
            tokenizer = _fastft.Tokenizer(definition)
            for one in columns:
                tokenizer.encode(one, **wanted)
            return (tokenizer,)

        return fresh

    peer = stock.encode_batch if offsets else stock.encode_batch_fast

    def check() -> str:
        found, expected = encode(*read(seen)()), peer(second)
        ids = [token for row in expected for token in row.ids]
        demand(np.array_equal(found.ids, ids), "the ids differ")
        if offsets:
            spans = [span for row in expected for span in row.offsets]
            demand(np.array_equal(found.offset_mapping, spans), "the offsets differ")
        return "ids and offsets equal" if offsets else "ids equal"

    data = np.frombuffer("\n".join(second).encode(), np.uint8)
    table = np.arange(256, dtype=np.uint8)
    case = Case(
        [
            ours(encode, fresh=read(seen)),
            ours(encode, "fastft, cold", fresh=read()),
            ours(encode, "fastft, repeated", fresh=read(seen, column)),
            Variant("tokenizers", lambda: peer(second)),
            limit("byte pass", lambda: table[data]),
        ],
        check,
        megabytes(second),
        "MB",
    )
    if name == "gpt2" and not offsets:
        _add_tiktoken(case, stock, second)
    yield case


def _add_tiktoken(case: Case, stock: Any, texts: list[str]) -> None:
    reason = absent("tiktoken")
    if reason is not None:
        case.absent["tiktoken"] = reason
        return
    import tiktoken

    letters = {letter: byte for byte, letter in _byte_letters().items()}
    ranks = {
        bytes(letters[letter] for letter in token): number
        for token, number in stock.get_vocab(with_added_tokens=False).items()
        if all(letter in letters for letter in token)
    }
    encoding = tiktoken.Encoding(
        "gpt2", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens={}
    )
    sample = texts[:200]
    found = encoding.encode_ordinary_batch(sample, num_threads=1)
    if found != [row.ids for row in stock.encode_batch_fast(sample)]:
        case.absent["tiktoken"] = "its ids differ from those of tokenizers"
        return
    case.variants.insert(
        -1, Variant("tiktoken", lambda: [encoding.encode_ordinary(text) for text in texts])
    )


def _byte_letters() -> dict[int, str]:
    """The letters that GPT-2 writes bytes as."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {
        **{byte: chr(byte) for byte in plain},
        **{byte: chr(256 + number) for number, byte in enumerate(others)},
    }


def _threads(context: Context) -> Iterable[Case]:
    import os

    cores = os.cpu_count() or 1
    if cores < 2:
        raise SkippedRow("this machine has one core")
    texts = context.data.corpus("long")
    # Short texts are too little for a second thread to be worth its start.
    texts = texts * max(1, round(5 / megabytes(texts)))
    definition = _stock(context, "bert_uncased")[1]
    column = buffers(as_arrow(texts))

    def fresh() -> tuple[_fastft.Tokenizer]:
        return (_fastft.Tokenizer(definition),)

    def check() -> str:
        one, two = (fresh()[0].encode(column, num_threads=number) for number in (1, 2))
        demand(np.array_equal(one.ids, two.ids), "two threads give other ids")
        return "ids of one and two threads equal"

    yield Case(
        [
            ours(lambda one: one.encode(column, num_threads=2), "fastft, two threads", fresh=fresh),
            ours(lambda one: one.encode(column, num_threads=1), "fastft, one thread", fresh=fresh),
        ],
        check,
        megabytes(texts),
        "MB",
    )
