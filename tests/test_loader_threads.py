"""Threads make the batches ahead of time: the same ones, whatever happens meanwhile."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader as TorchDataLoader

import fastft
from fastft import _fastft
from fastft.data.batch_sampler import BatchSampler
from fastft.data.collator import DataCollatorWithPadding
from fastft.data.dataloader import DataLoader
from fastft.data.flattening_collator import DataCollatorWithFlattening
from fastft.data.language_modeling_collator import DataCollatorForLanguageModeling
from fastft.data.ragged_column import RaggedColumn
from fastft.data.token_classification_collator import DataCollatorForTokenClassification
from fastft.data.token_dataset import TokenDataset
from tests.test_native import wait_for
from tests.tiny import sentences, tiny_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

HF = tiny_tokenizer()


def made_of(num_rows: int, **columns: Any) -> TokenDataset:
    texts, _ = zip(*sentences(num_rows), strict=True)
    return TokenDataset.from_texts(texts, HF, columns=columns)


@pytest.fixture(scope="module")
def dataset() -> TokenDataset:
    return made_of(60, labels=list(range(60)), weight=[0.5] * 60)


def with_token_labels() -> TokenDataset:
    plain = made_of(60)
    rows = [[row] * int(length) for row, length in enumerate(plain.lengths)]
    return TokenDataset(
        plain.ids, plain.row_offsets, columns={"labels": RaggedColumn.from_rows(rows)}
    )


CASES: dict[str, Callable[[], tuple[TokenDataset, Any]]] = {
    "padding": lambda: (made_of(60, labels=[1] * 60), DataCollatorWithPadding(HF)),
    "masked": lambda: (made_of(60), DataCollatorForLanguageModeling(HF, seed=4)),
    "causal": lambda: (made_of(60), DataCollatorForLanguageModeling(HF, mlm=False)),
    "tokens": lambda: (with_token_labels(), DataCollatorForTokenClassification(HF)),
    "flattened": lambda: (made_of(60), DataCollatorWithFlattening(return_seq_idx=True)),
}


def assert_same(first: Any, second: Any) -> None:
    batches, others = list(first), list(second)
    assert len(batches) == len(others) > 0
    for batch, other in zip(batches, others, strict=True):
        assert type(batch) is type(other)
        assert list(batch) == list(other)
        for name in batch:
            torch.testing.assert_close(batch[name], other[name], rtol=0, atol=0)
        assert batch.rows.tolist() == other.rows.tolist()
        assert batch.num_loss_tokens == other.num_loss_tokens


def loader_threads() -> int:
    names = [(task / "comm").read_text() for task in Path("/proc/self/task").iterdir()]
    return sum(name.startswith("fastft-loader") for name in names)


def child_processes() -> set[str]:
    tasks = Path("/proc/self/task").iterdir()
    return {child for task in tasks for child in (task / "children").read_text().split()}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("num_workers", [1, 2, 4])
def test_batches_are_those_made_one_by_one(name: str, num_workers: int) -> None:
    dataset, collator = CASES[name]()
    options: dict[str, Any] = {"batch_size": 7, "shuffle": True, "collate_fn": collator}
    orders = []
    for workers in (0, num_workers):
        torch.manual_seed(1)
        loader = DataLoader(dataset, num_workers=workers, **options)
        orders.append([*loader, *loader])
        assert ("threads" in loader.explain()) == (workers > 0)
    assert_same(*orders)


@pytest.mark.parametrize("num_workers", [1, 2, 4])
@pytest.mark.parametrize("name", CASES)
def test_a_stop_at_any_batch_goes_on_with_any_number_of_threads(
    name: str, num_workers: int
) -> None:
    dataset, collator = CASES[name]()
    for policy in ("random", "bucketed", "tokens"):
        size: dict[str, Any] = {"max_tokens": 64} if policy == "tokens" else {"batch_size": 6}

        def make(workers: int, policy: str = policy, size: dict[str, Any] = size) -> Any:
            sampler = BatchSampler(dataset, policy, **size, seed=3)
            loader: Any = DataLoader(
                dataset, batch_sampler=sampler, collate_fn=collator, num_workers=workers
            )
            loader.set_epoch(2)
            return loader

        whole = list(make(0))
        for stop in sorted({0, 1, len(whole) // 2, len(whole) - 1}):
            loader = make(num_workers)
            iterator = iter(loader)
            for _ in range(stop):
                next(iterator)
            other = make(3 - num_workers % 3)
            other.load_state_dict(loader.state_dict())
            assert_same(other, whole[stop:])


def test_no_process_is_started_and_threads_end_with_their_iterator(dataset: TokenDataset) -> None:
    before = child_processes()
    loader = DataLoader(
        dataset, 4, collate_fn=DataCollatorWithPadding(HF), num_workers=2,
        worker_init_fn=lambda _: pytest.fail("there is no worker"),
    )  # fmt: skip
    for _ in range(200):
        next(iter(loader))
    gc.collect()
    assert loader_threads() == 0
    iterator = iter(loader)
    next(iterator)
    limit = time.monotonic() + 60  # a thread takes its name when it first runs
    while loader_threads() < 2 and time.monotonic() < limit:
        time.sleep(0.01)
    assert loader_threads() == 2
    assert child_processes() == before
    del iterator
    assert loader_threads() == 0


def test_a_fork_in_the_middle_goes_on_in_both_processes(dataset: TokenDataset) -> None:
    loader = DataLoader(dataset, 4, collate_fn=DataCollatorWithPadding(HF), num_workers=2)
    iterator = iter(loader)
    next(iterator)
    child = os.fork()
    if child == 0:  # the threads stayed behind; batches are made here then
        rest = len(list(iterator))
        del iterator
        os._exit(0 if rest == 14 else 1)
    assert wait_for(child, seconds=60) == 0
    assert len(list(iterator)) == 14


class OddSampler(torch.utils.data.Sampler[list[int]]):
    """Fails in the middle, or names a row that is not there."""

    def __init__(self, *batches: Any) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        for batch in self.batches:
            if isinstance(batch, Exception):
                raise batch
            yield batch

    def __len__(self) -> int:
        return len(self.batches)


@pytest.mark.parametrize("fault", [ValueError("the sampler's own"), [3, 999], [0, -61]])
def test_an_error_comes_when_it_is_its_turn(dataset: TokenDataset, fault: Any) -> None:
    sampler = OddSampler([0, 1], [2, -1], fault, [4])
    seen = []
    for workers in (0, 2):
        loader = DataLoader(
            dataset, batch_sampler=sampler, collate_fn=DataCollatorWithPadding(HF),
            num_workers=workers,
        )  # fmt: skip
        iterator = iter(loader)
        rows = [next(iterator).rows.tolist() for _ in range(2)]
        with pytest.raises((ValueError, IndexError)) as caught:
            next(iterator)
        rest = [batch.rows.tolist() for batch in iterator]
        assert next(iterator, "the end") == "the end"
        seen.append((rows, str(caught.value), rest))
    assert seen[0] == seen[1]
    assert seen[0][0] == [[0, 1], [2, 59]]


def test_a_batch_of_empty_rows_is_made_by_the_stock_class() -> None:
    offsets = np.array([0, 0, 0, 2, 3], np.uint64)
    dataset = TokenDataset(np.array([1, 2, 3], np.uint16), offsets)
    options: Any = {"batch_size": 2, "collate_fn": DataCollatorWithPadding(HF)}
    ahead = list(DataLoader(dataset, num_workers=1, **options))
    for batch, other in zip(ahead, DataLoader(dataset, **options), strict=True):
        assert torch.equal(batch["input_ids"], other["input_ids"])


def test_a_tokenizer_changed_in_the_middle_is_seen(dataset: TokenDataset) -> None:
    hf = tiny_tokenizer()
    loader = DataLoader(dataset, 6, collate_fn=DataCollatorWithPadding(hf), num_workers=2)
    iterator = iter(loader)
    next(iterator)
    hf.padding_side = "left"
    expected = DataCollatorWithPadding(hf)
    for batch in iterator:
        assert torch.equal(
            batch["input_ids"], expected(dataset.__getitems__(batch.rows))["input_ids"]
        )


def test_parts_of_a_dataset_keep_to_the_threads(dataset: TokenDataset) -> None:
    part = torch.utils.data.Subset(torch.utils.data.Subset(dataset, range(10, 50)), [3, 1, 30, 7])
    options: Any = {"batch_size": 3, "collate_fn": DataCollatorWithPadding(HF)}
    loader = DataLoader(part, num_workers=2, **options)
    assert "threads" in loader.explain()
    assert_same(loader, TorchDataLoader(part, **options))


def test_a_damaged_file_is_repaired_meanwhile(tmp_path: Any) -> None:
    source = tmp_path / "rows.csv"
    source.write_text("text\n" + "\n".join(text for text, _ in sentences(60)) + "\n")
    dataset = TokenDataset.from_files(source, HF, cache_dir=tmp_path / "cache")
    expected = [row["input_ids"] for row in (dataset[index] for index in range(60))]
    again = TokenDataset.from_files(source, HF, cache_dir=tmp_path / "cache")
    assert again.folder is not None
    file = again.folder / "ids.safetensors"
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.chmod(0o644)
    with file.open("r+b") as stream:
        stream.write(data)
    loader = DataLoader(again, 8, collate_fn=DataCollatorWithPadding(HF), num_workers=2)
    with pytest.warns(Warning, match="made again"):
        batches = list(loader)
    rows = [
        ids[mask.bool()].tolist()
        for batch in batches
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    assert rows == expected


def test_the_gil_is_free_while_it_waits(dataset: TokenDataset) -> None:
    """Another thread of Python counts on while a batch is waited for."""
    big = np.zeros(40_000_000, np.uint16)
    offsets = np.arange(0, 40_000_001, 400_000, dtype=np.uint64)
    loader = DataLoader(
        TokenDataset(big, offsets), 100, collate_fn=DataCollatorWithPadding(HF), num_workers=1
    )
    counted, stop = [0], threading.Event()

    def count() -> None:
        while not stop.is_set():
            counted[0] += 1
            time.sleep(0)

    thread = threading.Thread(target=count)
    thread.start()
    next(iter(loader))
    stop.set()
    thread.join()
    assert counted[0] > 100


def test_ctrl_c_ends_a_wait() -> None:
    code = """
