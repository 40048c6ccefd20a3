"""Two examples as the model sees them, with what is trained on marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.data.rust_collator import IGNORE_INDEX

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from transformers import PreTrainedTokenizerBase

    from fastft.data.token_dataset import TokenDataset

OPEN, CLOSE = "⟦", "⟧"
MAX_CHARS = 240


def preview(
    dataset: TokenDataset,
    collator: Any,
    tokenizer: PreTrainedTokenizerBase,
    names: Mapping[int, str] | None = None,
    rows: int = 2,
) -> list[str]:
    """Decodes the first rows; what the loss looks at stands between ⟦ and ⟧.

    Args:
        dataset: Tokens and labels.
        collator: What makes batches of them.
        tokenizer: Turns ids into text.
        names: The names of the classes, for a classifier.
        rows: How many rows.

    Example:
        >>> preview(dataset, collator, tokenizer, {0: "bad", 1: "good"})  # doctest: +SKIP
        ['[CLS] a fine film [SEP] → ⟦good⟧', '[CLS] dull [SEP] → ⟦bad⟧']
    """
    batch = collator(dataset.__getitems__(range(min(rows, len(dataset)))))
    return [
        _line({name: values[row] for name, values in batch.items()}, tokenizer, names or {})
        for row in range(len(batch["input_ids"]))
    ]


def _line(
    row: Mapping[str, torch.Tensor], tokenizer: PreTrainedTokenizerBase, names: Mapping[int, str]
) -> str:
    real = row["attention_mask"].bool() if "attention_mask" in row else ...
    ids = row["input_ids"][real]
    labels = row.get("labels")
    if "start_positions" in row:
        trained = np.zeros(len(ids), bool)
        trained[int(row["start_positions"]) : int(row["end_positions"]) + 1] = True
        return _marked(ids.numpy(), trained, tokenizer)
    if labels is None:
        return _clipped(str(tokenizer.decode(ids)))
    if (
        labels.dim() == 1
        and labels.shape == row["input_ids"].shape
        and "decoder_input_ids" not in row
    ):
        labels = labels[real]
        trained = (labels != IGNORE_INDEX).numpy()
        return _marked(np.where(trained, labels, ids), trained, tokenizer)
    shown = _clipped(str(tokenizer.decode(ids)))
    return f"{shown} → {OPEN}{_label(labels, tokenizer, names)}{CLOSE}"


def _label(
    labels: torch.Tensor, tokenizer: PreTrainedTokenizerBase, names: Mapping[int, str]
) -> str:
    if labels.dim() == 0:
        value = labels.item()
        return f"{value:g}" if labels.is_floating_point() else names.get(int(value), str(value))
    if labels.is_floating_point():
        chosen = np.flatnonzero(labels.numpy() > 0.5)
        return ", ".join(names.get(int(index), str(index)) for index in chosen) or "none"
    return _clipped(str(tokenizer.decode(labels[labels != IGNORE_INDEX])))


def _marked(ids: np.ndarray, trained: np.ndarray, tokenizer: PreTrainedTokenizerBase) -> str:
    """Decodes runs of tokens, those that are trained on between marks."""
    borders = np.flatnonzero(np.diff(trained.astype(np.int8))) + 1
    runs = zip(np.split(ids, borders), np.split(trained, borders), strict=True)
    parts = [
        f"{OPEN}{text}{CLOSE}" if is_trained[0] else text
        for run, is_trained in runs
        if len(run) and (text := _clipped(str(tokenizer.decode(run))))
    ]
    return _clipped(" ".join(parts), 2 * MAX_CHARS)


def _clipped(text: str, limit: int = MAX_CHARS) -> str:
    text = text.replace("\n", "⏎")
    return text if len(text) <= limit else f"{text[: limit // 2]} … {text[-limit // 2 :]}"
