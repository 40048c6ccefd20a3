"""Continuations: what a decoder writes after each text.

Texts are padded on the left, so that what is new follows the text at once; a continuation does not
depend on the texts beside it.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastft.errors import ArgumentError, ConfigurationError, DataError, nearest
from fastft.tasks.generation import checked_options, decoder_positions
from fastft.tasks.text_blocks import Marks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from fastft.data.tokenizer import Tokenizer
    from fastft.tasks.inference import Inference

MAX_NEW_TOKENS = 64
OPTIONS = ("max_new_tokens", "num_beams", "do_sample")


def continue_texts(
    texts: Sequence[str], inference: Inference, place: Callable[[int], str]
) -> list[str]:
    """Lets the model go on from each text.

    Args:
        texts: The texts; an empty one starts from nothing.
        inference: The model; its options may hold `max_new_tokens` (64), `num_beams` and
            `do_sample` (False: the likeliest token each time).
        place: Names a text by its number.

    Raises:
        DataError: A text leaves the model no position to write at.
        ConfigurationError: An option has a value that cannot work.
        ArgumentError: An option is unknown.
    """
    options = _options(inference.options)
    prompts = _prompts(texts, inference.tokenizer, place)
    continued = [""] * len(texts)
    for rows, room in _batches(prompts, inference, options.pop("max_new_tokens"), place):
        ids = [prompts[row] for row in rows]
        for row, new in zip(rows, _generate(inference, ids, room, options), strict=True):
            continued[row] = _new_text(inference.tokenizer, prompts[row], new)
    return continued


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Checks the options and fills in those that were not given."""
    for name in given:
        if name not in OPTIONS:
            close = nearest(name, OPTIONS, count=1)
            raise ArgumentError(
                f"there is no option {name!r} of predict",
                place=f"argument {name}",
                expected=" or ".join(OPTIONS),
                fix=f"did you mean {close[0]!r}?" if close else f"remove {name}",
            )
    sample = given.get("do_sample", False)
    if not isinstance(sample, bool):
        raise ConfigurationError(
            "do_sample is neither True nor False",
            place="argument do_sample",
            found=repr(sample),
            fix="leave do_sample out",
        )
    counts = checked_options({name: given[name] for name in given if name != "do_sample"})
    return {"max_new_tokens": MAX_NEW_TOKENS, "do_sample": sample, **counts}


def _prompts(
    texts: Sequence[str], tokenizer: Tokenizer, place: Callable[[int], str]
) -> list[list[int]]:
    """Gives the ids of each text as a document would begin with it, its end left open."""
    hf, before = tokenizer.hf, Marks.of(tokenizer).before.tolist()
    batch = tokenizer.encode(list(texts), add_special_tokens=False)
    prompts = [before + batch.row(row).tolist() for row in range(len(batch))]
    # Without a begin of its own a document starts from the end of the one before it.
    start = hf.bos_token_id if hf.bos_token_id is not None else hf.eos_token_id
    for row, prompt in enumerate(prompts):
        if not prompt and start is None:
            raise DataError(
                "the text has no token, and the tokenizer none to begin with",
                place=place(row),
                found=repr(texts[row]),
                expected="some text",
                fix="leave empty texts out",
            )
    return [prompt or [start] for prompt in prompts]


def _batches(
    prompts: Sequence[list[int]],
    inference: Inference,
    wanted: int,
    place: Callable[[int], str],
) -> Iterator[tuple[list[int], int]]:
    """Yields rows that have the same room to write, and that room in tokens."""
    positions = decoder_positions(inference.model.config)
    by_room: dict[int, list[int]] = {}
    for row, prompt in enumerate(prompts):
        room = wanted if positions is None else min(wanted, positions - len(prompt))
        if room < 1:
            raise DataError(
                "the text leaves the model no position to write at",
                place=place(row),
                found=f"{len(prompt):,} tokens",
                expected=f"fewer than {positions:,}",
                fix="pass its end alone",
            )
        by_room.setdefault(room, []).append(row)
    if "max_new_tokens" in inference.options:  # the default promises no length
        _warn_of_short_room(by_room, wanted, positions)
    for room, rows in by_room.items():
        for start in range(0, len(rows), inference.batch_size):
            yield rows[start : start + inference.batch_size], room


def _warn_of_short_room(
    by_room: Mapping[int, list[int]], wanted: int, positions: int | None
) -> None:
    short = sum(len(rows) for room, rows in by_room.items() if room < wanted)
    if short:
        warnings.warn(
            f"{short:,} texts are continued by fewer than max_new_tokens={wanted} tokens: the "
            f"model has {positions:,} positions",
            stacklevel=2,
        )


def _generate(
    inference: Inference, prompts: list[list[int]], room: int, options: Mapping[str, Any]
) -> list[list[int]]:
    """Gives the new tokens of each prompt, up to its end."""
    hf, device = inference.tokenizer.hf, inference.model.device
    own = inference.model.generation_config.eos_token_id
    ends = [hf.eos_token_id] if hf.eos_token_id is not None else np.ravel([own]).tolist()
    ends = [int(end) for end in ends if end is not None]
    pad = hf.pad_token_id if hf.pad_token_id is not None else (ends or [0])[0]
    width = max(map(len, prompts))
    padded = [[pad] * (width - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    with inference.evaluating():
        output = inference.model.generate(
            input_ids=torch.tensor(padded, device=device),
            attention_mask=torch.tensor(mask, device=device),
            max_new_tokens=room,
            pad_token_id=pad,
            eos_token_id=ends or None,
            **options,
        )
    return [_up_to(row, ends) for row in output[:, width:].tolist()]


def _up_to(tokens: list[int], ends: list[int]) -> list[int]:
    for index, token in enumerate(tokens):
        if token in ends:
            return tokens[:index]
    return tokens


def _new_text(tokenizer: Tokenizer, prompt: list[int], new: list[int]) -> str:
    """Decodes new tokens as they stand behind the prompt: a leading space belongs to them."""
    hf = tokenizer.hf
    options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    start, whole = hf.decode(prompt, **options), hf.decode(prompt + new, **options)
    text = whole[len(start) :] if whole.startswith(start) else hf.decode(new, **options)
    return str(text)
