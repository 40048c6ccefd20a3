"""Times variants in turn: wall time and CPU time of every repetition are kept.

All variants of a case take turns in one process, in another order each time, so that a busy minute
is busy for all of them; ratios are formed within a repetition. CPU time is that of this process
and of its children that have ended: work that a peer gives to other processes counts.
"""

from __future__ import annotations

import gc
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Any

try:
    import resource
except ImportError:  # there is none on Windows
    resource = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastft.bench.row import Variant

MOST_CALLS = 100_000


def cpu_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    total = time.process_time()
    if resource is not None:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        total += children.ru_utime + children.ru_stime
    return total


@dataclass(frozen=True)
class Clocks:
    """What is read before and after a call; tests bring their own."""

    wall: Callable[[], float] = time.perf_counter
    cpu: Callable[[], float] = cpu_seconds


@dataclass
class Times:
    """What one variant took: seconds a call, a number for each repetition."""

    calls: int = 1
    """Calls of each repetition, over which its time is the mean."""
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    result: Any = None
    """What the last call gave."""


def in_turn(
    variants: list[Variant],
    repetitions: int,
    seconds: float = 0.0,
    *,
    clocks: Clocks | None = None,
) -> dict[str, Times]:
    """Times all variants, one repetition of each after the other.

    Args:
        variants: What takes turns.
        repetitions: How often each is timed.
        seconds: A repetition takes at least about so long; short calls are repeated within it.
        clocks: What is read instead of the clocks of this machine.

    Returns:
        The times of each, by name.
    """
    clocks = clocks or Clocks()
    times = {variant.name: Times() for variant in variants}
    for variant in variants:
        # The first call warms up: caches, pools, kernels that are compiled when they are met.
        variant.work(*variant.arguments())
        times[variant.name].calls = _calls(variant, seconds, clocks)
    for number in range(repetitions):
        turn = number % len(variants)
        for variant in (*variants[turn:], *variants[:turn]):
            _repeat(variant, times[variant.name], clocks)
    return times


def _calls(variant: Variant, seconds: float, clocks: Clocks) -> int:
    """How many calls fill a repetition, what is made for each of them included."""
    if seconds <= 0:
        return 1
    start = clocks.wall()
    variant.work(*variant.arguments())
    once = clocks.wall() - start
    return min(MOST_CALLS, max(1, ceil(seconds / once))) if once > 0 else MOST_CALLS


def _repeat(variant: Variant, times: Times, clocks: Clocks) -> None:
    gc.collect()
    wall, cpu, result = 0.0, 0.0, None
    if variant.fresh is None:
        calls, work = range(times.calls), variant.work
        start = clocks.cpu(), clocks.wall()
        for _ in calls:
            result = work()
        wall, cpu = clocks.wall() - start[1], clocks.cpu() - start[0]
    else:
        for _ in range(times.calls):
            arguments = variant.arguments()
            start = clocks.cpu(), clocks.wall()
            result = variant.work(*arguments)
            wall += clocks.wall() - start[1]
            cpu += clocks.cpu() - start[0]
    times.wall.append(wall / times.calls)
    times.cpu.append(cpu / times.calls)
    times.result = result


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Binds this process to so many cores and gives torch as many threads; None leaves all.

    Threads that are running already stay where they are.
    """
    import torch

    before = torch.get_num_threads()
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    if number is not None:
        torch.set_num_threads(number)
        if cores is not None:
            os.sched_setaffinity(0, set(sorted(cores)[-number:]))
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if cores is not None:
            os.sched_setaffinity(0, cores)
