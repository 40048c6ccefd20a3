"""Chat: a decoder learns to answer as the assistant of its conversations does.

A chat template turns each conversation into one text; the loss looks at the replies in it, the mark
that ends a turn included, and at nothing else.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from fastft.data.encoded_slices import ROWS_PER_SLICE
from fastft.data.seq2seq_collator import DataCollatorForSeq2Seq
from fastft.data.splits import cut_validation
from fastft.errors import ConfigurationError, DataError
from fastft.tasks.base import Task, TaskData
from fastft.tasks.built_in_templates import read_template
from fastft.tasks.chat_notes import ChatNotes
from fastft.tasks.chat_replies import end_of_reply, write_replies
from fastft.tasks.chat_template import ChatTemplate
from fastft.tasks.chat_tokens import ChatRow, ChatTokenizer, token_dataset
from fastft.tasks.conversations import (
    ConversationColumns,
    first_prompt,
    require_question,
    with_system,
    without_unanswered_end,
)
from fastft.tasks.perplexity import check_perplexity, perplexity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from fastft.data.sources import Source, Split
    from fastft.data.tokenizer import Tokenizer
    from fastft.tasks.inference import Inference

TRAIN_ON = ("assistant", "completion")
# Options of other tasks that a conversation has no use for.
_NOT_OURS = ("text", "pair", "label", "label_names")


@dataclass(frozen=True)
class Chat(Task):
    """Replies of an assistant.

    Attributes:
        columns: The columns that are read.
        system: A system message for conversations that have none.
        template: The text of the chat template, or None for the model's own.
        template_name: What messages call the template.
        train_on: "assistant" for every reply, "completion" for the last of each conversation.
    """

    columns: ConversationColumns
    system: str | None = None
    template: str | None = None
    template_name: str = ""
    train_on: str = "assistant"

    name: ClassVar[str] = "chat"
    auto_class: ClassVar[str] = "AutoModelForCausalLM"
    metric_names: ClassVar[tuple[str, ...]] = ("perplexity",)
    lower_is_better: ClassVar[tuple[str, ...]] = ("perplexity",)
    packs: ClassVar[bool] = True
    why_not_options: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"augment": "the model would learn to write the changed replies"}
    )
    options: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "messages": None,
            "prompt": None,
            "completion": None,
            "system": None,
            "chat_template": None,
            "train_on": "assistant",
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
    ) -> Chat:
        """Finds the columns of the conversations and reads the template that was named.

        Args:
            source: The data.
            options: `messages`, or `prompt` and `completion` (column names, recognised when None),
                `system`, `chat_template` and `train_on`.
            head: The configuration of the model, which decides nothing here.
            head_is_fixed: Decides nothing here.

        Raises:
            ColumnError: The columns are not there, or not clear.
            ConfigurationError: There is no such template, or an option has a wrong value.
        """
        _check_options(options)
        columns = ConversationColumns.find(
            source.splits["train"], options["messages"], options["prompt"], options["completion"]
        )
        given = options["chat_template"]
        name, template = ("", None) if given is None else read_template(given)
        return cls(columns, options["system"], template, name, options["train_on"])

    def describe(self) -> str:
        """Says what is learnt and with which loss."""
        columns = self.columns
        asked = f"{columns.prompt!r}"
        if columns.input:
            asked += f" with {columns.input!r}"
        what = repr(columns.messages) if columns.messages else f"{asked} -> {columns.completion!r}"
        which = "all replies" if self.train_on == "assistant" else "the last reply of each chat"
        template = f"template {self.template_name}" if self.template else "the model's own template"
        return (
            f"chat: {what}, {template}\n"
            f"loss: cross entropy over the tokens of {which}, the mean over all of a step"
        )

    def training_defaults(self, data: Mapping[str, TaskData]) -> dict[str, Any]:
        """An evaluation needs the loss alone, not the logits of every token."""
        return {"prediction_loss_only": True}

    def check_arguments(self, arguments: Mapping[str, Any]) -> None:
        """Refuses to choose the best model by a perplexity that label smoothing hides."""
        check_perplexity(arguments)

    @property
    def input_columns(self) -> tuple[str, ...]:
        """The column of the messages or of the prompt."""
        return (self.columns.main,)

    def hold_out(self, split: Split, *, fraction: float, seed: int) -> tuple[Split, Split]:
        """Holds back conversations at random; those that begin alike stay on one side.

        Raises:
            DataError: All conversations begin alike.
        """
        texts = [
            first_prompt(chat)
            for start, stop in _slices(split.table.num_rows)
            for chat in self.columns.chats(split, start, stop)
        ]
        if len(set(texts)) < 2:
            raise DataError(
                "no validation set can be cut: all conversations begin with the same prompt",
                place=split.place(0, self.columns.main),
                found=f"{len(texts):,} rows",
                expected="at least 2 different first prompts",
                fix="add rows, or pass validation= with rows of its own, or None",
            )
        return cut_validation(split, [0] * len(texts), texts, fraction=fraction, seed=seed)

    def data(
        self,
        split: Split,
        tokenizer: Tokenizer,
        max_length: int,
        progress: Callable[[int], None] | None = None,
    ) -> TaskData:
        """Turns conversations into tokens and a label for every token, -100 beside the replies."""
        template = self.chat_template(tokenizer.hf)
        encoder = ChatTokenizer(tokenizer.hf, max_length)
        notes = ChatNotes(split, self.columns.replies, template, max_length)
        rows: list[ChatRow] = []
        for start, stop in _slices(split.table.num_rows):
            whole = self.columns.chats(split, start, stop)
            chats = [with_system(without_unanswered_end(chat), self.system) for chat in whole]
            notes.look_at_chats(whole, start)
            marked = template.mark(
                chats, _places(split, self.columns.main, start), last_only=self._last_only
            )
            rows += encoder.rows(marked)
            if progress is not None:
                progress(stop)
        own = None if self.template is None else tokenizer.hf.chat_template
        end_length = encoder.num_tokens(template.turn_end.strip())
        return TaskData(
            token_dataset(rows, tokenizer.hf),
            notes=(*notes.of_template(own, end_length), *notes.of_rows(rows)),
        )

    def collator(
        self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel | None, seed: int = 0
    ) -> Any:
        """Gives what pads tokens and labels; a decoder makes nothing of its labels."""
        collator = DataCollatorForSeq2Seq(tokenizer)
        collator.predicts_next = True
        return collator

    def prepare_model(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        arguments: Mapping[str, Any],
    ) -> None:
        """Tells the model at which tokens a reply ends; saved with it, so that `generate` stops.

        Args:
            model: The model.
            tokenizer: Its tokenizer.
            arguments: The training arguments of the run, which decide nothing here.
        """
        ends, _ = end_of_reply(tokenizer, model, self.chat_template(tokenizer).turn_end)
        model.generation_config.eos_token_id = ends if len(ends) > 1 else next(iter(ends), None)

    def loss_metrics(self, loss: float) -> dict[str, float]:
        """Gives the perplexity over the tokens of replies."""
        return {"perplexity": perplexity(loss)}

    def predict(self, split: Split, inference: Inference) -> list[dict[str, Any]]:
        """Writes the next reply to each conversation: `{"text": ...}`."""
        count = split.table.num_rows
        if not count:
            return []
        template = self.chat_template(inference.tokenizer.hf)
        place = _places(split, self.columns.main, 0)
        chats = self.columns.prompts(split, 0, count)
        for row, chat in enumerate(chats):
            require_question(chat, place(row))
        prompts = template.prompts([with_system(chat, self.system) for chat in chats], place)
        replies = write_replies(prompts, inference, template.turn_end, place)
        return [{"text": text} for text in replies]

    def chat_template(self, hf: PreTrainedTokenizerBase) -> ChatTemplate:
        """Gives the template that was named, or else that of the tokenizer.

        Raises:
            ConfigurationError: There is none.
        """
        return ChatTemplate.of(hf, self.template, self.template_name)

    def prepared_tokenizer(self, hf: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
        """Gives the tokenizer to save with the run: it carries the template that was trained on.

        Args:
            hf: The tokenizer, which is copied where it has to change.
        """
        text = self.chat_template(hf).text
        if hf.chat_template == text:
            return hf
        hf = copy.deepcopy(hf)
        hf.chat_template = text
        return hf

    @property
    def _last_only(self) -> bool:
        return self.train_on == "completion"

    def state(self) -> dict[str, Any]:
        """Gives columns, template and the other options as JSON."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Chat:
        """Builds the task from what `state` gave."""
        return cls(**{**state, "columns": ConversationColumns(**state["columns"])})


