"""Where a run is written: choosing the folder, and saving into it without half-written files.

Files are written to a staging folder beside their place, flushed to the disk, checksummed, renamed
one by one, and listed in `manifest.json` last. A crash leaves the old files or the new ones, never
a torn one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fastft.data.sync import sync
from fastft.errors import ConfigurationError, DataError, OutputError

if TYPE_CHECKING:
    from collections.abc import Callable

MANIFEST = "manifest.json"
RUN_FILE = "run.yaml"


def choose_output_dir(
    given: str | Path | None, model: str, data: str, *, resume: bool | str
) -> Path:
    """Chooses the folder of a run; creates nothing.

    Args:
        given: The folder that the user named, or None for `runs/<model>-<data>-<n>`.
        model: A short name of the model.
        data: A short name of the data.
        resume: "auto" when a folder that is named may hold an interrupted run, which
            `fastft.training.resume` then looks at; False when it must not.

    Raises:
        ConfigurationError: The folder named holds a run already and `resume` is not "auto", or it
            holds a model.
    """
    if given is not None:
        folder = Path(given).expanduser()
        if (folder / "config.json").exists() and not is_run(folder):
            raise ConfigurationError(
                "the folder holds a model, which would be written over",
                place=f"argument output_dir={str(given)!r}",
                found="config.json",
                expected="a new or empty folder",
                fix="name another folder",
            )
        if is_run(folder) and resume is False:
            raise ConfigurationError(
                "the folder holds a run already, and a run is never written over",
                place=f"argument output_dir={str(given)!r}",
                found=", ".join(sorted(entry.name for entry in folder.iterdir())[:6]),
                expected="a new or empty folder",
                fix='name another folder, or pass resume="auto" to go on with that run',
            )
        return folder
    numbers = _numbers(_stem(model, data))
    return Path(f"{_stem(model, data)}-{max(numbers, default=0) + 1}")


def numbered_runs(model: str, data: str) -> list[Path]:
    """Lists the folders `runs/<model>-<data>-<n>` that are there, the newest first."""
    stem = _stem(model, data)
    return [Path(f"{stem}-{number}") for number in sorted(_numbers(stem), reverse=True)]


def short_path(path: Path) -> Path:
    """Gives a path as it is read most easily: from the working directory when it lies below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run, finished or not."""
    return folder.is_dir() and (
        (folder / RUN_FILE).exists() or any(folder.glob("checkpoint-*")) or is_finished(folder)
    )


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a run that came to its end."""
    return (folder / MANIFEST).exists()


def check_writable(folder: Path, argument: str = "output_dir") -> None:
    """Tries the folder, or the nearest one above it that exists, and leaves nothing behind.

    Args:
        folder: The folder; need not be there.
        argument: How the user passed it, for the message.

    Raises:
        OutputError: It cannot be written.
    """
    ancestor = _existing_ancestor(folder)
    try:
        if not ancestor.is_dir():
            raise NotADirectoryError(f"{ancestor} is a file")
        with tempfile.TemporaryFile(dir=ancestor):
            pass
    except OSError as error:
        raise OutputError(
            "the output folder cannot be written",
            place=f"argument {argument}={str(folder)!r}",
            found=error.strerror or str(error),
            expected="a folder in which files can be made",
            fix=f"pass {argument}= in a place that you can write to",
        ) from error


def check_disk_space(folder: Path, needed_bytes: int) -> None:
    """Holds the size of the checkpoints against the free disk.

    Raises:
        OutputError: There is too little room.
    """
    free = shutil.disk_usage(_existing_ancestor(folder)).free
    if free < needed_bytes:
        raise OutputError(
            "the disk has too little room for the checkpoints of this run",
            place=str(folder),
            found=f"{free / 1e9:.2f} GB free",
            expected=f"{needed_bytes / 1e9:.2f} GB",
            fix='free some room, lower save_total_limit, or pass save_strategy="no"',
        )


def save_files(folder: Path, write: Callable[[Path], None]) -> None:
    """Writes files into a folder so that each is there whole or not at all.

    Args:
        folder: The folder; made when it is not there. Other files in it stay.
        write: Writes the files into the folder that it is given.

    Raises:
        OutputError: The folder is a file, or cannot be written.
    """
    check_writable(folder, "folder")
    folder.mkdir(parents=True, exist_ok=True)
    # A fixed prefix, so that what a killed run left behind is recognised and cleared.
    for leftover in folder.glob(".staging-*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink()
    staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=folder))
    try:
        write(staging)
        files = (path for path in staging.rglob("*") if path.is_file())
        names = sorted(path.relative_to(staging).as_posix() for path in files)
        entries = {name: _checksum(staging / name) for name in names}
        _write_synced(staging / MANIFEST, json.dumps({"files": entries}, indent=1) + "\n")
        (folder / MANIFEST).unlink(missing_ok=True)
        for name in [*names, MANIFEST]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).replace(folder / name)
        sync(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".staging-{path.name}")
    _write_synced(staged, text)
    staged.replace(path)


def verify_files(folder: Path) -> None:
    """Holds the files of a run against its manifest.

    Raises:
        DataError: A file is missing or was changed.
    """
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    for name, expected in manifest["files"].items():
        path = folder / name
        found = _checksum(path) if path.is_file() else None
        if found != expected:
            raise DataError(
                "the file is missing" if found is None else "the file is damaged",
                place=str(path),
                found="nothing" if found is None else f"sha256 {str(found['sha256'])[:12]}…",
                expected=f"sha256 {expected['sha256'][:12]}…, {expected['bytes']:,} bytes",
                fix="restore the file or train again",
            )


def _checksum(path: Path) -> dict[str, int | str]:
    """Flushes a file to the disk and gives its size and SHA-256."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    return {"bytes": path.stat().st_size, "sha256": digest}


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _existing_ancestor(folder: Path) -> Path:
    folder = folder.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _stem(model: str, data: str) -> Path:
    return Path("runs") / f"{_slug(model)}-{_slug(data)}"


def _numbers(stem: Path) -> list[int]:
    """Lists the numbers that are taken; `a-b-1` is no run of the stem `a`."""
    ends = (
        entry.name.removeprefix(f"{stem.name}-") for entry in stem.parent.glob(f"{stem.name}-*")
    )
    return [int(end) for end in ends if end.isdecimal() and end == str(int(end))]


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.") or "run"
