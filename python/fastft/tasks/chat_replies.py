"""Replies: what a model writes to a conversation, from the rendered prompt to plain text.

Prompts are padded on the left, so that every reply follows its prompt at once; a reply does not
depend on the rows beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fastft.errors import DataError
from fastft.tasks.chat_tokens import bare_backend
from fastft.tasks.generation import checked_options, decoder_positions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from fastft.tasks.inference import Inference

MAX_NEW_TOKENS = 128


def write_replies(
    prompts: Sequence[str],
    inference: Inference,
    turn_end: str,
    place: Callable[[int], str],
) -> list[str]:
    """Lets the model answer, choosing the likeliest token each time.

    Args:
        prompts: Texts as the chat template writes them, the turn of the assistant open.
        inference: The model; its options may hold `max_new_tokens` (128) and `num_beams`.
        turn_end: What the template writes behind a reply.
        place: Names a prompt by its number.

    Raises:
        DataError: A prompt leaves no room for a reply.
        ConfigurationError: An option has a value that cannot work.
        ArgumentError: An option is unknown.
    """
    options = {"max_new_tokens": MAX_NEW_TOKENS, **checked_options(inference.options)}
    backend = bare_backend(inference.tokenizer.hf)
    stop = _Stop(inference, turn_end)
    ids = [code.ids for code in backend.encode_batch(list(prompts), add_special_tokens=False)]
    replies = [""] * len(prompts)
    for rows, room in _batches(ids, inference, options.pop("max_new_tokens"), place):
        generated = _generate(inference, [ids[row] for row in rows], stop, room, options)
        for row, tokens in zip(rows, generated, strict=True):
            replies[row] = stop.text(tokens)
    return replies


def end_of_reply(
    hf: PreTrainedTokenizerBase, model: PreTrainedModel, turn_end: str
) -> tuple[list[int], str]:
    """Says at what a reply ends.

    Args:
        hf: The tokenizer.
        model: The model, whose own end tokens stay what they are.
        turn_end: What the template writes behind a reply.

    Returns:
        The tokens that end a reply, and the mark of the template where that is no token of its own.
    """
    mark = turn_end.strip()
    own = model.generation_config.eos_token_id
    known = [hf.eos_token_id, *(own if isinstance(own, list) else [own])]
    single = hf.get_added_vocab().get(mark)
    if single is not None:
        known, mark = [*known, single], ""
    return sorted({int(token) for token in known if token is not None}), mark


def _batches(
    ids: Sequence[list[int]], inference: Inference, wanted: int, place: Callable[[int], str]
) -> Iterator[tuple[list[int], int]]:
    """Yields rows that have the same room for a reply, and that room in tokens."""
    positions = decoder_positions(inference.model.config)
    by_room: dict[int, list[int]] = {}
    for row, tokens in enumerate(ids):
        room = wanted if positions is None else min(wanted, positions - len(tokens))
        if room < 1 or not tokens:
            raise DataError(
                "the chat leaves no room for a reply" if tokens else "the chat has no token",
                place=place(row),
                found=f"{len(tokens):,} tokens",
                expected=f"1 to {(positions or 0) - 1:,} tokens" if positions else "some text",
                fix="shorten it, for example by its first turns" if tokens else "fill it in",
            )
        by_room.setdefault(room, []).append(row)
    for room, rows in by_room.items():
        for start in range(0, len(rows), inference.batch_size):
            yield rows[start : start + inference.batch_size], room


def _generate(
    inference: Inference, ids: list[list[int]], stop: _Stop, room: int, options: dict[str, Any]
) -> list[list[int]]:
    """Gives the new tokens of each row, with what follows their end."""
    width = max(map(len, ids))
    device = inference.model.device
    padded = [[stop.pad_token_id] * (width - len(row)) + row for row in ids]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in ids]
    with inference.evaluating():
        output = inference.model.generate(
            input_ids=torch.tensor(padded, device=device),
            attention_mask=torch.tensor(mask, device=device),
            max_new_tokens=room,
            do_sample=False,
            pad_token_id=stop.pad_token_id,
            eos_token_id=stop.token_ids or None,
            **stop.by_text,
            **options,
        )
    tokens: list[list[int]] = output[:, width:].tolist()
    return tokens


class _Stop:
    """Where a reply ends: at an end token of the model, or at the end mark of the template."""

    def __init__(self, inference: Inference, turn_end: str) -> None:
        self._hf: PreTrainedTokenizerBase = inference.tokenizer.hf
        self.token_ids, self._mark = end_of_reply(self._hf, inference.model, turn_end)
        pad = self._hf.pad_token_id
        self.pad_token_id: int = pad if pad is not None else (self.token_ids or [0])[0]

    @property
    def by_text(self) -> dict[str, Any]:
        """The arguments of `generate` for an end mark that is no token of its own."""
        return {"stop_strings": [self._mark], "tokenizer": self._hf} if self._mark else {}

    def text(self, tokens: list[int]) -> str:
        """Gives the text up to the end of the reply."""
        ends = [index for index, token in enumerate(tokens) if token in self.token_ids]
        kept = tokens[: ends[0]] if ends else tokens
        # The mark may hold special tokens, so they have to be seen until it is found.
        text = str(self._hf.decode(kept, skip_special_tokens=not self._mark))
        return (text.partition(self._mark)[0] if self._mark else text).strip()
