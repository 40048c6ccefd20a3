"""Padding in Rust: when it can be done, and the recipe of a padded batch.

Every collator of ours that pads derives from this mixin, and hands what it does not cover to the
class of transformers that it derives from as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastft import _fastft
from fastft.data.ragged_column import RaggedColumn
from fastft.data.rust_collator import RustCollator, gathered_columns, is_int64
from fastft.data.stock_tokenizer import pads_as_stock, special_tokens

if TYPE_CHECKING:
    from fastft.data.token_dataset import BatchReference, TokenDataset


class RustPadding(RustCollator):
    """What a collator needs to pad a `BatchReference` in Rust.

    Attributes:
        tokenizer: A tokenizer of transformers; it says how to pad.
        padding: True or `"longest"`, `"max_length"`, or False.
        max_length: The width for `padding="max_length"`.
        pad_to_multiple_of: The width is rounded up to a multiple of this.
        return_tensors: `"pt"` or `"np"`.
    """

    tokenizer: Any
    padding: Any
    max_length: int | None
    pad_to_multiple_of: int | None
    return_tensors: str

    ragged_columns: tuple[str, ...] = ()
    """The columns whose rows may differ in length; the stock classes pad no others."""

    def _labels(self, dataset: TokenDataset) -> _fastft.Labels | None:
        """Says where labels of tokens come from; None where there are none."""
        return None

    def _settings(self) -> tuple[Any, ...]:
        hf = self.tokenizer
        how = (self.padding, self.max_length, self.pad_to_multiple_of, self.return_tensors)
        if not pads_as_stock(hf):
            return (*how, type(hf))
        names = hf.model_input_names
        return (
            *how, *special_tokens(hf), hf.pad_token_type_id, hf.padding_side, names[0],
            "attention_mask" in names,
        )  # fmt: skip

    def _unknown_dataset(self, dataset: TokenDataset) -> str | None:
        reason = (
            self._unknown_option()
            or self._unknown_tokenizer(dataset)
            or self._unknown_column(dataset)
        )
        if reason is None and self.tokenizer.pad_token_id is None:
            return "the tokenizer has no pad token"
        return reason

    def _unknown_batch(self, batch: BatchReference) -> str | None:
        width = self._width()
        if width is not None and batch.is_untouched and batch.longest > width:
            return "a batch that the stock collator treats as a special case"
        return super()._unknown_batch(batch)

    def _unknown_option(self) -> str | None:
        if self.return_tensors != "pt":
            return f"return_tensors={self.return_tensors!r} is not 'pt'"
        if self.padding not in (True, "longest") and self._width() is None:
            return f"padding={self.padding!r} with max_length={self.max_length!r} is left to stock"
        multiple = self.pad_to_multiple_of
        if multiple is not None and (not isinstance(multiple, int) or multiple < 1):
            return f"pad_to_multiple_of={multiple!r}"
        return None

    def _unknown_tokenizer(self, dataset: TokenDataset) -> str | None:
        hf = self.tokenizer
        if not pads_as_stock(hf):
            return f"{type(hf).__name__} pads in its own way"
        if hf.padding_side not in ("left", "right"):
            return f"padding_side={hf.padding_side!r}"
        if hf.model_input_names[0] != "input_ids" or "input_ids" not in dataset.model_inputs:
            return "the main input of the model is not input_ids"
        if ("attention_mask" in hf.model_input_names) != ("attention_mask" in dataset.model_inputs):
            return "only one of tokenizer and dataset has an attention mask"
        if "special_tokens_mask" in dataset.columns:
            return "special_tokens_mask is padded by the stock collator"
        return None

    def _width(self) -> int | None:
        """The width that is asked for, rounded up; None where it follows from the batch."""
        if self.padding != "max_length" or not isinstance(self.max_length, int):
            return None
        multiple = self.pad_to_multiple_of or 1
        return -(-self.max_length // multiple) * multiple

    def _unknown_column(self, dataset: TokenDataset) -> str | None:
        for name, column in dataset.columns.items():
            if isinstance(column, RaggedColumn) and name not in self.ragged_columns:
                return f"the rows of column {name!r} differ in length"
        return None

    def _new_recipe(self, dataset: TokenDataset) -> _fastft.Recipe:
        hf = self.tokenizer
        has_type_ids = "token_type_ids" in dataset.model_inputs
        return _fastft.Recipe.padded(
            pad_token_id=hf.pad_token_id,
            pad_token_type_id=hf.pad_token_type_id if has_type_ids else None,
            attention_mask="attention_mask" in dataset.model_inputs,
            width=self._width(),
            pad_to_multiple_of=self.pad_to_multiple_of,
            padding_side=hf.padding_side,
            labels=self._labels(dataset),
            columns=gathered_columns(dataset),
        )


class LabelPadding(RustPadding):
    """The same for a collator that pads labels too.

    Attributes:
        label_pad_token_id: What pads them.
    """

    label_pad_token_id: int

    def _settings(self) -> tuple[Any, ...]:
        return (*super()._settings(), self.label_pad_token_id)

    def _unknown_option(self) -> str | None:
        if not is_int64(self.label_pad_token_id):
            return f"label_pad_token_id={self.label_pad_token_id!r}"
        return super()._unknown_option()
