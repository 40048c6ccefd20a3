"""Padded batches from texts: what a collate function that tokenizes would make, 32 rows at a time.

The peer is `tokenizer(texts, padding=True, truncation=True, return_tensors="pt")`. Ours makes the
same tensors in two ways: the whole column becomes a `TokenDataset` and the collator gathers (both
parts are counted, over one epoch); or "each", our tokenizer called as the peer is. Our tokenizer
has seen none of the texts before.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from fastft.bench.made import megabytes
from fastft.bench.row import Case, Context, Row, Variant, demand, ours

if TYPE_CHECKING:
    from collections.abc import Iterable

BATCH = 32
CASES = (
    ("bert_uncased", "short", 512), ("bert_uncased", "long", 256), ("bert_uncased", "long", 512),
    ("gpt2", "short", 512), ("gpt2", "long", 256), ("gpt2", "long", 512),
)  # fmt: skip
"""Tokenizer, text, the length that both sides cut to."""


def rows() -> list[Row]:
    """A row for each tokenizer, text and length."""
    return [
        Row(
            f"tokens/padded/{name}/{text}-{most}",
            f"{name}: {text} text to padded batches of {BATCH}, cut to {most}",
            partial(_cases, name=name, text=text, most=most),
            asked={"transformers": 60},
            seconds=(0, 0),
        )
        for name, text, most in CASES
    ]


def unseen(hf: Any) -> Any:
    """Our tokenizer, loaded anew: it has seen the texts of its self-check and no others."""
    from fastft.data import tokenizer_route
    from fastft.data.tokenizer import Tokenizer

    tokenizer_route._agreed.clear()
    return Tokenizer.from_hf(hf)


def _call(tokenizer: Any, texts: list[str]) -> Any:
    return tokenizer(texts, padding=True, truncation=True, return_tensors="pt")


def _cases(context: Context, *, name: str, text: str, most: int) -> Iterable[Case]:
    import torch

    from fastft.data.collator import DataCollatorWithPadding
    from fastft.data.token_dataset import TokenDataset

    hf = context.data.tokenizer(name)
    hf.model_max_length = most
    texts = context.data.corpus(text)[: context.pick(2_000, 67_349 if text == "short" else 4_096)]
    starts = range(0, len(texts), BATCH)
    parts = [texts[start : start + BATCH] for start in starts]
    batches = [list(range(start, min(start + BATCH, len(texts)))) for start in starts]
    collate = DataCollatorWithPadding(hf)

    def by_column(tokenizer: Any) -> Any:
        dataset = TokenDataset.from_texts(texts, tokenizer, max_length=most)
        for rows_of_batch in batches:
            batch = collate(dataset.__getitems__(rows_of_batch))
        return batch

    def by_call(tokenizer: Any) -> Any:
        for part in parts:
            batch = _call(tokenizer, part)
        return batch

    def check() -> str:
        tokenizer = unseen(hf)
        dataset = TokenDataset.from_texts(texts, tokenizer, max_length=most)
        for part, rows_of_batch in zip(parts[:20], batches[:20], strict=True):
            expected = _call(hf, part)
            found = collate(dataset.__getitems__(rows_of_batch)), _call(tokenizer, part)
            for batch in found:
                demand(list(batch) == list(expected), f"{list(batch)}, not {list(expected)}")
                for key in expected:
                    demand(torch.equal(batch[key], expected[key]), f"{key} differs")
        return "keys and values of 20 batches equal"

    yield Case(
        [
            ours(by_column, fresh=lambda: (unseen(hf),)),
            ours(by_call, "fastft, each", fresh=lambda: (unseen(hf),)),
            Variant("transformers", lambda: by_call(hf)),
        ],
        check,
        megabytes(texts),
        "MB",
    )
