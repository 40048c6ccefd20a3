"""What a user should know about conversations: what was cut, left out, or not written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.errors import DataError
from fastft.tasks.supervision import supervision_notes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastft.data.sources import Split
    from fastft.tasks.chat_template import ChatTemplate
    from fastft.tasks.chat_tokens import ChatRow
    from fastft.tasks.conversations import Chat

# Names under which transformers shows a template the reasoning of a message.
_REASONING = ("reasoning", "reasoning_content", "thinking")


class ChatNotes:
    """Collects what is worth saying about the conversations of a split.

    Args:
        split: The split.
        column: The column of the replies.
        template: The chat template.
        max_length: Rows are cut to this many tokens.
    """

    def __init__(self, split: Split, column: str, template: ChatTemplate, max_length: int) -> None:
        self._split, self._column = split, column
        self._template, self._max_length = template, max_length
        self._unanswered: list[int] = []
        # The fields of messages that the template leaves out, with the first row that has them.
        self._unwritten: dict[str, int] = {}

    def look_at_chats(self, chats: Sequence[Chat], start: int) -> None:
        """Notes what the model will not see of some conversations; `start` is the first's row.

        Raises:
            DataError: A message calls tools, and the template does not write calls.
        """
        for row, chat in enumerate(chats, start):
            if chat[-1]["role"] != "assistant":
                self._unanswered.append(row)
            for name in {name for message in chat for name in message}:
                if not self._writes(name):
                    self._unwritten.setdefault(name, row)
        if "tool_calls" in self._unwritten:
            raise DataError(
                f"{self._template.name} does not write tool_calls, so the calls would be lost",
                place=self._split.place(self._unwritten["tool_calls"], self._column),
                expected="a template for tools, which mentions tool_calls",
                fix="name such a template with chat_template=, or drop the chats with calls",
            )

    def _writes(self, name: str) -> bool:
        names = _REASONING if name in _REASONING else (name,)
        return name in ("role", "content") or any(name in self._template.text for name in names)

    def of_template(self, replaced: Any, end_length: int) -> tuple[str, ...]:
        """Says what the choice of the template means, and what becomes part of no text.

        Args:
            replaced: The template of the tokenizer where another one is used, or None.
            end_length: How many tokens the mark takes that ends a turn.
        """
        notes = []
        if end_length > 1:
            notes.append(
                f"{self._template.turn_end.strip()!r}, which ends a turn, takes {end_length} "
                "tokens of this vocabulary: a model that has it as one token learns it sooner"
            )
        if replaced is not None and replaced != self._template.text:
            notes.append(f"{self._template.name} takes the place of the model's own chat template")
        if "tools" in self._split.table.column_names:
            notes.append("column 'tools' is not shown to the chat template")
        for name, row in self._unwritten.items():
            place = self._split.place(row, self._column)
            notes.append(f"{name!r} of messages is not written by the chat template: {place}")
        # Once is enough: all splits are rendered alike.
        return tuple(notes) if self._split.name == "train" else ()

    def of_rows(self, rows: Sequence[ChatRow]) -> tuple[str, ...]:
        """Says which conversations lost something on the way to tokens.

        Raises:
            DataError: More than one row in a hundred has nothing to learn.
        """
        empty = [row for row, chat in enumerate(rows) if not chat.is_supervised]
        cut = [row for row, chat in enumerate(rows) if chat.labels_cut and chat.is_supervised]
        across = [row for row, chat in enumerate(rows) if chat.across]
        limit = f"max_length={self._max_length}"
        return (
            *self._counted(self._unanswered, "what follows the last reply is left out"),
            *self._counted(cut, f"a reply is cut by {limit}, so its end is not learnt"),
            *self._counted(across, "a token stands across the border of a reply and is trained on"),
            *supervision_notes(
                self._split,
                np.array(empty, np.int64),
                problem=f"no token of a reply is left by {limit}",
                expected="a part of a reply in every row",
                fix="raise max_length, or drop the longest chats",
            ),
        )

    def _counted(self, rows: Sequence[int], what: str) -> tuple[str, ...]:
        if not rows:
            return ()
        count = f"{len(rows):,} of {self._split.table.num_rows:,} rows"
        first = self._split.place(rows[0], self._column)
        return (f"{self._split.name}: in {count} {what}, the first at {first}",)