import numpy as np, os, signal, threading, time
from fastft import _fastft
# A shell that starts the tests in its background has them ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
data = _fastft.TokenDataset(np.zeros(1, np.uint16), np.array([0, 1], np.uint64))
recipe = _fastft.Recipe.padded(pad_token_id=0, width=100_000_000)
loader = _fastft.DataLoader(data, recipe, num_threads=1)
for _ in range(8):
    loader.put(np.zeros(1, np.int64))
threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
start = time.perf_counter()
try:
    while loader.num_outstanding:
        loader.take()
except KeyboardInterrupt:
    print("interrupted", flush=True)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "interrupted\n", done.stderr


def test_a_wait_that_takes_too_long_is_torchs_error(dataset: TokenDataset) -> None:
    offsets = np.arange(0, 40_000_001, 400_000, dtype=np.uint64)
    slow = TokenDataset(np.zeros(40_000_000, np.uint16), offsets)
    loader = DataLoader(
        slow, 100, collate_fn=DataCollatorWithPadding(HF), num_workers=1, timeout=0.001
    )
    with pytest.raises(RuntimeError, match=r"timed out after 0\.001 seconds"):
        list(loader)


def test_the_raw_face_names_what_is_wrong() -> None:
    data = _fastft.TokenDataset(np.zeros(1, np.uint16), np.array([0, 1], np.uint64))
    recipe = _fastft.Recipe.padded(pad_token_id=0)
    with pytest.raises(fastft.ConfigurationError, match="num_threads must be at least 1"):
        _fastft.DataLoader(data, recipe, num_threads=0)
    loader = _fastft.DataLoader(data, recipe, num_threads=2)
    assert loader.take() is None
    loader.put(np.array([7]))
    with pytest.raises(fastft.DataError):
        loader.take(float("nan"))
    assert loader.num_outstanding == 0


