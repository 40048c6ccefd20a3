"""What a fused head did: losses that ran without logits, and logits that were made, with why."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class HeadRecord:
    """Counts of one head.

    Attributes:
        fused: Losses that ran without logits.
        materialised: Logits that were made after all, by what asked for them.
        plain: Calls of the head that gave plain logits at once, by the reason.
    """

    fused: int = 0
    materialised: dict[str, int] = field(default_factory=dict)
    plain: dict[str, int] = field(default_factory=dict)

    def note_materialised(self, what: str) -> None:
        """Counts logits that an operation asked for."""
        self.materialised[what] = self.materialised.get(what, 0) + 1

    def note_plain(self, reason: str) -> None:
        """Counts a call that gave plain logits."""
        self.plain[reason] = self.plain.get(reason, 0) + 1

    def lines(self) -> list[str]:
        """Says it in words, a line each."""
        lines = [f"losses without logits: {self.fused}"]
        lines += [f"logits made for {what}: {count}" for what, count in self.materialised.items()]
        lines += [f"plain logits, {reason}: {count}" for reason, count in self.plain.items()]
        return lines
