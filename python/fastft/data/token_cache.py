"""A folder of token datasets, found again by the content of their files, tokenizer and settings.

    (size, inode, times) of each file ─► hash of its content ─┐
    tokenizer, settings, versions ────────────────────────────┴─► key ─► folder of arrays

The hash of a file is taken while it is read for the first time, and remembered under its size,
inode and times: the second run reads nothing but the arrays. One process builds while the others
wait for its lock, which the kernel takes back when the process dies. An entry appears whole, by a
rename, and never changes; a damaged one is replaced. All of it may be deleted at any time.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.data.sync import sync
from fastft.data.token_shards import Shards, open_shards
from fastft.errors import DamagedFileError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Build = Callable[[Path], list[str]]
    Open = Callable[[Path], Shards]

SETTLED_SECONDS = 2.0
"""A file changed less than this before it was read may change again under the same time stamp."""


class TokenCacheWarning(UserWarning):
    """The cache of token datasets cannot be used, or had a damaged entry; the text says which."""


def cache_root(folder: str | Path | None = None) -> Path:
    """The folder of the cache.

    Args:
        folder: The folder to use; by default `$FASTFT_CACHE`, or `fastft` in `$XDG_CACHE_HOME`,
            or `~/.cache/fastft`.
    """
    if folder is not None:
        return Path(folder).expanduser()
    if given := os.environ.get("FASTFT_CACHE"):
        return Path(given).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "fastft"


def open_or_build(
    files: Sequence[Path],
    recipe: Mapping[str, Any],
    build: Build,
    root: Path,
    open_entry: Open = open_shards,
) -> Shards:
    """Gives the arrays made from some files, from the cache when it holds them.

    Args:
        files: The files.
        recipe: Everything else that the arrays depend on, as JSON.
        build: Makes the arrays in an empty folder, and gives the hash of each file's content.
        root: The folder of the cache. When it cannot be used, the arrays live in a temporary
            folder and a warning says so.
        open_entry: Maps the arrays of a folder, and refuses what is damaged.

    Raises:
        Error: Whatever `build` raises.
    """
    try:
        _make_private(root)
    except OSError as error:
        return build_apart(build, f"{root}: {error.strerror or error}", open_entry)
    known = _known_entry(files, recipe, root)
    if known is not None and (shards := _sound(known, open_entry)) is not None:
        return shards
    stamps = [_stamp(file) for file in files]
    name = _key(stamps, recipe)
    with _locked(root / f"{name}.lock"):
        # Another process may have built it while this one waited.
        known = _known_entry(files, recipe, root)
        if known is not None and (shards := _sound(known, open_entry)) is not None:
            return shards
        for left_behind in root.glob(f".{name}.*"):
            shutil.rmtree(left_behind, ignore_errors=True)
        return _build_entry(files, stamps, recipe, build, root, name, open_entry)


def _build_entry(
    files: Sequence[Path],
    stamps: list[str],
    recipe: Mapping[str, Any],
    build: Build,
    root: Path,
    name: str,
    open_entry: Open,
) -> Shards:
    began = time.time()
    staging = Path(tempfile.mkdtemp(dir=root, prefix=f".{name}."))
    try:
        contents = build(staging)
        entry = root / _key(contents, recipe)
        # The same content may lie there already, from a file with another stamp.
        if (shards := _sound(entry, open_entry)) is None:
            discard(entry)
            staging.rename(entry)
            sync(root)
            shards = open_entry(entry)
        for file, stamp, content in zip(files, stamps, contents, strict=True):
            _remember(file, stamp, content, root, began)
        return shards
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def discard(entry: Path) -> None:
    """Takes an entry out of the cache; processes that have it open keep what they mapped."""
    with suppress(OSError):
        aside = Path(tempfile.mkdtemp(dir=entry.parent, prefix=".discarded."))
        with suppress(OSError):
            entry.rename(aside / entry.name)
        shutil.rmtree(aside, ignore_errors=True)


def build_apart(build: Build, reason: str, open_entry: Open = open_shards) -> Shards:
    """Builds in a temporary folder, which is deleted as soon as its arrays are mapped.

    Args:
        build: Makes the arrays.
        reason: Why the cache is not used, for the warning.
        open_entry: Maps the arrays.
    """
    _warn(f"the cache cannot be used ({reason}); the same work is done again in every run")
    with tempfile.TemporaryDirectory(prefix="fastft-") as folder:
        build(Path(folder))
        return open_entry(Path(folder))


def _sound(entry: Path, open_entry: Open) -> Shards | None:
    if not entry.is_dir():
        return None
    try:
        return open_entry(entry)
    except DamagedFileError as error:
        _warn(f"{error.place}: {error.problem} ({error.found}); it is made again")
        return None


def _warn(text: str) -> None:
    warnings.warn(text, TokenCacheWarning, stacklevel=2)


def _known_entry(files: Sequence[Path], recipe: Mapping[str, Any], root: Path) -> Path | None:
    contents = [_remembered(file, root) for file in files]
    if not all(contents):
        return None
    return root / _key([content or "" for content in contents], recipe)


def _key(parts: Sequence[str], recipe: Mapping[str, Any]) -> str:
    text = json.dumps([list(parts), recipe], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _stamp(file: Path) -> str:
    """What changes when a file changes: its size, inode, and the times of its last changes."""
    try:
        status = file.stat()
    except OSError as error:
        raise DataError(
            "the file cannot be read", place=str(file), found=error.strerror or str(error)
        ) from error
    parts = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return " ".join(map(str, parts))


def _stamp_file(stamp: str, root: Path) -> Path:
    return root / f"{hashlib.sha256(stamp.encode()).hexdigest()[:32]}.content"


def _remembered(file: Path, root: Path) -> str | None:
    with suppress(OSError, ValueError):
        kept = json.loads(_stamp_file(_stamp(file), root).read_bytes())
        if isinstance(kept, str):
            return kept
    return None


def _remember(file: Path, stamp: str, content: str, root: Path, began: float) -> None:
    """Keeps the hash of a file's content, unless the file may have changed meanwhile."""
    status = file.stat()
    changed = max(status.st_mtime, status.st_ctime)
    if stamp != _stamp(file) or changed > began - SETTLED_SECONDS:
        return
    with suppress(OSError):
        handle, temporary = tempfile.mkstemp(dir=root, prefix=".content.")
        with os.fdopen(handle, "w") as out:
            json.dump(content, out)
        Path(temporary).replace(_stamp_file(stamp, root))


def _make_private(root: Path) -> None:
    """Makes the folder, for this user alone.

    Raises:
        OSError: It cannot be written to, or others could put files into it.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = root.stat()
    if status.st_uid != os.geteuid():
        raise PermissionError(1, "the folder belongs to another user")
    if status.st_mode & stat.S_IWOTH:
        raise PermissionError(1, "every user may write to the folder")
    if not os.access(root, os.W_OK | os.X_OK):
        raise PermissionError(13, "the folder cannot be written to")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds the lock of a file; it ends with the process, however that ends."""
    with path.open("a") as file:
        with suppress(OSError):  # a file system without locks: the rename still keeps entries whole
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
