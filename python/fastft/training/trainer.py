"""`Trainer` and `Seq2SeqTrainer`: transformers' own loop with fast batches and the exact loss."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import transformers
from transformers.trainer_utils import unwrap_peft_model

from fastft.data.seq2seq_collator import DataCollatorForSeq2Seq
from fastft.modeling.half_precision import safe_precision
from fastft.training.exact_loss import ExactLossMixin
from fastft.training.frozen_layers import FrozenLayersMixin
from fastft.training.fused_loss import FusedLossMixin
from fastft.training.packed_training import PackedTrainingMixin
from fastft.training.padding_free import PaddingFreeMixin
from fastft.training.sparse_embedding import SparseEmbeddingMixin
from fastft.training.timing import Timing
from fastft.training.token_batches import TokenBatchesMixin


class TrainerMixin(
    FrozenLayersMixin,
    PackedTrainingMixin,
    PaddingFreeMixin,
    FusedLossMixin,
    ExactLossMixin,
    TokenBatchesMixin,
    SparseEmbeddingMixin,
):
    """What fastft adds to a transformers Trainer.

    *Batches.* A `TokenDataset` is drawn in the order of the stock Trainer, for the same seed, and
    collated in Rust. Any other dataset takes transformers' own path. With `batching="packed"`
    rows stand end to end in a batch; a model that would mix them is refused.

    *Loss.* The loss of an optimizer step is the mean over its labels, however the step is split
    over accumulation and ranks. A loss that is NaN or infinite stops the run.

    *Memory.* Where the logits of a batch are large the loss runs without them; `fuse_head=False`
    turns that off, `explain_head()` says what runs.

    *Padding.* On a CPU the layers compute real tokens only, where that gives the same;
    `padding_free=False` turns that off, `explain_padding()` says what runs.

    *Frozen layers.* They run once for every row, without dropout, and the epochs go on from what
    they gave; `frozen_cache="off"` turns that off, `explain_frozen()` says what was kept.

    *Embedding.* On a CPU AdamW steps the rows of the vocabulary that it moves, not all of them;
    `sparse_embedding=False` turns that off, `explain_embedding()` says what runs.

    *Precision.* A T5 that is asked to train in float16 trains in bfloat16 or float32.
    """

    def __init__(self, *args: Any, timing: Timing | None = None, **kwargs: Any) -> None:
        if "tokenizer" in kwargs:
            kwargs.setdefault("processing_class", kwargs.pop("tokenizer"))
        self.timing = timing or Timing()
        args, kwargs = _in_safe_precision(args, kwargs)
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

    def _token_collator(self) -> Any:
        if self._collator_was_given or self.processing_class is None:
            return super()._token_collator()
        return DataCollatorForSeq2Seq(self.processing_class, model=unwrap_peft_model(self.model))


def _in_safe_precision(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Changes the training arguments, a copy of them, where float16 would make the loss NaN."""
    given = dict(zip(("model", "args"), args, strict=False)) | kwargs
    arguments, config = given.get("args"), getattr(given.get("model"), "config", None)
    if arguments is None or not (arguments.fp16 or arguments.fp16_full_eval):
        return args, kwargs
    asked = {name: getattr(arguments, name) for name in ("fp16", "fp16_full_eval")}
    changes, note = safe_precision(asked, getattr(config, "model_type", None), arguments.device)
    if note is None:
        return args, kwargs
    warnings.warn(note, stacklevel=3)
    safe = dataclasses.replace(arguments, **changes)
    if len(args) > 1:
        return (args[0], safe, *args[2:]), kwargs
    return args, {**kwargs, "args": safe}
