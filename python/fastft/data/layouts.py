"""Which files make up which split: the folder is looked at, no file is read.

A split can be read as a table (csv, tsv, json, parquet), as a file per label (`train/0.txt`, an
example per line) or as a folder per label (`train/pos/12.txt`, an example per file). All readings
that a folder admits are collected first; more than one is an error, so a guess is never made.

Invariant: every entry of a folder ends up in a split, among the strays, or in an error.
"""

from __future__ import annotations

from pathlib import Path

from fastft.data.layout_faults import (
    no_data_file,
    not_one_reading,
    refuse_misspelt,
    refuse_nested_splits,
    refuse_unnamed,
)
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
    shown_names,
    split_stem,
)
from fastft.data.shards import is_shard, refuse_missing_shards
from fastft.data.split_files import DataFile, SplitFiles, Tree
from fastft.errors import ConfigurationError, nearest

LAYOUTS = ("auto", "table", "label-files", "label-folders")


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
    refuse_misspelt(folder, others, named)
    if not named:
        split_files, inner = find_split(folder, layout)
        refuse_unnamed(folder, split_files, layout)
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
        readings.append(_table(group, shown_names(group)))
    return readings, strays


def _readings_inside(folder: Path) -> tuple[list[SplitFiles], list[Path]]:
    """Returns every way to read a folder as one split."""
    entries, strays = list_entries(folder)
    refuse_nested_splits(folder, entries)
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
        readings.append(_table(group, shown_names(group)))
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


def _choose(
    readings: list[SplitFiles], layout: str, folder: Path, split: str | None, strays: list[Path]
) -> SplitFiles:
    """Returns the one reading that the layout admits."""
    place = shown_folder(folder) if split is None else f"{shown_folder(folder)}, split {split}"
    if not readings:
        raise no_data_file(place, strays)
    fitting = [reading for reading in readings if layout in ("auto", reading.kind)]
    if len(fitting) != 1:
        raise not_one_reading(readings, fitting, layout, place, split)
    return fitting[0]
