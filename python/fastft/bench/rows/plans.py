"""Packing and epoch plans over many lengths, against TRL and the sampler of transformers.

Lengths are lognormal, mean 180, cut at 512: a million in a full run. TRL packs the same rows as one
Arrow table, which is the same work and a copy of the tokens. Packings must have as many bins as
TRL's; plans must hold every row once and keep their budget. One thread.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.bench import made
from fastft.bench.row import Case, Context, Row, Variant, absent, demand, limit, ours

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

CAPACITIES = (512, 2048)
MAX_TOKENS, BATCH = 8192, 32
PLANS: dict[str, dict[str, int]] = {
    "random": {"batch_size": BATCH},
    "bucketed": {"batch_size": BATCH},
    "tokens": {"max_tokens": MAX_TOKENS},
    "packed": {"max_tokens": MAX_TOKENS},
}


def rows() -> list[Row]:
    """A row for each capacity and each policy."""
    packs = [
        Row(
            f"batches/pack/{capacity}", f"pack rows into bins of {capacity}",
            partial(_pack_cases, capacity=capacity), asked={"TRL": 1000}, seconds=(0.02, 0.1),
        )
        for capacity in CAPACITIES
    ]  # fmt: skip
    plans = [
        Row(f"batches/plan/{policy}", f"the plan of an epoch, policy {policy}",
            partial(_plan_cases, policy=policy))
        for policy in PLANS
    ]  # fmt: skip
    return [*packs, *plans]


def check_bins(plan: Any, lengths: NDArray[np.uint32]) -> None:
    """Demands that every row is in a bin, and no bin too full."""
    demand(np.array_equal(np.sort(plan.indices), np.arange(len(lengths))), "a row is lost")
    fill = np.add.reduceat(lengths[plan.indices], plan.bin_offsets[:-1])
    demand(fill.max() <= plan.max_length, "a bin is too full")


def check_batches(plan: Any, lengths: NDArray[np.uint32], max_tokens: int) -> None:
    """Demands that every row is in a batch, and padding and budget are as told."""
    demand(np.array_equal(np.sort(plan.indices), np.arange(len(lengths))), "a row is lost")
    longest = np.maximum.reduceat(lengths[plan.indices], plan.batch_offsets[:-1])
    padded = longest * np.diff(plan.batch_offsets)
    demand(padded.max() <= max_tokens, "a batch is above its budget")
    demand(padded.sum() == plan.num_padded_tokens, "the padding is counted wrongly")


def as_table(lengths: NDArray[np.uint32]) -> Any:
    """The rows as one Arrow table of token lists."""
    import pyarrow as pa

    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    flat = np.zeros(offsets[-1], np.int32)
    return pa.table({"input_ids": pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(flat))})


def trl_pack() -> Any:
    """TRL's packing of a whole table, or the reason why it is not here."""
    for module in ("trl", "datasets"):
        reason = absent(module)
        if reason is not None:
            return reason
    try:
        from trl.data_utils import _pack_bfd
    except ImportError as error:
        return f"trl has no _pack_bfd: {error}"
    return _pack_bfd


def _pack_cases(context: Context, *, capacity: int) -> Iterable[Case]:
    import fastft

    lengths = made.lognormal_lengths(context.pick(20_000, 1_000_000))
    output = np.arange(len(lengths))
    theirs = trl_pack()

    def filled(plan: Any) -> dict[str, Any]:
        return {"bins": len(plan), "fill": round(plan.fill, 6)}

    case = Case(
        [
            ours(lambda: fastft.pack(lengths, capacity), note=filled),
            limit("copy of the indices", output.copy),
        ],
        lambda: "",
        len(lengths),
        "rows",
    )
    table = None if isinstance(theirs, str) else as_table(lengths)

    def check() -> str:
        plan = fastft.pack(lengths, capacity)
        check_bins(plan, lengths)
        if table is None:
            return "every row once, no bin too full"
        found = len(theirs(table, capacity))
        demand(found == len(plan), f"TRL makes {found} bins, ours {len(plan)}")
        return "as many bins, every row once, none too full"

    case.check = check
    if isinstance(theirs, str):
        case.absent["TRL"] = theirs
    else:
        work = partial(theirs, table, capacity)
        case.variants.insert(1, Variant("TRL", work, note=lambda packed: {"bins": len(packed)}))
    yield case


def _plan_cases(context: Context, *, policy: str) -> Iterable[Case]:
    import torch

    import fastft

    lengths = made.lognormal_lengths(context.pick(20_000, 1_000_000))
    options: dict[str, Any] = PLANS[policy]

    def plan() -> Any:
        return fastft.BatchSampler(lengths, policy, **options, seed=1).plan()

    def check() -> str:
        found = plan()
        if policy in ("packed", "random"):
            demand(len(np.unique(found.indices)) == len(lengths), "a row is lost")
            return "every row once"
        check_batches(found, lengths, options.get("max_tokens", 512 * BATCH))
        return "every row once, padding counted, budget kept"

    def padding(found: Any) -> dict[str, Any]:
        batches = {"batches": len(found)}
        return batches if policy == "random" else {**batches, "padding": _padding(found, lengths)}

    case = Case(
        [ours(plan, note=padding), limit("randperm", lambda: torch.randperm(len(lengths)))],
        check,
        len(lengths),
        "rows",
    )
    if policy == "bucketed":
        from transformers.trainer_pt_utils import get_length_grouped_indices

        listed = lengths.tolist()
        work = partial(get_length_grouped_indices, listed, BATCH)
        case.variants.insert(1, Variant("group_by_length", work))
    if policy == "random":
        work = partial(_torch_batches, len(lengths))
        case.variants.insert(1, Variant("torch samplers", work))
    yield case


def _torch_batches(num_rows: int) -> Any:
    from torch.utils.data import BatchSampler, RandomSampler

    return list(BatchSampler(RandomSampler(range(num_rows)), BATCH, drop_last=False))


def _padding(plan: Any, lengths: NDArray[np.uint32]) -> float:
    padded = int(plan.num_padded_tokens)
    return round(1 - int(lengths.sum()) / padded, 6) if padded else 0.0
