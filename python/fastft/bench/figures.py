"""What is derived from a result: ratios with their spread, slopes of growth, what was reached.

Readers of a result file work on plain JSON. A ratio is formed within a repetition, where both sides
met the same machine; of the repetitions' ratios the median, smallest and greatest are shown.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOCKS = ("wall", "cpu", "instructions")


@dataclass(frozen=True)
class Spread:
    """The median of some numbers between their smallest and greatest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, numbers: list[float]) -> Spread:
        """Of at least one number."""
        return cls(statistics.median(numbers), min(numbers), max(numbers))

    @property
    def noise(self) -> float:
        """Half the way from smallest to greatest, as a share of the median."""
        return (self.high - self.low) / (2 * self.median) if self.median else math.inf

    def __str__(self) -> str:
        if self.low == self.high:
            return short(self.median)
        return f"{short(self.median)} ({short(self.low)}-{short(self.high)})"


def short(number: float) -> str:
    """A number with about three digits.

    Example:
        >>> short(1234.5), short(0.01234), short(12.34)
        ('1,234', '0.0123', '12.3')
    """
    if number == 0 or not math.isfinite(number):
        return str(number)
    digits = 2 - math.floor(math.log10(abs(number)))
    return f"{number:,.{max(0, digits)}f}"


def times(point: dict[str, Any], name: str, clock: str) -> list[float]:
    """The times of a variant, a number for each repetition."""
    found: list[float] = point["variants"][name][clock]
    return found


def ratio(point: dict[str, Any], above: str, below: str, clock: str) -> Spread | None:
    """How many times as long `above` takes as `below`; None where a time is zero."""
    pairs = zip(times(point, above, clock), times(point, below, clock), strict=False)
    found = [one / other for one, other in pairs if other > 0]
    return Spread.of(found) if found else None


def of_role(point: dict[str, Any], role: str) -> list[str]:
    """The names of the variants of a role."""
    return [name for name, value in point["variants"].items() if value["role"] == role]


def slope(row: dict[str, Any], name: str, clock: str) -> float | None:
    """The exponent of growth: least squares over the logarithms of sizes and median times.

    1 is time in proportion to size. None with fewer than two sizes.
    """
    pairs = [
        (math.log(point["at"]), math.log(statistics.median(times(point, name, clock))))
        for point in row["points"]
        if point["at"] and name in point["variants"] and min(times(point, name, clock)) > 0
    ]
    if len(pairs) < 2:
        return None
    xs, ys = zip(*pairs, strict=True)
    return statistics.linear_regression(xs, ys).slope


@dataclass(frozen=True)
class Reach:
    """Whether what was asked of a row was reached."""

    name: str
    asked: float
    found: float
    role: str

    @property
    def ok(self) -> bool:
        """A peer takes at least so long; ours takes at most so long beside a limit."""
        return self.found <= self.asked if self.role == "limit" else self.found >= self.asked


def reaches(row: dict[str, Any]) -> Iterator[Reach]:
    """What was asked beside what was found, at the largest size of a row that grows."""
    point = row["points"][-1]
    own = of_role(point, "ours")
    for name, asked in row.get("asked", {}).items():
        if name not in point["variants"] or not own:
            continue
        role = point["variants"][name]["role"]
        above, below = (own[0], name) if role == "limit" else (name, own[0])
        found = ratio(point, above, below, row["clock"])
        if found is not None:
            yield Reach(name, asked, found.median, role)


def done(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that have figures."""
    return [row for row in results["rows"] if row["state"] == "done"]
