"""Extractive question answering: where in a context the answer to a question begins and ends.

    question, context ─► windows (context_windows) ─► first and last token (answer_spans)
    answers ─► held against their contexts (answers)
    logits ─► n best spans (answer_spans, answer_search) ─► EM, F1 (squad_metrics)

Whether a question may have no answer (SQuAD 2.0) is read from the data.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastft.data.collator import DataCollatorWithPadding, FixedWidthCollator
from fastft.errors import ConfigurationError
from fastft.tasks.answer_faults import counted, faults_note, refuse_blank
from fastft.tasks.answer_search import Search, checked_search, refuse_other_columns
from fastft.tasks.answer_spans import require_order, stacked, token_positions
from fastft.tasks.answers import (
    AnswerColumns,
    Answers,
    find_start_column,
    has_unanswerable,
    read_answers,
)
from fastft.tasks.base import Task, TaskData
from fastft.tasks.columns import find_column, require_distinct, text_column
from fastft.tasks.context_windows import Windows, context_windows, default_stride, refuse_narrow
from fastft.tasks.contexts_apart import cut_by_context, some_rows
from fastft.tasks.squad_metrics import squad_metrics, squad_scores
from fastft.tasks.supervision import supervision_notes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray
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

QUESTION_COLUMNS = ("question", "query")
CONTEXT_COLUMNS = ("context", "passage", "paragraph", "document")
ANSWER_COLUMNS = ("answers", "answer")


@dataclass(frozen=True, eq=False)
class Reference:
    """What predictions are scored against, a question a row.

    Attributes:
        contexts: The contexts.
        answers: All right answers.
        windows: The windows that the model saw, with the characters of their tokens.
        positions: int64 (W, 2): the first and the last token of the answer in each window.
    """

    contexts: pa.ChunkedArray
    answers: Sequence[Sequence[str]]
    windows: Windows
    positions: NDArray[np.int64]


@dataclass
class QuestionAnswering(Task):
    """The span of a context that answers a question.

    Attributes:
        columns: The columns that are read.
        search: How an answer is found in the logits; its threshold may be found on the way.
        strict: Whether a row that cannot be trained on stops the run.
    """

    columns: AnswerColumns
    search: Search
    strict: bool = False
    # The validation split of the run, on which the threshold "auto" is found.
    _validation: TaskData | None = field(default=None, compare=False, repr=False)

    name: ClassVar[str] = "question-answering"
    auto_class: ClassVar[str] = "AutoModelForQuestionAnswering"
    metric_names: ClassVar[tuple[str, ...]] = ("exact_match", "f1")
    why_not_options: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"augment": "it moves tokens, and answers are places of tokens"}
    )
    options: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "question": None,
            "context": None,
            "answers": None,
            "stride": None,
            "n_best": 20,
            "max_answer_length": 30,
            "no_answer_threshold": 0.0,
        }
    )

    @classmethod
    def from_source(
        cls,
        source: Source,
        options: Mapping[str, Any],
        head: PreTrainedConfig | None = None,
        *,
        head_is_fixed: bool = True,
    ) -> QuestionAnswering:
        """Finds the columns, and whether there are questions without an answer.

        Raises:
            ColumnError: A column is not there, or the answers have no shape that can be read.
            ConfigurationError: An option has a value that cannot work.
        """
        refuse_other_columns(options)
        train = source.splits["train"]
        answers = find_column(train, options["answers"], ANSWER_COLUMNS, "answers")
        columns = AnswerColumns(
            question=find_column(train, options["question"], QUESTION_COLUMNS, "question"),
            context=find_column(train, options["context"], CONTEXT_COLUMNS, "context"),
            answers=answers,
            answer_start=find_start_column(train, answers),
            is_impossible="is_impossible" if "is_impossible" in train.table.column_names else None,
        )
        parts = {"question": columns.question, "context": columns.context, "answers": answers}
        require_distinct(parts)
        search = checked_search(options, allow_null=has_unanswerable(train, columns))
        return cls(columns, search, strict=options.get("check") == "strict")

    def describe(self) -> str:
        """Says what is learnt and with which loss."""
        columns, version = self.columns, "every question has an answer (as in SQuAD 1.1)"
        if self.search.allow_null:
            version = "some questions have no answer (as in SQuAD 2.0)"
        return (
            f"question-answering: {columns.question!r} and {columns.context!r} -> "
            f"{columns.answers!r}; {version}\n"
            "loss: cross entropy of the first and the last token of the answer, the mean over all "
            "windows of a step"
        )

    def training_defaults(self, data: Mapping[str, TaskData]) -> dict[str, Any]:
        """Gives none; remembers the validation split, on which the threshold "auto" is found."""
        validation = data.get("validation")
        # A threshold that was found stays; and data that is only scored on is no place to find one.
        if self.search.found_threshold is None and validation is not data.get("train"):
            self._validation = validation
        return {}

    def warnings(self) -> list[Error]:
        """Gives why a threshold "auto" cannot be found."""
        problem = self.search.why_not_auto(has_validation=self._validation is not None)
        return [] if problem is None else [problem]

    def check_arguments(self, arguments: Mapping[str, Any]) -> None:
        """Refuses label smoothing, which the losses of start and end do not know.

        Raises:
            ConfigurationError: It was asked for.
        """
        smoothing = arguments.get("label_smoothing_factor", 0)
        if smoothing:
            raise ConfigurationError(
                "label smoothing has no effect on question answering",
                place="argument label_smoothing_factor",
                found=str(smoothing),
                expected="0",
                fix="remove label_smoothing_factor",
            )

    @property
    def input_columns(self) -> tuple[str, ...]:
        """The question and its context."""
        return self.columns.question, self.columns.context

    def hold_out(self, split: Split, *, fraction: float, seed: int) -> tuple[Split, Split]:
        """Holds back whole articles where they have titles, else contexts with all questions."""
        return cut_by_context(split, self.columns.context, fraction=fraction, seed=seed)

    def data(
        self,
        split: Split,
        tokenizer: Tokenizer,
        max_length: int,
        progress: Callable[[int], None] | None = None,
    ) -> TaskData:
        """Turns the rows of a split into windows with the positions of their answers (W,).

        Raises:
            ColumnError: A column is missing or of another type than in training.
            ConfigurationError: A question leaves its context too little room.
            DataError: Too many answers are not where they should be, or in no window.
        """
        split, answers, notes = self._usable(split)
        windows = self._windows(split, tokenizer, max_length, progress)
        positions, holds = token_positions(windows, answers.spans)
        lost = np.setdiff1d(np.flatnonzero(answers.spans[:, 0] >= 0), windows.rows[holds])
        notes += supervision_notes(
            split,
            lost,
            problem="no window holds the whole answer",
            expected="the whole answer inside a window",
            fix="raise stride= above the tokens of the longest answer, or raise max_length=",
        )
        notes += (self._windows_note(split, windows, max_length),)
        columns = {"start_positions": positions[:, 0], "end_positions": positions[:, 1]}
        contexts = text_column(split, self.columns.context)
        reference = Reference(contexts, answers.texts, windows, positions)
        return TaskData(windows.dataset(tokenizer, columns), reference, notes)

    def _usable(self, split: Split) -> tuple[Split, Answers, tuple[str, ...]]:
        """Gives the rows that can be trained on, their answers, and what became of the others."""
        answers = read_answers(split, self.columns, answered_only=not self.search.allow_null)
        notes = tuple(answers.notes(split.name))
        if answers.faults:
            column, faults = self.columns.answers, answers.faults
            notes += (faults_note(split, column, faults, strict=self.strict),)
            kept = np.setdiff1d(np.arange(len(answers.texts)), [fault.row for fault in faults])
            split, answers = some_rows(split, kept), answers.take(kept)
        if split.name == "train":
            answers.require_one(split, self.columns.answers)
        return split, answers, notes

    def _windows(
        self,
        split: Split,
        tokenizer: Tokenizer,
        max_length: int,
        progress: Callable[[int], None] | None = None,
    ) -> Windows:
        questions = text_column(split, self.columns.question)
        contexts = text_column(split, self.columns.context)
        sizes = {"max_length": max_length, "stride": self._stride(max_length)}
        refuse_narrow(split, self.columns.question, questions, contexts, tokenizer, **sizes)
        return context_windows(questions, contexts, tokenizer, **sizes, progress=progress)

    def _stride(self, max_length: int) -> int:
        given = self.search.stride
        return default_stride(max_length) if given is None else given

    def _windows_note(self, split: Split, windows: Windows, max_length: int) -> str:
        questions = counted(split.table.num_rows, "question")
        return (
            f"{split.name}: {questions} in {counted(len(windows), 'window')} of at most "
            f"{max_length} tokens; neighbours share {self._stride(max_length)} (stride)"
        )

    # -- evaluation --------------------------------------------------------------------------

    def preprocess_logits(self, logits: Any, labels: Any) -> Any:
        """Keeps the logits of starts and ends (B, T); some models give hidden states beside."""
        return tuple(logits[:2])

    def compute_metrics(self, prediction: EvalPrediction, reference: Reference) -> dict[str, float]:
        """Exact match and F1 in per cent, as the official SQuAD scripts compute them.

        With unanswerable questions also `HasAns_exact`, `HasAns_f1`, `NoAns_exact`, `NoAns_f1`,
        and the `no_answer_threshold` that was used, if it is "auto".

        Args:
            prediction: Logits of starts and of ends, (W, T) each, in the order of the windows.
            reference: The contexts, answers and windows.
        """
        version_2 = self.search.allow_null
        require_order(prediction.label_ids, reference.positions)
        starts, ends = prediction.predictions[:2]
        found = self.search.answers(starts, ends, reference.contexts, reference.windows)
        has_answer = np.array([bool(texts) for texts in reference.answers])
        if version_2 and self._validation is not None and reference is self._validation.reference:
            self.search.find_threshold(found, reference.answers)
        texts = [self.search.chosen_text(answer) for answer in found]
        scores = squad_scores(texts, reference.answers, version_2=version_2)
        metrics = squad_metrics(scores, has_answer, version_2=version_2)
        if version_2 and self.search.is_auto:
            metrics["no_answer_threshold"] = self.search.threshold
        return metrics

    # -- prediction --------------------------------------------------------------------------

    def collator(
        self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel | None, seed: int = 0
    ) -> FixedWidthCollator:
        """Gives what pads windows to one width: the head's softmax counts padding, too."""
        return FixedWidthCollator(tokenizer)

    def predict(self, split: Split, inference: Inference) -> list[dict[str, Any]]:
        """Finds the answer to each question.

        Returns:
            A dict a row: `answer`, its `score` (its share among the n best answers), `start` and
            `end`, the characters of the context between which it stands; the empty string and None
            where the question has no answer. With the option `n_best` also the list `n_best`.

        Raises:
            ArgumentError: An option is none of this task.
            DataError: A question or a context is blank.
        """
        n_best = self.search.checked_count(inference.options)
        if not split.table.num_rows:
            return []
        refuse_blank(split, self.input_columns)
        windows = self._windows(split, inference.tokenizer, inference.max_length)
        dataset = windows.dataset(inference.tokenizer, {})
        outputs = list(inference.outputs(dataset, DataCollatorWithPadding(inference.tokenizer)))
        starts = stacked([output.start_logits for output in outputs])
        ends = stacked([output.end_logits for output in outputs])
        contexts = text_column(split, self.columns.context)
        found = self.search.answers(starts, ends, contexts, windows)
        return [self.search.shown(answer, n_best) for answer in found]

    def state(self) -> dict[str, Any]:
        """Gives columns, search and the threshold that was found, as JSON."""
        columns, search = asdict(self.columns), asdict(self.search)
        return {"columns": columns, "search": search, "strict": self.strict}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> QuestionAnswering:
        """Builds the task from what `state` gave."""
        columns, search = AnswerColumns(**state["columns"]), Search(**state["search"])
        return cls(columns, search, strict=state["strict"])
