"""Where the time of a run goes: start-up, waiting for data, steps, evaluation."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from statistics import median


@dataclass
class Timing:
    """Stop-watches of one run, in seconds of wall time.

    Attributes:
        started_at: When the run was asked for.
    """

    started_at: float = field(default_factory=time.perf_counter)
    _first_step_at: float | None = None
    _data_s: float = 0.0
    _step_s: list[float] = field(default_factory=list)
    _eval_s: float = 0.0
    _mark: float | None = None

    def data_waited(self, seconds: float) -> None:
        """Adds time in which training waited for a batch; a step begins with this wait."""
        now = time.perf_counter()
        self._data_s += seconds
        self._mark = now - seconds
        if self._first_step_at is None:
            self._first_step_at = now

    def step_ended(self) -> None:
        """Ends an optimizer step."""
        if self._mark is not None:
            self._step_s.append(time.perf_counter() - self._mark)
        self._mark = None

    def evaluated(self, seconds: float) -> None:
        """Adds the time of an evaluation."""
        self._eval_s += seconds

    def summary(self) -> dict[str, float | None]:
        """Gives the figures that a result keeps.

        Returns:
            `seconds_before_first_step`, `data_stall_share` (0 to 1, of the time in steps),
            `step_ms` (median) and `eval_s`.
        """
        in_steps = sum(self._step_s)
        return {
            "seconds_before_first_step": None
            if self._first_step_at is None
            else round(self._first_step_at - self.started_at, 3),
            "data_stall_share": round(self._data_s / in_steps, 5) if in_steps else None,
            "step_ms": round(1000 * median(self._step_s), 3) if self._step_s else None,
            "eval_s": round(self._eval_s, 3),
        }
