"""Augmentation: tokens left out, swapped or masked while a batch is made, another way every epoch.

Wei and Zou, "EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification
Tasks", https://arxiv.org/abs/1901.11196 (random deletion and random swap); random masking stands in
for its replacement by synonyms. What happens to a token is a pure function of (seed, epoch, row,
position), so a resumed run, or one on more ranks, sees the same texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.data import counter_random
from fastft.data.ragged_column import RaggedColumn
from fastft.data.token_dataset import BatchReference, TokenDataset
from fastft.data.type_ids import TypeIds
from fastft.errors import ConfigurationError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

KINDS = ("delete", "swap", "mask")
PLACES = ("start_positions", "end_positions")
"""Columns whose numbers are places of tokens."""
DEFAULT_SHARE = 0.1


def given_augmentation(options: Mapping[str, Any]) -> dict[str, float] | None:
    """Reads the option `augment` of a task as `read_augmentation` does; None without one."""
    given = options.get("augment")
    return None if given is None else read_augmentation(given)


def read_augmentation(given: Any) -> dict[str, float]:
    """Reads the argument `augment=`.

    Args:
        given: "delete", "swap" or "mask" (a tenth of the tokens), or a dict of shares.

    Returns:
        The share of each kind that is used.

    Raises:
        ConfigurationError: It is neither, names another kind, or a share is not between 0 and 1.

    Example:
        >>> read_augmentation("mask"), read_augmentation({"delete": 0.2, "swap": 0.1})
        ({'mask': 0.1}, {'delete': 0.2, 'swap': 0.1})
    """
    shares = {given: DEFAULT_SHARE} if isinstance(given, str) else given
    if not isinstance(shares, dict) or not shares:
        raise _error(repr(given), 'pass augment="delete", or {"delete": 0.1, "mask": 0.1}')
    for kind, share in shares.items():
        if kind not in KINDS:
            close = nearest(str(kind), KINDS)
            raise _error(repr(kind), f"did you mean {close[0]!r}?" if close else "correct augment")
        is_number = isinstance(share, int | float) and not isinstance(share, bool)
        if not is_number or not 0 < share < 1:
            raise _error(f"{share!r} for {kind!r}", "pass a share between 0 and 1")
    return {kind: float(share) for kind, share in shares.items()}


@dataclass
class AugmentingCollator:
    """Changes the rows of a batch a little, then hands them to another collator.

    Args:
        collator: What makes the batch.
        shares: The share of tokens that is left out, swapped with the next one, masked.
        tokenizer: Knows the special tokens, which stay, and the mask token.
        seed: The seed of the run.
        epoch: The epoch that the changes depend on.
        apart: Columns of sequences that say nothing about places of tokens: the labels of a
            decoder, which stay as they are.
        num_kept: The first words of every row that stay, such as an instruction before it.

    Raises:
        ConfigurationError: Tokens should be masked and there is no mask token; or, when called, a
            column of the data set says something about places of tokens.
    """

    collator: Any
    shares: Mapping[str, float]
    tokenizer: Any
    seed: int
    epoch: int = 0
    apart: tuple[str, ...] = ()
    num_kept: int = 0

    def __post_init__(self) -> None:
        if "mask" in self.shares and self.tokenizer.mask_token_id is None:
            raise _error(
                f'"mask", and {type(self.tokenizer).__name__} has no mask token',
                'pass augment="delete"',
            )

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch that the changes depend on, and random masks where there are any."""
        self.epoch = epoch
        set_epoch = getattr(self.collator, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)

    def for_evaluation(self) -> Any:
        """Gives the collator that changes nothing."""
        fixed = getattr(self.collator, "for_evaluation", None)
        return self.collator if fixed is None else fixed()

    def __call__(self, features: Any) -> Any:
        """Makes a batch; only rows of a `TokenDataset` that nobody looked at are changed."""
        if not isinstance(features, BatchReference) or not features.is_untouched:
            return self.collator(features)
        changed = self.changed(features.dataset, features.indices)
        reference = changed.__getitems__(np.arange(len(changed)))
        reference.rows = features.rows
        return self.collator(reference)

    def changed(self, dataset: TokenDataset, rows: NDArray[np.int64]) -> TokenDataset:
        """Gives some rows of a data set, changed.

        Raises:
            ConfigurationError: A column speaks of tokens by their place, which changes.
        """
        columns = _columns_of_rows(dataset, rows, self.apart)
        parts = [self._row(dataset, int(row)) for row in rows]
        offsets = np.zeros(len(parts) + 1, np.uint64)
        np.cumsum([len(ids) for ids, _ in parts], out=offsets[1:])
        type_ids = np.concatenate([types for _, types in parts]).astype(np.uint8)
        return TokenDataset(
            np.concatenate([ids for ids, _ in parts]),
            offsets,
            TypeIds(flat=type_ids) if "token_type_ids" in dataset.model_inputs else None,
            columns=columns,
            model_inputs=dataset.model_inputs,
            vocab_size=dataset.vocab_size,
        )

    def _row(self, dataset: TokenDataset, row: int) -> tuple[NDArray[Any], NDArray[Any]]:
        start, end = int(dataset.row_offsets[row]), int(dataset.row_offsets[row + 1])
        ids = dataset.row_ids(row).copy()
        types = np.asarray(dataset.type_ids.row(row, start, end))
        words = np.flatnonzero(~np.isin(ids, self.tokenizer.all_special_ids))[self.num_kept :]
        random_bits = counter_random.bits(self.seed, self.epoch, np.full(len(words), row), words)
        chosen = {}
        for kind in KINDS:  # each kind draws anew
            chosen[kind] = words[counter_random.uniform(random_bits) < self.shares.get(kind, 0.0)]
            random_bits = counter_random.mix(random_bits)
        ids[chosen["mask"]] = self.tokenizer.mask_token_id if len(chosen["mask"]) else 0
        _swap_with_next(ids, chosen["swap"], words)
        kept = np.ones(len(ids), bool)
        # A text of which nothing is left says nothing: one word always stays.
        gone = chosen["delete"] if len(chosen["delete"]) < len(words) else words[1:]
        kept[gone] = False
        return ids[kept], types[kept]


def _columns_of_rows(
    dataset: TokenDataset, rows: NDArray[np.int64], apart: tuple[str, ...]
) -> dict[str, Any]:
    """Some rows of the columns, all of which say something about a row as a whole."""
    columns: dict[str, Any] = {}
    for name, column in dataset.columns.items():
        if (isinstance(column, RaggedColumn) and name not in apart) or name in PLACES:
            raise ConfigurationError(
                "augment cannot be used: it moves tokens, and a column speaks of them by place",
                place=f"column {name!r}",
                found="places of tokens" if name in PLACES else "a sequence in every row",
                expected="columns that say something about a row as a whole",
                fix="leave augment out",
            )
        if isinstance(column, RaggedColumn):
            columns[name] = RaggedColumn.from_rows(column[row] for row in rows)
        else:
            columns[name] = column[rows]
    return columns


def _swap_with_next(ids: NDArray[Any], chosen: NDArray[np.int64], words: NDArray[np.int64]) -> None:
    following = dict(zip(words[:-1].tolist(), words[1:].tolist(), strict=True))
    for position in chosen.tolist():
        other = following.get(position)
        if other is not None:
            ids[[position, other]] = ids[[other, position]]


def _error(found: str, fix: str) -> ConfigurationError:
    return ConfigurationError(
        "augment cannot be used",
        place="argument augment",
        found=found,
        expected="one of " + ", ".join(map(repr, KINDS)) + ", or a dict of shares between 0 and 1",
        fix=fix,
    )
