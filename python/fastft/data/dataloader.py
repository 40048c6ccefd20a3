"""torch's DataLoader, which says how its batches are made.

A subclass with the same arguments: with a `TokenDataset` and one of our collators the batches are
made in Rust, with anything else by torch's own path. The batches are the same either way.
"""

from __future__ import annotations

from typing import TypeVar

import torch

from fastft.data.collator import DataCollatorWithPadding

T_co = TypeVar("T_co", covariant=True)


class DataLoader(torch.utils.data.DataLoader[T_co]):
    """A drop-in for `torch.utils.data.DataLoader`.

    Example:
        >>> loader = DataLoader(dataset, batch_size=16, shuffle=True,  # doctest: +SKIP
        ...                     collate_fn=DataCollatorWithPadding(tokenizer))
        >>> loader.explain()  # doctest: +SKIP
        'rust: batches are gathered and padded by the Rust collator'
    """

    def explain(self) -> str:
        """Says whether the Rust collator makes the batches, and if not, why not."""
        reason = self._why_not_rust()
        if reason is None:
            return "rust: batches are gathered and padded by the Rust collator"
        return f"torch: {reason}"

    def _why_not_rust(self) -> str | None:
        if self.batch_sampler is None:
            return "batch_size is None, so examples come one by one"
        # A subclass may change what it is given before it calls ours.
        if type(self.collate_fn) is not DataCollatorWithPadding:
            name = getattr(self.collate_fn, "__name__", type(self.collate_fn).__name__)
            return f"collate_fn is {name}, not fastft.DataCollatorWithPadding"
        dataset = self.dataset
        while type(dataset) is torch.utils.data.Subset:
            dataset = dataset.dataset
        return self.collate_fn.why_not_rust(dataset)
