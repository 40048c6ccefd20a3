"""Batches without padding: all rows laid end to end in one, for kernels that keep them apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import transformers

from fastft import _fastft
from fastft.data.batch import FlattenedBatch, flattened_batch
from fastft.data.ragged_column import RaggedColumn
from fastft.data.rust_collator import RustCollator, is_int64
from fastft.data.token_dataset import BatchReference

if TYPE_CHECKING:
    from fastft.data.token_dataset import TokenDataset


class DataCollatorWithFlattening(RustCollator, transformers.DataCollatorWithFlattening):  # type: ignore[misc]
    """Lays the rows of a batch end to end, as the class of the same name in transformers does.

    Args:
        *args: Positional arguments of the stock class: `return_tensors`.
        return_position_ids: Whether to give `position_ids`, which restart with every row.
        separator_id: The label of the first token of each row, which no other token predicts.
        return_flash_attn_kwargs: Whether to give `cu_seq_lens_q`, `cu_seq_lens_k`,
            `max_length_q`, `max_length_k`.
        return_seq_idx: Whether to give `seq_idx`, the number of each token's row.
        position_ids_start: The position of the first token of every row.
        **kwargs: Further arguments of the stock class.

    Example:
        >>> collate = DataCollatorWithFlattening(return_flash_attn_kwargs=True)  # doctest: +SKIP
    """

    return_tensors: str
    return_position_ids: bool
    separator_id: int
    return_flash_attn_kwargs: bool
    return_seq_idx: bool
    position_ids_start: int = 0  # not known to the oldest versions of the stock class

    def __call__(
        self,
        features: list[dict[str, Any]],
        return_tensors: str | None = None,
        separator_id: int | None = None,
    ) -> Any:
        """Flattens `features`: a `BatchReference`, or a list of dicts.

        Returns:
            A dict: `input_ids`, `labels` and `position_ids` int64 (1, N), `seq_idx` int32 (1, N),
            `cu_seq_lens_q` and `cu_seq_lens_k` int32 (rows + 1,), `max_length_q` and
            `max_length_k` as numbers. Rows without tokens are left out.
        """
        as_usual = return_tensors in (None, "pt") and separator_id in (None, self.separator_id)
        if as_usual and isinstance(features, BatchReference):
            batch = self.rust_batch(features)
            if batch is not None:
                return batch
        return super().__call__(features, return_tensors, separator_id)

    def _finished(self, tensors: dict[str, Any], features: BatchReference) -> FlattenedBatch:
        lengths = features.dataset.lengths[features.indices]
        return flattened_batch(tensors, features.rows, lengths=lengths)

    def _settings(self) -> tuple[Any, ...]:
        return (
            self.return_tensors,
            self.return_position_ids,
            self.separator_id,
            self.return_flash_attn_kwargs,
            self.return_seq_idx,
            self.position_ids_start,
        )

    def _unknown_dataset(self, dataset: TokenDataset) -> str | None:
        if self.return_tensors != "pt":
            return f"return_tensors={self.return_tensors!r} is not 'pt'"
        for name in ("separator_id", "position_ids_start"):
            value = getattr(self, name)
            if not is_int64(value):
                return f"{name}={value!r}"
        if "input_ids" not in dataset.model_inputs:
            return "the dataset has no input_ids"
        labels = dataset.columns.get("labels")
        if labels is None:
            return None
        if not isinstance(labels, RaggedColumn) or not _stand_beside(labels, dataset):
            return "column 'labels' has no label for each token"
        return None

    def _new_recipe(self, dataset: TokenDataset) -> _fastft.Recipe:
        return _fastft.Recipe.flattened(
            separator_id=self.separator_id,
            position_ids_start=self.position_ids_start if self.return_position_ids else None,
            seq_idx=bool(self.return_seq_idx),
            cu_seq_lens=bool(self.return_flash_attn_kwargs),
            labels="labels" if "labels" in dataset.columns else None,
        )


def _stand_beside(labels: RaggedColumn, dataset: TokenDataset) -> bool:
    return bool(np.array_equal(labels.lengths, dataset.lengths))