def _slices(num_rows: int) -> Iterator[tuple[int, int]]:
    for start in range(0, num_rows, ROWS_PER_SLICE):
        yield start, min(start + ROWS_PER_SLICE, num_rows)


def _places(split: Split, column: str, start: int) -> Callable[[int], str]:
    return lambda row: split.place(start + row, column)


def _check_options(options: Mapping[str, Any]) -> None:
    for name in _NOT_OURS:
        if options.get(name) is not None:
            raise ConfigurationError(
                f"{name}= has no meaning for conversations",
                place=f"argument {name}",
                found=repr(options[name]),
                expected="messages=, or prompt= and completion=",
                fix=f"remove {name}, or name another task with task=",
            )
    if options["train_on"] not in TRAIN_ON:
        raise ConfigurationError(
            "train_on names no part of a conversation",
            place="argument train_on",
            found=repr(options["train_on"]),
            expected='"assistant" (every reply) or "completion" (the last reply of each chat)',
            fix=f"pass train_on={TRAIN_ON[0]!r}, or leave it out",
        )
    system = options["system"]
    if system is not None and not (isinstance(system, str) and system.strip()):
        raise ConfigurationError(
            "system is no message",
            place="argument system",
            found=repr(system),
            expected="a text",
            fix="pass the text of the system message, or leave it out",
        )
