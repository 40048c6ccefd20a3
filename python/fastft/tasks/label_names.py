"""The names of classes as text: which the user gave, how they sort, which of them look alike."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

from fastft.errors import LabelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Python reads no integer of more digits than this without being told to.
_INTEGER = re.compile(r"-?\d{1,4000}")
_PLACE = "argument label_names"


def checked_label_names(given: Any) -> tuple[str, ...]:
    """Returns the names that the user gave, as a tuple of text.

    Args:
        given: A list of strings, or an array of them.

    Raises:
        LabelError: It is no list of strings, is empty, or holds a name twice or a blank one.

    Example:
        >>> checked_label_names(["no", "yes"])
        ('no', 'yes')
    """
    is_list = isinstance(given, list | tuple) or hasattr(given, "tolist")
    names = list(given) if is_list and hasattr(given, "__len__") else []
    odd = next((name for name in names if not isinstance(name, str)), None)
    if not is_list or odd is not None or None in names:
        raise LabelError(
            "label_names is not a list of strings",
            place=_PLACE,
            found=f"{odd!r} in {clip(names)}" if names else shorten(given),
            expected='a list such as ["negative", "positive"], in the order of the ids',
            fix="pass the names as strings"
            if None in names or not names
            else f"pass label_names={shorten([str(name) for name in names])}",
        )
    _refuse_blank_or_twice([str(name) for name in names])
    return tuple(str(name) for name in names)


def _refuse_blank_or_twice(names: Sequence[str]) -> None:
    problem, found = "", clip(names)
    twice = next((name for name in names if names.count(name) > 1), None)
    surrogate = next((name for name in names if re.search("[\ud800-\udfff]", name)), None)
    if not names:
        problem, found = "label_names is empty", "[]"
    elif not all(name.strip() for name in names):
        problem = "label_names holds a blank name"
    elif twice is not None:
        problem = f"label_names holds {twice!r} {names.count(twice)} times"
    elif surrogate is not None:
        problem = f"{surrogate!r} holds half of a surrogate pair, which UTF-8 cannot express"
    if problem:
        raise LabelError(
            problem,
            place=_PLACE,
            found=found,
            expected="one name a class, each of them once, in the order of the ids",
            fix="correct the list, or leave label_names away: the labels of the data are sorted",
        )


def alike(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Returns the groups of names that differ only in white space, case or leading zeros.

    Example:
        >>> alike(["spam", " Spam", "ham"])
        [('spam', ' Spam')]
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_form(name), []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _form(name: str) -> str:
    if is_integer(name):
        return str(int(name))
    visible = (part for part in unicodedata.normalize("NFKC", name) if _is_visible(part))
    return "".join(visible).casefold() or name


def _is_visible(character: str) -> bool:
    return not character.isspace() and unicodedata.category(character) != "Cf"


def is_integer(name: str) -> bool:
    """Returns whether a name is an integer in digits."""
    return bool(_INTEGER.fullmatch(name))


def is_decimal(name: str) -> bool:
    """Returns whether a name is a number with a decimal point."""
    return bool(re.fullmatch(r"-?\d+\.\d+", name))


def sort_key(name: str) -> tuple[int, str]:
    """Returns what names sort by: numbers as numbers, all else as text."""
    return (int(name), name) if is_integer(name) else (0, name)


def shorten(value: object) -> str:
    """Returns how a value is written, cut to 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def clip(names: Iterable[object], limit: int = 8) -> str:
    """Returns the first names in quotes, and how many there are when there are more."""
    shown = [shorten(name) for name in names]
    more = f", … ({len(shown)} in all)" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + more
