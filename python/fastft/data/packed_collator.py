"""Batches of packed rows for training: what `batching="packed"` makes of a task's own collator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fastft.data.augmentation import AugmentingCollator
from fastft.data.batch import FlattenedBatch, flattened_batch
from fastft.data.flattening_collator import DataCollatorWithFlattening
from fastft.data.language_modeling_collator import DataCollatorForLanguageModeling
from fastft.data.seq2seq_collator import DataCollatorForSeq2Seq
from fastft.errors import ConfigurationError


@dataclass
class PackedMaskingCollator:
    """Masks the tokens of rows, then lays the rows end to end without their padding.

    The masks are those of the padded batch: a pure function of (seed, epoch, row, position).

    Args:
        collator: Pads and masks.
        first_position: The position of the first token of every row.
    """

    collator: DataCollatorForLanguageModeling
    first_position: int = 0

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch that the masks depend on."""
        self.collator.set_epoch(epoch)

    def for_evaluation(self) -> Any:
        """Gives the collator of an evaluation, which pads."""
        return self.collator.for_evaluation()

    def __call__(self, features: Any) -> FlattenedBatch:
        """Makes a batch.

        Returns:
            `input_ids`, `labels` and `position_ids`, int64 (1, N), and `token_type_ids` where the
            rows have them.

        Raises:
            ConfigurationError: The batch does not say which tokens are padding.
        """
        batch = self.collator(features)
        mask = batch.pop("attention_mask", None)
        if mask is None:
            raise _unpackable("batches without an attention_mask")
        real = mask.bool()
        places = real.cumsum(1) - 1 + self.first_position
        tensors = {name: value[real].unsqueeze(0) for name, value in batch.items()}
        tensors["position_ids"] = places[real].unsqueeze(0)
        return flattened_batch(
            tensors,
            getattr(batch, "rows", None),
            lengths=real.sum(1).numpy(),
            predicts_next=False,
        )


def packed_collator(collator: Any, *, is_causal: bool, first_position: int = 0) -> Any:
    """Gives what makes batches of packed rows as a collator makes padded ones.

    Args:
        collator: What would pad: for plain text `DataCollatorForLanguageModeling`, for chats
            `DataCollatorForSeq2Seq`.
        is_causal: Whether the model predicts each next token.
        first_position: The position of the first token of every row.

    Returns:
        A `DataCollatorWithFlattening`, or a `PackedMaskingCollator`.

    Raises:
        ConfigurationError: Rows of such batches cannot be packed.

    Example:
        >>> collate = packed_collator(collator, is_causal=True)    # doctest: +SKIP
    """
    if isinstance(collator, DataCollatorWithFlattening):
        return collator
    if isinstance(collator, AugmentingCollator):
        inner = packed_collator(
            collator.collator, is_causal=is_causal, first_position=first_position
        )
        return replace(collator, collator=inner)
    is_masked = isinstance(collator, DataCollatorForLanguageModeling) and collator.mlm
    if is_masked and not is_causal:
        return PackedMaskingCollator(collator, first_position)
    known = isinstance(collator, DataCollatorForLanguageModeling | DataCollatorForSeq2Seq)
    if is_causal and not is_masked and known:
        return DataCollatorWithFlattening(position_ids_start=first_position)
    model = "a model that predicts each next token" if is_causal else "another model"
    raise _unpackable(f"{type(collator).__name__}, for {model}")


def _unpackable(found: str) -> ConfigurationError:
    return ConfigurationError(
        "rows of such batches cannot be packed",
        place="argument batching",
        found=f"'packed', with {found}",
        expected="a decoder with DataCollatorForLanguageModeling(tokenizer, mlm=False) or "
        "DataCollatorForSeq2Seq, or an encoder with DataCollatorForLanguageModeling, of fastft",
        fix='pass batching="tokens", or such a collator',
    )
