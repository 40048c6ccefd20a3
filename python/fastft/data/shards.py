"""Tables that were written in parts: `train-00000-of-00002.parquet` and its like.

The name says how many parts there are, so a part that is missing is found before any is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastft.data.path_names import SHARD
from fastft.errors import DataNotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def is_shard(path: Path) -> bool:
    """Returns whether a name ends like `train-00000-of-00002.parquet`."""
    return bool(SHARD.search(_stem(path)))


def refuse_missing_shards(paths: Sequence[Path]) -> None:
    """Raises when some of the files are shards of a set that is not whole.

    Args:
        paths: The files of one table.

    Raises:
        DataNotFoundError: A shard is missing; the first one is named.
    """
    for members in _sets_of_shards(paths).values():
        present = {_number(path) for path in members}
        wanted = _numbers_of_set(present, _total(members[0]))
        lacking = next((number for number in wanted if number not in present), None)
        if lacking is not None:
            raise DataNotFoundError(
                f"a shard is missing: {_named_like(members[0], lacking)}",
                place=f"{members[0].parent}/",
                found=f"{len(present.intersection(wanted))} of {_total(members[0])} shards",
                expected="all shards of a table, as their names count them",
                fix="fetch the missing shards; to use what is there alone, pass the path of the "
                "file, or rename it",
            )


def shard_note(path: Path) -> str | None:
    """Returns a note for a file that is only one of several shards, else None."""
    if not is_shard(path) or _total(path) < 2:
        return None
    return f"{path} is one of {_total(path)} shards; the others are not read"


def _sets_of_shards(paths: Sequence[Path]) -> dict[tuple[str, int, str], list[Path]]:
    """Returns the shards among the files by the table that they are parts of."""
    sets: dict[tuple[str, int, str], list[Path]] = {}
    for path in filter(is_shard, paths):
        key = (SHARD.sub("", _stem(path)), _total(path), path.suffix)
        sets.setdefault(key, []).append(path)
    return sets


def _numbers_of_set(present: set[int], total: int) -> range:
    """Returns the numbers of a whole set; datasets counts from 0, others from 1."""
    first = 1 if 0 not in present and total in present else 0
    return range(first, first + total)


def _named_like(path: Path, number: int) -> str:
    """Returns the name of another shard of the same set, with as many digits."""
    match = SHARD.search(_stem(path))
    assert match is not None
    digits = f"{number:0{len(match[1])}d}"
    return path.name[: match.start(1)] + digits + path.name[match.end(1) :]


def _number(path: Path) -> int:
    match = SHARD.search(_stem(path))
    return int(match[1]) if match else 0


def _total(path: Path) -> int:
    match = SHARD.search(_stem(path))
    return int(match[2]) if match else 1


def _stem(path: Path) -> str:
    return path.name.split(".")[0]
