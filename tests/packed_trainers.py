"""Trainers on packed rows, and the same rows in the same batches with padding beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import fastft
from fastft.data.ragged_column import RaggedColumn
from tests.parity.recording import arguments
from tests.tiny import tiny_tokenizer
from tests.tiny_lm import gpt2_tokenizer, llama_tokenizer, tiny_bert_mlm, tiny_gpt2, tiny_llama

if TYPE_CHECKING:
    from pathlib import Path

    import torch

MAX_TOKENS = 40
MODELS = {"gpt2": tiny_gpt2, "llama": tiny_llama, "chat": tiny_llama, "bert": tiny_bert_mlm}


class Packed(fastft.Trainer):
    """Keeps the rows, the loss and the gradients of every micro-batch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.rows: list[tuple[list[int], bool]] = []
        self.shapes: list[tuple[int, ...]] = []
        self.tokens: list[list[int]] = []
        self.gradients: list[dict[str, torch.Tensor]] = []
        super().__init__(*args, **kwargs)

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        self.rows.append((inputs.rows.tolist(), getattr(inputs, "has_weight", True)))
        self.shapes.append(tuple(inputs["input_ids"].shape))
        self.tokens.append(inputs["input_ids"].flatten().tolist())
        loss = super().training_step(model, inputs, *args, **kwargs)
        named = self.accelerator.unwrap_model(model).named_parameters()
        self.gradients.append({name: one.grad.clone() for name, one in named})
        return loss

    @property
    def losses(self) -> list[float]:
        """The loss of each step."""
        return [entry["loss"] for entry in self.state.log_history if "loss" in entry]


class Padded(Packed):
    """The same plan, and the collator that pads."""

    def _packed_collator(self) -> Any:
        return self._token_collator()


def weights(trainer: Any) -> list[torch.Tensor]:
    """The weights of the model of a Trainer."""
    return [one.detach() for one in trainer.accelerator.unwrap_model(trainer.model).parameters()]


def rows(name: str, number: int = 37) -> fastft.TokenDataset:
    """Rows of 1 to 20 tokens; those of a chat have labels for some of them."""
    rng = np.random.default_rng(3)
    ids = [rng.integers(5, 60, length) for length in rng.integers(1, 21, number)]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in ids])])
    if name == "bert":
        ids = [row % 30 + 5 for row in ids]
    columns = {}
    if name == "chat":
        labels = [np.where(rng.random(len(row)) < 0.5, row, -100) for row in ids]
        columns = {"labels": RaggedColumn.from_rows([row.tolist() for row in labels])}
    flat = np.concatenate(ids).astype(np.uint16)
    return fastft.TokenDataset.from_ragged(flat, offsets, columns=columns)


def collator(name: str) -> Any:
    """What pads the rows of a task."""
    if name == "bert":
        return fastft.DataCollatorForLanguageModeling(tiny_tokenizer(), mlm_probability=0.3, seed=5)
    if name == "chat":
        made = fastft.DataCollatorForSeq2Seq(llama_tokenizer())
        made.predicts_next = True
        return made
    hf = gpt2_tokenizer() if name == "gpt2" else llama_tokenizer()
    return fastft.DataCollatorForLanguageModeling(hf, mlm=False)


def trainer(name: str, folder: Path, cls: Any = Packed, **options: Any) -> Any:
    """A Trainer of a small model on packed rows."""
    given = {"model": None, "train_dataset": None, "data_collator": None, **options}
    training = {"max_steps": 6, "per_device_train_batch_size": 4, **given.pop("training", {})}
    model = given.pop("model") or MODELS[name]()
    dataset, collate = given.pop("train_dataset"), given.pop("data_collator")
    settings = {"batching": "packed", "max_tokens": MAX_TOKENS, **given}
    return cls(
        model,
        arguments(fastft.TrainingArguments, folder, **training),
        train_dataset=rows(name) if dataset is None else dataset,
        data_collator=collate or collator(name),
        **settings,
    )
