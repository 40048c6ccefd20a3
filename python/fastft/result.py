"""What a run gives back: the model, the numbers, and ways to use them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fastft.errors import ConfigurationError, OutputError
from fastft.modeling.quiet import no_transformers_bars
from fastft.request import check_path
from fastft.training.output import RUN_FILE, save_files

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from fastft.finetuned import FinetunedModel
    from fastft.tasks.base import Task
    from fastft.training.trainer import Seq2SeqTrainer, Trainer


@dataclass(repr=False, eq=False)
class FinetuneResult:
    """A finished run.

    Attributes:
        finetuned: The trained model with tokenizer and task; what a folder is loaded to.
        model: The trained model.
        tokenizer: The tokenizer it was trained with.
        task: The task, with its columns and labels.
        metrics: Final figures: `train_loss`, `eval_loss`, `eval_accuracy`, ...
        report: What is no single number: for a classifier the confusion matrix.
        history: One entry for everything that was logged, in order.
        plan: Every argument of the run, no "auto" left.
        timing: `seconds_before_first_step`, `data_stall_share`, `step_ms`, `eval_s`.
        output_dir: The folder that holds the files.
        trainer: The Trainer, for those who want more.
        run_text: What `run.yaml` holds.

    Example:
        >>> result.predict(["what a film"])                        # doctest: +SKIP
        [{'label': 'positive', 'score': 0.98}]
    """

    finetuned: FinetunedModel
    metrics: dict[str, float]
    history: list[dict[str, Any]]
    plan: dict[str, Any]
    timing: dict[str, float | None]
    output_dir: Path
    trainer: Trainer | Seq2SeqTrainer
    run_text: str
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> PreTrainedModel:
        """The trained model."""
        return self.finetuned.model

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer it was trained with."""
        return self.finetuned.tokenizer.hf

    @property
    def task(self) -> Task:
        """The task, with its columns and labels."""
        return self.finetuned.task

    def predict(
        self, inputs: Any, text_pair: Any = None, *, batch_size: int = 32, **options: Any
    ) -> list[dict[str, Any]]:
        """Predicts for new rows.

        Args:
            inputs: A list of texts, or rows with the columns that the task reads (a list of dicts,
                a table).
            text_pair: The second texts, for a task on pairs.
            batch_size: Rows a forward pass.
            **options: What the task takes beyond that, for example `num_beams`.

        Returns:
            One dict a row: `label` and `score` (its probability) for classification.

        Raises:
            DataError: The rows are not what the task reads, or hold a text without a token.
            ConfigurationError: `batch_size` is no whole number above 0.
        """
        return self.finetuned.predict(inputs, text_pair, batch_size=batch_size, **options)

    def evaluate(self, data: Any) -> dict[str, float]:
        """Scores the model on labelled data.

        Args:
            data: Anything that `finetune` takes as data; its test split is used, else its
                validation split, else the only one.

        Returns:
            The metrics of the task, `eval_` in front.

        Raises:
            Error: The data cannot be read, or its columns or labels are not those of the training.
        """
        return self.finetuned.evaluate(data, trainer=self.trainer)

    def merge(self) -> FinetuneResult:
        """Puts the adapter of `train="lora"` into the weights; the model is a plain one then.

        Returns:
            This object; `.save(folder)` writes what plain Auto classes load.

        Raises:
            ConfigurationError: There is no adapter.
        """
        self.finetuned.merge()
        return self

    def save(self, folder: str | Path) -> Path:
        """Saves weights, tokenizer, figures and `run.yaml` into a folder.

        Plain `AutoModelForSequenceClassification.from_pretrained(folder)` loads it. Each file is
        there whole or not at all, and `manifest.json` holds their checksums.

        Args:
            folder: The folder; other files in it stay.

        Raises:
            ConfigurationError: This can be no path.
            OutputError: The folder cannot be written.
        """
        check_path("folder", folder)
        folder = Path(folder).expanduser()
        try:
            with no_transformers_bars():
                save_files(folder, self._write)
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(
                "the folder cannot be written",
                place=f"argument folder={str(folder)!r}",
                found=error.strerror or str(error),
                expected="a folder in which files can be made",
                fix="name a folder that you can write to",
            ) from error
        return folder

    def __repr__(self) -> str:
        shown = ("train_loss", "eval_loss", "eval_accuracy")
        figures = [f"{name}={self.metrics[name]:.4f}" for name in shown if name in self.metrics]
        parts = [type(self.model).__name__, *figures, f"output_dir={str(self.output_dir)!r}"]
        return f"FinetuneResult({', '.join(parts)})"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        """Refuses to be pickled: the Trainer inside holds the machine's own things.

        Raises:
            ConfigurationError: Always.
        """
        raise ConfigurationError(
            "a result can be neither pickled nor copied",
            place="FinetuneResult",
            found="a Trainer with its optimizer and callbacks",
            expected="the files of the run, which hold weights, tokenizer and figures",
            fix=f"load {str(self.output_dir)!r}, or what result.save(folder) wrote, with "
            "fastft.load",
        )

    def _write(self, folder: Path) -> None:
        self.finetuned.write(folder)
        if self.report:
            (folder / "report.json").write_text(_json(self.report) + "\n", encoding="utf-8")
        (folder / RUN_FILE).write_text(self.run_text, encoding="utf-8")
        (folder / "metrics.json").write_text(_json(self.metrics) + "\n", encoding="utf-8")
        (folder / "timing.json").write_text(_json(self.timing) + "\n", encoding="utf-8")
        lines = [json.dumps(entry) for entry in self.history]
        (folder / "history.jsonl").write_text("\n".join([*lines, ""]), encoding="utf-8")


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True)
