"""`Trainer`: transformers' own loop with fast batches and the exact loss.

One mixin holds all that is ours, so that the stock Trainer and the Seq2Seq one can both take it.
Everything here leans on methods that transformers documents for overriding, or on a named inside of
it; each such place says which.
"""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers.trainer_pt_utils import find_batch_size
from transformers.trainer_utils import unwrap_peft_model

from fastft.data.batch_sampler import BatchSampler
from fastft.data.collator import DataCollatorWithPadding
from fastft.data.dataloader import DataLoader
from fastft.data.token_dataset import TokenDataset
from fastft.errors import ConfigurationError, NonFiniteLossError
from fastft.training.evaluation_loss import EvaluationLoss
from fastft.training.loss_scale import count_labels, loss_share, predicts_next_token
from fastft.training.repeated_rows import at_uneven_end, first_rows, num_valid_rows
from fastft.training.timing import Timing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    # The mixin stands before a stock Trainer and uses what is there.
    _StockTrainer = Any
else:
    _StockTrainer = object


class TrainerMixin(_StockTrainer):  # type: ignore[misc]  # transformers carries no types
    """What fastft adds to a transformers Trainer.

    *Batches.* A `TokenDataset` is drawn in the order of the stock Trainer, for the same seed, and
    collated in Rust. Any other dataset takes transformers' own path.

    *Loss.* The loss of an optimizer step is the mean over its labels, however the step is split
    over accumulation and ranks. A loss that is NaN or infinite stops the run.
    """

    def __init__(self, *args: Any, timing: Timing | None = None, **kwargs: Any) -> None:
        if "tokenizer" in kwargs:
            kwargs.setdefault("processing_class", kwargs.pop("tokenizer"))
        self.timing = timing or Timing()
        self._plan_sampler: BatchSampler | None = None
        self._evaluation_loss: EvaluationLoss | None = None
        # The micro-batch whose last rows only fill it, and how many of its rows count.
        self._filled_batch: Any = None
        self._num_valid_rows: int | None = None
        super().__init__(*args, **kwargs)
        # transformers' own switch: the loss needs no more division by the accumulation steps.
        if self.compute_loss_func is None:
            self.loss_is_scaled_for_ga = True
        self._collator_was_given = _was_given("data_collator", 2, args, kwargs)
        self._next_token_loss = predicts_next_token(unwrap_peft_model(self.model))

    # -- batches -----------------------------------------------------------------------------

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
            "collate_fn": self._token_collator(),
            "pin_memory": self.args.dataloader_pin_memory and self.args.device.type == "cuda",
        }
        if is_training and self._draws_at_random():
            seed = self.args.data_seed
            self._plan_sampler = BatchSampler(
                dataset,
                "random",
                batch_size=batch_size,
                seed=torch.initial_seed() if seed is None else seed,
                drop_last=self.args.dataloader_drop_last,
            )
            options["batch_sampler"] = self._plan_sampler
        else:
            options["batch_size"] = batch_size
            options["sampler"] = None if sampler_fn is None else sampler_fn(dataset)
            options["drop_last"] = self.args.dataloader_drop_last
        return self.accelerator.prepare(DataLoader(dataset, **options))

    def _draws_at_random(self) -> bool:
        """Whether the order is accelerate's seeded permutation, which `BatchSampler` draws too."""
        return bool(
            self.args.train_sampling_strategy == "random"
            and self.args.accelerator_config.use_seedable_sampler
            and not self.args.accelerator_config.split_batches
        )

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
        """Sets the epoch of the plan, then runs it.

        accelerate passes `set_epoch` on to a plain batch sampler only; behind its sharding and its
        skipping of batches on resume the plan would keep the order of epoch 0.
        """
        if self._plan_sampler is not None and "epoch" in kwargs:
            self._plan_sampler.set_epoch(kwargs["epoch"])
        super()._run_epoch(*args, **kwargs)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """Takes the micro-batches of a step and notes how long that took."""
        before = time.perf_counter()
        batches, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.timing.data_waited(time.perf_counter() - before)
        self._filled_batch = None
        if batches and at_uneven_end(self.accelerator) and self.compute_loss_func is None:
            self._filled_batch = batches[-1]
            # Counted before the end was known, repeated rows included.
            num_items = self._get_num_items_in_batch(batches, device)
        return batches, num_items

    # -- loss --------------------------------------------------------------------------------

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Any:
        """Counts the labels of a whole step on all ranks, for every class of model."""
        if self.compute_loss_func is not None:
            return super()._get_num_items_in_batch(batch_samples, device)
        counts = [self._count_valid_labels(batch) for batch in batch_samples]
        if not counts or any(count is None for count in counts):
            return None
        total = torch.stack([count for count in counts if count is not None]).sum().to(device)
        if self.args.world_size > 1:
            total = self.accelerator.gather(total).sum()
        return total

    def _count_labels(self, batch: Mapping[str, Any]) -> torch.Tensor | None:
        return count_labels(batch, self.label_names, shifted=self._next_token_loss)

    def _count_valid_labels(self, batch: Mapping[str, Any]) -> torch.Tensor | None:
        if batch is not self._filled_batch:
            return self._count_labels(batch)
        size = find_batch_size(batch)
        return self._count_labels(first_rows(batch, num_valid_rows(self.accelerator, size), size))

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Gives this micro-batch's part of the mean loss of the step.

        Args:
            model: The model.
            inputs: Its inputs, labels among them.
            return_outputs: Whether to return the outputs too.
            num_items_in_batch: Labels in the whole step; None or absent outside a step.

        Returns:
            A scalar loss, or loss and outputs.
        """
        if self.compute_loss_func is not None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        inputs, count = self._without_repeated_rows(inputs)
        # Without a count the stock method returns the plain mean over the micro-batch.
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True)
        if self.model.training:
            loss = loss * self._loss_factor(count, num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def _without_repeated_rows(self, inputs: Any) -> tuple[Any, torch.Tensor | None]:
        """Takes the rows that count, and the number of their labels.

        A rank that has none keeps one row, whose loss then weighs nothing: it must take part in
        the step, and the mean over no row would be NaN.
        """
        valid = self._num_valid_rows
        if valid is None:
            return inputs, self._count_labels(inputs)
        rows = first_rows(inputs, max(1, valid), find_batch_size(inputs))
        count = self._count_labels(rows)
        return rows, count if count is None or valid else torch.zeros_like(count)

    def _loss_factor(self, count: torch.Tensor | None, step_count: Any) -> Any:
        if count is None or step_count is None:
            return 1.0 / self.current_gradient_accumulation_steps
        return loss_share(count, step_count, self.args.world_size)

    def prediction_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Predicts a batch and notes its loss for the mean over all labels."""
        loss, logits, labels = super().prediction_step(model, inputs, *args, **kwargs)
        if loss is not None and self._evaluation_loss is not None:
            self._note_evaluation_loss(model, inputs, loss)
        return loss, logits, labels

    def _note_evaluation_loss(self, model: Any, inputs: Any, loss: torch.Tensor) -> None:
        batch_size = find_batch_size(inputs)
        valid = num_valid_rows(self.accelerator, batch_size)
        if valid == 0:
            return
        # The stock loss of the last batch is the mean over repeated rows too: it is redone, once
        # per evaluation. A loss function of the user's own keeps its own rule.
        if valid < batch_size and self.compute_loss_func is None:
            inputs = self._prepare_inputs(first_rows(inputs, valid, batch_size))
            with torch.no_grad(), self.compute_loss_context_manager():
                loss = self.compute_loss(model, inputs)
        count = self._count_labels(inputs)
        if count is not None and self._evaluation_loss is not None:
            self._evaluation_loss.add(loss, count)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Runs an evaluation and gives its loss as the mean over all labels."""
        self._evaluation_loss = EvaluationLoss()
        output = super().evaluation_loop(*args, **kwargs)
        mean = self._evaluation_loss.mean(self.accelerator)
        self._evaluation_loss = None
        name = f"{kwargs.get('metric_key_prefix', 'eval')}_loss"
        if mean is not None and name in output.metrics:
            output.metrics[name] = mean
        return output

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Runs forward and backward and stops the run when the loss is not a number.

        Raises:
            NonFiniteLossError: The loss is NaN or infinite.
        """
        if inputs is self._filled_batch:
            self._num_valid_rows = num_valid_rows(self.accelerator, find_batch_size(inputs))
        loss: torch.Tensor = super().training_step(model, inputs, *args, **kwargs)
        self._num_valid_rows = None
        if not torch.isfinite(loss):
            raise NonFiniteLossError(
                f"the loss became {loss.item()}",
                place=f"step {self.state.global_step + 1}",
                expected="a finite number",
                fix="lower learning_rate, or train in bf16 or fp32 when this ran in fp16; "
                "the last checkpoint is untouched",
            )
        return loss


def _was_given(name: str, position: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return kwargs.get(name) is not None or (len(args) > position and args[position] is not None)


class Trainer(TrainerMixin, transformers.Trainer):  # type: ignore[misc]
    """`transformers.Trainer` with fast batches, the exact loss, and the old argument names.

    Takes the arguments of the stock class. `tokenizer=` is accepted for `processing_class=`.

    Example:
        >>> trainer = Trainer(model, TrainingArguments("runs/a"), train_dataset=tokens,
        ...                   processing_class=tokenizer)          # doctest: +SKIP
        >>> trainer.train()                                        # doctest: +SKIP
    """
