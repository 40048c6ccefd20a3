"""A fine-tuned model and what it was trained for: predicts, scores, goes to a folder and back."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.console import Console
from fastft.data.sources import open_source
from fastft.data.tokenizer import Tokenizer
from fastft.errors import ConfigurationError, DataError, ModelNotFoundError
from fastft.inputs import input_split
from fastft.modeling.load import load_model, load_tokenizer
from fastft.modeling.lora import is_adapted, load_adapted, merge_adapter, save_adapter
from fastft.modeling.quiet import quiet_libraries
from fastft.preparation import DOCUMENT_TASKS, read_options, task_data
from fastft.tasks.inference import Inference
from fastft.tasks.registry import task_class
from fastft.training.arguments import build_arguments
from fastft.training.output import save_files
from fastft.training.task_trainer import Scoring, task_trainer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import PreTrainedModel

    from fastft.tasks.base import Task, TaskData
    from fastft.training.trainer import Seq2SeqTrainer, Trainer

TASK_FILE = "task.json"
VERSION = 1

# The options of `finetune` by which data is read.
READING = ("layout", "quoting", "encoding", "text", "pair", "source", "target", "documents")


def reading_options(options: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """Picks the options by which data is read, for later data."""
    picked = {name: options.get(name) for name in READING}
    if task.name in DOCUMENT_TASKS and picked["documents"] is None:
        picked["documents"] = "auto"
    return picked


@dataclass(repr=False, eq=False)
class FinetunedModel:
    """A model that was fine-tuned, ready to be used.

    Attributes:
        model: The model.
        tokenizer: Its tokenizer.
        task: What it was trained for.
        max_length: Rows are cut to this many tokens, as in training.
        options: The options by which data is read.

    Example:
        >>> fastft.load("runs/bert-data-1").predict(["what a film"])   # doctest: +SKIP
        [{'label': 'positive', 'score': 0.98}]
    """

    model: PreTrainedModel
    tokenizer: Tokenizer
    task: Task
    max_length: int
    options: Mapping[str, Any]

    # -- prediction --------------------------------------------------------------------------

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
            One dict a row.

        Raises:
            DataError: The rows are not what the task reads.
            ConfigurationError: `batch_size` is no whole number above 0.
        """
        check_batch_size(batch_size)
        split = input_split(self.task, inputs, text_pair)
        if split is None:
            return []
        inference = Inference(self.model, self.tokenizer, self.max_length, batch_size, options)
        return self.task.predict(split, inference)

    # -- evaluation --------------------------------------------------------------------------

    def evaluate(
        self, data: Any, *, trainer: Trainer | Seq2SeqTrainer | None = None, batch_size: int = 16
    ) -> dict[str, float]:
        """Scores the model on labelled data.

        Args:
            data: Anything that `finetune` takes as data; its test split is used, else its
                validation split, else the only one.
            trainer: The Trainer of the run, while there is one.
            batch_size: Rows a forward pass, without a Trainer.

        Returns:
            The metrics of the task, `eval_` in front.

        Raises:
            Error: The data cannot be read, or its columns or labels are not those of the training.
        """
        check_batch_size(batch_size)
        part = self._labelled(data)
        if trainer is not None:
            return _evaluate_with(trainer, self.task, part)
        with tempfile.TemporaryDirectory() as folder, quiet_libraries(quiet=True):
            return _evaluate_with(self._trainer(part, folder, batch_size), self.task, part)

    def _labelled(self, data: Any) -> TaskData:
        source = open_source(data, read_options(self.options), require_train=False)
        names = [name for name in ("test", "validation", "train") if name in source.splits]
        split = source.splits[names[0]]
        quiet = Console(quiet=True)
        part = task_data(split, self.task, self.tokenizer, self.max_length, quiet)
        Inference(self.model, self.tokenizer, self.max_length).warn_of_cuts(part.dataset)
        return part

    def _trainer(self, part: TaskData, folder: str, batch_size: int) -> Trainer | Seq2SeqTrainer:
        defaults = self.task.training_defaults({"train": part, "validation": part})
        arguments = {
            "per_device_eval_batch_size": batch_size,
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": self.model.device.type == "cpu",
            **defaults,
        }
        built = build_arguments(folder, arguments, generates=self.task.generates)
        return task_trainer(self.task, self.model, self.tokenizer.hf, built, {"validation": part})

    # -- to a folder and back ----------------------------------------------------------------

    def merge(self) -> FinetunedModel:
        """Puts the adapter of LoRA into the weights; the model is a plain one then.

        Returns:
            This object.

        Raises:
            ConfigurationError: There is no adapter.
        """
        self.model = merge_adapter(self.model)
        return self

    def save(self, folder: str | Path) -> Path:
        """Saves weights, tokenizer and task into a folder; each file whole or not at all."""
        folder = Path(folder).expanduser()
        save_files(folder, self.write)
        return folder

    def write(self, folder: Path) -> None:
        """Writes weights, tokenizer and task into a folder that exists."""
        if is_adapted(self.model):
            save_adapter(self.model, folder)
        else:
            self.model.save_pretrained(folder)
        self.tokenizer.hf.save_pretrained(folder)
        content = {
            "version": VERSION,
            "task": self.task.name,
            "state": self.task.state(),
            "max_length": self.max_length,
            "options": dict(self.options),
        }
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (folder / TASK_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> FinetunedModel:
        """Loads what a run left in its folder.

        Args:
            folder: The folder of the run, or what `result.save` wrote.

        Raises:
            ModelNotFoundError: The folder holds no finished run.
            DataError: Its `task.json` is damaged.
        """
        folder = Path(folder).expanduser()
        content = _read_task_file(folder)
        task = task_class(content["task"]).from_state(content["state"])
        model = (
            load_adapted(folder, task.auto_class)
            or load_model(str(folder), task.auto_class, {}).model
        )
        tokenizer = Tokenizer.from_hf(load_tokenizer(str(folder)))
        return cls(model, tokenizer, task, content["max_length"], content["options"])


def _evaluate_with(
    trainer: Trainer | Seq2SeqTrainer, task: Task, part: TaskData
) -> dict[str, float]:
    """Evaluates data with a Trainer that may be about other data."""
    before = trainer.compute_metrics
    if before is not None:
        trainer.compute_metrics = Scoring(task, part.reference, trainer.args.device)
    try:
        metrics: dict[str, float] = trainer.evaluate(part.dataset)
    finally:
        trainer.compute_metrics = before
    return metrics


def _read_task_file(folder: Path) -> dict[str, Any]:
    path = folder / TASK_FILE
    if not path.is_file():
        raise ModelNotFoundError(
            "the folder holds no finished run of fastft",
            place=str(folder),
            found=f"no {TASK_FILE}" if folder.is_dir() else "no such folder",
            expected="the folder that a run printed at its end, or that result.save wrote",
            fix="name that folder",
        )
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = content["version"] <= VERSION and content["task"] and content["state"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            "the task file is damaged", place=str(path), found=str(error), fix="save the run again"
        ) from error
    if not known:
        raise DataError(
            "the task file is of a later version of fastft",
            place=str(path),
            found=f"version {content['version']}",
            expected=f"version {VERSION} or below",
            fix="upgrade fastft",
        )
    return content


def check_batch_size(batch_size: Any) -> None:
    """Refuses a batch size that is no whole number above 0.

    Raises:
        ConfigurationError: It is none.
    """
    if isinstance(batch_size, int) and not isinstance(batch_size, bool) and batch_size >= 1:
        return
    raise ConfigurationError(
        "batch_size is no number of texts",
        place="argument batch_size",
        found=repr(batch_size),
        expected="a whole number above 0",
        fix="pass batch_size=32",
    )
