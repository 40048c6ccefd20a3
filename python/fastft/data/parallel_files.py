"""Parallel files: a text file for each of two languages, aligned line by line.

`train.de` beside `train.en`, `train/de.txt` beside `train/en.txt`, or `{"de": path, "en": path}`.
The two names come from the user; without them a folder is never read this way.

Invariant: line n of one file belongs to line n of the other, so no line is left out here, blank
ones included, and files of different length are an error.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from fastft.data.contents import load_text, require_content
from fastft.data.origins import Origin
from fastft.data.parts import Part, listed, stray_notes
from fastft.data.path_names import (
    COMPRESSED,
    SPLIT_NAMES,
    TABLE_FORMATS,
    canonical_split,
    checked_path,
    list_entries,
    refuse_compressed,
    require_existing,
    split_stem,
)
from fastft.data.readers import ReadOptions, split_lines
from fastft.errors import DataError, DataNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Names = tuple[str, str]
"""What the source and the target are called."""


@dataclass(frozen=True)
class LinePairs:
    """The rows of two files that are aligned by line.

    Args:
        source: The file of the source.
        target: The file of the target.
        count: The number of lines of each.
    """

    source: Path
    target: Path
    count: int

    def place(self, row: int) -> str:
        """Returns `train.de and train.en, line 12`."""
        return f"{self.source} and {self.target}, line {row + 1}"


def open_parallel(
    data: object, options: ReadOptions, argument: str
) -> tuple[dict[str, Part], str, tuple[str, ...]] | None:
    """Reads the parallel files of a folder, or of a dict with a path for each language.

    Args:
        data: What the user passed.
        options: `parallel` holds the names of source and target; None reads nothing this way.
        argument: How the user passed it, for messages.

    Returns:
        The splits, a description and notes; None when the data is no pair of files.

    Raises:
        DataError: The files differ in length, or the folder can be read in other ways too.
        DataNotFoundError: One file of a pair is missing.
    """
    names = options.parallel
    if names is None:
        return None
    if isinstance(data, Mapping):
        part = open_pair(data, options, argument)
        return None if part is None else ({"train": part}, part.description, ())
    if not isinstance(data, str | os.PathLike) or options.layout != "auto":
        return None
    folder = checked_path(data, argument)
    if not folder.is_dir():
        return None
    pairs, strays = _find_pairs(folder, names)
    if not pairs:
        return None
    parts = {split: _read_pair(pairs[split], options) for split in SPLIT_NAMES if split in pairs}
    shown = "; ".join(f"{split}: {part.description}" for split, part in parts.items())
    return parts, f"folder {folder}/: {shown}", stray_notes(strays)


def open_pair(data: object, options: ReadOptions, argument: str) -> Part | None:
    """Reads one split from a dict with a path for each language, or from a folder of a pair.

    Args:
        data: A dict, or a folder such as one with `de.txt` and `en.txt`.
        options: `parallel` holds the names of source and target.
        argument: How the user passed it, for messages.

    Raises:
        DataError: The files differ in length.
        DataNotFoundError: A file is missing.
    """
    names = options.parallel
    if names is None:
        return None
    if isinstance(data, str | os.PathLike):
        opened = open_parallel(data, options, argument)
        return None if opened is None or len(opened[0]) > 1 else next(iter(opened[0].values()))
    if not isinstance(data, Mapping) or set(data) != set(names):
        return None
    if not all(isinstance(data[name], str | os.PathLike) for name in names):
        return None
    source, target = (checked_path(data[name], f"{argument}[{name!r}]") for name in names)
    for path in (source, target):
        require_existing(path)
    return _read_pair((source, target), options)


def _find_pairs(folder: Path, names: Names) -> tuple[dict[str, tuple[Path, Path]], list[Path]]:
    """Returns the two files of every split, and the entries that are not used."""
    found: dict[tuple[str, str], list[Path]] = {}
    strays: list[Path] = []
    tables: list[Path] = []
    for path in _files(folder):
        language, split = _language(path, names), _split(path, folder)
        if language is not None and split is not None:
            found.setdefault((split, language), []).append(path)
            continue
        strays.append(path)
        if path.suffix.lower() in TABLE_FORMATS and split:
            tables.append(path)
    named = {split for split, _ in found if split}
    # Files without the name of a split are train where no file has one.
    splits = {split: split for split in named} or {"train": ""}
    pairs = {
        split: (found.get((key, names[0]), []), found.get((key, names[1]), []))
        for split, key in splits.items()
    }
    strays += [path for (split, _), paths in found.items() if named and not split for path in paths]
    if not any(all(files) for files in pairs.values()):
        if not found or tables:
            return {}, strays
    elif tables:
        raise _two_readings(folder, pairs, tables)
    return {
        split: _only_pair(split, files, names, folder) for split, files in pairs.items()
    }, strays


def _files(folder: Path) -> Iterable[Path]:
    """Yields the entries of a folder, and those of its folders that are named by a split."""
    for path in sorted(chain(*list_entries(folder))):
        if path.is_dir() and canonical_split(path.name):
            yield from sorted(chain(*list_entries(path)))
        else:
            yield path


def _language(path: Path, names: Names) -> str | None:
    """Returns which of the two a file is: `train.de`, `train.de.txt` and `de.txt` are "de"."""
    if path.is_dir():
        return None
    parts = path.name.split(".")
    is_packed = len(parts) > 1 and f".{parts[-1].lower()}" in COMPRESSED
    for ending in (is_packed, parts[-1].lower() == "txt"):
        parts = parts[:-1] if ending and len(parts) > 1 else parts
    if is_packed and parts[-1].lower() == "txt":
        parts = parts[:-1]
    if parts[-1] not in names:
        return None
    if is_packed:
        refuse_compressed(path)
    return parts[-1]


def _split(path: Path, folder: Path) -> str | None:
    """Returns the split of a file, "" for none; None where a folder inside is no split."""
    return canonical_split(split_stem(path)) or (
        canonical_split(path.parent.name) if path.parent != folder else ""
    )


def _only_pair(
    split: str, files: tuple[list[Path], list[Path]], names: Names, folder: Path
) -> tuple[Path, Path]:
    for name, paths in zip(names, files, strict=True):
        if not paths:
            raise DataNotFoundError(
                f"the {split} split has no file {name!r}",
                place=f"{folder}/",
                found=listed(path.name for pair in files for path in pair),
                expected=f"{split}.{names[0]} and {split}.{names[1]}",
                fix=f"add {split}.{name}, or correct source= and target=",
            )
        if len(paths) > 1:
            raise DataError(
                f"the {split} split has {len(paths)} files {name!r}",
                place=f"{folder}/",
                found=listed(str(path.relative_to(folder)) for path in paths),
                expected="one",
                fix="remove or rename the others, or name the files: "
                f'data={{"{split}": {{"{names[0]}": "<path>", "{names[1]}": "<path>"}}}}',
            )
    return files[0][0], files[1][0]


def _two_readings(
    folder: Path, pairs: Mapping[str, tuple[list[Path], list[Path]]], tables: list[Path]
) -> DataError:
    files = [path.name for pair in pairs.values() for paths in pair for path in paths]
    return DataError(
        "the data can be read in 2 ways",
        place=f"{folder}/",
        found=f"{listed(files)}: parallel files; {listed(p.name for p in tables)}: tables",
        expected="one way to read it",
        fix='pass layout="table" for the tables, or move them away for the parallel files',
    )


def _read_pair(paths: tuple[Path, Path], options: ReadOptions) -> Part:
    names = options.parallel or ("source", "target")
    columns, marked = [], []
    for path in paths:
        content, has_bom = load_text(path, options.encoding)
        require_content(path, content)
        columns.append(split_lines(content).cast(pa.large_string()))
        marked += [path] * has_bom
    _require_equal_length(paths, columns)
    rows = LinePairs(*paths, count=len(columns[0]))
    notes = (f"BOM dropped from {listed(map(str, marked))}",) if marked else ()
    table = pa.table(dict(zip(names, columns, strict=True)))
    shown = " + ".join(path.name for path in paths)
    return Part(table, Origin((rows,)), shown, notes, None, False)


def _require_equal_length(paths: tuple[Path, Path], columns: list[pa.Array]) -> None:
    counts = [len(column) for column in columns]
    if counts[0] == counts[1]:
        return
    longer = int(counts[1] > counts[0])
    surplus = columns[longer][min(counts) :]
    is_blank = pc.all(pc.equal(pc.utf8_trim_whitespace(surplus), "")).as_py()
    raise DataError(
        "parallel files have the same number of lines, and these do not",
        place=f"{paths[0]} and {paths[1]}",
        found=f"{counts[0]:,} and {counts[1]:,} lines",
        expected="line n of one file is the translation of line n of the other",
        fix=f"remove the {len(surplus):,} blank lines at the end of {paths[longer]}"
        if is_blank
        else "find the first line from which they no longer belong together, and align them",
    )
