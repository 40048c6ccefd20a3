"""A large file to a mapped `TokenDataset`: time, and memory above that of the process before.

    python benches/stream_large_file.py ../shared/data [MEGABYTES ...]

The file holds IMDB again and again, each copy with other letters in the place of some (seeded), so
that the text of every copy is new. Each size runs in a process of its own: the first run encodes,
the second finds the tokens. Memory is the greatest resident set (VmHWM), mapped pages included.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import string
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = (125, 250, 500, 1000)


def write_copies(data: Path, target: Path, megabytes: int) -> None:
    """Writes `{"text": ..., "label": ...}` line by line until the size is reached."""
    source = (data / "classification/imdb/train.jsonl").read_text("utf-8").split("\n")
    rows = [json.loads(line) for line in source if line.strip()]
    draw = random.Random(0)
    size = 0
    with target.open("w", encoding="utf-8") as file:
        while True:
            letters = draw.sample(string.ascii_lowercase, 6)
            table = str.maketrans("".join(letters), "".join(letters[1:] + letters[:1]))
            for row in rows:
                text = row["text"].translate(table)
                size += file.write(
                    json.dumps({"text": text, "label": row["label"]}, ensure_ascii=False) + "\n"
                )
                if size >= megabytes * 1_000_000:
                    return


def peak_megabytes() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1000


def measure(data: Path, file: Path) -> None:
    """Runs in a process of its own and prints a row of the table."""
    import transformers

    from fastft import TokenDataset
    from fastft.data.tokenizer import Tokenizer

    hf = transformers.BertTokenizer.from_pretrained(data / "tokenizers/bert_uncased")
    tokenizer = Tokenizer.from_hf(hf)
    before = peak_megabytes()
    figures = []
    for _ in range(2):
        wall, cpu = time.perf_counter(), time.process_time()
        dataset = TokenDataset.from_files(file, tokenizer, columns={"labels": "label"})
        figures += [time.perf_counter() - wall, time.process_time() - cpu]
    size = file.stat().st_size / 1e6
    print(
        f"| {size:.0f} | {len(dataset):,} | {dataset.num_tokens:,} | {figures[0]:.1f} "
        f"| {figures[1]:.1f} | {size / figures[1]:.0f} | {before:.0f} "
        f"| **{peak_megabytes() - before:.0f}** | {figures[2]:.2f} |",
        flush=True,
    )


def main() -> None:
    data = Path(sys.argv[1])
    if sys.argv[2:3] == ["--measure"]:
        measure(data, Path(sys.argv[3]))
        return
    print(
        "| MB | rows | tokens | s (wall) | s (CPU) | MB/s (CPU) | MB before | MB above | again, s |"
    )
    print("|---" * 9 + "|", flush=True)
    for megabytes in map(int, sys.argv[2:] or SIZES):
        folder = Path(tempfile.mkdtemp())
        file = folder / "copies.jsonl"
        try:
            write_copies(data, file, megabytes)
            time.sleep(3)  # a file that changed just now is not remembered by its stamp
            environment = {
                **os.environ,
                "FASTFT_CACHE": str(folder / "cache"),
                "HF_HUB_OFFLINE": "1",
            }
            command = [sys.executable, __file__, str(data), "--measure", str(file)]
            subprocess.run(command, check=True, env=environment)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
