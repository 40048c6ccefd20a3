"""Batches for language models: the labels are the tokens themselves, or the masked ones of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers

from fastft.data import counter_random
from fastft.data.padding import IGNORE_INDEX, RustPadding, as_batch, column_tensors
from fastft.data.token_dataset import BatchReference, TokenDataset
from fastft.data.tokenizer import Tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

EVALUATION_EPOCH = 2**32
"""The epoch of every evaluation: its masks never change, and are those of no training epoch."""


@dataclass
class DataCollatorForLanguageModeling(RustPadding, transformers.DataCollatorForLanguageModeling):  # type: ignore[misc]
    """Pads rows and makes labels, as the stock class of the same name, but for two things.

    *Padding is known by length.* The stock class leaves every pad token out of the loss; where
    the pad token is the end-of-text token, real ends go with it and are never learnt.

    *Masks are a pure function* of (seed, epoch, row, position): the same after a resume, on any
    number of ranks. The shares and the rule are those of the stock class.

    Args:
        tokenizer: A tokenizer of transformers or a `fastft.Tokenizer`.
        mlm: Whether some tokens are masked and predicted; else every token predicts the next.
        mlm_probability: The share of tokens that are predicted.
        mask_replace_prob: The share of those that the mask token replaces.
        random_replace_prob: The share of those that a random token replaces.
        pad_to_multiple_of: The width is rounded up to a multiple of this.
        seed: The seed of the masks; torch's own when not given.

    Example:
        >>> collate = DataCollatorForLanguageModeling(tokenizer, mlm=False)  # doctest: +SKIP
    """

    padding = True
    max_length = None
    epoch = 0

    def __post_init__(self) -> None:
        if isinstance(self.tokenizer, Tokenizer):
            self.tokenizer = self.tokenizer.hf
        super().__post_init__()

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch that the masks depend on."""
        self.epoch = epoch

    def for_evaluation(self) -> DataCollatorForLanguageModeling:
        """Gives a collator whose masks are the same in every evaluation, of every run."""
        fixed = dataclasses.replace(self)
        fixed.seed = 0
        fixed.set_epoch(EVALUATION_EPOCH)
        return fixed

    def __call__(self, features: list[Any], return_tensors: str | None = None) -> Any:
        """Pads `features`: a `BatchReference`, or a list of dicts or of lists of ids.

        Returns:
            A `BatchEncoding`: the model's inputs and `labels`, int64 (B, T) each.
        """
        if return_tensors in (None, "pt") and isinstance(features, BatchReference):
            inputs = self.padded_inputs(features)
            if inputs is not None:
                return self._with_labels(inputs, features.dataset, features.indices)
        batch = super().__call__(features, return_tensors)
        if not self.mlm and "attention_mask" in batch:
            mask = batch["attention_mask"]
            batch["labels"] = batch["input_ids"] * mask + IGNORE_INDEX * (1 - mask)
        return batch

    def _unknown_option(self) -> str | None:
        if self.mlm and self.whole_word_mask:
            return "whole_word_mask is left to stock"
        return super()._unknown_option()

    def _unknown_column(self, dataset: TokenDataset) -> str | None:
        if "labels" in dataset.columns or "label" in dataset.columns:
            return "the dataset has labels already"
        if "attention_mask" not in dataset.model_inputs:
            return "the dataset has no attention mask"
        return super()._unknown_column(dataset)

    def _with_labels(
        self, batch: dict[str, torch.Tensor], dataset: TokenDataset, indices: NDArray[np.int64]
    ) -> Any:
        batch.update(column_tensors(dataset, indices))
        ids, mask = batch["input_ids"], batch["attention_mask"]
        labels = torch.where(mask.bool(), ids, IGNORE_INDEX)
        if self.mlm:
            arrays = self.masked(ids.numpy(), mask.numpy(), indices)
            batch["input_ids"], labels = map(torch.from_numpy, arrays)
        batch["labels"] = labels
        return as_batch(batch, indices)

    def masked(
        self, ids: NDArray[np.int64], attention_mask: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Masks tokens.

        Args:
            ids: int64 (B, T): padded token ids.
            attention_mask: int64 (B, T): 1 for tokens, 0 for padding.
            rows: int64 (B,): which rows of the data set these are.

        Returns:
            Ids with the masks in place, and labels, -100 where nothing is predicted; int64 (B, T).
        """
        line, column = np.nonzero(attention_mask)
        # Counted from the first token of the row, so that the padding side does not matter.
        positions = column - np.argmax(attention_mask, axis=1)[line]
        seed = torch.initial_seed() if self.seed is None else self.seed
        chosen_bits = counter_random.bits(seed, self.epoch, rows[line], positions)
        tokens = ids[line, column]
        may = ~np.isin(tokens, self.tokenizer.all_special_ids)
        chosen = may & (counter_random.uniform(chosen_bits) < self.mlm_probability)
        labels = np.full_like(ids, IGNORE_INDEX)
        labels[line[chosen], column[chosen]] = tokens[chosen]

        kind_bits = counter_random.mix(chosen_bits[chosen])
        kind = counter_random.uniform(kind_bits)
        replaced = tokens[chosen]
        random_token = counter_random.below(counter_random.mix(kind_bits), len(self.tokenizer))
        is_random = kind < self.mask_replace_prob + self.random_replace_prob
        replaced = np.where(is_random, random_token, replaced)
        replaced = np.where(kind < self.mask_replace_prob, self.tokenizer.mask_token_id, replaced)
        masked = ids.copy()
        masked[line[chosen], column[chosen]] = replaced
        return masked, labels
