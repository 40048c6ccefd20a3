"""A token dataset as a folder: each array in a safetensors file of its own, mapped, not read.

The arrays are written as streams, so that nothing of their size is ever in memory: each file begins
with room for its header, which is filled in at the end. `manifest.json` holds the size of every
file and a CRC-32 for every 256 KiB of it. Opening compares the manifest, the sizes, and all arrays
but the ids; a block of ids is compared when a row in it is first read.

Invariant: nothing is mapped whose size is not the one that was written.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastft import _fastft
from fastft.errors import DamagedFileError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

FORMAT = "fastft.TokenDataset.shards"
VERSION = 2
MANIFEST = "manifest.json"
BLOCK_BYTES = 2**18
"""The bytes under one checksum, as in `rust/fastft-core/src/checked_blocks.rs`."""
HEADER_BYTES = 4096
"""Where the values begin in each file: a page, so that they are aligned for any type."""

_DTYPES = {"U8": "<u1", "U16": "<u2", "U32": "<u4", "U64": "<u8"} | {
    "I32": "<i4",
    "I64": "<i8",
    "F32": "<f4",
}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}


class ArrayWriter:
    """Writes one array to a safetensors file, part by part.

    Args:
        folder: Where the file is made, under the name of the array.
        name: The name of the array.
        dtype: The type of its values.

    Raises:
        OSError: The file cannot be written.
    """

    def __init__(self, folder: Path, name: str, dtype: Any) -> None:
        self.name = name
        self.dtype = np.dtype(dtype)
        self.length = 0
        self._file = (folder / f"{name}.safetensors").open("xb")
        self._file.write(b" " * HEADER_BYTES)
        self._checksums: list[int] = []
        self._room = 0

    def append(self, values: NDArray[Any]) -> None:
        """Adds values (N,) at the end."""
        data = np.ascontiguousarray(values, self.dtype).data.cast("B")
        self._file.write(data)
        self.length += len(values)
        while data.nbytes:
            if not self._room:
                self._checksums.append(0)
                self._room = BLOCK_BYTES
            block, data = data[: self._room], data[self._room :]
            self._checksums[-1] = zlib.crc32(block, self._checksums[-1])
            self._room -= block.nbytes

    def finish(self) -> dict[str, Any]:
        """Writes the header, brings everything to the disk, and gives the entry of the manifest."""
        dtype = _NAMES[self.dtype]
        end = self.length * self.dtype.itemsize
        tensor = {"dtype": dtype, "shape": [self.length], "data_offsets": [0, end]}
        header = json.dumps({"__metadata__": {"format": FORMAT}, self.name: tensor}).encode()
        room = HEADER_BYTES - 8
        self._file.seek(0)
        self._file.write(room.to_bytes(8, "little") + header.ljust(room))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return {"dtype": dtype, "length": self.length, "crc32": self._checksums}

    def close(self) -> None:
        """Ends early; the file stays without a header."""
        self._file.close()


@dataclass(frozen=True)
class Shards:
    """The arrays of a folder, mapped.

    Attributes:
        folder: The folder.
        arrays: The arrays by name; they cannot be written to.
        ids_checksums: uint32 (blocks,): the CRC-32 of each block of the array that was not compared
            yet: `ids`, or none.
        metadata: What was written beside the arrays.
    """

    folder: Path
    arrays: dict[str, NDArray[Any]]
    ids_checksums: NDArray[np.uint32]
    metadata: dict[str, Any]


def write_manifest(
    folder: Path, arrays: Mapping[str, Mapping[str, Any]], metadata: Mapping[str, Any]
) -> None:
    """Writes the manifest, after all arrays, and brings it to the disk.

    Args:
        folder: The folder of the arrays.
        arrays: What `ArrayWriter.finish` gave for each, by name.
        metadata: JSON to be kept beside them.
    """
    content = {"format": FORMAT, "version": VERSION, "metadata": metadata, "arrays": arrays}
    with (folder / MANIFEST).open("x", encoding="utf-8") as file:
        json.dump({**content, "crc32": _checksum_of(content)}, file)
        file.flush()
        os.fsync(file.fileno())


def open_shards(folder: Path, checked_later: str | None = "ids") -> Shards:
    """Maps the arrays of a folder.

    Args:
        folder: The folder.
        checked_later: The array that is compared with its checksums where it is read, not here.

    Raises:
        DamagedFileError: Something in it is missing or not what was written.

    Example:
        >>> open_shards(Path("somewhere/else"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        fastft.errors.DamagedFileError: somewhere/else/manifest.json: ...
    """
    manifest = _manifest(folder)
    try:
        entries = dict(manifest["arrays"])
        for name, entry in entries.items():
            _require_size(folder, name, entry)
        arrays = {name: _mapped(folder, name, entry) for name, entry in entries.items()}
        for name, entry in entries.items():
            if name != checked_later:
                _require_checksums(folder, name, arrays[name], entry["crc32"])
        kept = [] if checked_later is None else entries[checked_later]["crc32"]
        checksums = np.array(kept, np.uint32)
        return Shards(folder, arrays, checksums, dict(manifest["metadata"]))
    except (KeyError, TypeError, ValueError, OSError) as error:
        if isinstance(error, DamagedFileError):
            raise
        raise damaged(folder / MANIFEST, f"{type(error).__name__}: {error}") from error


def damaged(path: Path, found: str) -> DamagedFileError:
    """The error for a file that does not hold what was written."""
    return DamagedFileError(
        "the file is not what was written",
        place=str(path),
        found=found,
        fix=f"remove {path.parent} and encode the texts again",
    )


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        checksum = manifest.pop("crc32")
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error
    if checksum != _checksum_of(manifest):
        raise damaged(path, "a checksum that does not match")
    if (manifest["format"], manifest["version"]) != (FORMAT, VERSION):
        raise damaged(path, f"{manifest['format']} {manifest['version']}")
    found: dict[str, Any] = manifest
    return found


def _checksum_of(content: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def _file_of(folder: Path, name: str) -> Path:
    return folder / f"{Path(name).name}.safetensors"


def _require_size(folder: Path, name: str, entry: Mapping[str, Any]) -> None:
    path = _file_of(folder, name)
    expected = HEADER_BYTES + entry["length"] * np.dtype(_DTYPES[entry["dtype"]]).itemsize
    try:
        found = path.stat().st_size
    except OSError as error:
        raise damaged(path, error.strerror or str(error)) from error
    if found != expected:
        raise damaged(path, f"{found} bytes, not {expected}")


def _mapped(folder: Path, name: str, entry: Mapping[str, Any]) -> NDArray[Any]:
    dtype, length = np.dtype(_DTYPES[entry["dtype"]]), int(entry["length"])
    if not length:  # nothing can be mapped
        return np.empty(0, dtype)
    mapped = np.memmap(_file_of(folder, name), dtype, "r", HEADER_BYTES, (length,))
    return mapped.view(np.ndarray)


def _require_checksums(folder: Path, name: str, array: NDArray[Any], checksums: list[int]) -> None:
    blocks = _fastft.block_checksums(array.view(np.uint8)).tolist()
    if len(blocks) != len(checksums):
        raise damaged(folder / MANIFEST, f"{len(checksums)} checksums for {name}")
    for number, (found, checksum) in enumerate(zip(blocks, checksums, strict=True)):
        if found != checksum:
            raise damaged(_file_of(folder, name), f"another block {number} of 256 KiB")
