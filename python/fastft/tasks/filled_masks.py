"""Mask tokens filled: the likeliest token for each, and the text with them in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastft.data.collator import DataCollatorWithPadding
from fastft.data.token_dataset import TokenDataset
from fastft.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastft.tasks.inference import Inference

# How BERT writes a token that goes on with the word before it.
_WORD_PART = "##"


def fill_masks(
    texts: Sequence[str], inference: Inference, place: Callable[[int], str]
) -> list[dict[str, Any]]:
    """Fills the mask tokens of texts, each on its own.

    Args:
        texts: Texts with the mask token of the tokenizer.
        inference: The model.
        place: Names a text by its number.

    Returns:
        `tokens`, one for each mask token, and `text`, with them in place.

    Raises:
        DataError: A text has no mask token, or one that `max_length` cuts away.
        ArgumentError: An option is unknown.
    """
    for name in inference.options:
        raise ArgumentError(
            f"there is no option {name!r} of predict",
            place=f"argument {name}",
            expected="batch_size",
            fix=f"remove {name}",
        )
    hf = inference.tokenizer.hf
    dataset = TokenDataset.from_texts(texts, inference.tokenizer, max_length=inference.max_length)
    for row, text in enumerate(texts):
        found = dataset[row]["input_ids"].count(hf.mask_token_id)
        _require_masks(text, found, hf.mask_token, inference.max_length, place(row))
    filled: list[dict[str, Any]] = []
    for ids, output in _batches(dataset, inference):
        for row, logits in zip(ids, output, strict=True):
            best = logits[row == hf.mask_token_id].argmax(dim=-1).tolist()
            tokens = [str(hf.decode([token])).strip() for token in best]
            filled.append({"tokens": tokens, "text": _in_place(texts[len(filled)], tokens, hf)})
    return filled


def _batches(dataset: TokenDataset, inference: Inference) -> Any:
    """Yields ids (B, T) and logits (B, T, V) of each batch."""
    collator = DataCollatorWithPadding(inference.tokenizer)
    starts = range(0, len(dataset), inference.batch_size)
    for start, output in zip(starts, inference.outputs(dataset, collator), strict=True):
        rows = list(range(start, min(start + inference.batch_size, len(dataset))))
        yield collator(dataset.__getitems__(rows))["input_ids"], output.logits.cpu()


def _require_masks(text: str, found: int, mask: str, max_length: int, place: str) -> None:
    written = text.count(mask)
    if found and found == written:
        return
    if not written:
        raise DataError(
            "the text has no mask token, so there is nothing to fill in",
            place=place,
            found=repr(text[:60]),
            expected=f"{mask} where a token is to be found",
            fix=f"write {mask} into the text",
        )
    raise DataError(
        f"{written - found:,} of {written:,} mask tokens are cut away by the length",
        place=place,
        found=f"a text of more than {max_length:,} tokens",
        expected=f"every {mask} within the first {max_length:,} tokens",
        fix="shorten the text",
    )


def _in_place(text: str, tokens: Sequence[str], hf: Any) -> str:
    """Writes tokens where the mask tokens stand; a part of a word joins the word before it."""
    first, *others = text.split(hf.mask_token)
    for token, behind in zip(tokens, others, strict=True):
        if token.startswith(_WORD_PART) and token != _WORD_PART:
            first, token = first.rstrip(" "), token.removeprefix(_WORD_PART)
        first += token + behind
    return first
