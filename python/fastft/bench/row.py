"""What a row of the suite is: the same work done by us, by peers, and by what bounds both.

A row is made in two steps. `Row` is what is known without running anything: its name, group, what
was asked. `Row.make` builds `Case`s from data: functions that are ready to be timed, and a check
that their outputs are equal. Most rows have one case; a row that shows growth has one a size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from fastft.bench.data import Data

GROUPS = ("tokens", "batches", "loss", "train")
SIZES = ("quick", "full")
OURS = "fastft"
"""The name of our own variant; others of ours begin with it: "fastft, each"."""

Role = Literal["ours", "peer", "limit"]


class UnequalError(AssertionError):
    """Two ways that should give the same do not; nothing is timed then."""


class SkippedRow(Exception):  # it is no error
    """A row that cannot run here; its text says why."""


def demand(equal: object, what: str) -> None:
    """Raises `UnequalError` unless `equal` holds.

    Raises:
        UnequalError: It does not.
    """
    if not equal:
        raise UnequalError(what)


@dataclass
class Variant:
    """One way of doing the work.

    Args:
        name: How tables call it.
        work: What is timed.
        role: "ours", "peer", or "limit" for what no way can do without, such as a copy.
        fresh: Makes the arguments of each call, untimed: a tokenizer that has seen nothing yet.
        note: Turns what the last call gave into figures for the result: a loss curve, bins.
    """

    name: str
    work: Callable[..., Any]
    role: Role = "peer"
    fresh: Callable[[], tuple[Any, ...]] | None = None
    note: Callable[[Any], dict[str, Any]] | None = None

    def arguments(self) -> tuple[Any, ...]:
        """The arguments of the next call."""
        return () if self.fresh is None else self.fresh()


def ours(work: Callable[..., Any], name: str = OURS, **options: Any) -> Variant:
    """A variant of ours."""
    return Variant(name, work, "ours", **options)


def limit(name: str, work: Callable[..., Any], **options: Any) -> Variant:
    """What bounds every variant."""
    return Variant(name, work, "limit", **options)


@dataclass
class Case:
    """Variants that are ready to run on one size of data.

    Args:
        variants: What takes turns; ours first.
        check: Compares outputs before anything is timed and says what was compared.
        amount: How much a call does, in `unit`, such as 1.4 of "MB".
        unit: What speeds count.
        at: Where on the axis of growth this case lies, for rows that grow.
        absent: Peers that are not here, each with its reason.
        warm: Loads libraries and starts pools before the memory of a variant is looked at.
    """

    variants: list[Variant]
    check: Callable[[], str]
    amount: float = 1
    unit: str = "call"
    at: float | None = None
    absent: dict[str, str] = field(default_factory=dict)
    warm: Callable[[], object] | None = None


@dataclass(frozen=True)
class Context:
    """What rows are made from."""

    data: Data
    size: str = "quick"

    def pick(self, quick: Any, full: Any) -> Any:
        """Gives what belongs to the size of this run."""
        return quick if self.size == "quick" else full


@dataclass(frozen=True)
class Row:
    """A line of the suite.

    Args:
        name: Unique, in the words of a command line: `tokens/bert/long`.
        title: What is done, in a few words.
        make: Builds the cases, and raises `SkippedRow` where it cannot.
        clock: Which time the ratios are of: "cpu" where one thread works, "wall" where several or
            other processes do, "instructions", or "device" on a GPU.
        threads: Threads of torch, and cores that the process is bound to; None for all.
        asked: What was to be reached at the full size: a peer takes at least so many times as long
            as ours; ours at most so many times as long as a limit.
        axis: What `Case.at` counts, for a row that grows.
        peak: Whether resident memory is measured too, each variant in a process of its own.
        repetitions: How often each variant runs in a quick and a full run.
        seconds: The least time of a repetition in a quick and a full run; short calls are repeated.
    """

    name: str
    title: str
    make: Callable[[Context], Iterable[Case]]
    clock: str = "cpu"
    threads: int | None = 1
    asked: Mapping[str, float] = field(default_factory=dict)
    axis: str | None = None
    peak: bool = False
    repetitions: tuple[int, int] = (3, 7)
    seconds: tuple[float, float] = (0.05, 0.3)

    @property
    def group(self) -> str:
        """The first word of the name."""
        return self.name.partition("/")[0]


def absent(module: str, package: str | None = None) -> str | None:
    """Says why a peer cannot run here, or None when it can be imported.

    Example:
        >>> absent("no_such_module", "no-such-package")
        'no-such-package is not installed'
    """
    try:
        found = find_spec(module) is not None
    except (ImportError, ValueError):
        found = False
    return None if found else f"{package or module} is not installed"
