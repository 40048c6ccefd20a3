"""A chat template at work: conversations to texts, and which spans of a text are replies.

A template with `{% generation %}` marks says itself what a model writes. Any other is rendered turn
by turn: the text of the first k messages with a generation prompt is what the model sees, and
the text of the first k + 1 messages is that with the reply behind it. So spans come from lengths.
Nothing is searched for: a message that holds the words of the template misleads nobody.

Invariant: the texts of the first turns are beginnings of the whole text. A template that writes a
turn differently once others follow is an error, not a guess.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from fastft.data.diagnose import clip
from fastft.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from transformers import PreTrainedTokenizerBase

    from fastft.tasks.conversations import Chat

    Place: TypeAlias = Callable[[int], str]

Span: TypeAlias = tuple[int, int]

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
_ONLY_LAST = 'pass train_on="completion", which trains on the last reply of each chat alone'
_MARKS = "use a template with {% generation %} marks around what the assistant says"


@dataclass(frozen=True)
class MarkedText:
    """A conversation as the model reads it.

    Attributes:
        text: The text.
        spans: Where the replies stand: first character, and the one after the last.
    """

    text: str
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class ChatTemplate:
    """A Jinja template and the special tokens that it may write.

    Attributes:
        name: What messages call it.
        text: The Jinja text.
        variables: The special tokens by name.
    """

    name: str
    text: str
    variables: Mapping[str, str]

    @classmethod
    def of(
        cls, hf: PreTrainedTokenizerBase, text: str | None = None, name: str = "the template given"
    ) -> ChatTemplate:
        """Takes a template with the special tokens of a tokenizer.

        Args:
            hf: The tokenizer.
            text: The template; that of the tokenizer when None.
            name: What messages call the template.

        Raises:
            ConfigurationError: There is no template, or it is not Jinja.
        """
        import jinja2

        variables = dict(hf.special_tokens_map)
        if text is None:
            name, text = f"the template of {hf.name_or_path or 'the tokenizer'}", _own_template(hf)
        elif "bos_token" not in text and _begins_with_bos(hf):
            # The tokenizer would write it; a chat is tokenised as the template has it.
            text = "{{- bos_token }}" + text
        template = cls(name, text, variables)
        try:
            template.render([[{"role": "user", "content": "a"}]])
        except jinja2.TemplateSyntaxError as error:
            raise ConfigurationError(
                "the chat template is not valid Jinja",
                place=f"{name}, line {error.lineno}",
                found=error.message,
                fix="correct it, or name another with chat_template=",
            ) from error
        except Exception:  # it may refuse this chat, which is only a trial
            return template
        return template

    # -- rendering ---------------------------------------------------------------------------

    def render(self, chats: Sequence[Chat], *, for_reply: bool = False) -> list[str]:
        """Gives the texts of conversations; `for_reply` opens the turn of the assistant.

        Raises:
            Exception: Whatever the template raises.
        """
        return self._render(chats, add_generation_prompt=for_reply)[0]

    def prompts(self, chats: Sequence[Chat], place: Place) -> list[str]:
        """Gives the texts that a model answers; `place` names a conversation by its number.

        Raises:
            DataError: The template refuses a conversation.
        """
        return self._placed(chats, place, add_generation_prompt=True)[0]

    def mark(self, chats: Sequence[Chat], place: Place, *, last_only: bool) -> list[MarkedText]:
        """Gives the texts of conversations, the replies marked.

        Args:
            chats: Conversations that end with a reply.
            place: Names a conversation by its number.
            last_only: Whether to mark the last reply alone.

        Raises:
            DataError: The template refuses a conversation, or writes a turn in two ways.
        """
        if _GENERATION.search(self.text):
            texts, marks = self._placed(chats, place, return_assistant_tokens_mask=True)
            starts = self._last_starts(chats, texts, place) if last_only else [0] * len(chats)
            return [
                MarkedText(text, tuple(span for span in spans if span[1] > start))
                for text, spans, start in zip(texts, marks, starts, strict=True)
            ]
        texts, _ = self._placed(chats, place)
        spans = self._spans(chats, texts, place, last_only=last_only)
        return [MarkedText(text, tuple(row)) for text, row in zip(texts, spans, strict=True)]

    def _render(self, chats: Sequence[Chat], **options: Any) -> tuple[list[str], list[list[Span]]]:
        from transformers.utils.chat_template_utils import render_jinja_template

        texts, spans = render_jinja_template(
            conversations=chats, chat_template=self.text, **options, **self.variables
        )
        return texts, spans

    def _placed(
        self, chats: Sequence[Chat], place: Place, **options: Any
    ) -> tuple[list[str], list[list[Span]]]:
        """Renders, and names the conversation that the template refuses."""
        try:
            return self._render(chats, **options)
        except Exception:  # templates raise what they like; which chat it was is found below
            for number, chat in enumerate(chats):
                try:
                    self._render([chat], **options)
                except Exception as error:
                    raise self._refused(chat, place(number), error) from error
            raise

    def _refused(self, chat: Chat, place: str, error: Exception) -> DataError:
        return DataError(
            f"{self.name} refuses the chat: {error}",
            place=place,
            found="roles " + ", ".join(message["role"] for message in chat),
            expected="a conversation of the kind that the template was written for",
            fix="correct or drop the row, or name another template with chat_template=",
        )

    # -- spans -------------------------------------------------------------------------------

    def _spans(
        self, chats: Sequence[Chat], texts: Sequence[str], place: Place, *, last_only: bool
    ) -> list[list[Span]]:
        """Finds the replies from the lengths of the texts before and behind each."""
        turns = [(row, turn) for row, chat in enumerate(chats) for turn in _replies(chat)]
        if last_only:
            turns = [(row, turn) for row, turn in turns if turn == len(chats[row]) - 1]
        starts = self._beginnings(chats, texts, turns, place, for_reply=True)
        ends = self._beginnings(
            chats, texts, [(row, turn + 1) for row, turn in turns], place, for_reply=False
        )
        spans: list[list[Span]] = [[] for _ in chats]
        for (row, _), start, end in zip(turns, starts, ends, strict=True):
            spans[row].append((start, self._without_blank_end(texts[row], start, end)))
        return spans

    def _beginnings(
        self,
        chats: Sequence[Chat],
        texts: Sequence[str],
        turns: Sequence[tuple[int, int]],
        place: Place,
        *,
        for_reply: bool,
    ) -> list[int]:
        """Gives how much of a text its first messages make, for each (conversation, number)."""

        def turn_place(number: int) -> str:
            row, turn = turns[number]
            return f"{place(row)}, message {turn + for_reply}"

        begun = [number for number, (row, turn) in enumerate(turns) if turn < len(chats[row])]
        first = [chats[turns[number][0]][: turns[number][1]] for number in begun]
        written, _ = self._placed(
            first, lambda number: turn_place(begun[number]), add_generation_prompt=for_reply
        )
        lengths = [len(texts[row]) for row, _ in turns]
        for number, beginning in zip(begun, written, strict=True):
            row, turn = turns[number]
            if not texts[row].startswith(beginning):
                is_last = for_reply and turn == len(chats[row]) - 1
                raise self._differs(texts[row], beginning, turn_place(number), is_last=is_last)
            lengths[number] = len(beginning)
        return lengths

    def _last_starts(self, chats: Sequence[Chat], texts: Sequence[str], place: Place) -> list[int]:
        turns = [(row, len(chat) - 1) for row, chat in enumerate(chats)]
        return self._beginnings(chats, texts, turns, place, for_reply=True)

    def _differs(self, text: str, beginning: str, place: str, *, is_last: bool) -> DataError:
        same = _num_same(text, beginning)
        return DataError(
            f"{self.name} writes what comes before this message differently once it follows"
            if is_last
            else f"{self.name} writes a turn differently once others follow",
            place=place,
            found=f"{clip(text[same : same + 40])} in the whole chat, "
            f"{clip(beginning[same : same + 40])} up to this message",
            expected="a text that begins with that of its first turns",
            fix=_MARKS if is_last else f"{_ONLY_LAST}; or {_MARKS}",
        )

    def _without_blank_end(self, text: str, start: int, end: int) -> int:
        """Leaves out the line ends behind the mark that ends a turn: it is the mark that stops."""
        if self.turn_end.strip() and text.endswith(self.turn_end, start, end):
            return end - (len(self.turn_end) - len(self.turn_end.rstrip()))
        return end

    @cached_property
    def turn_end(self) -> str:
        """What the template writes behind a reply, such as `<|im_end|>` and a line end.

        Raises:
            ConfigurationError: The template leaves replies out.
        """
        question = {"role": "user", "content": "a"}
        try:
            one, other = self.render(
                [[question, {"role": "assistant", "content": content}] for content in "bc"]
            )
        except Exception:  # it refuses so plain a chat; then nothing is known of its turns
            return ""
        if one == other:
            raise ConfigurationError(
                f"{self.name} leaves out what the assistant says",
                place="argument chat_template",
                found=clip(one),
                expected="a template that writes message['content'], a text",
                fix="name another template with chat_template=",
            )
        return one[len(one) - _num_same(one[::-1], other[::-1]) :]


def _num_same(one: str, other: str) -> int:
    """Gives how many characters two texts have in common at their begin."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))


def _replies(chat: Chat) -> list[int]:
    return [index for index, message in enumerate(chat) if message["role"] == "assistant"]


def _own_template(hf: PreTrainedTokenizerBase) -> str:
    try:
        return str(hf.get_chat_template())
    except ValueError as error:
        names = sorted(hf.chat_template) if isinstance(hf.chat_template, dict) else []
        raise ConfigurationError(
            "the tokenizer has no chat template",
            place="argument chat_template",
            found=f"templates {', '.join(names)}, none of them the default" if names else "None",
            expected="a model that was made for chats, or the name of a template",
            fix='pass chat_template="chatml" (or alpaca, llama-2, llama-3, plain, a path), or '
            "start from a model that brings its own",
        ) from error


def _begins_with_bos(hf: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer itself puts its first token in front of a text."""
    ids: list[int] = hf.backend_tokenizer.encode("").ids
    return hf.bos_token is not None and ids[:1] == [hf.bos_token_id]
