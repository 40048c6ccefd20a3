"""Rows to conversations: from the columns of a table to lists of messages with role and content.

Four layouts are read: a column of messages (`role`/`content`, or `from`/`value` as ShareGPT has
it), a prompt beside its completion, and the instruction, input and output of Alpaca.

Invariant: a message that leaves here has a role that templates know, and content that is text. A
row that gives none is an error that names it, never left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from fastft.data.diagnose import clip
from fastft.errors import ColumnError, DataError
from fastft.tasks.columns import find_column, require_column
from fastft.tasks.messages import checked_messages

if TYPE_CHECKING:
    from fastft.data.sources import Split

Chat: TypeAlias = list[dict[str, Any]]

PROMPT_COLUMNS = ("prompt", "instruction", "question")
COMPLETION_COLUMNS = ("completion", "output", "response", "answer")
# What is recognised without being named. Question and answer may as well be a lookup in a text.
_RECOGNISED: tuple[dict[str, str], ...] = (
    {"messages": "messages"},
    {"messages": "conversations"},
    {"prompt": "prompt", "completion": "completion"},
    {"prompt": "instruction", "completion": "output"},
    {"prompt": "instruction", "completion": "response"},
)


@dataclass(frozen=True)
class ConversationColumns:
    """The columns that hold a conversation: `messages`, or `prompt` and `completion`.

    Attributes:
        messages: The column of lists of messages.
        prompt: The column of what is asked: a text, or a list of messages.
        completion: The column of what is answered: a text, or a list of messages.
        input: The column of what an Alpaca instruction is about; it follows the instruction, after
            an empty line.
    """

    messages: str | None = None
    prompt: str | None = None
    completion: str | None = None
    input: str | None = None

    @classmethod
    def find(
        cls, split: Split, messages: str | None, prompt: str | None, completion: str | None
    ) -> ConversationColumns:
        """Finds the columns, those named by the user first.

        Args:
            split: The training split.
            messages: The column of messages that the user named, if any.
            prompt: The column of prompts that the user named, if any.
            completion: The column of completions that the user named, if any.

        Raises:
            ColumnError: No layout is recognised, or more than one.
        """
        if messages is not None and (prompt or completion) is not None:
            raise ColumnError(
                "a conversation is named twice",
                place="arguments messages, prompt, completion",
                found=f"messages={messages!r}, prompt={prompt!r}, completion={completion!r}",
                expected="messages=, or prompt= and completion=",
                fix="leave one of the two out",
            )
        if messages is not None:
            found = cls(messages=find_column(split, messages, (), "messages"))
        elif (prompt or completion) is not None:
            found = cls._asked(
                split,
                find_column(split, prompt, PROMPT_COLUMNS, "prompt"),
                find_column(split, completion, COMPLETION_COLUMNS, "completion"),
            )
        else:
            found = cls._recognised(split)
        for name in (found.messages, found.prompt, found.completion, found.input):
            if name is not None:
                _require_chat_type(split, name)
        return found

    @classmethod
    def _recognised(cls, split: Split) -> ConversationColumns:
        names = set(split.table.column_names)
        readings = [reading for reading in _RECOGNISED if set(reading.values()) <= names]
        if len(readings) == 1 and "messages" in readings[0]:
            return cls(**readings[0])
        if len(readings) == 1:
            return cls._asked(split, readings[0]["prompt"], readings[0]["completion"])
        raise _unclear(split, readings)

    @classmethod
    def _asked(cls, split: Split, prompt: str, completion: str) -> ConversationColumns:
        if prompt == completion:
            raise ColumnError(
                f"column {prompt!r} is both prompt and completion",
                place="arguments prompt, completion",
                fix="name another column with prompt= or completion=",
            )
        is_alpaca = prompt == "instruction" and "input" in split.table.column_names
        return cls(prompt=prompt, completion=completion, input="input" if is_alpaca else None)

    @property
    def main(self) -> str:
        """The column that a prediction needs."""
        return self.messages or self.prompt or ""

    @property
    def replies(self) -> str:
        """The column that holds the replies."""
        return self.messages or self.completion or ""

    def chats(self, split: Split, start: int, stop: int) -> list[Chat]:
        """Gives the conversations of some rows, each with at least one reply.

        Args:
            split: The rows.
            start: The first row.
            stop: The row after the last.

        Raises:
            DataError: A row holds no conversation that can be learnt from.
        """
        asked = self.prompts(split, start, stop)
        if self.completion is not None:
            column = require_column(split, self.completion)
            for row, value in enumerate(column[start:stop].to_pylist(), start):
                place = split.place(row, self.completion)
                asked[row - start] += _messages(value, "assistant", place)
        for row, chat in enumerate(asked, start):
            _require_reply(chat, split.place(row, self.replies))
        return asked

    def prompts(self, split: Split, start: int, stop: int) -> list[Chat]:
        """Gives what is asked in some rows: a text there is the message of a user."""
        column = require_column(split, self.main)[start:stop].to_pylist()
        chats = [
            _messages(value, "user", split.place(row, self.main))
            for row, value in enumerate(column, start)
        ]
        # A prediction may leave the input out.
        if self.input is not None and self.input in split.table.column_names:
            inputs = require_column(split, self.input)[start:stop].to_pylist()
            for row, value in enumerate(inputs, start):
                chats[row - start][-1]["content"] += _input(value, split.place(row, self.input))
        return chats


def with_system(chat: Chat, system: str | None) -> Chat:
    """Puts a system message in front of a conversation that has none."""
    if system is None or any(message["role"] in ("system", "developer") for message in chat):
        return chat
    return [{"role": "system", "content": system}, *chat]


def without_unanswered_end(chat: Chat) -> Chat:
    """Leaves out what follows the last reply: no reply is learnt from it."""
    last = max(index for index, message in enumerate(chat) if message["role"] == "assistant")
    return chat[: last + 1]


def first_prompt(chat: Chat) -> str:
    """Gives the first thing that a user says."""
    asked = (message.get("content", "") for message in chat if message["role"] == "user")
    return str(next(asked, chat[0].get("content", "")))


def require_question(chat: Chat, place: str) -> None:
    """Raises when a conversation ends with a reply, so that there is nothing to answer.

    Raises:
        DataError: It does.
    """
    if chat[-1]["role"] == "assistant":
        raise DataError(
            "the chat ends with a reply, so there is nothing to answer",
            place=place,
            found=f"roles {', '.join(message['role'] for message in chat[-4:])}",
            expected="a last message of a user or a tool",
            fix="leave the last reply out",
        )


def _input(value: Any, place: str) -> str:
    """Gives what follows an instruction; most instructions need no input."""
    if value is None or isinstance(value, str):
        return f"\n\n{value}" if value and value.strip() else ""
    raise DataError(
        "the input of an instruction is not text",
        place=place,
        found=clip(value),
        expected="a text, empty where there is none",
        fix="turn the values into texts, or name other columns with prompt= and completion=",
    )


def _messages(value: Any, role: str, place: str) -> Chat:
    """Gives a text, or a list of messages, as messages."""
    if isinstance(value, str):
        value = [{"role": role, "content": value}]
        return checked_messages(value, place, alone=True)
    if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        return checked_messages(value, place)
    raise DataError(
        "there is no conversation here",
        place=place,
        found=clip(value),
        expected='a text, or a list of messages such as {"role": "user", "content": "..."}',
        fix="fill it in, or drop the row",
    )


def _require_reply(chat: Chat, place: str) -> None:
    roles = [message["role"] for message in chat]
    if "assistant" not in roles:
        raise DataError(
            "the chat has no reply of the assistant, so there is nothing to learn from",
            place=place,
            found=f"roles {', '.join(roles)}",
            expected="a message with the role 'assistant'",
            fix="drop the row, or correct the roles",
        )
    if roles[0] == "assistant":
        raise DataError(
            "the chat begins with a reply, which answers nothing",
            place=place,
            found=f"roles {', '.join(roles[:4])}",
            expected="a message of a user or system before the first reply",
            fix="drop that reply, or put a message before it; system= puts one before every chat",
        )


def _require_chat_type(split: Split, column: str) -> None:
    """Raises when the type of a column rules a conversation out."""
    import pyarrow as pa

    kind = split.table.schema.field(column).type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if is_text or pa.types.is_null(kind) or (is_list and pa.types.is_struct(kind.value_type)):
        return
    raise ColumnError(
        f"column {column!r} holds no conversations",
        place=f"{split.name} split",
        found=f"type {kind}",
        expected='texts, or lists of messages such as {"role": "user", "content": "..."}',
        fix="name another column with messages=, or with prompt= and completion=",
    )


def _unclear(split: Split, readings: list[dict[str, str]]) -> ColumnError:
    names = list(split.table.column_names)
    known = " | ".join(" + ".join(reading.values()) for reading in _RECOGNISED)
    if readings:
        fixes = (
            ", ".join(f"{argument}={column!r}" for argument, column in reading.items())
            for reading in readings
        )
        problem, fix = "several columns may hold the conversation", "pass " + ", or ".join(fixes)
    else:
        problem = "no columns with conversations were recognised"
        fix = "name them: messages=, or prompt= and completion="
        if {"question", "answer"} <= set(names):
            fix = 'pass prompt="question", completion="answer"'
    return ColumnError(
        problem,
        place=f"{split.name} split",
        found=", ".join(map(repr, names)),
        expected=f"one of {known}",
        fix=fix,
    )
