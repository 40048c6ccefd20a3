"""Whether a model keeps packed rows apart, tried on a few tokens, and by what.

Most decoders do so by a mask that transformers makes of `position_ids`; the models that run without
padding do so by attention within each row. Others, a state-space model among them, let rows that
stand one behind the other see each other, and nothing in their configuration says so. So three
short rows are packed: none may change when its neighbours do, and each has to give what it gives
alone.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastft.errors import ConfigurationError
from fastft.modeling.padding_free.comparison import evaluating, tolerance
from fastft.modeling.padding_free.model import (
    is_padding_free,
    restore_padding,
    take_padding_out,
    why_padded,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import nn

BY_ROWS = "attention within each row"
BY_MASK = "the mask that transformers makes of position_ids"

_LENGTHS = (7, 5, 6)
"""Tokens of the three rows."""


def first_position(model: nn.Module) -> int:
    """Gives the position of the first token of a row: RoBERTa and its kin begin behind padding.

    Example:
        >>> first_position(torch.nn.Linear(1, 1))
        0
    """
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in ("position_embeddings", "embed_positions"):
            padding = getattr(module, "padding_idx", None)
            return 0 if padding is None else int(padding) + 1
    return 0


def way_to_keep_apart(
    model: Any,
    token_ids: NDArray[Any],
    *,
    ways: tuple[str, ...] = (BY_ROWS, BY_MASK),
    use_cache: bool = False,
) -> str:
    """Finds by what a model keeps packed rows apart.

    Args:
        model: The model; it is as it was afterwards, and draws no random numbers.
        token_ids: Ids that the model knows, (N,), from which short rows are made.
        ways: What is tried, the first that works is taken.
        use_cache: Whether the model will keep keys and values while it trains.

    Returns:
        `BY_ROWS`, for which the model needs its hooks (`take_padding_out`), or `BY_MASK`.

    Raises:
        ConfigurationError: Nothing keeps them apart.
    """
    if not len(token_ids):
        return ways[0]
    reasons = []
    for way in ways:
        with _told(model, use_cache=use_cache):
            found = _why_not(model, token_ids, way)
        if found is None:
            return way
        reasons.append(f"by {way}: {found}")
    raise ConfigurationError(
        "packed rows would see each other in this model",
        place="argument batching",
        found=f"'packed', with {type(model).__name__}; " + "; ".join(reasons),
        expected="a decoder with sdpa, eager or flash attention, or an encoder that "
        "docs/padding_free.md names",
        fix='pass batching="tokens"',
    )


def _why_not(model: Any, token_ids: NDArray[Any], way: str) -> str | None:
    if way == BY_MASK:
        return _why_rows_meet(model, token_ids)
    reason = why_padded(model, known_head=False)
    if reason is not None or is_padding_free(model):
        return reason or _why_rows_meet(model, token_ids)
    take_padding_out(model)
    try:
        return _why_rows_meet(model, token_ids)
    finally:
        restore_padding(model)


@contextmanager
def _told(model: Any, *, use_cache: bool) -> Iterator[None]:
    """Tells a model, as a Trainer does, whether to keep keys and values."""
    config: Any = getattr(model, "config", None)
    before = getattr(config, "use_cache", None)
    if before is None:
        yield
        return
    config.use_cache = use_cache
    try:
        yield
    finally:
        config.use_cache = before


@torch.no_grad()
def _why_rows_meet(model: Any, token_ids: NDArray[Any]) -> str | None:
    """Says what rows of random tokens do to each other; None where it is nothing."""
    parameters = inspect.signature(model.forward).parameters
    takes_more = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    if "position_ids" not in parameters and not takes_more:
        return "it takes no position_ids"
    start = first_position(model)
    rows, others = (_random_rows(token_ids, seed, model.device) for seed in (0, 1))
    with evaluating(model), torch.autocast(model.device.type, enabled=False):
        packed = _logits(model, rows, start)
        for kept, row in enumerate(rows):
            neighbours = [row if one == kept else other for one, other in enumerate(others)]
            if not _are_alike(_logits(model, neighbours, start)[kept], packed[kept], 1e-5):
                return "a row changes with its neighbours"
            alone = model(input_ids=row).logits[0]
            if not _are_alike(alone, packed[kept], tolerance(model)):
                return "a row gives something else than alone"
    return None


def _random_rows(token_ids: NDArray[Any], seed: int, device: torch.device) -> list[torch.Tensor]:
    drawn = np.random.default_rng(seed).choice(np.unique(token_ids), sum(_LENGTHS))
    ids = torch.from_numpy(drawn.astype(np.int64)).unsqueeze(0).to(device)
    return list(torch.split(ids, list(_LENGTHS), dim=1))


def _logits(model: Any, rows: list[torch.Tensor], start: int) -> list[torch.Tensor]:
    """Runs packed rows, and gives the logits of each, (T, V)."""
    positions = [torch.arange(start, start + row.shape[1], device=row.device) for row in rows]
    output = model(input_ids=torch.cat(rows, 1), position_ids=torch.cat(positions).unsqueeze(0))
    return list(torch.split(output.logits[0], [row.shape[1] for row in rows]))


def _are_alike(found: torch.Tensor, expected: torch.Tensor, share: float) -> bool:
    scale = expected.abs().max().clamp(min=1e-12)
    return bool((found - expected).abs().max() <= share * scale)
