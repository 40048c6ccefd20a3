"""fastft: fine-tuning of Hugging Face Transformers, accelerated in Rust.

The public names, each loaded when it is first used: `import fastft` itself imports none of torch,
transformers, numpy and pyarrow, starts no thread and connects nowhere.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastft._fastft import __version__
    from fastft.api import check, finetune, load
    from fastft.data.batch_plan import BatchPlan, RepeatedBatch
    from fastft.data.batch_sampler import BatchSampler
    from fastft.data.collator import DataCollatorWithPadding
    from fastft.data.dataloader import DataLoader
    from fastft.data.flattening_collator import DataCollatorWithFlattening
    from fastft.data.language_modeling_collator import DataCollatorForLanguageModeling
    from fastft.data.packing import PackPlan, pack
    from fastft.data.seq2seq_collator import DataCollatorForSeq2Seq
    from fastft.data.token_classification_collator import DataCollatorForTokenClassification
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
    from fastft.finetuned import FinetunedModel
    from fastft.modeling.losses.cross_entropy import cross_entropy
    from fastft.modeling.losses.fuse_head import fuse_head, unfuse_head
    from fastft.modeling.losses.linear_cross_entropy import linear_cross_entropy
    from fastft.modeling.losses.module import LinearCrossEntropy
    from fastft.modeling.losses.supervised import supervised
    from fastft.modeling.padding_free.model import padding_free, restore_padding
    from fastft.result import FinetuneResult
    from fastft.training import (
        Seq2SeqTrainer,
        Seq2SeqTrainingArguments,
        Trainer,
        TrainingArguments,
    )

__all__ = [
    "ArgumentError",
    "BatchPlan",
    "BatchSampler",
    "ColumnError",
    "ConfigurationError",
    "DataCollatorForLanguageModeling",
    "DataCollatorForSeq2Seq",
    "DataCollatorForTokenClassification",
    "DataCollatorWithFlattening",
    "DataCollatorWithPadding",
    "DataError",
    "DataLoader",
    "DataNotFoundError",
    "Error",
    "FinetuneResult",
    "FinetunedModel",
    "InternalError",
    "LabelError",
    "LinearCrossEntropy",
    "ModelNotFoundError",
    "NonFiniteLossError",
    "OutputError",
    "PackPlan",
    "RepeatedBatch",
    "Seq2SeqTrainer",
    "Seq2SeqTrainingArguments",
    "TokenDataset",
    "Tokenizer",
    "TokenizerError",
    "Trainer",
    "TrainingArguments",
    "__version__",
    "check",
    "cross_entropy",
    "finetune",
    "fuse_head",
    "linear_cross_entropy",
    "load",
    "pack",
    "padding_free",
    "restore_padding",
    "supervised",
    "unfuse_head",
]

_MODULES = {
    "BatchPlan": "fastft.data.batch_plan",
    "BatchSampler": "fastft.data.batch_sampler",
    "DataCollatorForLanguageModeling": "fastft.data.language_modeling_collator",
    "DataCollatorForSeq2Seq": "fastft.data.seq2seq_collator",
    "DataCollatorForTokenClassification": "fastft.data.token_classification_collator",
    "DataCollatorWithFlattening": "fastft.data.flattening_collator",
    "DataCollatorWithPadding": "fastft.data.collator",
    "DataLoader": "fastft.data.dataloader",
    "FinetuneResult": "fastft.result",
    "FinetunedModel": "fastft.finetuned",
    "LinearCrossEntropy": "fastft.modeling.losses.module",
    "PackPlan": "fastft.data.packing",
    "RepeatedBatch": "fastft.data.batch_plan",
    "Seq2SeqTrainer": "fastft.training",
    "Seq2SeqTrainingArguments": "fastft.training",
    "TokenDataset": "fastft.data.token_dataset",
    "Tokenizer": "fastft.data.tokenizer",
    "Trainer": "fastft.training",
    "TrainingArguments": "fastft.training",
    "__version__": "fastft._fastft",
    "check": "fastft.api",
    "cross_entropy": "fastft.modeling.losses.cross_entropy",
    "finetune": "fastft.api",
    "linear_cross_entropy": "fastft.modeling.losses.linear_cross_entropy",
    "fuse_head": "fastft.modeling.losses.fuse_head",
    "load": "fastft.api",
    "pack": "fastft.data.packing",
    "padding_free": "fastft.modeling.padding_free.model",
    "restore_padding": "fastft.modeling.padding_free.model",
    "supervised": "fastft.modeling.losses.supervised",
    "unfuse_head": "fastft.modeling.losses.fuse_head",
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
