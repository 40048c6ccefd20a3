"""What is wrong with a folder of data, and what to do about it: the errors of `layouts`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fastft.data.path_names import (
    SPLIT_NAMES,
    TABLE_FORMATS,
    canonical_split,
    shown_folder,
    shown_names,
    split_stem,
)
from fastft.data.shards import is_shard
from fastft.data.split_files import MEANING, SplitFiles
from fastft.errors import DataError, DataNotFoundError, nearest

if TYPE_CHECKING:
    from pathlib import Path

_OFFICE = (".xlsx", ".xls", ".ods", ".docx", ".doc", ".odt")


def no_data_file(place: str, strays: list[Path]) -> DataNotFoundError:
    """Returns the error for a folder without data; a folder inside may be the one that is meant."""
    fix = "put the data there, or pass the folder or file that holds it"
    inner = [path for path in strays if _holds_tables(path)]
    languages = sorted({path.suffix[1:] for path in strays if canonical_split(split_stem(path))})
    if len(languages) == 2:
        fix = f"for parallel files pass source={languages[0]!r}, target={languages[1]!r} (or the "
        fix += "other way round)"
    elif inner:
        fix = f"pass {str(inner[0])!r}, which holds tables"
    elif any(path.suffix.lower() in _OFFICE for path in strays):
        fix = "save the sheet or document as .csv, or pass a DataFrame (pandas.read_excel)"
    return DataNotFoundError(
        "there is no data file",
        place=place,
        found=shown_names(strays) if strays else "nothing",
        expected=f"<label>.txt files, folders of .txt files, or {', '.join(TABLE_FORMATS)}",
        fix=fix,
    )


def _holds_tables(path: Path) -> bool:
    try:
        return any(entry.suffix.lower() in TABLE_FORMATS for entry in path.iterdir())
    except OSError:  # a file, or a folder that may not be listed
        return False


def not_one_reading(
    readings: list[SplitFiles],
    fitting: list[SplitFiles],
    layout: str,
    place: str,
    split: str | None,
) -> DataError:
    """Returns the error for data that can be read, but not in one way that the layout admits."""
    found = "; ".join(f"{reading.shown}: {MEANING[reading.kind]}" for reading in readings)
    if not fitting:
        return DataError(
            f'layout="{layout}" does not fit',
            place=place,
            found=found,
            fix="pass " + " or ".join(f'layout="{reading.kind}"' for reading in readings),
        )
    return DataError(
        f"the data can be read in {len(fitting)} ways",
        place=place,
        found=found,
        expected="one way to read it",
        fix=_how_to_choose(fitting, split),
    )


def _how_to_choose(readings: list[SplitFiles], split: str | None) -> str:
    kinds = [reading.kind for reading in readings]
    by_hand = f'remove or rename the others, or pass data={{"{split or "train"}": "<path>", ...}}'
    if len(set(kinds)) < len(kinds):
        return by_hand
    choices = [f'layout="{reading.kind}" to read {reading.shown}' for reading in readings]
    return f"pass {', or '.join(choices)}; or {by_hand}"


def refuse_misspelt(folder: Path, others: list[Path], named: dict[str, list[Path]]) -> None:
    """Raises when an entry looks like the name of a split that is not there otherwise.

    Raises:
        DataNotFoundError: It is so.
    """
    names = [
        name for split, aliases in SPLIT_NAMES.items() if split not in named for name in aliases
    ]
    for path in others:
        stem = split_stem(path)
        close = nearest(stem.lower(), names)
        if close:
            meant = path.name.replace(stem, close[0], 1)
            raise DataNotFoundError(
                f"{path.name!r} is not the name of a split",
                place=shown_folder(folder),
                expected=f"names that begin with {', '.join(names)}",
                fix=f"did you mean {meant!r}? Rename it, move it away, or name the splits: "
                f'data={{"train": "<path>", ...}}',
            )


def refuse_unnamed(folder: Path, split_files: SplitFiles, layout: str) -> None:
    """Raises when a folder without splits is more likely a set of splits under other names.

    Raises:
        DataNotFoundError: It is so.
    """
    paths = [file.path for file in split_files.files]
    problem = ""
    if split_files.kind == "table" and len(paths) > 1 and not all(map(is_shard, paths)):
        problem = "none of the files carries the name of a split"
    if split_files.kind == "label-files" and layout == "auto":
        words = {word for path in paths for word in re.split(r"[^a-z]+", path.stem.lower())}
        if any(map(canonical_split, words)):
            problem = "the names of the files speak of splits, not of labels"
    if problem:
        raise DataNotFoundError(
            problem,
            place=shown_folder(folder),
            found=", ".join(path.name for path in paths[:8]),
            expected="train.csv (or tsv, jsonl, parquet), or train/<label>.txt; the same for "
            "validation (valid, val, dev) and test (eval)",
            fix=f'rename them, or pass data={{"train": {str(paths[0])!r}, ...}}'
            if split_files.kind == "table"
            else 'make a table of them; layout="label-files" if the names are labels',
        )


def refuse_nested_splits(folder: Path, entries: list[Path]) -> None:
    """Raises when a folder given as one split holds several splits itself.

    Raises:
        DataError: It is so.
    """
    splits = {canonical_split(split_stem(path)) for path in entries} - {None}
    if len(splits) > 1:
        raise DataError(
            "the folder is taken as one split, but holds several",
            place=shown_folder(folder),
            found=", ".join(path.name for path in entries if canonical_split(split_stem(path))),
            fix=f"pass data={str(folder)!r} for all of them, or the path of one",
        )
