"""Where the real tokens of a padded batch lie, and in which order the layers see them.

The rows are packed by length, the shortest first, so that rows of one length stand together: they
are then a plain view of the packed tokens, and attention over them needs no copy and no mask.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from fastft.modeling.padding_free.moves import gather, spread
from fastft.modeling.padding_free.slabs import choose_starts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Slab:
    """Consecutive rows of the packing, over which attention runs at once.

    Args:
        lengths: int64 (n,): the tokens of each row.
        device: Where the tokens are.

    Attributes:
        num_rows: n.
        longest: L, the longest row.
        num_tokens: Tokens of all n rows.
    """

    def __init__(self, lengths: NDArray[np.int64], device: torch.device) -> None:
        self.lengths = lengths
        self.device = device
        self.num_rows = len(lengths)
        self.longest = int(lengths.max())
        self.num_tokens = int(lengths.sum())
        self.is_full = self.num_tokens == self.num_rows * self.longest
        """Whether all rows are of one length."""
        self._head_index: dict[int, torch.Tensor] = {}

    @cached_property
    def index(self) -> torch.Tensor:
        """int64 (num_tokens,): where in the n x L places each token stands."""
        places = _positions(self.lengths, np.arange(self.num_rows) * self.longest)
        return torch.from_numpy(places).to(self.device, non_blocking=True)

    def head_index(self, heads: int) -> torch.Tensor:
        """int64 (num_tokens * h,): where each token of each head stands in n x h x L places."""
        if heads not in self._head_index:
            rows = np.repeat(np.arange(self.num_rows), self.lengths)
            places = _positions(self.lengths, np.zeros(self.num_rows, np.int64))
            of_head = (rows[:, None] * heads + np.arange(heads)) * self.longest
            index = torch.from_numpy((of_head + places[:, None]).ravel())
            self._head_index[heads] = index.to(self.device, non_blocking=True)
        return self._head_index[heads]

    @cached_property
    def is_real(self) -> torch.Tensor | None:
        """Bool (n, 1, 1, L), True where a token stands; None where all rows are of one length."""
        if self.is_full:
            return None
        real = np.arange(self.longest) < self.lengths[:, None]
        return torch.from_numpy(real[:, None, None]).to(self.device, non_blocking=True)

    def pad(self, tokens: torch.Tensor) -> torch.Tensor:
        """Gives packed tokens (num_tokens, h, d) as (n, h, L, d), zeros behind short rows."""
        if not self.is_full:
            tokens = spread(tokens, self.index, self.num_rows * self.longest)
        return tokens.view(self.num_rows, self.longest, *tokens.shape[1:]).transpose(1, 2)

    def unpad(self, padded: torch.Tensor) -> torch.Tensor:
        """Gives (n, L, h, d) as packed tokens (num_tokens, h, d)."""
        flat = padded.flatten(0, 1)
        return flat if self.is_full else gather(flat, self.index)


class Rows:
    """A batch of rows that are padded on the right, and its real tokens.

    Args:
        lengths: (B,): the real tokens of each row, one or more.
        width: T, the tokens of a padded row.
        device: Where the hidden states are.
        order: int64 (B,): the rows in the order in which they are packed; by length when None.
        starts: int64 (R,): where each row begins among the B x T places, for rows that somebody has
            packed before; then `lengths` are those of the R rows. None for a row in each of B.
        multiple: Zeros are put behind the packed tokens up to a multiple of this, so that kernels
            that are made anew for each shape see few shapes.

    Attributes:
        num_padded: B, the rows of the padded batch.
        num_tokens: N, the real tokens.
        size: N and the zeros behind.
    """

    def __init__(
        self,
        lengths: Sequence[int] | NDArray[np.int64],
        width: int,
        device: torch.device,
        *,
        order: NDArray[np.int64] | None = None,
        starts: NDArray[np.int64] | None = None,
        multiple: int = 1,
    ) -> None:
        given = np.asarray(lengths, dtype=np.int64)
        self.order = np.argsort(given, kind="stable") if order is None else order
        self.lengths: NDArray[np.int64] = given[self.order]
        self.width = width
        self.num_padded = len(given) if starts is None else int(given.sum()) // width
        self._begins = (np.arange(len(given)) * width if starts is None else starts)[self.order]
        self.device = device
        self.num_tokens = int(given.sum())
        self.size = -(-self.num_tokens // multiple) * multiple
        self._slabs: dict[tuple[int, ...], list[Slab]] = {}
        self._starts: dict[tuple[int, int], tuple[int, ...]] = {}

    @cached_property
    def index(self) -> torch.Tensor:
        """int64 (N,): the place `row * T + t` of each packed token in the padded batch."""
        places = _positions(self.lengths, self._begins)
        return torch.from_numpy(places).to(self.device, non_blocking=True)

    @cached_property
    def offsets(self) -> torch.Tensor:
        """int32 (B + 1,): where each row begins among the packed tokens; `cu_seqlens` elsewhere."""
        ends = np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int32)
        return torch.from_numpy(ends).to(self.device, non_blocking=True)

    def take(self, padded: torch.Tensor) -> torch.Tensor:
        """Gives the real tokens of (B, T, ...) as (1, size, ...)."""
        packed = gather(padded.flatten(0, 1), self.index)
        behind = self.size - self.num_tokens
        if behind:
            packed = F.pad(packed, (0, 0) * (packed.dim() - 1) + (0, behind))
        return packed.unsqueeze(0)

    def put(self, packed: torch.Tensor) -> torch.Tensor:
        """Gives packed tokens (1, size, ...) as (B, T, ...), zeros where there is padding."""
        tokens = packed[0].narrow(0, 0, self.num_tokens)
        padded = spread(tokens, self.index, self.num_padded * self.width)
        return padded.view(self.num_padded, self.width, *padded.shape[1:])

    def num_leading(self, longest: int) -> int:
        """Counts the first rows of the packing that are no longer than `longest`."""
        longer = np.flatnonzero(self.lengths > longest)
        return int(longer[0]) if len(longer) else len(self.lengths)

    def starts_with(self, keys: Rows, first: int = 0) -> tuple[int, ...]:
        """Gives where attention to `keys` cuts the rows from `first` on: once for all layers."""
        found = self._starts.get((id(keys), first))
        if found is None:
            found = choose_starts(self, keys, first)
            self._starts[id(keys), first] = found
        return found

    def slabs(self, starts: tuple[int, ...]) -> list[Slab]:
        """Cuts the packed rows before each of `starts`; what was cut once is kept."""
        found = self._slabs.get(starts)
        if found is None:
            ends = (*starts, len(self.lengths))[1:]
            found = [
                Slab(self.lengths[start:end], self.device)
                for start, end in zip(starts, ends, strict=True)
            ]
            self._slabs[starts] = found
        return found


def _positions(lengths: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers the tokens of rows that begin at `starts`: `start, start + 1, ...` for each."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum())
