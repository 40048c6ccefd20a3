"""How work grows: packing and plans with the number of rows, batches with the length of rows.

Rows from 1,000 to 10 million (a million in a quick run); lengths from 32 to 4,096 tokens. Peers
stop at the sizes that they reach in reasonable time; reports give the exponent of each.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.bench import made
from fastft.bench.row import Case, Context, Row, Variant, demand, limit, ours
from fastft.bench.rows.collators import collators, copies, same
from fastft.bench.rows.plans import MAX_TOKENS, as_table, check_batches, check_bins, trl_pack

if TYPE_CHECKING:
    from collections.abc import Iterable

LENGTHS = (32, 128, 512, 1024, 4096)
BATCH = 16
MOST_OF_TRL = {"quick": 10_000, "full": 1_000_000}


def rows() -> list[Row]:
    """Growth by rows, by length, and of encoding by the number of texts."""
    few = {"repetitions": (3, 5), "seconds": (0.02, 0.1)}
    return [
        Row("batches/growth/pack", "pack rows into bins of 2,048", _packs, axis="rows", **few),  # type: ignore[arg-type]
        Row("batches/growth/plan", "the plan of an epoch, policy tokens", _plans, axis="rows",
            **few),  # type: ignore[arg-type]
        Row("batches/growth/length", f"a padded batch of {BATCH}", _lengths, axis="tokens a row",
            **few),  # type: ignore[arg-type]
        *(Row(f"tokens/growth/{number}-thread", f"bert_uncased: text to ids, {number} thread(s)",
              partial(_texts, number=number), axis="texts", clock="wall", threads=None,
              **few)  # type: ignore[arg-type]
          for number in (1, 2)),
    ]  # fmt: skip


def _sizes(context: Context) -> list[int]:
    return [10**power for power in range(3, context.pick(7, 8))]


def _packs(context: Context) -> Iterable[Case]:
    import fastft

    theirs = trl_pack()
    for size in _sizes(context):
        lengths = made.lognormal_lengths(size)

        def check(lengths: Any = lengths) -> str:
            check_bins(fastft.pack(lengths, 2048), lengths)
            return "every row once, no bin too full"

        pack = partial(fastft.pack, lengths, 2048)
        case = Case([ours(pack), limit("copy of the indices", np.arange(size).copy)], check,
                    size, "rows", size)  # fmt: skip
        if isinstance(theirs, str):
            case.absent["TRL"] = theirs
        elif size <= MOST_OF_TRL[context.size]:
            case.variants.insert(1, Variant("TRL", partial(theirs, as_table(lengths), 2048)))
        yield case


def _plans(context: Context) -> Iterable[Case]:
    import torch

    import fastft

    for size in _sizes(context):
        lengths = made.lognormal_lengths(size)

        def plan(lengths: Any = lengths) -> Any:
            return fastft.BatchSampler(lengths, "tokens", max_tokens=MAX_TOKENS, seed=1).plan()

        def check(lengths: Any = lengths, plan: Any = plan) -> str:
            check_batches(plan(), lengths, MAX_TOKENS)
            return "every row once, padding counted, budget kept"

        yield Case([ours(plan), limit("randperm", partial(torch.randperm, size))], check,
                   size, "rows", size)  # fmt: skip


def _lengths(context: Context) -> Iterable[Case]:
    import fastft

    collate, stock = collators("padding")
    for length in LENGTHS:
        # Between half of the length and all of it, as rows of one bucket are.
        sizes = np.random.default_rng(0).integers(length // 2, length + 1, 8 * BATCH)
        ids, offsets = made.ragged(sizes)
        data = fastft.TokenDataset(ids, offsets, model_inputs=("input_ids", "attention_mask"))
        order = [np.arange(start, start + BATCH) for start in range(0, len(sizes), BATCH)]
        listed, turn = [data[row] for row in range(len(data))], itertools.cycle(order)

        def own(data: Any = data, turn: Any = turn) -> Any:
            return collate(data.__getitems__(next(turn)))

        def peer(listed: Any = listed, turn: Any = turn) -> Any:
            return stock([listed[row] for row in next(turn)])

        def check(data: Any = data, order: Any = order) -> str:
            for batch in order:
                expected = stock([data[int(row)] for row in batch])
                same(collate(data.__getitems__(batch)), expected)
            return "8 batches equal"

        copy = copies(collate(data.__getitems__(order[0])))
        yield Case([ours(own), Variant("transformers", peer), limit("copy", copy)], check,
                   BATCH, "rows", length)  # fmt: skip


def _texts(context: Context, *, number: int) -> Iterable[Case]:
    from fastft import _fastft
    from fastft.data.text_column import as_arrow, buffers

    stock = context.data.tokenizer("bert_uncased").backend_tokenizer
    stock.no_padding()
    stock.no_truncation()
    definition = stock.to_str()
    texts = context.data.corpus("short")
    for size in context.pick((100, 1_000, 10_000), (1_000, 10_000, 100_000, 1_000_000)):
        repeated = (texts * (size // len(texts) + 1))[:size]
        column = buffers(as_arrow(repeated))

        def fresh() -> tuple[_fastft.Tokenizer]:
            return (_fastft.Tokenizer(definition),)

        def encode(tokenizer: _fastft.Tokenizer, column: Any = column) -> Any:
            return tokenizer.encode(column, num_threads=number)

        def check(encode: Any = encode, repeated: Any = repeated) -> str:
            rows = stock.encode_batch_fast(repeated[:500])
            expected = [token for row in rows for token in row.ids]
            found = encode(fresh()[0]).ids[: len(expected)]
            demand(np.array_equal(found, expected), "the ids differ")
            return "ids of 500 texts equal"

        case = Case([ours(encode, fresh=fresh)], check, made.megabytes(repeated), "MB", size)
        if size <= 10_000:
            case.variants.append(Variant("tokenizers", partial(stock.encode_batch_fast, repeated)))
        yield case
