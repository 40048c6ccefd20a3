"""Rows with a label for each token: names in a text, parts of speech."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import transformers

from fastft import _fastft
from fastft.data.batch import Batch, padded_batch
from fastft.data.padding import LabelPadding
from fastft.data.ragged_column import RaggedColumn
from fastft.data.token_dataset import BatchReference, TokenDataset
from fastft.data.tokenizer import Tokenizer


@dataclass
class DataCollatorForTokenClassification(
    LabelPadding,
    transformers.DataCollatorForTokenClassification,  # type: ignore[misc]
):
    """Pads inputs and the labels of tokens, as the class of the same name in transformers does.

    Args:
        tokenizer: A tokenizer of transformers or a `fastft.Tokenizer`; it says how to pad.
        padding: True or `"longest"`, `"max_length"`, or False.
        max_length: The width for `padding="max_length"`.
        pad_to_multiple_of: The width is rounded up to a multiple of this.
        label_pad_token_id: What pads labels; the loss leaves -100 out.
        return_tensors: `"pt"` or `"np"`.

    Example:
        >>> labels = RaggedColumn.from_rows([[-100, 0, 1, -100]])  # doctest: +SKIP
        >>> dataset = TokenDataset.from_texts(texts, tokenizer, columns={"labels": labels})
        ... # doctest: +SKIP
        >>> collate = DataCollatorForTokenClassification(tokenizer)  # doctest: +SKIP
    """

    def __post_init__(self) -> None:
        if isinstance(self.tokenizer, Tokenizer):
            self.tokenizer = self.tokenizer.hf

    def __call__(self, features: list[dict[str, Any]], return_tensors: str | None = None) -> Any:
        """Pads `features`: a `BatchReference`, or a list of dicts.

        Returns:
            A `Batch`: the model's inputs and the labels, int64 (B, T) each, and other columns.
        """
        if return_tensors in (None, "pt") and isinstance(features, BatchReference):
            batch = self.rust_batch(features)
            if batch is not None:
                return batch
        return super().__call__(features, return_tensors)

    def _finished(self, tensors: dict[str, Any], features: BatchReference) -> Batch:
        own = False if "labels" in tensors else None
        batch = padded_batch(tensors, features.rows, predicts_next=own)
        if "label" in features.dataset.columns:
            tensors["label"] = tensors.pop("labels")
        return batch

    def _unknown_column(self, dataset: TokenDataset) -> str | None:
        name = _label_name(dataset)
        if name == "label" and "labels" in dataset.columns:
            return "the dataset has columns 'label' and 'labels'"
        column = dataset.columns.get(name)
        if isinstance(column, RaggedColumn):
            if (column.lengths > dataset.lengths).any():
                row = int(np.argmax(column.lengths > dataset.lengths))
                return f"row {row} has more labels than tokens"
        elif column is not None:
            return f"column {name!r} has no label for each token"
        for other, values in dataset.columns.items():
            if isinstance(values, RaggedColumn) and other != name:
                return f"the rows of column {other!r} differ in length"
        return None

    def _labels(self, dataset: TokenDataset) -> _fastft.Labels | None:
        name = _label_name(dataset)
        if name not in dataset.columns:
            return None
        return _fastft.Labels.from_column(
            name, pad_token_id=self.label_pad_token_id, as_wide_as_inputs=True
        )


def _label_name(dataset: TokenDataset) -> str:
    """The column of labels, chosen as the stock class does."""
    return "label" if "label" in dataset.columns else "labels"
