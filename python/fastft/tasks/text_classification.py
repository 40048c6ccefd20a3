"""Text classification: a label, several labels or a number for every text, or pair of texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from fastft.data.augmentation import AugmentingCollator, given_augmentation
from fastft.data.collator import DataCollatorWithPadding
from fastft.data.diagnose import row_places
from fastft.data.splits import cut_validation
from fastft.data.token_dataset import TokenDataset
from fastft.errors import ArgumentError, ConfigurationError
from fastft.tasks.base import Task, TaskData
from fastft.tasks.columns import find_column, require_distinct, require_tokens, text_column
from fastft.tasks.read_target import TARGETS, label_columns, read_target
from fastft.tasks.single_label import SingleLabel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from transformers import (
        EvalPrediction,
        PreTrainedConfig,
        PreTrainedModel,
        PreTrainedTokenizerBase,
    )

    from fastft.data.sources import Source, Split
    from fastft.data.tokenizer import Tokenizer
    from fastft.errors import Error
    from fastft.tasks.inference import Inference
    from fastft.tasks.target import Target

TEXT_COLUMNS = (
    "text",
    "sentence",
    "sentence1",
    "question",
    "question1",
    "review",
    "content",
    "tweet",
    "premise",
)
# Where the first of these is recognised as the text, the second belongs to it.
PAIRS = (
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("text", "text_pair"),
)


@dataclass(frozen=True)
class TextClassification(Task):
    """One class, any number of classes, or a number, for every text.

    Attributes:
        text: The column with the text, or the first of two texts.
        pair: The column with the second text, if there is one.
        target: What is predicted.
        augment: The share of training tokens that is left out, swapped or masked.
        count_truncated_tokens: Whether it is counted how many tokens long texts lose; else how
            many characters. It belongs to a run, not to what is saved.
    """

    text: str
    pair: str | None
    target: Target
    augment: Mapping[str, float] | None = None
    count_truncated_tokens: bool = False

    name: ClassVar[str] = "text-classification"
    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"
    options: ClassVar[Mapping[str, Any]] = {
        "augment": None,
        "class_weights": None,
        "label_separator": None,
        "problem_type": "auto",
    }

    @classmethod
    def from_source(
        cls,
        source: Source,
        options: Mapping[str, Any],
        head: PreTrainedConfig | None = None,
        *,
        head_is_fixed: bool = True,
    ) -> TextClassification:
        """Finds the columns and reads the labels of the training split.

        Args:
            source: The data.
            options: `text`, `pair`, `label` (column names, recognised when None; a list of columns
                of 0 and 1 is a class each), `label_names` (the classes in the order of their ids,
                or None), `problem_type`, `label_separator`, `class_weights`.
            head: The configuration of the model; where it names the same classes, their order is
                kept, so that a head that was trained for them stays right.
            head_is_fixed: Whether the head also decides how many labels there are.

        Raises:
            ColumnError: A column is not there.
            LabelError: The labels cannot be used.
            ConfigurationError: An option does not fit the labels.
        """
        train = source.splits["train"]
        text = find_column(train, options["text"], TEXT_COLUMNS, "text")
        pair = _find_pair(train, options["text"], options["pair"], text)
        parts = {"text": text, "pair": pair}
        for label in label_columns(train, options["label"]):
            require_distinct({**parts, "label": label})
        return cls(
            text,
            pair,
            read_target(source, options, head, head_is_fixed),
            given_augmentation(options),
            count_truncated_tokens=options.get("check") == "strict",
        )

    @property
    def metric_names(self) -> tuple[str, ...]:  # type: ignore[override]  # known once it is built
        """The figures of the target."""
        return self.target.metric_names

    @property
    def lower_is_better(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of them of which less is better."""
        return self.target.lower_is_better

    def describe(self) -> str:
        """Says what is learnt and with which loss."""
        texts = f"{self.text!r} with {self.pair!r}" if self.pair else repr(self.text)
        return f"{self.name}: {texts} -> {self.target.describe()}\nloss: {self.target.loss}"

    def config_overrides(self) -> dict[str, Any]:
        """Gives the number of labels and their names."""
        return self.target.config_overrides()

    def check_arguments(self, arguments: Mapping[str, Any]) -> None:
        """Refuses label smoothing where there is no single class to smooth.

        Raises:
            ConfigurationError: It was asked for.
        """
        smoothing = arguments.get("label_smoothing_factor", 0)
        if smoothing and not isinstance(self.target, SingleLabel):
            raise ConfigurationError(
                "label smoothing needs one class a row",
                place="argument label_smoothing_factor",
                found=f"{smoothing} with {self.target.problem_type}",
                expected="0",
                fix="remove label_smoothing_factor",
            )

    def class_weights(self) -> np.ndarray | None:
        """Gives the weight of each class in the loss, float32 (C,)."""
        return self.target.class_weights()

    def warnings(self) -> list[Error]:
        """Names what is probably a mistake in the labels."""
        return self.target.warnings()

    @property
    def input_columns(self) -> tuple[str, ...]:
        """The text, and the second text if there is one."""
        return (self.text,) if self.pair is None else (self.text, self.pair)

    def hold_out(self, split: Split, *, fraction: float, seed: int) -> tuple[Split, Split]:
        """Holds back a share of each label; rows of the same text stay on one side."""
        texts = text_column(split, self.text)
        return cut_validation(split, self.target.strata(split), texts, fraction=fraction, seed=seed)

    def data(
        self,
        split: Split,
        tokenizer: Tokenizer,
        max_length: int,
        progress: Callable[[int], None] | None = None,
    ) -> TaskData:
        """Turns the rows of a split into tokens and labels."""
        columns = {"labels": self.target.encode(split)}
        dataset = self._tokens(split, tokenizer, max_length, columns, progress)
        require_tokens(dataset, split, self.text)
        notes = self.target.notes(columns["labels"]) if split.name == "train" else ()
        return TaskData(dataset, notes=notes)

    def _tokens(
        self,
        split: Split,
        tokenizer: Tokenizer,
        max_length: int,
        columns: Mapping[str, Any] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> TokenDataset:
        with row_places(split.place):
            return TokenDataset.from_texts(
                text_column(split, self.text),
                tokenizer,
                text_pair=None if self.pair is None else text_column(split, self.pair),
                max_length=max_length,
                count_truncated_tokens=self.count_truncated_tokens,
                columns=columns,
                progress=progress,
            )

    def collator(
        self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel | None, seed: int = 0
    ) -> Any:
        """Gives what pads rows, after it has changed them where that was asked for."""
        padding = DataCollatorWithPadding(tokenizer)
        if self.augment is None:
            return padding
        return AugmentingCollator(padding, self.augment, tokenizer, seed)

    def compute_metrics(self, prediction: EvalPrediction, reference: Any) -> dict[str, float]:
        """Scores logits (B, C) with the metrics of the target."""
        return self.target.metrics(_logits(prediction), prediction.label_ids)

    def report(self, prediction: EvalPrediction, reference: Any) -> dict[str, Any]:
        """Gives the confusion matrix and the figures of each class."""
        return self.target.report(_logits(prediction), prediction.label_ids)

    def predict(self, split: Split, inference: Inference) -> list[dict[str, Any]]:
        """Gives `label` and `score`, or `labels` and `scores`, or `value`, for each row.

        Raises:
            ArgumentError: An option was given; there is none.
        """
        for name, value in inference.options.items():
            raise ArgumentError(
                f"{name} is no option of a prediction of the task {self.name}",
                place=f"argument {name}",
                found=f"{name}={value!r}"[:80],
                expected="none but text_pair and batch_size",
                fix=f"remove {name}",
            )
        dataset = self._tokens(split, inference.tokenizer, inference.max_length)
        inference.check(dataset, split)
        collator = DataCollatorWithPadding(inference.tokenizer)
        return self.target.decode(inference.logits(dataset, collator)) if len(dataset) else []

    def state(self) -> dict[str, Any]:
        """Gives columns and target as JSON."""
        kind, target = self.target.problem_type, self.target.state()
        return {
            "text": self.text,
            "pair": self.pair,
            "problem_type": kind,
            "target": target,
            "augment": self.augment,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> TextClassification:
        """Builds the task from what `state` gave."""
        fields = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in state["target"].items()
        }
        target = TARGETS[state["problem_type"]](**fields)
        return cls(state["text"], state["pair"], target, state["augment"])


def _logits(prediction: EvalPrediction) -> np.ndarray:
    logits = prediction.predictions
    found: np.ndarray = logits[0] if isinstance(logits, tuple) else logits
    return found


def _find_pair(train: Split, text: str | None, pair: str | None, found: str) -> str | None:
    """Finds the second text; without being named only where the first was not named either."""
    if pair is not None:
        return find_column(train, pair, (), "pair")
    names = train.table.column_names
    if text is not None:
        return None
    return next((second for first, second in PAIRS if first == found and second in names), None)
