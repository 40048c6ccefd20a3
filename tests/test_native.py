"""The raw Rust face: types, errors, the GIL, threads, forks, and what importing does."""

from __future__ import annotations

import base64
import json
import os
import struct
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import fastft
from fastft import _fastft, errors
from tests.hostile_texts import hostile_texts
from tests.tiny import WORDS, tiny_tokenizer


@pytest.fixture(scope="module")
def rust() -> _fastft.Tokenizer:
    return _fastft.Tokenizer(tiny_tokenizer().backend_tokenizer.to_str())


def column(texts: list[str]) -> tuple[Any, Any]:
    data = [text.encode() for text in texts]
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in data])]).astype(np.int64)
    return np.frombuffer(b"".join(data), np.uint8), offsets


def work(rows: int = 4000) -> tuple[Any, Any]:
    """A column that keeps one thread busy for some tenths of a second."""
    return column(
        [" ".join(WORDS[(row + i) % len(WORDS)] for i in range(60)) for row in range(rows)]
    )


def test_the_versions_are_those_of_the_build() -> None:
    assert fastft.__version__ == _fastft.__version__
    assert _fastft.TOKENIZERS_VERSION.startswith("0.")


def test_arrays_have_the_types_of_the_stub(rust: _fastft.Tokenizer) -> None:
    encoded = rust.encode(column(["the film", ""]), column(["good", "bad"]))
    assert encoded.ids.dtype == np.uint32
    assert encoded.row_offsets.dtype == np.uint64
    assert encoded.second_segment_starts is not None
    assert encoded.second_segment_starts.dtype == np.uint32
    assert encoded.flat_type_ids is None
    dataset = _fastft.TokenDataset(encoded.ids, encoded.row_offsets)
    batch = dataset.collate(np.array([1, 0]), _fastft.Recipe.padded(pad_token_id=0))
    assert list(batch) == ["input_ids", "attention_mask"]
    for array in batch.values():
        assert array.dtype == np.int64
        assert array.shape == (2, 6)
        assert array.flags.writeable
    assert dataset.longest(np.array([1])) == 4
    assert dataset.longest(np.array([1, 0])) == 6
    indices, offsets, repeated, *_ = arranged_in_steps_of(1)
    assert (indices.dtype, offsets.dtype, repeated.dtype) == (np.int64, np.int64, np.bool_)
    indices, offsets = _fastft.pack(np.array([3], np.uint32), 4)
    assert (indices.dtype, offsets.dtype) == (np.int64, np.int64)


@pytest.mark.parametrize(
    ("call", "error", "part"),
    [
        (lambda: _fastft.Tokenizer("{}"), errors.TokenizerError, "definition"),
        (lambda: cut([0, 0]), errors.DataError, "twice"),
        (lambda: cut([0, 2]), errors.DataError, "outside"),
        (lambda: cut([0, 1], batch_size=0), errors.ConfigurationError, "at least 1"),
        (lambda: cut_by_length([1, 1]), errors.DataError, "twice"),
        (lambda: cut_by_length([0, 1, 2]), errors.DataError, "order has 3 entries"),
        (lambda: cut_by_length([0, 1], window=0), errors.ConfigurationError, "window must be"),
        (lambda: cut_by_length([0, 1], max_tokens=0), errors.ConfigurationError, "max_tokens must"),
        (
            lambda: cut_by_length([0, 1], max_tokens=4),
            errors.ConfigurationError,
            "row 1: a row of 5",
        ),
        (lambda: cut_by_length([1, 0]).arranged(np.array([0])), errors.DataError, "order has 1"),
        (lambda: cut_by_length([1, 0]).arranged(np.array([0, 2])), errors.DataError, "index 2"),
        (lambda: arranged_in_steps_of(0), errors.ConfigurationError, "at least 1"),
        (lambda: arranged_in_steps_of(2**40), errors.ConfigurationError, "is above 65536"),
        (
            lambda: _fastft.pack(np.array([3], np.uint32), 0),
            errors.ConfigurationError,
            "max_length",
        ),
        (
            lambda: _fastft.pack(np.array([3], np.uint32), 2),
            errors.ConfigurationError,
            "row 0: a row",
        ),
        (lambda: dataset([0, 9]), errors.DataError, "row 0: offset 9"),
        (lambda: dataset([0, 2], vocab_size=6), errors.DataError, "row 0: token id 6"),
        (lambda: collate([5]), errors.DataError, "index 5"),
        (lambda: dataset([0, 2]).longest(np.array([1])), errors.DataError, "index 1"),
        (lambda: collate([0], width=1), errors.ConfigurationError, "row 0: a row of 2 tokens"),
        (lambda: collate([0], width=2**62, rows=8), errors.ConfigurationError, "memory"),
        (lambda: collate([0], pad_to_multiple_of=0), errors.ConfigurationError, "at least 1"),
        (lambda: collate([0], padding_side="top"), ValueError, "'left' or 'right'"),
        (lambda: collate([0], columns=["a"]), errors.ColumnError, 'no column "a"'),
        (lambda: labelled([0, 2]), errors.ColumnError, "row 0: a row of 2 tokens has 3 labels"),
        (lambda: labelled([0, 2], labels=np.zeros(1, np.int64)), errors.ColumnError, "a run of"),
        (lambda: labelled([0, 1, 2]), errors.DataError, "1 entries, 2 belong here"),
        (lambda: with_numbers([1, 2]), errors.DataError, "2 entries, 1 belong here"),
    ],
)
def test_errors_are_those_of_fastft(call: Any, error: type[Exception], part: str) -> None:
    with pytest.raises(error, match=part):
        call()


