"""Random numbers without a state: a pure function of where they are used.

A generator that moves on with every draw gives other numbers after a resume, on another number of
ranks, or when a batch is made by another thread. Here every number is computed from its
coordinates (seed, epoch, example, position), so none of these matter.

The function is the finaliser of SplitMix64 (Steele, Lea and Flood, 2014), chained over the
coordinates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scatters 64-bit numbers, one to one.

    Example:
        >>> hex(int(mix(np.array([0], np.uint64))[0]))
        '0xe220a8397b1dcdaf'
    """
    with np.errstate(over="ignore"):
        values = values + _GAMMA
        values = (values ^ (values >> np.uint64(30))) * _FIRST
        values = (values ^ (values >> np.uint64(27))) * _SECOND
        return values ^ (values >> np.uint64(31))


def bits(
    seed: int, epoch: int, examples: NDArray[Any], positions: NDArray[Any]
) -> NDArray[np.uint64]:
    """Gives 64 random bits for each pair of example and position.

    Args:
        seed: The seed of the run.
        epoch: The epoch.
        examples: Integers (N,): the rows of the data set.
        positions: Integers (N,): the positions of tokens in their rows.

    Returns:
        uint64 (N,).
    """
    key = mix(mix(np.array([seed % 2**64], np.uint64)) ^ np.uint64(epoch))
    rows = mix(key ^ examples.astype(np.uint64))
    return mix(rows ^ positions.astype(np.uint64))


def uniform(random_bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Turns random bits into numbers from 0 up to, not including, 1; their top 53 bits count."""
    return (random_bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def below(random_bits: NDArray[np.uint64], limit: int) -> NDArray[np.int64]:
    """Turns random bits into whole numbers below `limit` (at most 2**32); their low 32 bits count.

    The probabilities differ by less than limit / 2**32 from equal ones.
    """
    low = random_bits & np.uint64(0xFFFFFFFF)
    return ((low * np.uint64(limit)) >> np.uint64(32)).astype(np.int64)
