"""Batches from rows of tokens, against the collators of transformers: CPU time of one thread.

    python benches/batch_assembly.py [seconds a figure]

Rows of lognormal lengths (mean 180, cut at 512), random ids below 30,000, batches of 32 in random
order. Ours goes from indices to tensors; theirs from a list of dicts, the form that they are made
for, the picking of the 32 included. The loaders are torch's over that list and `fastft.DataLoader`
over the dataset, both shuffled and without workers, epoch after epoch. Both sides are compared
before they are timed (masks, which are drawn differently, by their shapes). Medians over rounds in
which ours, theirs and the copies take turns.
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import tokenizers
import torch
import transformers

import fastft
from fastft.data.ragged_column import RaggedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BATCH, NUM_ROWS, CAP, VOCABULARY = 32, 4096, 512, 30_000
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def tokenizer() -> Any:
    words = [*SPECIAL, *(f"w{number}" for number in range(VOCABULARY - len(SPECIAL)))]
    model = tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, "[UNK]")
    named = zip(("pad", "unk", "cls", "sep", "mask"), SPECIAL, strict=True)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(model),
        model_input_names=["input_ids", "attention_mask"],
        **{f"{name}_token": token for name, token in named},
    )


def lengths(rng: np.random.Generator) -> np.ndarray:
    """Lognormal with spread 0.8; the mean before the cut is such that it is 180 after it."""
    return np.clip(np.round(rng.lognormal(np.log(142), 0.8, NUM_ROWS)), 1, CAP).astype(np.int64)


def datasets(rng: np.random.Generator) -> Iterator[tuple[str, fastft.TokenDataset, Any, Any]]:
    hf, sizes = tokenizer(), lengths(rng)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    ids = rng.integers(len(SPECIAL), VOCABULARY, offsets[-1]).astype(np.uint16)
    tags = RaggedColumn(rng.integers(0, 9, len(ids)).astype(np.int32), offsets)

    def dataset(**columns: Any) -> fastft.TokenDataset:
        inputs = ("input_ids", "attention_mask")
        return fastft.TokenDataset(
            ids, offsets.astype(np.uint64), columns=columns, model_inputs=inputs
        )

    classes = rng.integers(0, 2, NUM_ROWS)
    stock, flat = transformers, {"return_flash_attn_kwargs": True, "return_seq_idx": True}
    for name, data, kind, args, options in [
        ("padding, labels (B,)", dataset(labels=classes), "WithPadding", (hf,), {}),
        ("token labels (B, T)", dataset(labels=tags), "ForTokenClassification", (hf,), {}),
        ("causal LM", dataset(), "ForLanguageModeling", (hf,), {"mlm": False}),
        ("masked LM", dataset(), "ForLanguageModeling", (hf,), {"mlm": True}),
        ("flattening", dataset(), "WithFlattening", (), {}),
        ("flattening, all", dataset(), "WithFlattening", (), flat),
    ]:
        ours, theirs = (getattr(home, f"DataCollator{kind}") for home in (fastft, stock))
        yield name, data, ours(*args, **options), theirs(*args, **options)


def cpu_us(work: Callable[[], Any], seconds: float) -> float:
    number, start = 0, time.thread_time()
    while time.thread_time() < start + seconds:
        for _ in range(4):
            work()
        number += 4
    return (time.thread_time() - start) / number * 1e6


def same(ours: Any, theirs: Any, *, masked: bool) -> bool:
    def equal(one: Any, other: Any) -> bool:
        if not isinstance(one, torch.Tensor):
            return bool(one == other)
        alike = one.dtype == other.dtype and one.shape == other.shape
        return alike and (masked or torch.equal(one, other))

    return list(ours) == list(theirs) and all(equal(ours[name], theirs[name]) for name in theirs)


def endless(loader: Any) -> Callable[[], Any]:
    """Takes one batch after the other, epoch after epoch."""
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    return lambda: next(batches)


def timed(data: fastft.TokenDataset, ours: Any, theirs: Any, order: Any) -> list[Callable[[], Any]]:
    """What is timed: both collators, a copy of the same bytes, Rust alone, ours with its loss, and
    both loaders."""
    rows = [data[row] for row in range(len(data))]
    turn, recipe = itertools.cycle(order), ours.recipe(data)
    tensors = ours(data.__getitems__(order[0])).values()
    arrays = [one.numpy() for one in tensors if isinstance(one, torch.Tensor)]
    return [
        lambda: theirs([rows[row] for row in next(turn)]),
        lambda: ours(data.__getitems__(next(turn))),
        lambda: [array.copy() for array in arrays],
        lambda: data.rust.collate(next(turn), recipe),
        lambda: ours(data.__getitems__(next(turn))).loss_index,
        endless(torch.utils.data.DataLoader(rows, BATCH, shuffle=True, collate_fn=theirs)),  # type: ignore[arg-type]
        endless(fastft.DataLoader(data, BATCH, shuffle=True, collate_fn=ours)),
    ]


def main(seconds: float) -> None:
    rng = np.random.default_rng(0)
    mean = lengths(np.random.default_rng(0)).mean()
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    print(f"mean length {mean:.0f}; CPU us a batch, medians; `copy` is of the first batch")
    print(
        f"{'batch':22}{'theirs':>9}{'ours':>8}{'ratio':>8}{'copy':>7}{'Rust':>7}{'loss':>7}{'loaders':>17}{'ratio':>7}"
    )
    for name, data, ours, theirs in datasets(rng):
        order = [rng.permutation(NUM_ROWS)[:BATCH] for _ in range(64)]
        assert ours.why_not_rust(data) is None
        for rows in order[:8]:
            batch = ours(data.__getitems__(rows))
            expected = theirs([data[int(row)] for row in rows])
            assert same(batch, expected, masked=name == "masked LM"), name
        works = timed(data, ours, theirs, order)
        rounds = [[cpu_us(work, seconds) for work in works] for _ in range(7)]
        medians = map(statistics.median, zip(*rounds, strict=True))
        stock, own, copy, rust, loss, their_loader, our_loader = medians
        print(
            f"{name:22}{stock:9.0f}{own:8.1f}{stock / own:8.0f}{copy:7.1f}{rust:7.1f}"
            f"{loss - own:7.1f}{their_loader:9.0f}{our_loader:8.1f}{their_loader / our_loader:7.0f}"
        )


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 0.2)
