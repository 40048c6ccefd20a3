"""Batches that only fill a step: every rank takes part in it, and they count for nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import transformers


@dataclass
class WeighingCollator:
    """Marks the batches that a plan repeats to fill its last step.

    Args:
        collator: What makes the batches.
    """

    collator: Any

    def __call__(self, features: Any) -> Any:
        """Makes a batch; one without weight has an attribute that says so."""
        batch = self.collator(features)
        if getattr(features, "has_weight", True):
            return batch
        if type(batch) is dict:  # it takes no attributes
            batch = transformers.BatchEncoding(batch)
        batch.has_weight = False
        return batch


def has_weight(batch: Any) -> bool:
    """Whether a batch counts.

    Asked of its `__dict__`: as an attribute a `BatchEncoding` gives a column of that name too.
    """
    return bool(getattr(batch, "__dict__", {}).get("has_weight", True))