def cut(order: list[int], batch_size: int = 1) -> Any:
    return _fastft.cut_batches(np.array(order), num_examples=2, batch_size=batch_size)


def cut_by_length(order: list[int], window: int = 8, max_tokens: int = 5) -> _fastft.Batches:
    lengths = np.array([3, 5], np.uint32)
    return _fastft.Batches.within_tokens(
        np.array(order), lengths, window=window, max_tokens=max_tokens
    )


def arranged_in_steps_of(count: int) -> Any:
    return cut_by_length([1, 0]).arranged(np.array([0, 1]), micro_batches_per_step=count)


def dataset(offsets: list[int], **options: Any) -> _fastft.TokenDataset:
    ids = np.array([5, 6], np.uint16)
    return _fastft.TokenDataset(ids, np.array(offsets, np.uint64), **options)


def collate(indices: list[int], rows: int = 1, **options: Any) -> Any:
    recipe = _fastft.Recipe.padded(pad_token_id=0, **options)
    return dataset([0, 2]).collate(np.array(indices * rows), recipe)


def labelled(offsets: list[int], labels: Any = None) -> Any:
    three = (np.array([1, 2, 3], np.int32), np.array([0, 3]))
    columns = {"labels": three if labels is None else labels}
    beside = _fastft.Labels.from_column("labels", pad_token_id=-100, as_wide_as_inputs=True)
    recipe = _fastft.Recipe.padded(pad_token_id=0, labels=beside)
    return dataset(offsets).with_columns(columns).collate(np.array([0]), recipe)


def with_numbers(numbers: list[int]) -> Any:
    recipe = _fastft.Recipe.padded(pad_token_id=0)
    return dataset([0, 2]).collate(np.array([0]), recipe, np.array(numbers))


def test_arrays_of_another_type_are_a_type_error(rust: _fastft.Tokenizer) -> None:
    with pytest.raises(TypeError):
        _fastft.TokenDataset(np.array([1.0]), np.array([0, 1], np.uint64))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        rust.encode((np.zeros(1, np.int8), np.zeros(1, np.int64)))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        _fastft.pack(np.array([1, 2]), 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="contiguous"):
        _fastft.pack(np.zeros(8, np.uint32)[::2], 3)
    with pytest.raises(ValueError, match="contiguous"):
        rust.encode((np.zeros(8, np.uint8)[::2], np.zeros(1, np.int64)))


def test_text_buffers_are_those_of_arrow() -> None:
    texts = ["", *hostile_texts(300), np.str_("a subclass"), ""]
    data, offsets = _fastft.text_buffers(texts)
    _, arrow_offsets, arrow_data = pa.array(texts, pa.large_string()).buffers()
    assert bytes(data) == arrow_data.to_pybytes()
    np.testing.assert_array_equal(offsets, np.frombuffer(arrow_offsets, np.int64))
    with pytest.raises(TypeError):
        _fastft.text_buffers(["a", b"b"])  # type: ignore[list-item]
    with pytest.raises(UnicodeEncodeError):
        _fastft.text_buffers(["a", "\ud800"])


def test_text_that_is_not_utf8_is_named_with_its_row(rust: _fastft.Tokenizer) -> None:
    data = np.frombuffer(b"good\xff", np.uint8)
    with pytest.raises(errors.DataError, match="row 1: the text is not valid UTF-8 at byte 0"):
        rust.encode((data, np.array([0, 4, 5])))
    for offsets in ([0, 9], [3, 1], [-1, 2], []):
        with pytest.raises(errors.DataError):
            rust.encode((data, np.array(offsets, np.int64)))


