"""Rows with label sequences of their own length: targets of a translation, labels of a chat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import transformers

from fastft import _fastft
from fastft.data.batch import Batch, padded_batch
from fastft.data.padding import LabelPadding
from fastft.data.ragged_column import RaggedColumn
from fastft.data.token_dataset import BatchReference, TokenDataset
from fastft.data.tokenizer import Tokenizer


@dataclass
class DataCollatorForSeq2Seq(LabelPadding, transformers.DataCollatorForSeq2Seq):  # type: ignore[misc]
    """Pads inputs and labels, as the class of the same name in transformers does.

    Args:
        tokenizer: A tokenizer of transformers or a `fastft.Tokenizer`; it says how to pad.
        model: Asked for the inputs of its decoder, where it makes them from the labels.
        padding: True or `"longest"`, `"max_length"`, or False.
        max_length: The width for `padding="max_length"`.
        pad_to_multiple_of: The widths are rounded up to a multiple of this.
        label_pad_token_id: What pads labels; the loss leaves -100 out.
        return_tensors: `"pt"` or `"np"`.

    Example:
        >>> collate = DataCollatorForSeq2Seq(tokenizer, model)  # doctest: +SKIP
    """

    ragged_columns = ("labels",)
    predicts_next = False
    """Whether the model is a causal one, so that position t predicts the label of t + 1; only the
    attributes of the batch (`loss_index` and its kin) follow it."""

    def __post_init__(self) -> None:
        if isinstance(self.tokenizer, Tokenizer):
            self.tokenizer = self.tokenizer.hf

    def __call__(self, features: list[dict[str, Any]], return_tensors: str | None = None) -> Any:
        """Pads `features`: a `BatchReference`, or a list of dicts.

        Returns:
            A `Batch`: the model's inputs int64 (B, T), `labels` int64 (B, T of the labels), and
            `decoder_input_ids` where the model makes them.
        """
        if return_tensors in (None, "pt") and isinstance(features, BatchReference):
            batch = self.rust_batch(features)
            if batch is not None:
                return batch
        return super().__call__(features, return_tensors)

    def _unknown_column(self, dataset: TokenDataset) -> str | None:
        if not isinstance(dataset.columns.get("labels"), RaggedColumn):
            return "the dataset has no column 'labels' whose rows are sequences"
        if self._width() is not None or "label" in dataset.columns:
            return "labels of a fixed width are left to stock"
        return super()._unknown_column(dataset)

    def _labels(self, dataset: TokenDataset) -> _fastft.Labels:
        pad_token_id = self.label_pad_token_id
        return _fastft.Labels.from_column(
            "labels", pad_token_id=pad_token_id, as_wide_as_inputs=False
        )

    def _finished(self, tensors: dict[str, Any], features: BatchReference) -> Batch:
        prepare = getattr(self.model, "prepare_decoder_input_ids_from_labels", None)
        if prepare is not None:
            tensors["decoder_input_ids"] = prepare(labels=tensors["labels"])
        return padded_batch(tensors, features.rows, self.predicts_next)
