"""The exact loss for a transformers Trainer: the mean over all labels, in training and evaluation.

However a step is split over accumulation and ranks, its loss is the mean over its labels; see
`loss_scale`, `repeated_rows` and `evaluation_loss` for the parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers.trainer_utils import unwrap_peft_model

from fastft.errors import NonFiniteLossError
from fastft.training.evaluation_loss import EvaluationLoss
from fastft.training.loss_scale import (
    count_labels,
    loss_share,
    predicts_next_token,
    total_count,
)
from fastft.training.repeated_rows import at_uneven_end, first_rows, num_rows, num_valid_rows
from fastft.training.weightless import has_weight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from fastft.training.class_weights import ClassWeights

    # The mixin stands before a stock Trainer and uses what is there.
    _StockTrainer = Any
else:
    _StockTrainer = object


class ExactLossMixin(_StockTrainer):  # type: ignore[misc]  # transformers carries no types
    """Weights every micro-batch by its share of the step's labels; stops at NaN and infinity.

    Args:
        *args: Arguments of the stock class.
        class_weights: Weighs the classes in the loss of a classifier.
        loss_metrics: Figures that follow from the evaluation loss alone, such as perplexity.
        **kwargs: Arguments of the stock class.
    """

    def __init__(
        self,
        *args: Any,
        class_weights: ClassWeights | None = None,
        loss_metrics: Callable[[float], dict[str, float]] | None = None,
        **kwargs: Any,
    ) -> None:
        self.class_weights = class_weights
        self.loss_metrics = loss_metrics
        self._evaluation_loss: EvaluationLoss | None = None
        # The micro-batch whose last rows only fill it, and how many of its rows count.
        self._filled_batch: Any = None
        self._num_valid_rows: int | None = None
        super().__init__(*args, **kwargs)
        # transformers' own switch: the loss needs no more division by the accumulation steps. A
        # subclass whose own loss is a plain mean sets it to False.
        if self.compute_loss_func is None and self.loss_is_scaled_for_ga is None:
            self.loss_is_scaled_for_ga: bool | None = True
        self._next_token_loss = predicts_next_token(unwrap_peft_model(self.model))

    # -- training ----------------------------------------------------------------------------

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """Takes the micro-batches of a step and counts their labels."""
        batches, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._filled_batch = None
        if batches and at_uneven_end(self.accelerator) and self.compute_loss_func is None:
            self._filled_batch = batches[-1]
            # Counted before the end was known, repeated rows included.
            num_items = self._get_num_items_in_batch(batches, device)
        return batches, num_items

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Runs forward and backward and stops the run when the loss is not a number.

        Raises:
            NonFiniteLossError: The loss is NaN or infinite.
        """
        if not has_weight(inputs):
            self._num_valid_rows = 0
        elif inputs is self._filled_batch:
            self._num_valid_rows = num_valid_rows(self.accelerator, num_rows(inputs))
        loss: torch.Tensor = super().training_step(model, inputs, *args, **kwargs)
        self._num_valid_rows = None
        if not torch.isfinite(loss):
            raise NonFiniteLossError(
                f"the loss became {loss.item()}",
                place=f"step {self.state.global_step + 1}{_named_rows(inputs)}",
                expected="a finite number",
                fix="lower learning_rate, or train in bf16 or fp32 when this ran in fp16; "
                "the last checkpoint is untouched",
            )
        return loss

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Any:
        """Counts the labels of a whole step on all ranks, for every class of model."""
        if self.compute_loss_func is not None:
            return super()._get_num_items_in_batch(batch_samples, device)
        counts = [self._count_valid_labels(batch) for batch in batch_samples]
        if not counts or any(count is None for count in counts):
            return None
        total = total_count([count for count in counts if count is not None], device)
        if self.args.world_size > 1:
            total = self.accelerator.gather(total).sum()
        return total

    def _count_labels(self, batch: Mapping[str, Any]) -> torch.Tensor | None:
        if self.class_weights is not None:
            return self.class_weights.total(batch["labels"])
        return count_labels(batch, self.label_names, shifted=self._next_token_loss)

    def _count_valid_labels(self, batch: Mapping[str, Any]) -> torch.Tensor | None:
        if not has_weight(batch):
            count = self._count_labels(batch)
            return count if count is None else torch.zeros_like(count)
        if batch is not self._filled_batch:
            return self._count_labels(batch)
        size = num_rows(batch)
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
        loss, outputs = self._mean_loss(model, inputs)
        # The count first: it is known without waiting for a device.
        if count is not None and not count and not torch.isfinite(loss):
            # The mean over no labels is NaN; such a micro-batch weighs nothing, but takes part.
            loss = outputs["logits"].float().sum() * 0.0
        if self.model.training:
            loss = loss * self._loss_factor(count, num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def _mean_loss(self, model: Any, inputs: Any) -> tuple[torch.Tensor, Any]:
        """Gives the mean loss over a micro-batch, and the model's outputs."""
        if self.class_weights is None:
            # Without a count of labels the stock method returns the plain mean.
            loss, outputs = super().compute_loss(model, inputs, return_outputs=True)
            return loss, outputs
        inputs = dict(inputs)
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        smoothing = self.args.label_smoothing_factor
        return self.class_weights.loss(outputs["logits"], labels, smoothing), outputs

    def _without_repeated_rows(self, inputs: Any) -> tuple[Any, torch.Tensor | None]:
        """Takes the rows that count, and the number of their labels.

        A rank that has none keeps one row, whose loss then weighs nothing: it must take part in
        the step, and the mean over no row would be NaN.
        """
        valid = self._num_valid_rows
        if valid is None:
            return inputs, self._count_labels(inputs)
        rows = first_rows(inputs, max(1, valid), num_rows(inputs))
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
        batch_size = num_rows(inputs)
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
        prefix = kwargs.get("metric_key_prefix", "eval")
        if mean is not None and f"{prefix}_loss" in output.metrics:
            output.metrics[f"{prefix}_loss"] = mean
            # A smoothed loss is no cross entropy, so nothing that is one follows from it.
            is_plain = self.loss_metrics is not None and not self.args.label_smoothing_factor
            derived = self.loss_metrics(mean) if self.loss_metrics and is_plain else {}
            output.metrics.update({f"{prefix}_{name}": value for name, value in derived.items()})
        return output


def _named_rows(inputs: Any) -> str:
    """Names the rows of a batch that one of our collators made."""
    rows = getattr(inputs, "rows", None)
    if rows is None:
        return ""
    return f", training rows {', '.join(map(str, rows.tolist()))} (counted from 0)"
