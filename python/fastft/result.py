"""What a run gives back: the model, the numbers, and ways to use them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fastft.console import Console
from fastft.data.collator import DataCollatorWithPadding
from fastft.data.dataloader import DataLoader
from fastft.data.sources import open_source
from fastft.data.token_dataset import TokenDataset
from fastft.errors import DataError
from fastft.preparation import read_options, tokenize
from fastft.training.output import RUN_FILE, save_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from fastft.data.tokenizer import Tokenizer
    from fastft.tasks.base import Task
    from fastft.training.trainer import Trainer


@dataclass
class FinetuneResult:
    """A finished run.

    Attributes:
        model: The trained model.
        tokenizer: The tokenizer it was trained with.
        metrics: Final figures: `train_loss`, `eval_loss`, `eval_accuracy`, ...
        history: One entry for everything that was logged, in order.
        plan: Every argument of the run, no "auto" left.
        timing: `seconds_before_first_step`, `data_stall_share`, `step_ms`, `eval_s`.
        output_dir: The folder that holds the files.
        trainer: The Trainer, for those who want more.
        task: The task, with its columns and labels.
        run_text: What `run.yaml` holds.

    Example:
        >>> result.predict(["what a film"])                        # doctest: +SKIP
        [{'label': 'positive', 'score': 0.98}]
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    metrics: dict[str, float]
    history: list[dict[str, Any]]
    plan: dict[str, Any]
    timing: dict[str, float | None]
    output_dir: Path
    trainer: Trainer
    task: Task
    run_text: str
    _encoder: Tokenizer
    _options: Mapping[str, Any]

    def predict(
        self, texts: Sequence[str], text_pair: Sequence[str] | None = None, *, batch_size: int = 32
    ) -> list[dict[str, Any]]:
        """Predicts for new texts.

        Args:
            texts: The texts.
            text_pair: The second texts, for a task on pairs.
            batch_size: Texts a forward pass.

        Returns:
            One dict a text: `label` and `score` (its probability) for classification.

        Raises:
            DataError: A single text was given, not a list.
        """
        if isinstance(texts, str):
            raise DataError(
                "predict takes a list of texts",
                place="argument texts",
                found=f"one text, {texts[:40]!r}",
                expected="a list",
                fix="put the text into a list: predict([text])",
            )
        dataset = TokenDataset.from_texts(
            list(texts),
            self._encoder,
            text_pair=None if text_pair is None else list(text_pair),
            max_length=self.plan["max_length"],
        )
        if not len(dataset):
            return []
        return self.task.decode(self._logits(dataset, batch_size))

    def _logits(self, dataset: TokenDataset, batch_size: int) -> np.ndarray:
        collate = DataCollatorWithPadding(self.tokenizer)
        loader: DataLoader[Any] = DataLoader(dataset, batch_size=batch_size, collate_fn=collate)
        was_training = self.model.training
        self.model.eval()
        with torch.no_grad():
            rows = [
                self.model(**batch.to(self.model.device)).logits.float().cpu() for batch in loader
            ]
        self.model.train(was_training)
        return torch.cat(rows).numpy()

    def evaluate(self, data: Any) -> dict[str, float]:
        """Scores the model on labelled data.

        Args:
            data: Anything that `finetune` takes as data; its test split is used, else its
                validation split, else the only one.

        Returns:
            The metrics of the task, `eval_` in front.
        """
        source = open_source(data, read_options(self._options), require_train=False)
        names = [name for name in ("test", "validation", "train") if name in source.splits]
        split = source.splits[names[0]]
        dataset = tokenize(
            split, self.task, self._encoder, self.plan["max_length"], Console(quiet=True)
        )
        metrics: dict[str, float] = self.trainer.evaluate(dataset)
        return metrics

    def save(self, folder: str | Path) -> Path:
        """Saves weights, tokenizer, figures and `run.yaml` into a folder.

        Plain `AutoModelForSequenceClassification.from_pretrained(folder)` loads it. Each file is
        there whole or not at all, and `manifest.json` holds their checksums.

        Args:
            folder: The folder; other files in it stay.
        """
        folder = Path(folder).expanduser()
        save_files(folder, self._write)
        return folder

    def _write(self, folder: Path) -> None:
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        (folder / RUN_FILE).write_text(self.run_text, encoding="utf-8")
        (folder / "metrics.json").write_text(_json(self.metrics) + "\n", encoding="utf-8")
        (folder / "timing.json").write_text(_json(self.timing) + "\n", encoding="utf-8")
        lines = [json.dumps(entry) for entry in self.history]
        (folder / "history.jsonl").write_text("\n".join([*lines, ""]), encoding="utf-8")


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True)
