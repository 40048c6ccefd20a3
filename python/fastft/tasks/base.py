"""What a task is: columns, Auto class, label rule, loss, metric, and predictions as text.

One small file per task; each gives the same few answers, and nothing else in fastft asks what the
task is called.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from fastft.data.collator import DataCollatorWithPadding

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
    from fastft.data.token_dataset import TokenDataset
    from fastft.data.tokenizer import Tokenizer
    from fastft.errors import Error
    from fastft.tasks.inference import Inference


@dataclass(frozen=True)
class TaskData:
    """The tokens of a split.

    Attributes:
        dataset: Tokens and labels.
        reference: What predictions are scored against where labels are not enough: contexts and
            answers, or the texts of a translation. Known to the first process only.
        notes: What the user should know: rows left out, cut, without a label.
    """

    dataset: TokenDataset
    reference: Any = None
    notes: tuple[str, ...] = ()


class Task(ABC):
    """A kind of job.

    Attributes:
        name: The name that `task=` takes.
        auto_class: The transformers Auto class that builds the model.
        metric_names: The figures of an evaluation beside its loss.
        lower_is_better: Those of them of which less is better.
        options: The options of `finetune` that only this task takes, with their defaults.
        why_not_options: Why the task refuses options that others take, by the option.
        generates: Whether an evaluation generates text, as `Seq2SeqTrainer` does.
        drops_logits: Whether `preprocess_logits` keeps nothing of the logits.
        packs: Whether rows may stand end to end in a batch: the loss is over tokens.
    """

    name: ClassVar[str]
    auto_class: ClassVar[str]
    metric_names: ClassVar[tuple[str, ...]]
    lower_is_better: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    why_not_options: ClassVar[Mapping[str, str]] = MappingProxyType({})
    generates: ClassVar[bool] = False
    drops_logits: ClassVar[bool] = False
    packs: ClassVar[bool] = False

    # -- what is learnt ----------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def from_source(
        cls,
        source: Source,
        options: Mapping[str, Any],
        head: PreTrainedConfig | None = None,
        *,
        head_is_fixed: bool = True,
    ) -> Task:
        """Settles columns and labels from the training split.

        Args:
            source: The data.
            options: The options of `finetune`, those of this task among them.
            head: The configuration of the model.
            head_is_fixed: Whether the model is an object, whose head must fit; the head of a
                checkpoint is replaced when it does not.
        """

    @abstractmethod
    def describe(self) -> str:
        """Says what is learnt and with which loss, in one or two lines."""

    def warnings(self) -> list[Error]:
        """Gives what is doubtful about what is learnt; `check="strict"` raises the first."""
        return []

    def config_overrides(self) -> dict[str, Any]:
        """Gives the configuration values that the model needs, for example `num_labels`."""
        return {}

    def training_defaults(self, data: Mapping[str, TaskData]) -> dict[str, Any]:
        """Gives training arguments that follow from the task, used where the user gave none.

        Args:
            data: The tokens of each split and what their predictions are scored against.
        """
        return {}

    def check_arguments(self, arguments: Mapping[str, Any]) -> None:
        """Refuses training arguments that the task cannot work with.

        Args:
            arguments: Training arguments, no "auto" left.
        """
        return None

    def class_weights(self) -> np.ndarray | None:
        """Gives the weight of each class in the loss, float32 (C,); None when all count alike."""
        return None

    # -- data --------------------------------------------------------------------------------

    @property
    @abstractmethod
    def input_columns(self) -> tuple[str, ...]:
        """The columns that a prediction needs, the main one first."""

    @abstractmethod
    def hold_out(self, split: Split, *, fraction: float, seed: int) -> tuple[Split, Split]:
        """Cuts a validation split off the training split.

        Args:
            split: The training split.
            fraction: The share that is held back.
            seed: The seed of the cut.

        Returns:
            The training split and the validation split.
        """

    @abstractmethod
    def data(
        self,
        split: Split,
        tokenizer: Tokenizer,
        max_length: int,
        progress: Callable[[int], None] | None = None,
    ) -> TaskData:
        """Turns the rows of a split into tokens and labels."""

    def collator(
        self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel | None, seed: int = 0
    ) -> Any:
        """Gives what makes batches of the tokens.

        Args:
            tokenizer: The tokenizer.
            model: The model, where one is needed to make the inputs of its decoder.
            seed: The seed of whatever is drawn at random.
        """
        return DataCollatorWithPadding(tokenizer)

    def prepared_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
        """Gives the tokenizer that is saved with the model: with a chat template, for example."""
        return tokenizer

    def prepare_model(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        arguments: Mapping[str, Any],
    ) -> None:
        """Tells the model what it has to know of the data, such as where its texts end.

        Args:
            model: The model; changed in place.
            tokenizer: Its tokenizer.
            arguments: The training arguments of the run.
        """
        return None

    # -- evaluation --------------------------------------------------------------------------

    def compute_metrics(self, prediction: EvalPrediction, reference: Any) -> dict[str, float]:
        """Scores predictions (B, ...).

        Args:
            prediction: What the model gave, and the labels, padded with -100.
            reference: `TaskData.reference` of the rows.
        """
        return {}

    def report(self, prediction: EvalPrediction, reference: Any) -> dict[str, Any]:
        """Gives what is no single number, as JSON: a confusion matrix, figures of each class."""
        return {}

    def loss_metrics(self, loss: float) -> dict[str, float]:
        """Gives figures that follow from the evaluation loss alone, such as perplexity."""
        return {}

    def preprocess_logits(self, logits: Any, labels: Any) -> Any:
        """Makes what the model gave smaller before it is gathered; tensors (B, ...)."""
        return logits

    # -- prediction --------------------------------------------------------------------------

    @abstractmethod
    def predict(self, split: Split, inference: Inference) -> list[dict[str, Any]]:
        """Predicts for rows that have the input columns; one dict a row, for a person to read."""

    # -- to and from other processes and the folder of the run -----------------------------------

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Gives everything that builds the task again, as JSON; see `from_state`."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: dict[str, Any]) -> Task:
        """Builds a task from what `state` gave."""
