"""Training: the arguments, the plan of a run, the Trainer, what is kept of it.

The Trainers and their arguments are imported late: transformers takes seconds to load.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastft.training.arguments import Seq2SeqTrainingArguments as Seq2SeqTrainingArguments
    from fastft.training.arguments import TrainingArguments as TrainingArguments
    from fastft.training.trainer import Seq2SeqTrainer as Seq2SeqTrainer
    from fastft.training.trainer import Trainer as Trainer

__all__ = ["Seq2SeqTrainer", "Seq2SeqTrainingArguments", "Trainer", "TrainingArguments"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "arguments" if name.endswith("Arguments") else "trainer"
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
