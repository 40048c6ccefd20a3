"""What a `BatchSampler` is told, checked: which policy takes which setting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastft.data.lengths import at_least_one
from fastft.errors import ConfigurationError, nearest

POLICIES = ("random", "sequential", "bucketed", "tokens", "packed")
OF_A_SIZE = ("random", "sequential", "bucketed")
"""Policies whose batches have `batch_size` examples."""
BY_LENGTH = ("bucketed", "tokens", "packed")
"""Policies that look at lengths."""
WINDOW = 16_384
"""Examples that are sorted by length together; a larger window pads less and shuffles less."""

MOST_MICRO_BATCHES = 2**16
"""Each may be a repeated batch in memory."""


@dataclass(frozen=True)
class BatchSettings:
    """The settings of a `BatchSampler`; its arguments of the same names say what they mean.

    Raises:
        ConfigurationError: A value that does not exist, or that the policy does not take.
    """

    policy: str
    batch_size: Any = None
    max_tokens: Any = None
    window: Any = WINDOW
    overlong: str = "error"
    micro_batches_per_step: Any = 1
    tail: str = "drop"
    drop_last: bool = False

    def __post_init__(self) -> None:
        _check_word("policy", self.policy, POLICIES)
        self._check_sizes()
        self._check_overlong()
        _check_word("tail", self.tail, ("drop", "pad"))
        num_micro_batches = at_least_one(self.micro_batches_per_step, "micro_batches_per_step")
        if num_micro_batches > 1:
            self._need("micro_batches_per_step", BY_LENGTH)
        if num_micro_batches > MOST_MICRO_BATCHES:
            raise ConfigurationError(
                "a step has too many micro-batches",
                found=f"micro_batches_per_step={num_micro_batches}",
                expected=f"at most {MOST_MICRO_BATCHES}",
            )
        if at_least_one(self.window, "window") != WINDOW:
            self._need("window", ("bucketed", "tokens"))
        if self.drop_last:
            self._need("drop_last", OF_A_SIZE)

    @property
    def by_length(self) -> bool:
        """Whether the batches depend on lengths."""
        return self.policy in BY_LENGTH

    def _check_sizes(self) -> None:
        wanted, other = "batch_size", "max_tokens"
        if self.policy not in OF_A_SIZE:
            wanted, other = other, wanted
        if getattr(self, other) is not None:
            raise ConfigurationError(
                f"policy {self.policy!r} takes no {other}",
                found=f"{other}={getattr(self, other)!r}",
                expected=f"{wanted}=",
                fix=f"leave {other} out, or choose {_words(_takers(other))}",
            )
        if getattr(self, wanted) is None:
            raise ConfigurationError(
                f"policy {self.policy!r} needs {wanted}",
                found=f"no {wanted}",
                fix=f"{wanted}=32" if wanted == "batch_size" else f"{wanted}=8192",
            )
        at_least_one(getattr(self, wanted), wanted)

    def _check_overlong(self) -> None:
        if self.overlong in ("truncate", "split"):
            raise ConfigurationError(
                "a batch sampler leaves rows as they are",
                place="overlong",
                found=repr(self.overlong),
                expected="'error' or 'drop'",
                fix=f"dataset = dataset.fit(max_tokens, overlong={self.overlong!r})",
            )
        _check_word("overlong", self.overlong, ("error", "drop"))
        if self.overlong != "error":
            self._need("overlong", _takers("max_tokens"))

    def _need(self, name: str, policies: tuple[str, ...]) -> None:
        if self.policy not in policies:
            raise ConfigurationError(
                f"policy {self.policy!r} takes no {name}",
                found=f"{name}={getattr(self, name)!r}",
                fix=f"leave {name} out, or choose {_words(policies)}",
            )


def _takers(name: str) -> tuple[str, ...]:
    if name == "batch_size":
        return OF_A_SIZE
    return tuple(policy for policy in POLICIES if policy not in OF_A_SIZE)


def _words(policies: tuple[str, ...]) -> str:
    return "policy " + " or ".join(map(repr, policies))


def _check_word(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        close = nearest(str(value), known, count=1)
        raise ConfigurationError(
            f"there is no such {name}",
            place=name,
            found=repr(value),
            expected=" or ".join(map(repr, known)),
            fix=f"{name}={close[0]!r}" if close else None,
        )
