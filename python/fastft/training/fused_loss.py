"""A Trainer whose loss runs without logits, where that pays: the argument `fuse_head=`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from transformers.trainer_utils import unwrap_peft_model

from fastft.data.token_dataset import TokenDataset
from fastft.errors import ConfigurationError
from fastft.modeling.losses.fuse_head import (
    explain_head,
    fuse_head,
    fused_head,
    unfuse_head,
    why_not_fused,
)
from fastft.modeling.losses.supervised import supervised, wants_loss_alone
from fastft.training.choices import check_choices

if TYPE_CHECKING:
    # The mixin stands before a stock Trainer and uses what is there.
    _StockTrainer = Any
else:
    _StockTrainer = object

MIN_LOGITS = 1 << 20
"""Logits of a batch from which "auto" fuses: 4 MiB in fp32. On a CPU, eager cross entropy takes
7 ns for each, so about 7 ms; the lazy logits of a step take about 0.2 ms. Below, there is little
to save."""

ASSUMED_TOKENS = 128
"""Tokens of a row where the dataset is not ours and does not say."""


class FusedLabelSmoother:
    """The label smoother of transformers as one cross entropy, which runs without logits.

    Args:
        epsilon: The share of the uniform distribution.
        ignore_index: The label of rows that do not count.
    """

    def __init__(self, epsilon: float, ignore_index: int = -100) -> None:
        self.epsilon = epsilon
        self.ignore_index = ignore_index

    def __call__(
        self,
        model_output: Any,
        labels: torch.Tensor,
        shift_labels: bool = False,
        num_items_in_batch: Any = None,
    ) -> torch.Tensor:
        """Gives the smoothed loss; the arguments are those of `LabelSmoother`."""
        logits = model_output["logits"] if isinstance(model_output, dict) else model_output[0]
        if shift_labels:
            logits, labels = logits[..., :-1, :], labels[..., 1:]
        loss: torch.Tensor = F.cross_entropy(
            logits.float().reshape(-1, logits.shape[-1]),
            labels.reshape(-1),
            ignore_index=self.ignore_index,
            label_smoothing=self.epsilon,
            reduction="mean" if num_items_in_batch is None else "sum",
        )
        if num_items_in_batch is None:
            return loss
        if isinstance(num_items_in_batch, torch.Tensor):
            return loss / num_items_in_batch.to(loss.device)
        return loss / int(num_items_in_batch)


class FusedLossMixin(_StockTrainer):  # type: ignore[misc]  # transformers carries no types
    """Fuses the head of the model, and tells it where the loss of each batch has to look.

    Args:
        *args: Arguments of the stock class.
        fuse_head: "auto" fuses where the logits of a batch are large, True insists, False does not.
        drops_logits: Whether `preprocess_logits_for_metrics` keeps nothing of the logits, so that
            an evaluation needs none though it has metrics.
        **kwargs: Arguments of the stock class.
    """

    def __init__(
        self,
        *args: Any,
        fuse_head: bool | str = "auto",
        drops_logits: bool = False,
        **kwargs: Any,
    ) -> None:
        check_choices({"fuse_head": fuse_head})
        self.fuse_head = fuse_head
        self._drops_logits = drops_logits
        self._why_not_fused: str | None = None
        super().__init__(*args, **kwargs)
        self._fuse(self.model)

    def call_model_init(self, trial: Any = None) -> Any:
        """Makes a model anew, as a search over hyperparameters does, and fuses its head too."""
        model = super().call_model_init(trial)
        if hasattr(self, "label_smoother"):  # not yet while the Trainer itself is made
            self._fuse(model)
        return model

    def _fuse(self, model: Any) -> None:
        if self.fuse_head is False:
            unfuse_head(model)
        self._why_not_fused = self._reason_against(model)
        if self._why_not_fused is not None:
            if self.fuse_head is True:
                raise ConfigurationError(
                    "the head cannot be fused",
                    place="argument fuse_head",
                    found=self._why_not_fused,
                    expected="a model and settings with which the loss can run without logits",
                    fix='pass fuse_head="auto", or leave it out',
                )
            return
        if fused_head(model) is None:
            fuse_head(model)
        if self.args.label_smoothing_factor:
            self.label_smoother: Any = FusedLabelSmoother(self.args.label_smoothing_factor)

    def _reason_against(self, model: Any) -> str | None:
        """Says why the head is not fused; None where it is to be, or is already."""
        if self.fuse_head is False:
            return "fuse_head=False"
        reason = why_not_fused(model)
        if reason is not None or fused_head(model) is not None:
            return reason
        if self.args.torch_compile:
            return "under torch.compile the head is a plain Linear"
        if self.args.n_gpu > 1:
            return "torch.nn.DataParallel gathers the logits"
        num_logits = self._num_logits(model)
        if self.fuse_head == "auto" and num_logits < MIN_LOGITS:
            return f"about {num_logits:,} logits a batch; below {MIN_LOGITS:,} it saves little"
        return None

    def _num_logits(self, model: Any) -> int:
        """Estimates the logits of a batch: rows, tokens of a row, vocabulary."""
        dataset = self.train_dataset if self.train_dataset is not None else self.eval_dataset
        tokens = float(ASSUMED_TOKENS)
        if isinstance(dataset, TokenDataset) and len(dataset):
            tokens = float(dataset.lengths.mean())
        vocabulary = unwrap_peft_model(model).get_output_embeddings().weight.shape[0]
        return int(self.args.per_device_train_batch_size * tokens * vocabulary)

    def explain_head(self) -> str:
        """Says whether the loss runs without logits, or why not, and what the head did so far."""
        if self._why_not_fused is not None:
            return f"head: not fused, {self._why_not_fused}"
        return explain_head(unwrap_peft_model(self.accelerator.unwrap_model(self.model)))

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Runs forward and backward; nobody looks at the logits."""
        with supervised(None):
            loss: torch.Tensor = super().training_step(*args, **kwargs)
        return loss

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, *args: Any, **kwargs: Any
    ) -> Any:
        """Predicts a batch; where only its loss is wanted, without logits."""
        with supervised(None, loss_alone=prediction_loss_only or self._drops_logits):
            return super().prediction_step(model, inputs, prediction_loss_only, *args, **kwargs)

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Gives the loss, with what the batch knows of its labels at hand.

        Here and no earlier: a subclass may have put other labels into the batch.
        """
        with supervised(inputs, loss_alone=wants_loss_alone()):
            return super().compute_loss(model, inputs, *args, **kwargs)

    def _mean_loss(self, model: Any, inputs: Any) -> tuple[torch.Tensor, Any]:
        """Gives mean loss and outputs for what is left of the batch at an uneven end."""
        with supervised(inputs, loss_alone=wants_loss_alone()):
            found: tuple[torch.Tensor, Any] = super()._mean_loss(model, inputs)
        return found