def test_a_dataset_reads_arrays_that_became_wrong_without_harm() -> None:
    offsets = np.array([0, 2], np.uint64)
    checked = _fastft.TokenDataset(np.array([5, 6], np.uint32), offsets)
    offsets[1] = 2**40
    with pytest.raises(errors.DataError, match="offset"):
        checked.collate(np.array([0]), _fastft.Recipe.padded(pad_token_id=0))


def test_columns_that_became_wrong_are_read_without_harm() -> None:
    offsets = np.array([0, 2])
    columns = {"labels": (np.array([1, 2], np.int32), offsets)}
    checked = dataset([0, 2]).with_columns(columns)
    labels = _fastft.Labels.from_column("labels", pad_token_id=0, as_wide_as_inputs=False)
    recipe = _fastft.Recipe.padded(pad_token_id=0, labels=labels)
    for wrong in (2**40, -1):
        offsets[1] = wrong
        with pytest.raises(errors.DataError, match="offset"):
            checked.collate(np.array([0]), recipe)


def test_many_threads_encode_at_once(rust: _fastft.Tokenizer) -> None:
    texts = work(500)
    expected = rust.encode(texts, max_length=20)
    with ThreadPoolExecutor(6) as pool:
        calls = [
            pool.submit(rust.encode, texts, max_length=20, num_threads=threads)
            for threads in (1, 2, 3, None) * 4
        ]
        for call in calls:
            encoded = call.result()
            assert np.array_equal(encoded.ids, expected.ids)
            assert np.array_equal(encoded.row_offsets, expected.row_offsets)


def test_zero_threads_are_refused(rust: _fastft.Tokenizer) -> None:
    with pytest.raises(errors.ConfigurationError, match="num_threads"):
        rust.encode(column(["a"]), num_threads=0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_encodes_after_its_parent_used_the_pool(rust: _fastft.Tokenizer) -> None:
    texts = work(300)
    expected = rust.encode(texts, num_threads=3).ids
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: threads are running
        child = os.fork()
    if child == 0:
        status = 1
        try:
            same = [np.array_equal(rust.encode(texts, num_threads=n).ids, expected) for n in (3, 2)]
            status = 0 if all(same) else 2
        finally:
            os._exit(status)
    assert wait_for(child, seconds=60) == 0
    assert np.array_equal(rust.encode(texts, num_threads=3).ids, expected)


def wait_for(child: int, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid == child:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(child, 9)
    os.waitpid(child, 0)
    raise AssertionError("the child did not come to an end")


IMPORT = """
import json, sys, threading
import {module}
heavy = [n for n in ("torch", "transformers", "numpy", "pyarrow", "tokenizers") if n in sys.modules]
tasks = len(__import__("os").listdir("/proc/self/task")) if sys.platform == "linux" else 1
print(json.dumps([heavy, threading.active_count(), tasks]))
"""


@pytest.mark.parametrize("module", ["fastft", "fastft._fastft", "fastft.data", "fastft.errors"])
def test_importing_is_light_and_starts_no_thread(module: str) -> None:
    script = IMPORT.format(module=module)
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert json.loads(result.stdout) == [[], 1, 1]


def test_public_names_are_listed_and_found() -> None:
    assert set(fastft.__all__) <= set(dir(fastft))
    for name in (
        "Tokenizer",
        "TokenDataset",
        "BatchSampler",
        "DataLoader",
        "pack",
        "PackPlan",
        "DataError",
    ):
        assert getattr(fastft, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'Tokeniser'"):
        fastft.Tokeniser  # noqa: B018


@pytest.mark.parametrize("num_threads", [1, 3])
def test_a_panic_of_the_core_is_an_error_of_ours(
    num_threads: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """A normalizer table that points outside itself makes the crate spm_precompiled panic."""
    table = struct.pack("<II", 4, 0)
    definition = json.loads(tiny_tokenizer().backend_tokenizer.to_str())
    definition["normalizer"] = {
        "type": "Precompiled",
        "precompiled_charsmap": base64.b64encode(table).decode(),
    }
    broken = _fastft.Tokenizer(json.dumps(definition))
    with pytest.raises(fastft.InternalError, match="the Rust core stopped: index out of bounds"):
        broken.encode(column(["a film"] * 100), num_threads=num_threads)
    assert "panicked at" in capfd.readouterr().err
    # Nothing is left locked or half made: the core goes on.
    whole = _fastft.Tokenizer(tiny_tokenizer().backend_tokenizer.to_str())
    assert len(whole.encode(column(["a film"]), num_threads=num_threads).row_offsets) == 2
