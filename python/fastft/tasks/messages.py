"""One message of a conversation: its role and its content, checked and under today's names.

ShareGPT's `from` and `value` become `role` and `content`, `human` and `gpt` become `user` and
`assistant`. What else a message carries (a name, tool calls, reasoning) is left to the template.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastft.data.diagnose import clip
from fastft.errors import DataError, nearest

ROLES = ("system", "developer", "user", "assistant", "tool")
# The names of other layouts; those of ShareGPT among them.
_ROLE_OF = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    **{role: role for role in ROLES},
}
# Roles that some layouts have and chat templates do not, with what stands in their place.
_TOOL_FIX = {
    "function_call": 'write the call as {"role": "assistant", "tool_calls": [...]}, which '
    "templates for tools know, or drop the chats with calls",
    "observation": 'write the result of a tool as {"role": "tool", "content": "..."}',
    "function": 'write the result of a tool as {"role": "tool", "content": "..."}',
}


def checked_messages(
    messages: list[Any], place: str, *, alone: bool = False
) -> list[dict[str, Any]]:
    """Gives messages under today's names.

    Args:
        messages: Dicts with `role` and `content`, or `from` and `value`.
        place: The row and column that hold them.
        alone: Whether this is a single text, so that messages need no number.

    Raises:
        DataError: A message has no role, an unknown one, or no content that is text.

    Example:
        >>> checked_messages([{"from": "gpt", "value": "Hello"}], "row 0")
        [{'role': 'assistant', 'content': 'Hello'}]
    """
    return [
        _message(message, place if alone else f"{place}, message {number}")
        for number, message in enumerate(messages, start=1)
    ]


def _message(message: Mapping[str, Any], place: str) -> dict[str, Any]:
    fields = _without_missing(message)
    role = _role(fields.pop("role", None) or fields.pop("from", None), message, place)
    content = fields.pop("content", None)
    content = fields.pop("value", None) if content is None else content
    text = _text(content, place)
    # The call of a tool is a reply without words.
    if not text.strip() and role != "system" and not fields.get("tool_calls"):
        raise DataError(
            f"the message of the {role} is empty",
            place=place,
            found=clip(content),
            expected="some text",
            fix="fill it in, or drop the row",
        )
    return {**fields, "role": role, "content": text}


def _role(role: Any, message: Mapping[str, Any], place: str) -> str:
    if role is None:
        raise DataError(
            "a message has no role",
            place=place,
            found=clip(dict(message)),
            expected=f"a role: {', '.join(ROLES)}",
            fix='write every message as {"role": "user", "content": "..."}',
        )
    if isinstance(role, str) and role in _ROLE_OF:
        return _ROLE_OF[role]
    close = nearest(str(role).lower(), _ROLE_OF, count=1)
    fix = f"did you mean {close[0]!r}?" if close else "rename the role"
    raise DataError(
        "a message has a role that chat templates do not know",
        place=place,
        found=clip(role),
        expected=f"{', '.join(ROLES)}; or human, gpt",
        fix=_TOOL_FIX.get(str(role), fix),
    )


def _text(content: Any, place: str) -> str:
    """Gives content as one text; of a list of parts, all must be text."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") for part in parts if _is_text_part(part)]
    if len(texts) == len(parts) and all(isinstance(text, str) for text in texts):
        return "".join(map(str, texts))
    raise DataError(
        "the content of a message is not text",
        place=place,
        found=clip(content),
        expected='a string, or a list of parts {"type": "text", "text": "..."}',
        fix="drop the rows with pictures, sound and other content, or write their text alone",
    )


def _is_text_part(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type", "text") == "text"


def _without_missing(value: Any) -> Any:
    """Drops the fields that Arrow filled with null because other rows have them."""
    if isinstance(value, Mapping):
        return {key: _without_missing(item) for key, item in value.items() if item is not None}
    return [_without_missing(item) for item in value] if isinstance(value, list) else value
