"""A Trainer whose AdamW moves the touched rows of an embedding only: `sparse_embedding=`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastft.errors import ConfigurationError
from fastft.training.choices import check_choices
from fastft.training.row_updates import (
    MIN_ELEMENTS,
    RowUpdates,
    clip_grad_norm,
    row_embeddings,
    why_not_adamw,
)

if TYPE_CHECKING:
    import torch

    # The mixin stands before a stock Trainer and uses what is there.
    _StockTrainer = Any
else:
    _StockTrainer = object


class SparseEmbeddingMixin(_StockTrainer):  # type: ignore[misc]  # transformers carries no types
    """Keeps the gradient of large embeddings as rows, and steps those rows alone.

    On a CPU, for a model in float32 under torch's AdamW. The weights, moments and gradient norms
    are those of the whole step, within rounding. Behind `train` the model is as it was.

    Args:
        *args: Arguments of the stock class.
        sparse_embedding: "auto" does it where it gives the same, True insists, False does not.
        **kwargs: Arguments of the stock class.
    """

    def __init__(self, *args: Any, sparse_embedding: bool | str = "auto", **kwargs: Any) -> None:
        check_choices({"sparse_embedding": sparse_embedding})
        self.sparse_embedding = sparse_embedding
        self._row_updates: RowUpdates | None = None
        self._embedding_explained: str | None = None
        super().__init__(*args, **kwargs)
        self._insist(self._reason_for_all_rows())

    def _insist(self, reason: str | None) -> None:
        if reason is not None and self.sparse_embedding is True:
            raise ConfigurationError(
                "the rows of the embedding cannot be stepped alone",
                place="argument sparse_embedding",
                found=reason,
                expected="a large embedding in float32 on a CPU, and torch's AdamW",
                fix='pass sparse_embedding="auto", or leave it out',
            )

    def _reason_for_all_rows(self) -> str | None:
        if self.sparse_embedding is False:
            return "sparse_embedding=False"
        if self.args.device.type != "cpu":
            return f"the model trains on {self.args.device.type}"
        if self.args.torch_compile:
            return "torch.compile knows no gradients of rows"
        if self.args.world_size > 1 or self.is_deepspeed_enabled or self.is_fsdp_enabled:
            return "the gradients are shared between processes"
        if not row_embeddings(self.model):
            return (
                "no embedding of its own with a trained weight in float32 and at least "
                f"{MIN_ELEMENTS:,} numbers"
            )
        return None

    def explain_embedding(self) -> str:
        """Says how many rows of which embedding AdamW steps, or why all of them."""
        if self._row_updates is not None:
            return _explain(self._row_updates)
        if self._embedding_explained is not None:
            return self._embedding_explained
        reason = self._reason_for_all_rows()
        if reason is not None:
            return f"embedding: all rows are stepped, {reason}"
        return "embedding: the touched rows are stepped"

    # -- while it runs -------------------------------------------------------------------------

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Trains, and leaves embeddings and optimizer as they were."""
        self._embedding_explained = None
        try:
            return super().train(*args, **kwargs)
        finally:
            self._step_all_rows()

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Runs forward and backward; the gradient of a large embedding is kept as rows."""
        self._step_touched_rows()
        loss: torch.Tensor = super().training_step(model, inputs, *args, **kwargs)
        return loss

    def _step_touched_rows(self) -> None:
        optimizer: Any = getattr(self.optimizer, "optimizer", self.optimizer)  # by accelerate
        if self._row_updates is not None and self._row_updates.optimizer is optimizer:
            return
        if self._embedding_explained is not None:
            return
        self._step_all_rows()
        reason = self._reason_for_all_rows() or why_not_adamw(optimizer)
        self._insist(reason)
        if reason is not None:
            self._embedding_explained = f"embedding: all rows are stepped, {reason}"
            return
        num_batches = self.args.gradient_accumulation_steps
        self._row_updates = RowUpdates(row_embeddings(self.model), optimizer, num_batches)

    def _step_all_rows(self) -> None:
        if self._row_updates is not None:
            self._row_updates.detach()
            self._embedding_explained = _explain(self._row_updates)
        self._row_updates = None

    def _clip_grad_norm(self, model: Any) -> Any:
        if self._row_updates is None:
            return super()._clip_grad_norm(model)
        return clip_grad_norm(model.parameters(), self.args.max_grad_norm)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        if grad_norm is None and self._row_updates is not None:
            grad_norm = clip_grad_norm(model.parameters(), float("inf"))
        return super()._get_grad_norm(model, grad_norm=grad_norm)


def _explain(updates: RowUpdates) -> str:
    counts = updates.num_live()
    said = (
        f"{count:,} of {updates.embeddings[name].num_embeddings:,} rows of {name}"
        for name, count in counts.items()
    )
    return f"embedding: AdamW steps the touched rows, {', '.join(said)}"
