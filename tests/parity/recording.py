"""Trainers that remember what they saw, and the arguments under which both are compared."""

from __future__ import annotations

from typing import Any

import transformers

import fastft


class _Recording:
    """Keeps the rows of every micro-batch and the loss of every step."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.batches: list[list[list[int]]] = []
        super().__init__(*args, **kwargs)

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        self.batches.append(
            [
                row[mask.bool()].tolist()
                for row, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
            ]
        )
        return super().training_step(model, inputs, *args, **kwargs)  # type: ignore[misc]

    @property
    def losses(self) -> list[float]:
        return [entry["loss"] for entry in self.state.log_history if "loss" in entry]  # type: ignore[attr-defined]


class StockTrainer(_Recording, transformers.Trainer):
    """transformers' own Trainer, recorded."""


class FastTrainer(_Recording, fastft.Trainer):
    """Ours, recorded."""


def arguments(cls: type, folder: Any, **overrides: Any) -> Any:
    """Arguments that log every step and write nothing."""
    settings: dict[str, Any] = {
        "num_train_epochs": 3,
        "per_device_train_batch_size": 16,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": True,
        "report_to": "none",
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "seed": 7,
    }
    return cls(output_dir=str(folder), **{**settings, **overrides})
