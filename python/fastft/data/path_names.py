"""What the name of a file or folder says: its split, its label, its format, or that it is a stray.

Invariant: every entry of a folder is either kept or a stray; none is dropped in silence.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from fastft.errors import DataError, DataNotFoundError, nearest

SPLIT_NAMES = {
    "train": ("train",),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "eval"),
}
TABLE_FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
}
COMPRESSED = (".gz", ".zip", ".xz", ".bz2", ".zst", ".tgz", ".tar", ".7z")

_NOTICES = {"LICENCE", "SOURCE", "NOTICE", "CITATION", "CHANGELOG"}
SHARD = re.compile(r"-(\d+)-of-(\d+)$")


def canonical_split(name: str) -> str | None:
    """Returns `train`, `validation` or `test` for a name of a split, None for any other name.

    Example:
        >>> canonical_split("dev"), canonical_split("Train"), canonical_split("labels")
        ('validation', 'train', None)
    """
    lowered = name.lower()
    return next((split for split, names in SPLIT_NAMES.items() if lowered in names), None)


def split_stem(path: Path) -> str:
    """Returns the part of a name that may name a split: `train` of `train-00000-of-00002.csv`."""
    if path.is_dir():
        return path.name
    return SHARD.sub("", path.name.split(".")[0])


def label_order(label: str) -> tuple[int, int, str]:
    """Returns the sort key of a label: numbers by value first, then names.

    Example:
        >>> sorted(["10", "b", "2", "a"], key=label_order)
        ['2', '10', 'a', 'b']
    """
    if re.fullmatch(r"-?[0-9]+", label):
        return (0, int(label), label)
    return (1, 0, label)


def checked_path(given: str | os.PathLike[str], argument: str) -> Path:
    """Returns a path that the system can be asked about, `~` expanded.

    Args:
        given: What the user passed.
        argument: How the user passed it, for messages: `data` or `data['train']`.

    Raises:
        DataError: It is empty, holds characters that no path holds, or names an unknown user.
    """
    text = os.fspath(given)
    problem, found = "", repr(text)[:80]
    if not isinstance(text, str):
        problem = "a path is text, not bytes"
    elif not text.strip():
        problem = "the path is empty"
    elif "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        problem = "the path holds a character that no path can hold"
    if not problem:
        try:
            return Path(text).expanduser()
        except RuntimeError as error:
            problem, found = "the home folder of this user is not known", f"{found}: {error}"
    raise DataError(
        problem,
        place=f"argument {argument}",
        found=found,
        expected="the path of a folder or file",
        fix="pass the path of the data; texts go in as a list of (text, label) pairs",
    )


def require_existing(path: Path) -> None:
    """Raises, with the nearest name that does exist, unless the path exists.

    Raises:
        DataNotFoundError: Nothing lies at the path.
        DataError: The system refuses to say.
    """
    try:
        if path.exists():
            return
        parent = path.parent
        while not parent.exists():
            path, parent = parent, parent.parent
        beside = sorted(entry.name for entry in parent.iterdir()) if parent.is_dir() else []
    except OSError as error:
        raise DataError(
            "the path cannot be looked up",
            place=str(path) if len(str(path)) < 80 else str(path)[:77] + "...",
            found=error.strerror or str(error),
            fix="pass a path that you may read; pass texts as a list of (text, label) pairs",
        ) from error
    close = nearest(path.name, beside)
    fix = "check the spelling; a dataset of the hub goes in as datasets.load_dataset(...)"
    if close:
        fix = f"did you mean {str(parent / close[0])!r}?"
    if not path.is_absolute():
        fix += f" (relative paths start at {str(Path.cwd())!r})"
    raise DataNotFoundError("there is no such file or folder", place=str(path), fix=fix)


def list_entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Returns the entries of a folder in name order: those that may be data, and the strays."""
    require_existing(folder)
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(
            "the folder cannot be read",
            place=shown_folder(folder),
            found=error.strerror or str(error),
            fix="check that it is a folder and that you may list it",
        ) from error
    kept = [path for path in paths if not _is_stray(path)]
    return kept, [path for path in paths if _is_stray(path)]


def _is_stray(path: Path) -> bool:
    if path.name.startswith((".", "__")) or path.name.lower() in {"thumbs.db", "desktop.ini"}:
        return True
    if path.is_dir():
        return False
    known = path.suffix.lower() in {".txt", *TABLE_FORMATS, *COMPRESSED}
    is_notice = path.stem in _NOTICES or path.stem.lower() in {"readme", "license"}
    return not known or (is_notice and path.suffix.lower() == ".txt")


def refuse_compressed(path: Path) -> None:
    """Raises an error that says to unpack the file.

    Raises:
        DataError: Always.
    """
    raise DataError(
        "the file is compressed",
        place=str(path),
        expected=f"one of {', '.join(TABLE_FORMATS)}, .txt",
        fix="unpack it and pass what was inside",
    )


def refuse_type(path: Path) -> None:
    """Raises an error that names the types that can be read.

    Raises:
        DataError: Always.
    """
    if path.suffix.lower() == ".txt":
        raise DataError(
            "a .txt file alone says nothing about labels",
            place=str(path),
            expected="a folder with a .txt file per label (train/0.txt), or a table",
            fix=f"name files by label inside a folder: {path.stem}/<label>.txt; plain text for a "
            'language model: task="causal-lm" or "masked-lm"',
        )
    raise DataError(
        f"files of type {path.suffix or 'without suffix'!r} cannot be read",
        place=str(path),
        expected=", ".join(TABLE_FORMATS),
        fix="save the data as one of these types, or pass it as a Python object; plain text for a "
        'language model: task="causal-lm" or "masked-lm"',
    )


def is_text(path: Path) -> bool:
    """Returns whether a path is a .txt file."""
    return path.suffix.lower() == ".txt" and not path.is_dir()


def shown_folder(folder: Path) -> str:
    """Returns the name of a folder as messages spell it: `data/`."""
    return f"{folder}/"


def shown_names(paths: list[Path]) -> str:
    """Returns the names of files as messages spell them; of many the first and the last."""
    names = [path.name for path in paths]
    return " + ".join(names if len(names) <= 3 else [names[0], "...", names[-1]])
