"""What both language models share: plain text in, one column, no labels, a held-out part."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from fastft.data.documents import check_documents
from fastft.data.origins import ExampleFiles
from fastft.errors import ConfigurationError, DataError
from fastft.tasks.base import Task, TaskData
from fastft.tasks.columns import find_column, text_column
from fastft.tasks.document_tokens import DocumentTokens, encode_documents
from fastft.tasks.held_out_text import hold_out_text, tail_note
from fastft.tasks.perplexity import check_perplexity, perplexity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    import numpy as np
    import torch
    from transformers import PreTrainedConfig

    from fastft.data.sources import Source, Split
    from fastft.data.tokenizer import Tokenizer

TEXT_COLUMNS = ("text", "content", "document", "article", "body", "story", "sentence", "review")
# Options of other tasks that plain text has no use for.
_NOT_OURS = ("pair", "label", "label_names")
_MOST_PLACES = 3


@dataclass(frozen=True)
class LanguageModel(Task):
    """A task on plain text.

    Attributes:
        text: The column with the text.
        join_documents: Whether a block may hold several documents.
    """

    text: str
    join_documents: bool

    metric_names: ClassVar[tuple[str, ...]] = ("perplexity",)
    lower_is_better: ClassVar[tuple[str, ...]] = ("perplexity",)
    drops_logits: ClassVar[bool] = True
    packs: ClassVar[bool] = True
    options: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"documents": "auto", "join_documents": "auto"}
    )

    @classmethod
    def from_source(
        cls,
        source: Source,
        options: Mapping[str, Any],
        head: PreTrainedConfig | None = None,
        *,
        head_is_fixed: bool = True,
    ) -> Self:
        """Finds the column of the text.

        Args:
            source: The data.
            options: `text` (a column name, recognised when None), `documents`, `join_documents`.
            head: The configuration of the model; its kind must fit the task.
            head_is_fixed: Decides nothing here: every checkpoint keeps its head.

        Raises:
            ColumnError: The column is not there.
            ConfigurationError: An option has a value that cannot work, or the model is of another
                kind.
        """
        _check_options(options, source)
        if head is not None:
            cls.check_kind(head)
        text = find_column(source.splits["train"], options["text"], TEXT_COLUMNS, "text")
        wanted = options["join_documents"]
        join = cls.joins(source) if wanted == "auto" else bool(wanted)
        return cls(text=text, join_documents=join, **cls.own_options(options))

    @classmethod
    @abstractmethod
    def check_kind(cls, config: PreTrainedConfig) -> None:
        """Refuses a model of another kind."""

    @classmethod
    @abstractmethod
    def joins(cls, source: Source) -> bool:
        """Says what `join_documents="auto"` means."""

    @classmethod
    def own_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Takes the options that only this task has."""
        return {}

    def training_defaults(self, data: Mapping[str, TaskData]) -> dict[str, Any]:
        """An evaluation needs the loss alone, not the logits of every token."""
        return {"prediction_loss_only": True}

    def check_arguments(self, arguments: Mapping[str, Any]) -> None:
        """Refuses to choose the best model by a perplexity that label smoothing hides.

        Raises:
            ConfigurationError: Both were asked for.
        """
        check_perplexity(arguments)

    @property
    def input_columns(self) -> tuple[str, ...]:
        """The text."""
        return (self.text,)

    def hold_out(self, split: Split, *, fraction: float, seed: int) -> tuple[Split, Split]:
        """Holds back a random share of the documents, or the end of the only one."""
        texts = text_column(split, self.text)
        return hold_out_text(split, self.text, texts, fraction=fraction, seed=seed)

    def documents(
        self, split: Split, tokenizer: Tokenizer, progress: Callable[[int], None] | None
    ) -> tuple[DocumentTokens, np.ndarray, tuple[str, ...]]:
        """Tokenises the documents of a split.

        Returns:
            Documents that have a token, without special tokens; their rows; and notes on what was
            left out.

        Raises:
            DataError: None has a token.
        """
        texts = text_column(split, self.text)
        documents = encode_documents(texts, tokenizer, split.place, progress)
        empty = (documents.lengths == 0).nonzero()[0]
        if len(empty) == len(documents.lengths):
            raise DataError(
                "no text has a token, so there is nothing to learn from",
                place=split.place(0, self.text),
                found=f"{len(empty):,} empty texts",
                expected="some text",
                fix="name the column of the text with text=",
            )
        notes = (tail_note(split), self._unused_note(split), _empty_note(split, empty))
        rows = documents.lengths.nonzero()[0]
        return documents.without_empty(), rows, tuple(note for note in notes if note)

    def _unused_note(self, split: Split) -> str | None:
        others = [name for name in split.table.column_names if name != self.text]
        if not others or split.name != "train":
            return None
        shown = ", ".join(map(repr, others[:5])) + (", …" if len(others) > 5 else "")
        return f"a language model learns from the text alone; not used: {shown}"

    def loss_metrics(self, loss: float) -> dict[str, float]:
        """Gives the perplexity: the exponential of the mean loss of a token."""
        return {"perplexity": perplexity(loss)}

    def preprocess_logits(self, logits: Any, labels: Any) -> Any:
        """Keeps nothing of logits (B, T, V), for which no metric asks."""
        first: torch.Tensor = logits[0] if isinstance(logits, tuple) else logits
        return first[:, :0][..., 0]

    def state(self) -> dict[str, Any]:
        """Gives column and options as JSON."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """Builds the task from what `state` gave."""
        return cls(**state)


def are_files(source: Source) -> bool:
    """Whether every document of the training split is a file of its own."""
    return all(isinstance(run, ExampleFiles) for run in source.splits["train"].origin.runs)


def blocks_note(split: Split, num_documents: int, num_tokens: int, num_blocks: int) -> str:
    """Says what became of the documents of a split."""
    documents = "1 document" if num_documents == 1 else f"{num_documents:,} documents"
    blocks = "1 block" if num_blocks == 1 else f"{num_blocks:,} blocks"
    return f"{split.name}: {documents}, {num_tokens:,} tokens, in {blocks}; nothing is cut off"


def _empty_note(split: Split, rows: np.ndarray) -> str | None:
    if not len(rows):
        return None
    places = "; ".join(split.place(int(row)) for row in rows[:_MOST_PLACES])
    more = f"; and {len(rows) - _MOST_PLACES:,} more" if len(rows) > _MOST_PLACES else ""
    texts = "1 empty text is" if len(rows) == 1 else f"{len(rows):,} empty texts are"
    return f"{split.name}: {texts} left out: {places}{more}"


def _check_options(options: Mapping[str, Any], source: Source) -> None:
    for name in _NOT_OURS:
        if options.get(name) is not None:
            raise ConfigurationError(
                f"{name}= has no meaning for plain text",
                place=f"argument {name}",
                found=repr(options[name]),
                expected="text=, the column of the text",
                fix=f"remove {name}, or name another task with task=",
            )
    documents, join = options["documents"], options["join_documents"]
    check_documents(documents)
    if documents != "auto" and not source.columns_are_fixed:
        raise ConfigurationError(
            "documents= is about text files; each row of a table is a document",
            place="argument documents",
            found=f"documents={documents!r} and {source.description}",
            expected="a text file, or a folder of text files",
            fix="remove documents, or pass the text as .txt files",
        )
    if join != "auto" and not isinstance(join, bool):
        raise ConfigurationError(
            "join_documents is neither yes nor no",
            place="argument join_documents",
            found=repr(join),
            expected='True, False or "auto"',
            fix="leave join_documents out",
        )
