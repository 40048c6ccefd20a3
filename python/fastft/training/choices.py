"""Arguments of our own that are one of a few values, looked at before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastft.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

CHOICES: dict[str, tuple[Any, ...]] = {
    "fuse_head": ("auto", True, False),
    "padding_free": ("auto", True, False),
    "sparse_embedding": ("auto", True, False),
    "frozen_cache": ("auto", "memory", "disk", "off"),
}
"""The arguments, and what each may be; the first is the default."""


def check_choices(given: Mapping[str, Any]) -> None:
    """Looks at those of the arguments that are given.

    Raises:
        ConfigurationError: There is no such choice.
    """
    for name, known in CHOICES.items():
        if name in given and not any(_is(given[name], one) for one in known):
            raise ConfigurationError(
                "there is no such choice",
                place=f"argument {name}",
                found=repr(given[name]),
                expected=" or ".join(map(repr, known)),
                fix=f'pass {name}="auto", or leave it out',
            )


def _is(value: Any, choice: Any) -> bool:
    """Whether they are the same word, or the same truth value: 1 is not True."""
    return value is choice or (isinstance(value, str) and value == choice)
