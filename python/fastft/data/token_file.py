"""Arrays in one safetensors file that is written whole or not at all, and checked when read.

The file is written under another name in the same folder, synced, and renamed. Its header carries
a CRC-32 of every array, so that a flipped bit is an error instead of another token.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.data.sync import sync
from fastft.errors import DataError, DataNotFoundError, OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

FORMAT = "fastft.TokenDataset"
VERSION = "1"


def write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes the arrays to `path`, which keeps its old content until all is on the disk.

    Raises:
        OutputError: The file cannot be written.
    """
    from safetensors.numpy import save_file

    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    header = {"format": FORMAT, "version": VERSION, "crc32": json.dumps(_checksums(contiguous))}
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        save_file(contiguous, temporary, metadata=header)
        sync(Path(temporary))
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
        sync(path.parent)
    except OSError as error:
        raise OutputError(
            "the token dataset cannot be written", place=str(path), found=str(error)
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                Path(temporary).unlink()


def read(path: Path) -> dict[str, NDArray[Any]]:
    """Reads the arrays of a file that `write` wrote.

    Raises:
        DataNotFoundError: There is no such file.
        DataError: The file is damaged, or of another format.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise DataNotFoundError("there is no such file", place=str(path))
    try:
        with safe_open(str(path), framework="numpy") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if header.get("format") != FORMAT or header.get("version") != VERSION:
        raise DataError(
            "the file is not a token dataset of this version",
            place=str(path),
            found=f"{header.get('format')} {header.get('version')}",
            expected=f"{FORMAT} {VERSION}",
        )
    if header.get("crc32") != json.dumps(_checksums(arrays)):
        raise _damaged(path, "checksums that do not match")
    return arrays


def _checksums(arrays: Mapping[str, NDArray[Any]]) -> dict[str, int]:
    return {name: zlib.crc32(arrays[name].view(np.uint8).data) for name in sorted(arrays)}


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _damaged(path: Path, found: str) -> DataError:
    return DataError(
        "the file is damaged",
        place=str(path),
        found=found,
        fix="delete it and encode the texts again",
    )
