"""Rules for values: a number within bounds, a count, a number of steps."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

LARGEST_COUNT = 2**63 - 1


@dataclass(frozen=True)
class Rule:
    """What a value must be.

    Attributes:
        expected: The same in words, for the message.
        accepts: Whether a value fits.
        is_count: Whether 16.0 means 16.
    """

    expected: str
    accepts: Callable[[Any], bool]
    is_count: bool = False


def is_number(value: Any) -> bool:
    """Whether a value is a number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def number(
    at_least: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
    at_most: float = sys.float_info.max,
) -> Rule:
    """A number within bounds; finite unless `at_most` is infinite."""
    limits = {"at least": at_least, "above": above, "below": below}
    words = [f"{word} {limit:g}" for word, limit in limits.items() if limit is not None]
    words += [f"at most {at_most:g}"] if at_most < sys.float_info.max else []
    low = at_least if at_least is not None else -sys.float_info.max

    def accepts(value: Any) -> bool:
        return bool(
            is_number(value)
            and low <= value <= at_most
            and (above is None or value > above)
            and (below is None or value < below)
        )

    return Rule(", ".join(["a number", *words]), accepts)


def whole(at_least: int, at_most: int = LARGEST_COUNT, *, or_else: int | None = None) -> Rule:
    """A whole number within bounds, or one other that has a meaning of its own."""
    words = f"a whole number from {at_least}"
    words += f" to {at_most}" if at_most < LARGEST_COUNT else " up"
    words += f", or {or_else}" if or_else is not None else ""

    def accepts(value: Any) -> bool:
        return _is_whole(value) and (at_least <= value <= at_most or value == or_else)

    return Rule(words, accepts, is_count=True)


def steps(at_least: int) -> Rule:
    """A number of steps, or a share of all steps of the run."""

    def accepts(value: Any) -> bool:
        is_share = isinstance(value, float) and 0 < value < 1
        return is_share or (_is_whole(value) and at_least <= value <= LARGEST_COUNT)

    words = f"a whole number of steps from {at_least} up, or a share between 0 and 1 of all steps"
    return Rule(words, accepts, is_count=True)


def or_none(rule: Rule) -> Rule:
    """The same rule for an argument that may be None."""
    return Rule(
        f"{rule.expected}, or None",
        lambda value: value is None or rule.accepts(value),
        rule.is_count,
    )
