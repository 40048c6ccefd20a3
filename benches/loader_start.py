"""How soon the first batch comes: from a cached store of a million rows, anew and in mid-epoch.

    python benches/loader_start.py [rows]

A text file of short lines is encoded into a cache once. Then, in one process and in turn: the store
is opened, a loader made, one batch taken, in the order of the rows and shuffled; and the same after
`load_state_dict` of a state saved at 90 % of the epoch. CPU time, medians; the size of the state;
and how much memory a long run of batches adds. Where `torchdata` can be imported, its
`StatefulDataLoader` resumes over the same rows, in the random order of torch.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tokenizers
import transformers

import fastft

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH, REPETITIONS = 32, 7
WORDS = [f"w{number}" for number in range(997)]


def tokenizer() -> Any:
    words = {word: index for index, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "[UNK]"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]"
    )


def write_lines(path: Path, rows: int) -> None:
    with path.open("w") as file:
        for row in range(rows):
            start = row * 7 % len(WORDS)
            file.write(" ".join(WORDS[start : start + 4 + row % 23]) + "\n")


def milliseconds(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(REPETITIONS):
        start = time.process_time()
        work()
        times.append((time.process_time() - start) * 1e3)
    return statistics.median(times)


def main(rows: int) -> None:
    hf = tokenizer()
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "rows.txt"
        write_lines(source, rows)
        folder = fastft.TokenDataset.from_files(source, hf, cache_dir=Path(name) / "cache").folder
        assert folder is not None
        collate = fastft.DataCollatorWithPadding(hf)

        def loader(policy: str, **size: Any) -> Any:
            dataset = fastft.TokenDataset.load(folder)
            size = size or {"batch_size": BATCH}
            sampler = fastft.BatchSampler(dataset, policy, **size, seed=1)
            return fastft.DataLoader(dataset, batch_sampler=sampler, collate_fn=collate)

        print(f"{rows:,} rows; CPU ms, medians of {REPETITIONS}\n")
        print("| order | first batch | at 90 % | state, bytes |\n|---|---|---|---|")
        for policy, size in (("sequential", {}), ("random", {}), ("tokens", {"max_tokens": 4096})):
            first = milliseconds(lambda: next(iter(loader(policy, **size))))  # noqa: B023
            state = next_state(loader(policy, **size))

            def resumed() -> None:
                other = loader(policy, **size)  # noqa: B023
                other.load_state_dict(state)  # noqa: B023
                next(iter(other))

            text = len(json.dumps(state))
            print(f"| {policy} | {first:.1f} | {milliseconds(resumed):.1f} | {text} |")
        print(peer(fastft.TokenDataset.load(folder), collate))
        print(f"\n{grown(loader('random')):.1f} MB more after {2 * rows // BATCH:,} batches")


def next_state(loader: Any) -> dict[str, Any]:
    """The state at nine tenths of an epoch, without the batches before it."""
    loader.load_state_dict({**loader.state_dict(), "num_yielded": len(loader) * 9 // 10})
    next(iter(loader))
    state: dict[str, Any] = loader.state_dict()
    return state


def peer(dataset: fastft.TokenDataset, collate: Any) -> str:
    """The row of torchdata's loader; it gives up no batch, so its state is saved near the end."""
    try:
        from torchdata.stateful_dataloader import StatefulDataLoader
    except ImportError:
        return "| StatefulDataLoader | torchdata is not installed | | |"

    def loader() -> Any:
        return StatefulDataLoader(dataset, BATCH, shuffle=True, collate_fn=collate)

    one = loader()
    batches = iter(one)
    for _ in range(len(one) * 9 // 10):
        next(batches)
    state = one.state_dict()

    def resumed() -> None:
        other = loader()
        other.load_state_dict(state)
        next(iter(other))

    first = milliseconds(lambda: next(iter(loader())))
    size = sys.getsizeof(str(state))
    return f"| StatefulDataLoader | {first:.1f} | {milliseconds(resumed):.1f} | {size} as text |"


def grown(loader: Any) -> float:
    """MB of memory that epochs add to what the first one took."""
    peaks = []
    for epoch in range(3):
        loader.set_epoch(epoch)
        for _ in loader:
            pass
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
    return peaks[-1] - peaks[0]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
