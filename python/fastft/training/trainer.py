"""`Trainer` and `Seq2SeqTrainer`: transformers' own loop with fast batches and the exact loss."""

from __future__ import annotations

from typing import Any

import transformers

from fastft.training.exact_loss import ExactLossMixin
from fastft.training.timing import Timing
from fastft.training.token_batches import TokenBatchesMixin


class TrainerMixin(ExactLossMixin, TokenBatchesMixin):
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
        super().__init__(*args, **kwargs)


class Trainer(TrainerMixin, transformers.Trainer):  # type: ignore[misc]
    """`transformers.Trainer` with fast batches, the exact loss, and the old argument names.

    Takes the arguments of the stock class. `tokenizer=` is accepted for `processing_class=`.

    Example:
        >>> trainer = Trainer(model, TrainingArguments("runs/a"), train_dataset=tokens,
        ...                   processing_class=tokenizer)          # doctest: +SKIP
        >>> trainer.train()                                        # doctest: +SKIP
    """


class Seq2SeqTrainer(TrainerMixin, transformers.Seq2SeqTrainer):  # type: ignore[misc]
    """`transformers.Seq2SeqTrainer` with fast batches, the exact loss, and the old argument names.

    Takes the arguments of the stock class. `tokenizer=` is accepted for `processing_class=`.

    Example:
        >>> trainer = Seq2SeqTrainer(model, Seq2SeqTrainingArguments("runs/a"),
        ...                          train_dataset=tokens,
        ...                          processing_class=tokenizer)   # doctest: +SKIP
    """
