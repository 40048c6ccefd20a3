"""Training: the arguments, the plan of a run, the Trainer, what is kept of it.

`Trainer` and `TrainingArguments` are imported late: transformers takes seconds to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastft.training.arguments import TrainingArguments as TrainingArguments
    from fastft.training.trainer import Trainer as Trainer

__all__ = ["Trainer", "TrainingArguments"]


def __getattr__(name: str) -> Any:
    if name == "TrainingArguments":
        from fastft.training.arguments import TrainingArguments

        return TrainingArguments
    if name == "Trainer":
        from fastft.training.trainer import Trainer

        return Trainer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
