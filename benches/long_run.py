"""What a million batches leave behind: resident memory, threads, open files.

    python benches/long_run.py [batches]

Epochs over 200,000 rows in batches of 32, in the calling thread and with two threads, padded and
masked, shuffled anew each epoch. The first 5 % warm up; then memory is looked at every 1 %.
"""

from __future__ import annotations

import os
import sys
import time
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import fastft
from loader_start import tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS, BATCH = 200_000, 32


def dataset() -> fastft.TokenDataset:
    lengths = np.random.default_rng(0).integers(4, 64, ROWS)
    ids = np.random.default_rng(1).integers(2, 900, int(lengths.sum())).astype(np.uint16)
    return fastft.TokenDataset.from_ragged(ids, np.concatenate([[0], np.cumsum(lengths)]))


def megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def endless(loader: Any) -> Iterator[Any]:
    for epoch in count():
        loader.set_epoch(epoch)
        yield from loader


def held() -> tuple[int, int]:
    """Threads and open files of this process."""
    task, files = (list(Path(f"/proc/self/{name}").iterdir()) for name in ("task", "fd"))
    return len(task), len(files)


def run(batches: int, threads: int, collate: Any) -> str:
    rows = dataset()
    sampler = fastft.BatchSampler(rows, "random", batch_size=BATCH, seed=1)
    loader = fastft.DataLoader(rows, batch_sampler=sampler, collate_fn=collate, num_workers=threads)
    assert loader.explain().startswith("rust")
    stream = endless(loader)
    for _ in islice(stream, batches // 20):
        pass
    before, at_first, start = held(), megabytes(), time.process_time()
    sizes = []
    for _ in range(100):
        for _ in islice(stream, batches // 100):
            pass
        sizes.append(megabytes())
    seconds = time.process_time() - start
    return (
        f"| {type(collate).__name__} | {threads} | {batches:,} | {at_first:.1f} "
        f"| {max(sizes) - at_first:+.1f} | {sizes[-1] - at_first:+.1f} | {before} | {held()} "
        f"| {seconds / batches * 1e6:.0f} |"
    )


def main(batches: int) -> None:
    hf = tokenizer()
    hf.add_special_tokens({"mask_token": "[MASK]"})
    masked = fastft.DataCollatorForLanguageModeling(hf, seed=1)
    print("| collator | threads | batches | RSS, MB | most more | at the end ", end="")
    print("| threads, files | after | us a batch |\n" + "|---" * 9 + "|")
    for threads in (0, 2):
        for collate in (fastft.DataCollatorWithPadding(hf), masked):
            print(run(batches, threads, collate), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
