"""Says where a result is slower than an older one, by more than their repetitions vary.

What is compared is our time divided by that of a limit measured in the same repetitions (a copy, a
bare product), or by that of the peers where a row has no limit: a machine that was busy, or another
machine, is then slow on both sides. Only a row with neither is compared by its time. The bound of a
row is the noise of both files together, and never below `FLOOR`.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastft.bench.figures import Spread, done, of_role, short

if TYPE_CHECKING:
    from collections.abc import Iterator

FLOOR = {"wall": 0.10, "cpu": 0.10, "instructions": 0.01, "peak": 0.10}
"""The least change that counts, however little the repetitions vary."""


@dataclass(frozen=True)
class Change:
    """A figure of ours in two results."""

    row: str
    what: str
    """Clock and variant, and what it is divided by."""
    before: Spread
    after: Spread
    floor: float

    @property
    def factor(self) -> float:
        """How many times as long it takes now."""
        return self.after.median / self.before.median

    @property
    def bound(self) -> float:
        """The factor up to which the change may be noise."""
        return 1 + max(self.floor, self.before.noise + self.after.noise)

    @property
    def verdict(self) -> str:
        """Whether it is "slower" or "faster", beyond the bound, or the "same"."""
        if self.factor > self.bound:
            return "slower"
        return "faster" if self.factor < 1 / self.bound else "same"

    def __str__(self) -> str:
        return (
            f"{self.verdict:<7} {self.row}: {self.what} {short(self.before.median)} -> "
            f"{short(self.after.median)}, {self.factor:.2f} times, noise up to {self.bound:.2f}"
        )


@dataclass(frozen=True)
class Comparison:
    """All changes, and what is in one of the files only."""

    changes: list[Change]
    only_before: list[str]
    only_after: list[str]
    broken: list[str]
    """Rows that were sound before and failed, or are unequal, now."""

    @property
    def regressed(self) -> bool:
        """Whether anything is slower, or broken."""
        return bool(self.broken) or any(change.verdict == "slower" for change in self.changes)

    def __str__(self) -> str:
        order = {"slower": 0, "faster": 1, "same": 2}
        lines = [str(change) for change in sorted(self.changes, key=lambda c: order[c.verdict])]
        lines += [f"broken  {name}: sound before, not now" for name in self.broken]
        lines += [f"only in the first file: {name}" for name in self.only_before]
        lines += [f"only in the second file: {name}" for name in self.only_after]
        counts = {word: sum(c.verdict == word for c in self.changes) for word in order}
        lines.append(", ".join(f"{count} {word}" for word, count in counts.items()))
        return "\n".join(lines)


def compare(before: dict[str, Any], after: dict[str, Any]) -> Comparison:
    """Compares two results, the older first."""
    old = {row["name"]: row for row in done(before)}
    new = {row["name"]: row for row in done(after)}
    changes = [
        change for name, row in old.items() if name in new for change in _changes(row, new[name])
    ]
    bad = {row["name"] for row in after["rows"] if row["state"] in ("failed", "unequal")}
    return Comparison(
        changes,
        [name for name in old if name not in new and name not in bad],
        [name for name in new if name not in old],
        [name for name in old if name in bad],
    )


def _changes(old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
    others = {point["at"]: point for point in new["points"]}
    for point in old["points"]:
        other = others.get(point["at"])
        if other is None or other["amount"] != point["amount"]:
            continue
        name = old["name"] if point["at"] is None else f"{old['name']} at {short(point['at'])}"
        for variant in of_role(point, "ours"):
            if variant in other["variants"]:
                yield _time_change(name, variant, point, other, old["clock"])
                yield from _peak_change(name, variant, point, other)


def _time_change(
    name: str, variant: str, old: dict[str, Any], new: dict[str, Any], clock: str
) -> Change:
    basis: list[str] = []
    for role in ("limit", "peer"):
        basis = basis or [one for one in of_role(old, role) if one in of_role(new, role)]
    what = f"{clock} of {variant}"
    if basis:
        what += f" / {' and '.join(basis)}"
    before, after = (Spread.of(_relative(one, variant, basis, clock)) for one in (old, new))
    return Change(name, what, before, after, FLOOR[clock])


def _relative(point: dict[str, Any], variant: str, basis: list[str], clock: str) -> list[float]:
    """Our time over the geometric mean of what it is measured by, repetition by repetition."""
    variants = point["variants"]
    own = variants[variant][clock]
    if not basis:
        return list(own)
    columns = zip(own, *(variants[one][clock] for one in basis), strict=False)
    found = []
    for mine, *rest in columns:
        if min(rest) > 0:
            found.append(mine / math.exp(statistics.fmean(math.log(one) for one in rest)))
    return found or list(own)


def _peak_change(
    name: str, variant: str, old: dict[str, Any], new: dict[str, Any]
) -> Iterator[Change]:
    peaks = [point["variants"][variant].get("peak_mb") for point in (old, new)]
    # Below a MB the allocator decides.
    if all(peak is not None and peak > 1 for peak in peaks):
        before, after = (Spread(peak, peak, peak) for peak in peaks)
        yield Change(name, f"peak MB of {variant}", before, after, FLOOR["peak"])
