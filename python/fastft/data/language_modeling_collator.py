"""Batches for language models: the labels are the tokens themselves, or the masked ones of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
import transformers

from fastft import _fastft
from fastft.data.batch import Batch, padded_batch
from fastft.data.padding import RustPadding
from fastft.data.rust_collator import IGNORE_INDEX
from fastft.data.token_dataset import BatchReference, TokenDataset
from fastft.data.tokenizer import Tokenizer

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
            A `Batch`: the model's inputs and `labels`, int64 (B, T) each.
        """
        if return_tensors in (None, "pt") and isinstance(features, BatchReference):
            made = self.rust_batch(features)
            if made is not None:
                return made
        batch = super().__call__(features, return_tensors)
        if not self.mlm and "attention_mask" in batch:
            mask = batch["attention_mask"]
            batch["labels"] = batch["input_ids"] * mask + IGNORE_INDEX * (1 - mask)
        return batch

    def _finished(self, tensors: dict[str, Any], features: BatchReference) -> Batch:
        return padded_batch(tensors, features.rows, predicts_next=not self.mlm)

    def _unknown_option(self) -> str | None:
        if self.mlm and self.whole_word_mask:
            return "whole_word_mask is left to stock"
        if self.mlm and self.tokenizer.mask_token_id is None:
            return "the tokenizer has no mask token"
        return super()._unknown_option()

    def _unknown_column(self, dataset: TokenDataset) -> str | None:
        if "labels" in dataset.columns or "label" in dataset.columns:
            return "the dataset has labels already"
        if "attention_mask" not in dataset.model_inputs:
            return "the dataset has no attention mask"
        return super()._unknown_column(dataset)

    def _settings(self) -> tuple[Any, ...]:
        settings = super()._settings()
        if not self.mlm:
            return (*settings, False)
        return (
            *settings, self._seed(), self.epoch, self.mlm_probability, self.mask_replace_prob,
            self.random_replace_prob, self.whole_word_mask,
        )  # fmt: skip

    def _seed(self) -> int:
        seed = torch.initial_seed() if self.seed is None else self.seed
        return int(seed) % 2**64

    def _labels(self, dataset: TokenDataset) -> _fastft.Labels:
        return _fastft.Labels.masked(**self._masking()) if self.mlm else _fastft.Labels.from_ids()

    def _masking(self) -> dict[str, Any]:
        """How tokens are masked, in the words of `_fastft.Labels.masked`."""
        hf = self.tokenizer
        return {
            "seed": self._seed(),
            "epoch": self.epoch,
            "probability": self.mlm_probability,
            "mask_replace_prob": self.mask_replace_prob,
            "random_replace_prob": self.random_replace_prob,
            "mask_token_id": hf.mask_token_id,
            "vocab_size": len(hf),
            "special_ids": [token for token in hf.all_special_ids if token is not None],
        }