def test_a_ctrl_c_while_indices_are_drawn_comes_at_once(dataset: TokenDataset) -> None:
    """It does not wait for the batches that were drawn before."""

    def indices() -> Any:
        yield from range(4)
        raise KeyboardInterrupt

    class Sampler(torch.utils.data.Sampler[int]):
        def __iter__(self) -> Any:
            return indices()

    loader = DataLoader(
        dataset, 2, sampler=Sampler(), collate_fn=DataCollatorWithPadding(HF), num_workers=2
    )
    with pytest.raises(KeyboardInterrupt):
        next(iter(loader))


def test_the_end_of_an_epoch_is_the_end_of_its_threads(dataset: TokenDataset) -> None:
    """At once, not when Python next looks for cycles."""
    gc.collect()
    before = loader_threads()  # an error that pytest keeps may keep an iterator
    gc.disable()
    try:
        loader = DataLoader(dataset, 4, collate_fn=DataCollatorWithPadding(HF), num_workers=2)
        for _ in range(3):
            assert len(list(loader)) == 15
        deadline = time.monotonic() + 20
        while loader_threads() > before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert loader_threads() == before
    finally:
        gc.enable()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_pinned_batch_knows_where_its_loss_looks(
    num_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a GPU: another tensor.
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self.clone())
    collate = DataCollatorForLanguageModeling(HF, mlm=False)
    iterator = iter(DataLoader(made_of(12), 4, collate_fn=collate, num_workers=num_workers))
    monkeypatch.setattr(iterator, "_pin_memory", True)
    expected = collate(made_of(12).__getitems__(range(4)))
    batch = next(iterator)
    assert torch.equal(batch["labels"], expected["labels"])
    assert batch["labels"] is not batch._labels
    assert torch.equal(batch.loss_index, expected.loss_index)
    assert batch.rows.tolist() == [0, 1, 2, 3]
