"""The bytes of a text file, checked once before any parser sees them.

Every reader starts here: compressed files, other encodings, invalid UTF-8 and NUL bytes are met in
this one place, so the parsers behind need no checks of their own.

Invariant: what `load_text` returns is valid UTF-8 without a byte order mark and without NUL.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from fastft.data import diagnose
from fastft.data.path_names import refuse_compressed
from fastft.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_BLOCK = 2**24
_LARGEST_BLOCK = 2**31 - 1
_PACKED = re.compile(rb"\x1f\x8b|PK\x03\x04|\xfd7zXZ\x00|BZh[1-9]1AY&SY|\x28\xb5\x2f\xfd")
_NOT_DATA = (
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer", "fetch the file: git lfs pull"),
    (re.compile(rb"\s*<(?:!doctype )?html", re.I), "a web page", "download the file itself"),
    (re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), "an Office file", "save it as .csv"),
)
_WIDE_BOMS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before utf-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def load_text(path: Path, encoding: str | None = None) -> tuple[bytes, bool]:
    """Returns the content of a text file as valid UTF-8, and whether a byte order mark was dropped.

    Args:
        path: The file.
        encoding: Its encoding; UTF-8 when None.

    Raises:
        DataError: The file cannot be read, is compressed, or is not text in this encoding.
        ConfigurationError: There is no such encoding.
    """
    content = _read_bytes(path)
    refuse_unreadable(path, content, encoding)
    name = check_encoding(encoding)
    if encoding is not None and name not in ("utf-8", "utf-8-sig"):
        content = _decode(path, content, encoding)
    has_bom = content.startswith(codecs.BOM_UTF8)
    content = content.removeprefix(codecs.BOM_UTF8)
    require_text(path, content)
    return content, has_bom


def refuse_unreadable(path: Path, beginning: bytes, encoding: str | None = None) -> None:
    """Raises when the first bytes of a file say that it is no text in this encoding.

    Raises:
        DataError: It is compressed, something else than data, or UTF-16 without being called so.
    """
    if _PACKED.match(beginning):
        refuse_compressed(path)
    refuse_other_content(path, beginning)
    if encoding is not None and check_encoding(encoding) not in ("utf-8", "utf-8-sig"):
        return
    if wide := next((wide for bom, wide in _WIDE_BOMS.items() if beginning.startswith(bom)), ""):
        raise DataError(
            f"the file is {wide.upper()}, not UTF-8",
            place=str(path),
            found=f"the byte order mark {beginning[:4].hex(' ')}",
            fix=f'pass encoding="{wide}", or save the file as UTF-8',
        )


def require_text(path: Path, content: bytes) -> None:
    """Raises at the first byte that is not UTF-8, or NUL.

    Raises:
        DataError: There is one.
    """
    if not _is_utf8(content):
        raise diagnose.utf8_fault(path, content)
    if b"\0" in content:
        raise diagnose.nul_fault(path, content)


def require_content(path: Path, content: bytes) -> None:
    """Raises when a file is empty or holds only white space.

    Raises:
        DataError: There is nothing to read.
    """
    if content and not content.isspace():
        return
    raise DataError(
        "the file holds only blank lines" if content else "the file is empty",
        place=str(path),
        expected="at least one example",
        fix="fill the file or remove it",
    )


def one_text(content: bytes) -> pa.Array:
    """Returns a column whose only value is the content, without copying it."""
    offsets = pa.py_buffer(np.array([0, len(content)], np.int64))
    return pa.LargeStringArray.from_buffers(1, offsets, pa.py_buffer(content))


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            "the file cannot be read",
            place=str(path),
            found=error.strerror or str(error),
            fix="check that it is a file and that you may read it",
        ) from error


def refuse_other_content(path: Path, content: bytes) -> None:
    """Raises when a file begins like something that only bears the name of a data file.

    Raises:
        DataError: It is a pointer of Git LFS, a web page or an Office file.
    """
    for pattern, what, fix in _NOT_DATA:
        if pattern.match(content):
            raise DataError(
                f"the file is {what}, not the data",
                place=str(path),
                found=diagnose.clip(content[:40]),
                expected="what the suffix of the file says",
                fix=fix,
            )


def check_encoding(encoding: str | None) -> str:
    """Returns Python's own name of an encoding; None means UTF-8.

    Raises:
        ConfigurationError: There is no such encoding of text.
    """
    try:
        if encoding is None:
            return "utf-8"
        name = codecs.lookup(encoding).name
        b"a".decode(encoding)  # base64, zip and the like are codecs too, but not of text
    except UnicodeDecodeError:
        return name  # one byte is no character of this encoding
    except (LookupError, TypeError, ValueError) as error:
        raise ConfigurationError(
            "there is no such encoding",
            place="argument encoding",
            found=diagnose.clip(encoding),
            expected="a name that Python knows, such as utf-8, utf-16, cp1252, gb18030",
            fix="leave encoding away for UTF-8, or correct the name",
        ) from error
    return name


def _decode(path: Path, content: bytes, encoding: str) -> bytes:
    try:
        return content.decode(encoding).encode("utf-8")
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        raise DataError(
            f"byte {start + 1} of the file is not {encoding}",
            place=f"{path}, line {diagnose.line_at(content, start)[0]}",
            found=f"0x{content[start : start + 1].hex()}",
            fix="pass the encoding of the file, or save it as UTF-8 and leave encoding away",
        ) from error


def _is_utf8(content: bytes) -> bool:
    """Checks without making a Python string, which would take up to four times the room."""
    try:
        one_text(content).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def read_in_blocks(content: bytes, read: Callable[[pa.BufferReader, int], pa.Table]) -> pa.Table:
    """Calls a reader of pyarrow, with one block for all where a row is longer than a block.

    Args:
        content: The text.
        read: Takes a source and the size of a block.

    Raises:
        pa.ArrowInvalid: The reader meets a fault.
    """
    try:
        return read(pa.BufferReader(content), _BLOCK)
    except pa.ArrowInvalid as error:
        if "straddling" not in str(error):
            raise
        return read(pa.BufferReader(content), min(len(content) + 1, _LARGEST_BLOCK))
