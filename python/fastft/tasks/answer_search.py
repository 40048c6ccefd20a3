"""How an answer is found in the logits of a model, and when a question is left unanswered."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.errors import ArgumentError, ConfigurationError
from fastft.tasks.answer_spans import NBest, n_best_answers
from fastft.tasks.squad_metrics import best_threshold, squad_scores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from fastft.tasks.context_windows import Windows

AUTO = "auto"

# The arguments by which other tasks name their columns, and what they are called here.
OTHER_COLUMNS = {
    "text": "question",
    "pair": "context",
    "label": "answers",
    "label_names": None,
}


@dataclass(frozen=True, eq=False)
class FoundAnswer:
    """The best answers to one question.

    Attributes:
        context: The context.
        n_best: The best answers, the best first.
        best: Which of them is the best that says something; None where none does.
    """

    context: str
    n_best: NBest
    best: int | None

    @property
    def text(self) -> str:
        """The best answer that says something, else the empty string."""
        return "" if self.best is None else self._text_and_start(self.best)[0]

    @property
    def null_difference(self) -> float:
        """How far the score of "no answer" is above that of the best answer."""
        if self.best is None:
            return math.inf
        return self.n_best.null_score - float(self.n_best.logits[self.best].sum())

    def null_choice(self) -> dict[str, Any]:
        """Gives "no answer" with its share among the best, for a person to read."""
        nulls = (self.n_best.spans == 0).all(axis=1)
        share = float(self.n_best.probabilities()[nulls].sum()) if len(nulls) else 0.0
        return {"answer": "", "score": share, "start": None, "end": None}

    def choices(self, count: int) -> list[dict[str, Any]]:
        """Gives the best answers, "no answer" perhaps among them, for a person to read."""
        return [self.choice(index) for index in range(min(count, len(self.n_best.spans)))]

    def choice(self, index: int) -> dict[str, Any]:
        """Gives one of the best answers with its share among them, for a person to read."""
        text, start = self._text_and_start(index)
        if not text:
            return self.null_choice()
        score = float(self.n_best.probabilities()[index])
        return {"answer": text, "score": score, "start": start, "end": start + len(text)}

    def _text_and_start(self, index: int) -> tuple[str, int]:
        return _trimmed(self.context, *self.n_best.spans[index].tolist())


@dataclass
class Search:
    """How an answer is found.

    Attributes:
        allow_null: Whether a question may have no answer.
        stride: Tokens of the context that neighbouring windows share; None for the usual number.
        n_best: Answers that are looked at.
        max_answer_length: Tokens of the longest answer.
        no_answer_threshold: A question is left unanswered when the score of "no answer" is further
            above that of the best answer; "auto" for the one that is best on the validation set.
        found_threshold: What "auto" turned out to be.
    """

    allow_null: bool
    stride: int | None = None
    n_best: int = 20
    max_answer_length: int = 30
    no_answer_threshold: float | str = 0.0
    found_threshold: float | None = None

    @property
    def is_auto(self) -> bool:
        """Whether the threshold is found on the validation set."""
        return isinstance(self.no_answer_threshold, str)

    @property
    def threshold(self) -> float:
        """The threshold in use; 0 where "auto" has not been found yet."""
        if isinstance(self.no_answer_threshold, str):
            return self.found_threshold or 0.0
        return self.no_answer_threshold

    def find_threshold(
        self, found: Sequence[FoundAnswer], answers: Sequence[Sequence[str]]
    ) -> None:
        """Takes the threshold that gives the highest F1, where it is to be found.

        Args:
            found: The best answers to each question.
            answers: The right ones.
        """
        if not self.is_auto:
            return
        scores = squad_scores([answer.text for answer in found], answers, version_2=True)
        differences = np.array([answer.null_difference for answer in found])
        has_answer = np.array([bool(texts) for texts in answers])
        self.found_threshold = best_threshold(scores[:, 1], differences, has_answer)

    def why_not_auto(self, *, has_validation: bool) -> ConfigurationError | None:
        """Says why the threshold "auto" cannot be found, if it cannot."""
        if not self.is_auto or (self.allow_null and has_validation):
            return None
        return ConfigurationError(
            "the threshold for questions without an answer cannot be found",
            place="argument no_answer_threshold",
            found="no validation split" if self.allow_null else "an answer to every question",
            expected="a validation split, and questions without an answer",
            fix="pass a number, or leave no_answer_threshold out",
        )

    def answers(
        self,
        start_logits: NDArray[np.floating],
        end_logits: NDArray[np.floating],
        contexts: pa.ChunkedArray,
        windows: Windows,
    ) -> list[FoundAnswer]:
        """Finds the best answers to each question in logits (W, T) of starts and of ends."""
        n_best = n_best_answers(
            start_logits,
            end_logits,
            windows,
            len(contexts),
            n_best=self.n_best,
            max_answer_length=self.max_answer_length,
            allow_null=self.allow_null,
        )
        pairs = zip(contexts.to_pylist(), n_best, strict=True)
        return [FoundAnswer(context, best, _first_text(context, best)) for context, best in pairs]

    def chosen_text(self, found: FoundAnswer) -> str:
        """Gives the answer; the empty string where the question is left unanswered."""
        return "" if self._is_unanswered(found) else found.text

    def checked_count(self, options: Mapping[str, Any]) -> int | None:
        """Takes the number of best answers that a prediction shall list; None for no list.

        Args:
            options: The options of a prediction; only `n_best` is one.

        Raises:
            ArgumentError: There is another one.
            ConfigurationError: `n_best` is no number of answers that are looked at.
        """
        for name in options:
            if name != "n_best":
                raise ArgumentError(
                    f"{name} is no option of a prediction of the task question-answering",
                    place=f"argument {name}",
                    found=f"{name}={options[name]!r}"[:80],
                    expected="n_best",
                    fix=f"remove {name}",
                )
        count: int | None = options.get("n_best")
        if count is not None and (not _is_whole(count, 1) or count > self.n_best):
            raise _wrong("n_best", count, f"a whole number from 1 to {self.n_best}", "3")
        return count

    def shown(self, found: FoundAnswer, n_best: int | None = None) -> dict[str, Any]:
        """Gives the answer for a person to read; with `n_best` also so many of the best ones."""
        if self._is_unanswered(found) or found.best is None:
            answer = found.null_choice()
        else:
            answer = found.choice(found.best)
        return answer if n_best is None else {**answer, "n_best": found.choices(n_best)}

    def _is_unanswered(self, found: FoundAnswer) -> bool:
        return self.allow_null and found.null_difference > self.threshold


def refuse_other_columns(options: Mapping[str, Any]) -> None:
    """Raises when columns are named by the arguments of other tasks, or by no names.

    Raises:
        ArgumentError: An argument of another task was given.
        ConfigurationError: The name of a column is no string.
    """
    for name in ("question", "context", "answers"):
        if not isinstance(options[name], str | None):
            raise _wrong(name, options[name], "the name of a column, or None", f"'my_{name}'")
    for name, ours in OTHER_COLUMNS.items():
        if options.get(name) is not None:
            raise ArgumentError(
                f"{name} is no option of the task question-answering",
                place=f"argument {name}",
                found=f"{name}={options[name]!r}"[:80],
                expected="question, context and answers, which name the columns",
                fix=f"pass {ours}={options[name]!r}" if ours else f"remove {name}",
            )


def checked_search(options: Mapping[str, Any], *, allow_null: bool) -> Search:
    """Takes what the user asked for.

    Args:
        options: `stride`, `n_best`, `max_answer_length` and `no_answer_threshold`.
        allow_null: Whether a question may have no answer.

    Raises:
        ConfigurationError: One of them has a value that cannot work.
    """
    stride, threshold = options["stride"], options["no_answer_threshold"]
    if stride is not None and not _is_whole(stride, 0):
        raise _wrong("stride", stride, "a whole number of tokens, or None", "128")
    for name, example in (("n_best", "20"), ("max_answer_length", "30")):
        if not _is_whole(options[name], 1):
            raise _wrong(name, options[name], "a whole number above 0", example)
    is_number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    if threshold != AUTO and not (is_number and math.isfinite(threshold)):
        raise _wrong("no_answer_threshold", threshold, "a number, or 'auto'", "'auto'")
    return Search(
        allow_null=allow_null,
        stride=stride,
        n_best=options["n_best"],
        max_answer_length=options["max_answer_length"],
        no_answer_threshold=AUTO if threshold == AUTO else float(threshold),
    )


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _wrong(name: str, value: Any, expected: str, example: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name} has a value that cannot work",
        place=f"argument {name}",
        found=repr(value)[:80],
        expected=expected,
        fix=f"pass {name}={example}, or leave {name} out",
    )


def _first_text(context: str, n_best: NBest) -> int | None:
    """Finds the best answer that says something."""
    spans = n_best.spans.tolist()
    return next((index for index, span in enumerate(spans) if _trimmed(context, *span)[0]), None)


def _trimmed(context: str, start: int, end: int) -> tuple[str, int]:
    """Gives a text without the white space at its ends that is part of some vocabularies' tokens.

    Example:
        >>> _trimmed("in Warsaw .", 2, 10)
        ('Warsaw', 3)
    """
    text = context[start:end]
    return text.strip(), start + len(text) - len(text.lstrip())
