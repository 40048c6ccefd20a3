"""Batches of a `TokenDataset` for a transformers Trainer: the stock order, collated in Rust.

Everything here leans on methods that transformers documents for overriding, or on a named inside of
it; each such place says which.
"""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any

import torch
from transformers.trainer_utils import unwrap_peft_model

from fastft.data.augmentation import AugmentingCollator, read_augmentation
from fastft.data.batch import Batch, FlattenedBatch
from fastft.data.batch_sampler import BatchSampler
from fastft.data.collator import DataCollatorWithPadding
from fastft.data.dataloader import DataLoader
from fastft.data.packed_collator import packed_collator
from fastft.data.token_dataset import TokenDataset
from fastft.errors import ConfigurationError
from fastft.modeling.padding_free.packed_rows import first_position
from fastft.training.batching import check_batching, training_sampler
from fastft.training.division import DivisionCallback
from fastft.training.evaluation_order import EvaluationOrderMixin
from fastft.training.loss_scale import predicts_next_token
from fastft.training.weightless import WeighingCollator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastft.training.timing import Timing


class TokenBatchesMixin(EvaluationOrderMixin):
    """Draws a `TokenDataset` as the stock Trainer would, for the same seed, and times the waiting.

    Any other dataset takes transformers' own path.

    Args:
        *args: Arguments of the stock class.
        batching: "random", "bucketed" (rows of like length together), "tokens" (a batch is filled
            up to a budget of tokens) or "packed" (the same, rows end to end without padding; for
            language models, masked ones too).
        max_tokens: The budget for "tokens", padding included, and for "packed"; what a batch of
            mean length takes when None.
        augment: "delete", "swap" or "mask", or a dict of shares, for the training rows of a
            `TokenDataset`; needs `processing_class`. Of an encoder and decoder the sources alone;
            a model that writes on is refused. None changes nothing.
        **kwargs: Arguments of the stock class.
    """

    timing: Timing

    def __init__(
        self,
        *args: Any,
        batching: str = "random",
        max_tokens: int | None = None,
        augment: str | dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        check_batching(batching, max_tokens)
        self.augment = None if augment is None else read_augmentation(augment)
        self.batching = batching
        self.max_tokens = max_tokens
        self._plan_sampler: BatchSampler | None = None
        self._training_collator: Any = None
        super().__init__(*args, **kwargs)
        self.add_callback(DivisionCallback())
        self._collator_was_given = _was_given("data_collator", 2, args, kwargs)

    def _get_dataloader(
        self,
        dataset: Any,
        description: str,
        batch_size: int,
        sampler_fn: Any = None,
        is_training: bool = False,
        dataloader_key: str | None = None,
    ) -> Any:
        """Builds the loader of a `TokenDataset`; the stock method takes every other dataset.

        transformers wraps every collator in one that unrolls a batch into dicts
        (`RemoveColumnsCollator`); a token dataset holds nothing but what the model takes, so here
        the collator stays as it is. accelerate keeps dataset, batch sampler and collator and builds
        its own loader around them: these three carry the speed.
        """
        if not isinstance(dataset, TokenDataset):
            return super()._get_dataloader(
                dataset, description, batch_size, sampler_fn, is_training, dataloader_key
            )
        if self.args.dataloader_num_workers:
            warnings.warn(
                "dataloader_num_workers has no effect on a TokenDataset: its batches are made in "
                "Rust, faster than a worker process could hand them over",
                stacklevel=2,
            )
        options: dict[str, Any] = {
            "collate_fn": self._batch_collator(self._collator(is_training), dataset),
            "pin_memory": self.args.dataloader_pin_memory and self.args.device.type == "cuda",
        }
        if is_training and self.batching != "random":
            settings = {**vars(self.args), "per_device_train_batch_size": batch_size}
            self._plan_sampler = training_sampler(
                dataset, self.batching, self.max_tokens, settings, self.args.world_size
            )
            options["batch_sampler"] = self._plan_sampler
            options["collate_fn"] = WeighingCollator(options["collate_fn"])
        elif is_training and self._draws_at_random():
            seed = self.args.data_seed
            self._plan_sampler = BatchSampler(
                dataset,
                "random",
                batch_size=batch_size,
                seed=torch.initial_seed() if seed is None else seed,
                drop_last=self.args.dataloader_drop_last,
            )
            options["batch_sampler"] = self._plan_sampler
        elif not is_training and (by_length := self.evaluation_sampler(dataset, batch_size)):
            options["batch_sampler"] = by_length
        else:
            options["batch_size"] = batch_size
            # Otherwise an evaluation keeps the order of the rows, against which its predictions are
            # scored; the stock sampler sorts them by length where training does.
            is_drawn = is_training and sampler_fn is not None
            options["sampler"] = sampler_fn(dataset) if is_drawn else None
            options["drop_last"] = self.args.dataloader_drop_last
        return self.accelerator.prepare(DataLoader(dataset, **options))

    def _prepare_inputs(self, inputs: Any) -> Any:
        """Moves the inputs to the device, and with them what a batch of ours knows besides."""
        prepared = super()._prepare_inputs(inputs)
        is_ours = isinstance(inputs, Batch | FlattenedBatch)
        return inputs.hand_on_to(prepared) if is_ours and prepared is not inputs else prepared

    def _draws_at_random(self) -> bool:
        """Whether the order is accelerate's seeded permutation, which `BatchSampler` draws too."""
        return bool(
            self.args.train_sampling_strategy == "random"
            and self.args.accelerator_config.use_seedable_sampler
            and not self.args.accelerator_config.split_batches
        )

    def _collator(self, is_training: bool) -> Any:
        """Gives the collator; an evaluation gets one whose random masks never change."""
        if not is_training:
            collator = self._token_collator()
            fixed = getattr(collator, "for_evaluation", None)
            return collator if fixed is None else fixed()
        collator = self._packed_collator() if self.batching == "packed" else self._token_collator()
        if self.augment is not None:
            collator = self._augmenting(collator, self.augment)
        self._training_collator = collator
        return collator

    def _augmenting(self, collator: Any, shares: dict[str, float]) -> AugmentingCollator:
        """Gives what changes the rows of training before a collator gets them.

        Raises:
            ConfigurationError: The labels are the tokens themselves.
        """
        model = unwrap_peft_model(self.model)
        if predicts_next_token(model):
            raise ConfigurationError(
                "augment cannot be used: the model would learn to write the changed texts",
                place="argument augment",
                found=type(model).__name__,
                expected="a model whose labels are no tokens of its input",
                fix="leave augment out",
            )
        is_seq2seq = bool(getattr(model.config, "is_encoder_decoder", False))
        hf, seed = self.processing_class, self.args.seed
        apart = ("labels",) if is_seq2seq else ()  # those of the decoder
        return AugmentingCollator(collator, shares, hf, seed, apart=apart)

    def _packed_collator(self) -> Any:
        """Gives what lays the rows of training end to end."""
        model = unwrap_peft_model(self.model)
        return packed_collator(
            self.data_collator,
            is_causal=predicts_next_token(model),
            first_position=first_position(model),
        )

    def _batch_collator(self, collator: Any, dataset: TokenDataset) -> Any:
        """Gives what makes the batches of a data set: the collator, unless a mixin adds to it."""
        return collator

    def _token_collator(self) -> Any:
        if self._collator_was_given:
            return self.data_collator
        if self.processing_class is None:
            raise ConfigurationError(
                "a TokenDataset needs to know how to pad",
                place="argument processing_class",
                found="None",
                expected="the tokenizer",
                fix="pass processing_class=tokenizer or data_collator=",
            )
        return DataCollatorWithPadding(self.processing_class)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Sets the epoch of the plan and of the collator's masks, then runs it.

        accelerate passes `set_epoch` on to a plain batch sampler only; behind its sharding and its
        skipping of batches on resume the plan would keep the order of epoch 0.
        """
        for part in (self._plan_sampler, self._training_collator):
            set_epoch = getattr(part, "set_epoch", None)
            if set_epoch is not None and "epoch" in kwargs:
                set_epoch(kwargs["epoch"])
        super()._run_epoch(*args, **kwargs)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """Takes the micro-batches of a step and notes how long that took."""
        before = time.perf_counter()
        batches, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.timing.data_waited(time.perf_counter() - before)
        return batches, num_items


def _was_given(name: str, position: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return kwargs.get(name) is not None or (len(args) > position and args[position] is not None)
