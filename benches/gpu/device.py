"""The device that is measured: its clock, its peak memory, its launches and the time it idles."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from fastft.bench.measure import Clocks, cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


@dataclass(frozen=True)
class Device:
    """Where rows run, and in which sizes.

    Args:
        name: "cuda" or "cpu".
        tiny: Sizes that only show that a row runs.
    """

    name: str = "cuda"
    tiny: bool = False

    @property
    def is_gpu(self) -> bool:
        """Whether there are launches, events and a memory of its own."""
        return self.name == "cuda"

    def pick(self, tiny: Any, full: Any) -> Any:
        """Gives what belongs to the size of this run."""
        return tiny if self.tiny else full

    def wait(self) -> None:
        """Waits until all that was launched is done."""
        if self.is_gpu:
            torch.cuda.synchronize()

    def clocks(self) -> Clocks:
        """Clocks that are read when the device is done with what came before."""

        def wall() -> float:
            self.wait()
            return time.perf_counter()

        return Clocks(wall, cpu_seconds)

    def peak(self, work: Callable[[], Any], *leaves: torch.Tensor) -> dict[str, Any]:
        """Memory of the device above the inputs at the peak of a call, in MB; nothing on a CPU.

        Gradients of the leaves are no inputs: they are dropped before.
        """
        if not self.is_gpu:
            return {}
        for leaf in leaves:
            leaf.grad = None
        self.wait()
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        self.wait()
        return {"peak_mb": round((torch.cuda.max_memory_allocated() - before) / 1e6, 3)}


def usable(
    works: dict[str, Callable[[], Any]],
) -> tuple[dict[str, Callable[[], Any]], dict[str, str]]:
    """The ways that run here, and why the others do not: a peer may not fit the memory."""
    found, reasons = {}, {}
    for name, work in works.items():
        try:
            work()
        except Exception as error:  # whatever a peer raises is its reason
            lines = str(error).strip().splitlines()
            reasons[name] = f"{type(error).__name__}: {lines[0] if lines else ''}"
        else:
            found[name] = work
    return found, reasons


def idle_share(spans: Iterable[tuple[float, float]]) -> float:
    """The share of the time from the first start to the last end in which no span runs.

    Example:
        >>> idle_share([(0, 2), (1, 3), (4, 8)])
        0.125
    """
    ordered = sorted(spans)
    if not ordered:
        return 0.0
    busy, reached = 0.0, ordered[0][0]
    for start, end in ordered:
        busy += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    whole = reached - ordered[0][0]
    return 1 - busy / whole if whole > 0 else 0.0


def activity(profile: Any, steps: int) -> dict[str, Any]:
    """Launches a step, and the share of the time that the device idles, from a profile."""
    cuda = torch.autograd.DeviceType.CUDA
    events = [event for event in profile.events() if event.device_type == cuda]
    spans = [(event.time_range.start, event.time_range.end) for event in events]
    return {"launches": len(spans) // steps, "idle_share": round(idle_share(spans), 4)}
