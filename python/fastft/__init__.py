"""fastft: fine-tuning of Hugging Face Transformers, accelerated in Rust.

The public names, each loaded when it is first used: `import fastft` itself imports none of torch,
transformers, numpy and pyarrow, starts no thread and connects nowhere.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastft._fastft import __version__
    from fastft.api import check, finetune
    from fastft.data.batch_sampler import BatchSampler
    from fastft.data.collator import DataCollatorWithPadding
    from fastft.data.dataloader import DataLoader
    from fastft.data.token_dataset import TokenDataset
    from fastft.data.tokenizer import Tokenizer
    from fastft.errors import (
        ArgumentError,
        ColumnError,
        ConfigurationError,
        DataError,
        DataNotFoundError,
        Error,
        InternalError,
        LabelError,
        ModelNotFoundError,
        NonFiniteLossError,
        OutputError,
        TokenizerError,
    )
    from fastft.result import FinetuneResult
    from fastft.training import Trainer, TrainingArguments

__all__ = [
    "ArgumentError",
    "BatchSampler",
    "ColumnError",
    "ConfigurationError",
    "DataCollatorWithPadding",
    "DataError",
    "DataLoader",
    "DataNotFoundError",
    "Error",
    "FinetuneResult",
    "InternalError",
    "LabelError",
    "ModelNotFoundError",
    "NonFiniteLossError",
    "OutputError",
    "TokenDataset",
    "Tokenizer",
    "TokenizerError",
    "Trainer",
    "TrainingArguments",
    "__version__",
    "check",
    "finetune",
]

_MODULES = {
    "BatchSampler": "fastft.data.batch_sampler",
    "DataCollatorWithPadding": "fastft.data.collator",
    "DataLoader": "fastft.data.dataloader",
    "FinetuneResult": "fastft.result",
    "TokenDataset": "fastft.data.token_dataset",
    "Tokenizer": "fastft.data.tokenizer",
    "Trainer": "fastft.training",
    "TrainingArguments": "fastft.training",
    "__version__": "fastft._fastft",
    "check": "fastft.api",
    "finetune": "fastft.api",
}
"""Where each public name lives; those not named here are the exceptions of `fastft.errors`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_MODULES.get(name, "fastft.errors"))
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
