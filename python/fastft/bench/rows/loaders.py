"""Loaders, an epoch at a time, and the first batch of a million rows: anew, and in mid-epoch.

An epoch is that of 4,096 lognormal rows, shuffled, in batches of 32; a loader with workers starts
them anew each epoch, as torch does by default. All cores, wall time: workers are other processes.
"""

from __future__ import annotations

from functools import cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.bench.row import Case, Context, Row, Variant, absent, demand, ours
from fastft.bench.rows.collators import BATCH, NUM_ROWS, collators, same, token_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

POLICIES = {"sequential": {}, "random": {}, "tokens": {"max_tokens": 4096}}


def rows() -> list[Row]:
    """Epochs, first batches and resumes, and the memory of a data set."""
    epoch = Row(
        "batches/loader", f"an epoch of {NUM_ROWS:,} rows, shuffled, padded", _epoch,
        clock="wall", threads=None, asked={"torch, 0 workers": 120},
    )  # fmt: skip
    found = [epoch]
    for policy in POLICIES:
        title = f"order {policy}: open a loader, first batch"
        asked = {"StatefulDataLoader": 1.0}
        found += [
            Row(f"batches/first/{policy}", title, partial(_first, policy=policy, late=False)),
            Row(
                f"batches/resume/{policy}", f"order {policy}: resume at 90 % of an epoch",
                partial(_first, policy=policy, late=True), asked=asked,
            ),
        ]  # fmt: skip
    memory = Row("batches/memory", "tokens in memory", _memory, peak=True, seconds=(0, 0))
    return [*found, memory]


def _stateful() -> Any:
    from torchdata.stateful_dataloader import StatefulDataLoader

    return StatefulDataLoader


def _epoch(context: Context) -> Iterable[Case]:
    import torch

    import fastft

    data = token_data("classes")
    collate, stock = collators("padding")
    listed = [data[row] for row in range(len(data))]

    def loop(loader: Any) -> Callable[[], int]:
        return lambda: sum(1 for _ in loader)

    def of_torch(**options: Any) -> Any:
        return torch.utils.data.DataLoader(listed, BATCH, shuffle=True, collate_fn=stock, **options)  # type: ignore[arg-type]

    def of_ours(**options: Any) -> Any:
        return fastft.DataLoader(data, BATCH, shuffle=True, collate_fn=collate, **options)

    def check() -> str:
        for workers in (0, 2):
            streams = []
            for loader in (of_ours(num_workers=workers), of_torch()):
                torch.manual_seed(1)
                streams.append(list(loader))
            for found, expected in zip(*streams, strict=True):
                same(found, expected)
        return "all batches of an epoch equal from the same seed"

    case = Case(
        [
            ours(loop(of_ours())),
            ours(loop(of_ours(num_workers=2)), "fastft, 2 threads"),
            Variant("torch, 0 workers", loop(of_torch())),
            Variant("torch, 2 workers", loop(of_torch(num_workers=2))),
        ],
        check,
        NUM_ROWS,
        "rows",
    )
    reason = absent("torchdata")
    if reason is None:
        loader = _stateful()(listed, BATCH, shuffle=True, collate_fn=stock)
        case.variants.append(Variant("StatefulDataLoader", loop(loader)))
    else:
        case.absent["StatefulDataLoader"] = reason
    yield case


@cache
def _many(num_rows: int) -> Any:
    from fastft.data.token_dataset import TokenDataset

    lengths = np.random.default_rng(0).integers(4, 27, num_rows)
    ids = np.random.default_rng(1).integers(5, 900, int(lengths.sum())).astype(np.uint16)
    return TokenDataset.from_ragged(ids, np.concatenate([[0], np.cumsum(lengths)]))


def _first(context: Context, *, policy: str, late: bool) -> Iterable[Case]:
    import fastft

    num_rows = context.pick(100_000, 1_000_000)
    data, collate = _many(num_rows), collators("padding")[0]
    size: dict[str, Any] = POLICIES[policy] or {"batch_size": BATCH}

    def loader() -> Any:
        sampler = fastft.BatchSampler(data, policy, **size, seed=1)
        return fastft.DataLoader(data, batch_sampler=sampler, collate_fn=collate)

    state = _late(loader()) if late else None

    def first(make: Callable[[], Any], state: Any) -> Any:
        one = make()
        if state is not None:
            one.load_state_dict(state)
        return next(iter(one))

    def check() -> str:
        whole = list(loader()) if late else [next(iter(loader()))]
        place = len(whole) * 9 // 10 + 1 if late else 0
        same(first(loader, state), whole[place])
        return "the batch of an epoch that was not interrupted" if late else "the first batch"

    case = Case([ours(lambda: first(loader, state))], check, num_rows, "rows")
    reason = absent("torchdata")
    if reason is not None:
        case.absent["StatefulDataLoader"] = reason
    elif policy != "tokens":
        _add_stateful(case, data, collate, first, shuffle=policy == "random", late=late)
    yield case


def _add_stateful(
    case: Case, data: Any, collate: Any, first: Callable[..., Any], *, shuffle: bool, late: bool
) -> None:
    def make() -> Any:
        return _stateful()(data, BATCH, shuffle=shuffle, collate_fn=collate)

    state = None
    if late:
        one = make()
        batches = iter(one)
        for _ in range(len(one) * 9 // 10):
            next(batches)
        state = one.state_dict()
    case.variants.append(Variant("StatefulDataLoader", lambda: first(make, state)))


def _late(loader: Any) -> Any:
    """The state behind nine tenths of an epoch and a batch, without the batches before them."""
    loader.load_state_dict({**loader.state_dict(), "num_yielded": len(loader) * 9 // 10})
    next(iter(loader))
    return loader.state_dict()


def _memory(context: Context) -> Iterable[Case]:
    """Rows of tokens as this library keeps them, and as a list of dicts of lists."""
    import fastft
    from fastft.bench import made

    lengths = made.lognormal_lengths(context.pick(4_000, 40_000))
    ids, offsets = made.ragged(lengths)

    def of_ours() -> Any:
        return fastft.TokenDataset(ids.copy(), offsets.copy())

    def of_dicts() -> Any:
        bounds = offsets.tolist()
        parts = [ids[start:end].tolist() for start, end in pairwise(bounds)]
        return [{"input_ids": part, "attention_mask": [1] * len(part)} for part in parts]

    def check() -> str:
        found, expected = of_ours(), of_dicts()
        demand(all(found[row]["input_ids"] == expected[row]["input_ids"] for row in range(50)),
               "rows differ")  # fmt: skip
        return "50 rows equal"

    yield Case(
        [ours(of_ours), Variant("list of dicts", of_dicts)], check, int(offsets[-1]), "tokens"
    )
