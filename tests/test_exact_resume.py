"""Stopped anywhere and gone on with, an epoch has the batches of one that was never stopped.

Every policy, collators with and without randomness, any number of threads, other numbers of ranks,
and a process that is killed.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fastft.data.augmentation import AugmentingCollator
from fastft.data.batch_sampler import BatchSampler
from fastft.data.collator import DataCollatorWithPadding
from fastft.data.dataloader import DataLoader
from fastft.data.flattening_collator import DataCollatorWithFlattening
from fastft.data.language_modeling_collator import DataCollatorForLanguageModeling
from fastft.data.token_dataset import TokenDataset
from fastft.errors import ConfigurationError, DataError
from tests.tiny import tiny_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

HF = tiny_tokenizer()
ROOT = Path(__file__).parent.parent
POLICIES: dict[str, dict[str, Any]] = {
    "random": {"batch_size": 6},
    "sequential": {"batch_size": 6},
    "bucketed": {"batch_size": 6, "window": 50},
    "tokens": {"max_tokens": 60, "window": 50},
    "packed": {"max_tokens": 60},
}
COLLATORS: dict[str, Callable[[], Any]] = {
    "padding": lambda: DataCollatorWithPadding(HF),
    "masked": lambda: DataCollatorForLanguageModeling(HF, mlm_probability=0.4, seed=3),
    "flattened": lambda: DataCollatorWithFlattening(),
    "augmented": lambda: AugmentingCollator(
        DataCollatorWithPadding(HF), {"delete": 0.2, "swap": 0.2, "mask": 0.2}, HF, seed=5
    ),
}


def rows(num_rows: int = 211) -> TokenDataset:
    generator = np.random.default_rng(1)
    lengths = np.minimum(generator.lognormal(2, 0.7, num_rows).astype(np.int64) + 1, 40)
    ids = generator.integers(5, len(HF), int(lengths.sum()), dtype=np.int64)
    return TokenDataset.from_ragged(
        ids.astype(np.uint16), np.concatenate([[0], np.cumsum(lengths)])
    )


ROWS = rows()


def sampler(policy: str, **options: Any) -> BatchSampler:
    more = (
        {"micro_batches_per_step": 4, "tail": "pad"}
        if policy not in ("random", "sequential")
        else {}
    )
    return BatchSampler(ROWS, policy, seed=2, **POLICIES[policy], **more, **options)


def loader(policy: str, collator: str, threads: int, ranks: int = 1, rank: int = 0) -> Any:
    """Made anew, as by another process."""
    batches = sampler(policy)
    order = batches if ranks == 1 else batches.shard(ranks, rank)
    return DataLoader(
        ROWS, batch_sampler=order, collate_fn=COLLATORS[collator](), num_workers=threads
    )


def digest(batch: Any) -> str:
    found = hashlib.blake2b(digest_size=8)
    for name, value in sorted(batch.items()):
        array = value.numpy() if hasattr(value, "numpy") else np.asarray(value)
        found.update(f"{name} {array.shape} {array.dtype}".encode() + array.tobytes())
    return found.hexdigest()


def whole(policy: str, collator: str, epoch: int) -> list[str]:
    one = loader(policy, collator, threads=0)
    one.set_epoch(epoch)
    return [digest(batch) for batch in one]


def points(length: int) -> list[int]:
    """At least twelve places of an epoch, its ends among them."""
    return sorted({0, 1, 2, 3, length - 2, length - 1, length, *range(4, length, length // 8)})


# What torch's path makes, as an augmented batch, would be made by processes.
THREADS = [
    pytest.param(name, threads, marks=[pytest.mark.slow] * (threads in (1, 4)))
    for name in COLLATORS
    for threads in (0, 1, 2, 4)
    if threads == 0 or name != "augmented"
]


@pytest.mark.parametrize(("collator", "threads"), THREADS)
@pytest.mark.parametrize("policy", POLICIES)
def test_the_rest_is_that_of_the_whole(collator: str, policy: str, threads: int) -> None:
    expected = whole(policy, collator, epoch=1)
    first = loader(policy, collator, threads)
    first.set_epoch(1)
    batches = iter(first)
    stops = points(len(expected))
    assert len(stops) >= 12
    for stop in range(len(expected) + 1):
        if stop in stops:
            state = json.loads(json.dumps(first.state_dict()))
            other = loader(policy, collator, threads and threads % 4 + 1)
            other.load_state_dict(state)
            assert [digest(batch) for batch in other] == expected[stop:]
        if stop < len(expected):
            assert digest(next(batches)) == expected[stop]


@pytest.mark.parametrize("collator", ["padding", "masked"])
@pytest.mark.parametrize("policy", ["bucketed", "tokens", "packed"])
def test_ranks_go_on_with_the_steps_of_one_process_and_back(policy: str, collator: str) -> None:
    expected = whole(policy, collator, epoch=2)
    assert len(expected) % 4 == 0
    for step in points(len(expected) // 4):
        one = loader(policy, collator, 0)
        one.set_epoch(2)
        batches = iter(one)
        seen = [digest(next(batches)) for _ in range(4 * step)]
        two = [loader(policy, collator, 0, 2, rank) for rank in range(2)]
        state = one.state_dict()
        for rank in two:
            rank.load_state_dict(json.loads(json.dumps(state)))
        shards = [iter(rank) for rank in two]
        if 4 * step < len(expected):  # one step on two ranks, two micro-batches each
            seen += [digest(next(shards[turn % 2])) for turn in range(4)]
        states = [rank.state_dict() for rank in two]
        assert states[0] == states[1]
        last = loader(policy, collator, 0)
        last.load_state_dict(states[1])
        assert seen + [digest(batch) for batch in last] == expected


def test_a_place_between_the_batches_of_ranks_is_refused() -> None:
    one = loader("tokens", "padding", 0)
    next(iter(one))
    two = loader("tokens", "padding", 0, 2, 1)
    two.load_state_dict(one.state_dict())
    with pytest.raises(DataError, match="a multiple of the number of ranks"):
        next(iter(two))


@pytest.mark.parametrize("ranks", [3, 8])
def test_ranks_that_cannot_share_a_step_are_told_who_can(ranks: int) -> None:
    with pytest.raises(ConfigurationError) as caught:
        sampler("tokens").shard(ranks, 0)
    assert caught.value.expected == "1 or 2 or 4"


@pytest.mark.parametrize("index", [-1, 2])
def test_there_is_no_such_shard(index: int) -> None:
    with pytest.raises(ConfigurationError, match="no such shard"):
        sampler("random").shard(2, index)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("policy", ["random", "sequential"])
def test_every_example_has_weight_on_one_rank(policy: str, ranks: int) -> None:
    shards = [sampler(policy).shard(ranks, rank) for rank in range(ranks)]
    assert len({len(shard) for shard in shards}) == 1
    assert [len(list(shard)) for shard in shards] == [len(shard) for shard in shards]
    weighed = [row for shard in shards for batch in shard if type(batch) is list for row in batch]
    assert sorted(weighed) == list(range(len(ROWS)))
    assert len({shard.plan().hash() for shard in shards}) == 1


PROGRAM = """
import json, os, sys
from pathlib import Path
from tests.test_exact_resume import digest, loader
folder = Path(sys.argv[1])
one = loader("tokens", "masked", 2)
if (folder / "state.json").exists():
    one.load_state_dict(json.loads((folder / "state.json").read_text()))
for batch in one:
    with open(folder / "seen.txt", "a") as file:
        file.write(digest(batch) + "\\n")
    (folder / "new.json").write_text(json.dumps(one.state_dict()))
    os.replace(folder / "new.json", folder / "state.json")
    import time; time.sleep(0.02)
(folder / "done").touch()
"""


@pytest.mark.slow
def test_a_process_that_is_killed_loses_no_batch(tmp_path: Path) -> None:
    expected = whole("tokens", "masked", epoch=0)
    seen = tmp_path / "seen.txt"
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    kills = 0
    while not (tmp_path / "done").exists():
        before = lines(seen)
        process = subprocess.Popen(command, env=environment)
        while process.poll() is None and (kills == 3 or len(lines(seen)) < len(before) + 5):
            time.sleep(0.05)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        assert process.wait() in (0, -signal.SIGKILL)
    assert kills == 3
    # Killed between a batch and its state, a process makes that one batch again.
    kept = [
        line for line, other in zip(lines(seen), ["", *lines(seen)], strict=False) if line != other
    ]
    assert kept == expected


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []
