"""Which files make up which split: the folder is looked at, no file is read.

A split can be read as a table (csv, tsv, json, parquet), as a file per label (`train/0.txt`, an
example per line) or as a folder per label (`train/pos/12.txt`, an example per file). All readings
that a folder admits are collected first; more than one is an error, so a guess is never made.

Invariant: every entry of a folder ends up in a split, among the strays, or in an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fastft.data.path_names import (
    COMPRESSED,
    SPLIT_NAMES,
    TABLE_FORMATS,
    canonical_split,
    is_text,
    label_order,
    list_entries,
    refuse_compressed,
    refuse_type,
    require_existing,
    shown_folder,
    split_stem,
)
from fastft.data.shards import is_shard, refuse_missing_shards
from fastft.errors import ConfigurationError, DataError, DataNotFoundError, nearest

Kind = Literal["table", "label-files", "label-folders"]

LAYOUTS = ("auto", "table", "label-files", "label-folders")

_MEANING: dict[Kind, str] = {
    "table": "a table, one example per row",
    "label-files": "a file per label, one example per line",
    "label-folders": "a folder per label, one example per file",
}


_OFFICE = (".xlsx", ".xls", ".ods", ".docx", ".doc", ".odt")


@dataclass(frozen=True)
class DataFile:
    """One file of a split.

    Args:
        path: Where it lies, spelt as the user spelt it.
        label: The label of every example in it; None in a table.
    """

    path: Path
    label: str | None = None


@dataclass(frozen=True)
class SplitFiles:
    """One way to read one split.

    Args:
        kind: The reading.
        files: The files in the order of their rows.
        shown: The name by which messages speak of it, such as `train.csv` or `train/`.
    """

    kind: Kind
    files: tuple[DataFile, ...]
    shown: str


@dataclass(frozen=True)
class Tree:
    """What a folder holds: the files of every split, and the entries that belong to none."""

    splits: dict[str, SplitFiles]
    strays: tuple[Path, ...]


def check_layout(layout: str) -> None:
    """Raises unless `layout` is one of the names in `LAYOUTS`.

    Raises:
        ConfigurationError: The layout has a name that nobody knows.
    """
    if layout not in LAYOUTS:
        close = nearest(layout, LAYOUTS)
        raise ConfigurationError(
            "there is no such layout",
            place="argument layout",
            found=repr(layout),
            expected=", ".join(LAYOUTS),
            fix=f'did you mean layout="{close[0]}"?' if close else "leave layout away",
        )


def find_splits(folder: Path, layout: str = "auto") -> Tree:
    """Returns the files of every split of a folder.

    Args:
        folder: A folder whose entries are named by split, or that is itself one split.
        layout: `auto`, or the reading to take where more than one is possible.

    Raises:
        DataError: The folder can be read in several ways, or in none.
        DataNotFoundError: The folder is missing, or an entry looks like a misspelt split.
    """
    check_layout(layout)
    entries, strays = list_entries(folder)
    named: dict[str, list[Path]] = {}
    for path in entries:
        split = canonical_split(split_stem(path))
        named.setdefault(split or "", []).append(path)
    others = named.pop("", [])
    _refuse_misspelt(folder, others, named)
    if not named:
        split_files, inner = find_split(folder, layout)
        _refuse_unnamed(folder, split_files, layout)
        return Tree({"train": split_files}, tuple(inner))
    strays += others
    splits = {}
    for split in SPLIT_NAMES:
        if split in named:
            readings, inner = _readings_of(folder, named[split])
            splits[split] = _choose(readings, layout, folder, split, inner)
            strays += inner
    return Tree(splits, tuple(sorted(strays)))


def find_split(path: Path, layout: str = "auto") -> tuple[SplitFiles, list[Path]]:
    """Returns the files of one split, and the strays beside them.

    Args:
        path: A table, or a folder that holds one split (`{0,1}.txt`, folders by label, a table).
        layout: `auto`, or the reading to take where more than one is possible.

    Raises:
        DataError: The path can be read in several ways, or in none.
        DataNotFoundError: The path is missing.
    """
    check_layout(layout)
    require_existing(path)
    if not path.is_dir():
        return _table([path], path.name), []
    readings, strays = _readings_inside(path)
    return _choose(readings, layout, path, None, strays), strays


def _readings_of(folder: Path, paths: list[Path]) -> tuple[list[SplitFiles], list[Path]]:
    """Returns every way to read the entries of a folder that carry the name of one split."""
    readings: list[SplitFiles] = []
    strays: list[Path] = []
    tables: dict[tuple[str, str, bool], list[Path]] = {}
    for path in paths:
        if path.is_dir():
            inside, stray = _readings_inside(path)
            readings += inside
            strays += stray
        else:
            key = (split_stem(path), path.suffix, is_shard(path))
            tables.setdefault(key, []).append(path)
    for group in tables.values():
        refuse_missing_shards(group)
        readings.append(_table(group, _names(group)))
    return readings, strays


def _readings_inside(folder: Path) -> tuple[list[SplitFiles], list[Path]]:
    """Returns every way to read a folder as one split."""
    entries, strays = list_entries(folder)
    _refuse_nested_splits(folder, entries)
    shown = shown_folder(folder)
    readings = []
    by_label = sorted(filter(is_text, entries), key=lambda path: label_order(path.stem))
    if by_label:
        files = tuple(DataFile(path, path.stem) for path in by_label)
        readings.append(SplitFiles("label-files", files, f"the .txt files in {shown}"))
    labelled: list[DataFile] = []
    for path in sorted(filter(Path.is_dir, entries), key=lambda path: label_order(path.name)):
        inside, stray = _examples_in(path)
        labelled += [DataFile(example, path.name) for example in inside]
        strays += stray if inside else [path]
    if labelled:
        readings.append(SplitFiles("label-folders", tuple(labelled), f"the folders in {shown}"))
    tables: dict[str, list[Path]] = {}
    for path in entries:
        if not is_text(path) and not path.is_dir():
            tables.setdefault(path.suffix.lower(), []).append(path)
    archives = tables.pop(".zip", [])
    if archives and not readings and not tables:
        refuse_compressed(archives[0])
    for group in tables.values():
        refuse_missing_shards(group)
        readings.append(_table(group, _names(group)))
    return readings, strays + archives


def _examples_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """Returns the text files of a label's folder, and the strays beside them."""
    entries, strays = list_entries(folder)
    for path in entries:
        if path.suffix.lower() in COMPRESSED:
            refuse_compressed(path)
    others = [path for path in entries if not is_text(path)]
    return list(filter(is_text, entries)), strays + others


