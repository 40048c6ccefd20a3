"""The Trainer of a task: its batches, its metrics, its figures beside the loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from transformers import PrinterCallback

from fastft.training.class_weights import ClassWeights
from fastft.training.first_process import from_first_process
from fastft.training.trainer import Seq2SeqTrainer, Trainer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase

    from fastft.tasks.base import Task, TaskData


@dataclass
class Scoring:
    """What a Trainer calls as `compute_metrics`.

    Args:
        task: The task, which knows its metrics.
        reference: What predictions are scored against, known to the first process only.
        device: The device of this process.
    """

    task: Task
    reference: Any
    device: torch.device
    report: dict[str, Any] = field(default_factory=dict)
    """What the last evaluation gave beside single numbers."""

    def __call__(self, prediction: EvalPrediction) -> dict[str, float]:
        """Scores in the first process, which alone has the reference, and tells the others."""

        def score() -> dict[str, float]:
            figures = self.task.compute_metrics(prediction, self.reference)
            self.report = self.task.report(prediction, self.reference)
            return figures

        metrics: dict[str, float] = from_first_process(
            score, self.device, problem="the first process could not score the predictions"
        )
        return metrics


def task_trainer(
    task: Task,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    arguments: Any,
    data: Mapping[str, TaskData],
    **options: Any,
) -> Trainer | Seq2SeqTrainer:
    """Builds the Trainer of a task.

    Args:
        task: The task.
        model: The model.
        tokenizer: Its tokenizer.
        arguments: `TrainingArguments`, or `Seq2SeqTrainingArguments` where the task generates.
        data: Tokens of "train", "validation", as far as there are any.
        **options: Further arguments of the Trainer.
    """
    parts = {name: part.dataset for name, part in data.items()}
    weights = task.class_weights()
    trainer_class = Seq2SeqTrainer if task.generates else Trainer
    trainer = trainer_class(
        model=model,
        args=arguments,
        data_collator=task.collator(tokenizer, model, arguments.seed),
        train_dataset=parts.get("train"),
        eval_dataset=parts.get("validation"),
        processing_class=tokenizer,
        compute_metrics=None if arguments.prediction_loss_only else scoring(task, data, arguments),
        preprocess_logits_for_metrics=task.preprocess_logits,
        class_weights=None if weights is None else ClassWeights(torch.from_numpy(weights)),
        loss_metrics=task.loss_metrics,
        # What generates asks for logits at every token.
        drops_logits=task.drops_logits and not getattr(arguments, "predict_with_generate", False),
        **options,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def scoring(task: Task, data: Mapping[str, TaskData], arguments: Any) -> Scoring:
    """Gives what scores predictions for the validation split."""
    reference = data["validation"].reference if "validation" in data else None
    return Scoring(task, reference, arguments.device)
