"""Files of Megatron-LM: rows as they were written, mapped where that can be, faults named."""

from __future__ import annotations

import mmap
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fastft
from fastft.data.megatron import HEADER, MAGIC
from fastft.data.token_dataset import TokenDataset

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [[5, 6, 7], [], [300], [1, 2]]
CODES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 7: "<f4", 8: "<u2"}


def write(
    folder: Path, rows: list[list[int]], code: int = 8, order: list[int] | None = None
) -> Path:
    """Writes what Megatron's builder writes; `order` says how the rows follow in the `.bin`."""
    dtype = np.dtype(CODES[code])
    starts, data = [0] * len(rows), b""
    for row in order or range(len(rows)):
        starts[row] = len(data)
        data += np.array(rows[row], dtype).tobytes()
    index = HEADER.pack(MAGIC, 1, code, len(rows), len(rows) + 1)
    index += np.array([len(row) for row in rows], "<i4").tobytes()
    index += np.array(starts, "<i8").tobytes()
    index += np.arange(len(rows) + 1, dtype="<i8").tobytes()
    (folder / "tokens.bin").write_bytes(data)
    (folder / "tokens.idx").write_bytes(index)
    return folder / "tokens"


def lists(dataset: TokenDataset) -> list[Any]:
    return [dataset[row]["input_ids"] for row in range(len(dataset))]


def is_mapped(array: Any) -> bool:
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, mmap.mmap)


@pytest.mark.parametrize("code", [3, 4, 5, 8])
def test_rows_are_as_they_were_written(tmp_path: Path, code: int) -> None:
    dataset = TokenDataset.from_megatron(write(tmp_path, ROWS, code))
    assert lists(dataset) == ROWS
    assert is_mapped(dataset.ids) == (code != 5)
    assert dataset[0]["attention_mask"] == [1, 1, 1]


def test_rows_may_lie_in_any_order_and_share_tokens(tmp_path: Path) -> None:
    assert lists(TokenDataset.from_megatron(write(tmp_path, ROWS, order=[3, 0, 1, 2]))) == ROWS


def test_no_rows_are_an_empty_dataset(tmp_path: Path) -> None:
    assert lists(TokenDataset.from_megatron(write(tmp_path, []))) == []
    assert lists(TokenDataset.from_megatron(write(tmp_path, [[], []]))) == [[], []]


def change(path: Path, at: int, data: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[at : at + len(data)] = data
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("at", "data", "message"),
    [
        (0, b"X", r"no index of Megatron(.|\n)*MMIDIDX"),
        (9, b"\x02", r"version 2"),
        (17, b"\x09", r"type 9"),
        (18, struct.pack("<Q", 2**60), r"bytes for 1152921504606846976 rows"),
        (HEADER.size, struct.pack("<i", -1), r"row 0: -1 ids"),
        (HEADER.size, struct.pack("<i", 99), r"not there(.|\n)*found:    6 ids"),
        (HEADER.size + 16, struct.pack("<q", 1), r"row 0: 3 ids at byte 1"),
        (HEADER.size + 16, struct.pack("<q", -2), r"not there"),
    ],
)
def test_a_damaged_index_is_named(tmp_path: Path, at: int, data: bytes, message: str) -> None:
    prefix = write(tmp_path, ROWS)
    change(tmp_path / "tokens.idx", at, data)
    with pytest.raises(fastft.DataError, match=message):
        TokenDataset.from_megatron(prefix)


def test_what_is_missing_or_no_id_is_named(tmp_path: Path) -> None:
    prefix = write(tmp_path, [[1]], code=7)
    with pytest.raises(fastft.DataError, match=r"whole numbers(.|\n)*float32"):
        TokenDataset.from_megatron(prefix)
    with pytest.raises(fastft.DataError, match=r"out of range(.|\n)*-3"):
        TokenDataset.from_megatron(write(tmp_path, [[-3]], code=4))
    with pytest.raises(fastft.DataError, match="row 2"):
        TokenDataset.from_megatron(write(tmp_path, ROWS), vocab_size=300)
    (tmp_path / "tokens.idx").write_bytes(b"MM")
    with pytest.raises(fastft.DataError, match="no index of Megatron"):
        TokenDataset.from_megatron(prefix)
    (tmp_path / "tokens.bin").unlink()
    with pytest.raises(fastft.DataNotFoundError, match=r"tokens\.bin"):
        TokenDataset.from_megatron(prefix)
