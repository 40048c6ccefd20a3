"""What a padding-free model did: tokens that it did not compute, and batches left padded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastft.modeling.padding_free.rows import Rows


@dataclass
class Record:
    """Counts of one model; an encoder and a decoder count as two bodies.

    Attributes:
        packed: Batches that ran without padding, for each body.
        real: Their real tokens.
        places: Their tokens with padding.
        padded: Batches that ran with it, by the reason.
    """

    packed: int = 0
    real: int = 0
    places: int = 0
    padded: dict[str, int] = field(default_factory=dict)

    def note_packed(self, rows: Rows) -> None:
        """Counts a batch that runs without padding."""
        self.packed += 1
        self.real += rows.num_tokens
        self.places += rows.num_padded * rows.width

    def note_padded(self, reason: str) -> None:
        """Counts a batch that runs with it."""
        self.padded[reason] = self.padded.get(reason, 0) + 1

    def lines(self) -> list[str]:
        """Says it in words, a line each."""
        lines = [f"batches without padding: {self.packed:,}"]
        if self.packed:
            share = 1 - self.real / self.places
            lines += [f"tokens: {self.real:,} of {self.places:,} ({share:.0%} was padding)"]
        lines += [f"batches with padding, {why}: {n:,}" for why, n in self.padded.items()]
        return lines