def _table(paths: list[Path], shown: str) -> SplitFiles:
    """Returns the reading of files as one table, shards in name order."""
    for path in paths:
        if path.suffix.lower() in COMPRESSED:
            refuse_compressed(path)
        if path.suffix.lower() not in TABLE_FORMATS:
            refuse_type(path)
    return SplitFiles("table", tuple(DataFile(path) for path in paths), shown)


def _names(paths: list[Path]) -> str:
    names = [path.name for path in paths]
    return " + ".join(names if len(names) <= 3 else [names[0], "...", names[-1]])


def _choose(
    readings: list[SplitFiles], layout: str, folder: Path, split: str | None, strays: list[Path]
) -> SplitFiles:
    """Returns the one reading that the layout admits."""
    place = shown_folder(folder) if split is None else f"{shown_folder(folder)}, split {split}"
    if not readings:
        raise _no_data_file(place, strays)
    found = "; ".join(f"{reading.shown}: {_MEANING[reading.kind]}" for reading in readings)
    fitting = [reading for reading in readings if layout in ("auto", reading.kind)]
    if not fitting:
        raise DataError(
            f'layout="{layout}" does not fit',
            place=place,
            found=found,
            fix="pass " + " or ".join(f'layout="{reading.kind}"' for reading in readings),
        )
    if len(fitting) > 1:
        raise DataError(
            f"the data can be read in {len(fitting)} ways",
            place=place,
            found=found,
            expected="one way to read it",
            fix=_how_to_choose(fitting, split),
        )
    return fitting[0]


def _no_data_file(place: str, strays: list[Path]) -> DataNotFoundError:
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
        found=_names(strays) if strays else "nothing",
        expected=f"<label>.txt files, folders of .txt files, or {', '.join(TABLE_FORMATS)}",
        fix=fix,
    )


def _holds_tables(path: Path) -> bool:
    try:
        return any(entry.suffix.lower() in TABLE_FORMATS for entry in path.iterdir())
    except OSError:  # a file, or a folder that may not be listed
        return False


def _how_to_choose(readings: list[SplitFiles], split: str | None) -> str:
    kinds = [reading.kind for reading in readings]
    by_hand = f'remove or rename the others, or pass data={{"{split or "train"}": "<path>", ...}}'
    if len(set(kinds)) < len(kinds):
        return by_hand
    choices = [f'layout="{reading.kind}" to read {reading.shown}' for reading in readings]
    return f"pass {', or '.join(choices)}; or {by_hand}"


def _refuse_misspelt(folder: Path, others: list[Path], named: dict[str, list[Path]]) -> None:
    """Raises when an entry looks like the name of a split that is not there otherwise."""
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


def _refuse_unnamed(folder: Path, split_files: SplitFiles, layout: str) -> None:
    """Raises when a folder without splits is more likely a set of splits under other names."""
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


def _refuse_nested_splits(folder: Path, entries: list[Path]) -> None:
    """Raises when a folder given as one split holds several splits itself."""
    splits = {canonical_split(split_stem(path)) for path in entries} - {None}
    if len(splits) > 1:
        raise DataError(
            "the folder is taken as one split, but holds several",
            place=shown_folder(folder),
            found=", ".join(path.name for path in entries if canonical_split(split_stem(path))),
            fix=f"pass data={str(folder)!r} for all of them, or the path of one",
        )
