"""Packing and batch plans over a million lengths, as a table: `python benches/batch_plan.py`.

Lengths are lognormal, mean 180, cut at 512. One thread, CPU time, medians of 5; what is timed is
checked first. Where `trl` is installed, its `_pack_bfd` packs the same rows as one Arrow table (the
same work plus the copy of the tokens): the numbers of bins are compared, then the times.
"""

from __future__ import annotations

import statistics
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch

import fastft
from fastft import _fastft

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

NUM_ROWS, LONGEST, MEAN, SIGMA = 1_000_000, 512, 180, 0.75
CAPACITIES = (512, 2048)
MAX_TOKENS, BATCH_SIZE = 8192, 32
REPETITIONS = 5


def lognormal_lengths(num_rows: int) -> NDArray[np.uint32]:
    """The lengths of the loader measurements; the cut at the cap is made up for in the mean."""
    mu = np.log(MEAN) - SIGMA**2 / 2 + 0.055
    drawn = np.random.default_rng(1).lognormal(mu, SIGMA, num_rows)
    return np.clip(np.rint(drawn), 4, LONGEST).astype(np.uint32)


def cpu_ms(work: Callable[[], Any], repetitions: int = REPETITIONS) -> float:
    """The median of the CPU time of this thread."""
    times = []
    for _ in range(repetitions):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return 1e3 * statistics.median(times)


def check_bins(plan: fastft.PackPlan, lengths: NDArray[np.uint32]) -> None:
    assert np.array_equal(np.sort(plan.indices), np.arange(len(lengths))), "a row is lost"
    fill = np.add.reduceat(lengths[plan.indices], plan.bin_offsets[:-1])
    assert fill.max() <= plan.max_length, "a bin is too full"


def check_batches(plan: fastft.BatchPlan, lengths: NDArray[np.uint32], max_tokens: int) -> None:
    assert np.array_equal(np.sort(plan.indices), np.arange(len(lengths))), "an example is lost"
    longest = np.maximum.reduceat(lengths[plan.indices], plan.batch_offsets[:-1])
    padded = longest * np.diff(plan.batch_offsets)
    assert padded.max() <= max_tokens, "a batch is above its budget"
    assert padded.sum() == plan.num_padded_tokens, "the padding is counted wrongly"


def trl_line(lengths: NDArray[np.uint32], capacity: int, num_bins: int, ours_ms: float) -> str:
    from trl.data_utils import _pack_bfd

    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    flat = np.zeros(offsets[-1], np.int32)
    rows = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(flat))
    table = pa.table({"input_ids": rows})
    packed: list[Any] = []
    # It takes ten seconds and more: once is enough.
    theirs_ms = cpu_ms(lambda: packed.append(_pack_bfd(table, capacity)), repetitions=1)
    assert len(packed[0]) == num_bins, f"TRL makes {len(packed[0])} bins"
    return (
        f"| TRL `_pack_bfd` at {capacity} | {theirs_ms:,.0f} | {theirs_ms / ours_ms:,.0f}x ours |"
    )


def packing_lines(lengths: NDArray[np.uint32]) -> list[str]:
    lines = []
    for capacity in CAPACITIES:
        plan = fastft.pack(lengths, capacity)
        check_bins(plan, lengths)
        ours_ms = cpu_ms(lambda capacity=capacity: fastft.pack(lengths, capacity))
        result = f"{len(plan):,} bins, {100 * plan.fill:.3f} % filled"
        lines.append(f"| `pack` at {capacity} | {ours_ms:.1f} | {result} |")
        if find_spec("trl") is None:
            lines.append(f"| TRL at {capacity} | absent | `pip install trl` to compare |")
        else:
            lines.append(trl_line(lengths, capacity, len(plan), ours_ms))
    return lines


def plan_lines(lengths: NDArray[np.uint32]) -> list[str]:
    order = torch.randperm(len(lengths)).numpy()
    window = 16_384
    cuts: dict[str, tuple[Callable[[], _fastft.Batches], dict[str, int]]] = {
        "tokens": (
            lambda: _fastft.Batches.within_tokens(
                order, lengths, window=window, max_tokens=MAX_TOKENS
            ),
            {"max_tokens": MAX_TOKENS},
        ),
        "packed": (
            lambda: _fastft.Batches.packed(order, lengths, max_tokens=MAX_TOKENS),
            {"max_tokens": MAX_TOKENS},
        ),
        "bucketed": (
            lambda: _fastft.Batches.bucketed(order, lengths, window=window, batch_size=BATCH_SIZE),
            {"batch_size": BATCH_SIZE},
        ),
    }
    lines = []
    for policy, (cut, setting) in cuts.items():
        plan = fastft.BatchSampler(lengths, policy, **setting).plan()
        if policy != "packed":
            check_batches(plan, lengths, setting.get("max_tokens", LONGEST * BATCH_SIZE))
        batches = cut()
        batch_order = torch.randperm(batches.num_movable).numpy()
        cut_ms = cpu_ms(cut)
        arrange_ms = cpu_ms(lambda batches=batches, order=batch_order: batches.arranged(order))
        result = repr(plan).split("\n")[0].removeprefix("BatchPlan: ")
        name, value = next(iter(setting.items()))
        lines.append(
            f"| `{policy}`, {name}={value}, in Rust | {cut_ms + arrange_ms:.1f} "
            f"(cut {cut_ms:.1f}, shuffle {arrange_ms:.1f}) | {result} |"
        )
    randperm_ms = cpu_ms(lambda: torch.randperm(len(lengths)))
    return [*lines, f"| `torch.randperm({len(lengths)})` | {randperm_ms:.1f} | |"]


def main() -> None:
    torch.set_num_threads(1)
    lengths = lognormal_lengths(NUM_ROWS)
    print(f"{len(lengths):,} rows, mean {lengths.mean():.1f} tokens, {lengths.sum():,} in all\n")
    print("| work | CPU ms | result |", "|---|---|---|", sep="\n")
    for line in [*packing_lines(lengths), *plan_lines(lengths)]:
        print(line)


if __name__ == "__main__":
    main()
