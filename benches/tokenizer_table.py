"""Text to ids against the Python package `tokenizers`, as a table: long, short and non-Latin text.

    python benches/tokenizer_table.py ../shared/data [tokenizer ...]

One thread, CPU time, both sides in one process, outputs compared before anything is timed. Of each
corpus the first half is read first (cold: nothing is remembered), then the second (new: no text of
it was seen), then the second again (repeated). The peer is `encode_batch_fast`, with offsets
`encode_batch`, on up to 2 MB of the second half.
"""

from __future__ import annotations

import csv
import json
import os
import random
import sys
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"

from typing import TYPE_CHECKING

import numpy as np
import tokenizers
import transformers

from fastft import _fastft
from fastft.data.text_column import as_arrow, buffers

if TYPE_CHECKING:
    from collections.abc import Callable

PLAN = {
    "bert_uncased": ("imdb", "sst2", "ar", "ja"),
    "bert_cased": ("imdb", "sst2"),
    "bert_chinese": ("zh",),
    "gpt2": ("imdb", "sst2", "ar", "zh", "ja"),
    "roberta_base": ("imdb", "sst2"),
    "t5": ("imdb", "sst2", "ar"),
    "albert": ("imdb", "sst2"),
    "llama2": ("imdb", "sst2", "zh", "ja", "ar"),
}
PEER_BYTES = 2_000_000
REPETITIONS = 3


def corpus(data: Path, name: str) -> list[str]:
    """Reads a corpus; IMDB is cut at 20 MB and shuffled, because the file is sorted by label."""
    if name == "imdb":
        lines = (data / "classification/imdb/train.jsonl").read_text("utf-8").split("\n")
        texts = [json.loads(line)["text"] for line in lines if line.strip()]
        random.Random(0).shuffle(texts)
        return first_bytes(texts, 20_000_000)
    if name == "sst2":
        path = data / "classification/sst2_glue/train.tsv"
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            return [row[0] for row in rows][1:]
    if name == "ja":
        path = data / "text/gutenberg_like/wagahaiwa_nekodearu.txt"
        return [line for line in path.read_text("utf-8").split("\n") if line]
    files = [data / f"qa/xquad/xquad.{name}.json"]
    if name == "zh":
        files.append(data / "qa/drcd/DRCD_dev.json")
    articles = [a for file in files for a in json.loads(file.read_text("utf-8"))["data"]]
    return [p["context"] for article in articles for p in article["paragraphs"]]


def load(data: Path, name: str) -> tokenizers.Tokenizer:
    folder = data / "tokenizers" / name
    classes = {
        "bert_uncased": transformers.BertTokenizer,
        "bert_chinese": transformers.BertTokenizer,
        "gpt2": transformers.GPT2Tokenizer,
        "roberta_base": transformers.RobertaTokenizer,
        "t5": transformers.T5Tokenizer,
        "albert": transformers.AlbertTokenizer,
    }
    if name in classes:
        return classes[name].from_pretrained(folder).backend_tokenizer
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


def first_bytes(texts: list[str], limit: int) -> list[str]:
    total, kept = 0, []
    for text in texts:
        total += len(text.encode())
        kept.append(text)
        if total > limit:
            break
    return kept


def megabytes(texts: list[str]) -> float:
    return sum(len(text.encode()) for text in texts) / 1e6


def speed(texts: list[str], work: Callable[..., object], *values: object, **named: object) -> float:
    """MB a second of CPU time."""
    start = time.process_time()
    work(*values, **named)
    return megabytes(texts) / (time.process_time() - start)


def check(stock: tokenizers.Tokenizer, definition: str, texts: list[str]) -> None:
    found = _fastft.Tokenizer(definition).encode(buffers(as_arrow(texts)), num_threads=1)
    expected = [token for row in stock.encode_batch_fast(texts) for token in row.ids]
    assert np.array_equal(found.ids, expected), "the ids differ"


def row(data: Path, name: str, corpus_name: str) -> str:
    stock = load(data, name)
    stock.no_padding()
    stock.no_truncation()
    definition = stock.to_str()
    texts = corpus(data, corpus_name)
    half = len(texts) // 2
    first, second = texts[:half], texts[half:]
    part = first_bytes(second, PEER_BYTES)
    check(stock, definition, part)
    columns = buffers(as_arrow(first)), buffers(as_arrow(second))
    figures = np.zeros((REPETITIONS, 6))
    for repetition in range(REPETITIONS):
        ours = _fastft.Tokenizer(definition)
        cold = speed(first, ours.encode, columns[0], num_threads=1)
        new = speed(second, ours.encode, columns[1], num_threads=1)
        again = speed(second, ours.encode, columns[1], num_threads=1)
        theirs = speed(part, stock.encode_batch_fast, part)
        wanted = {"return_offsets_mapping": True, "num_threads": 1}
        ours = _fastft.Tokenizer(definition)
        ours.encode(columns[0], **wanted)
        offsets = speed(second, ours.encode, columns[1], **wanted)
        their_offsets = speed(part, stock.encode_batch, part)
        figures[repetition] = cold, new, again, offsets, theirs, their_offsets
    cold, new, again, offsets, theirs, their_offsets = np.median(figures, axis=0)
    ratios = figures[:, 1] / figures[:, 4], figures[:, 3] / figures[:, 5]
    return (
        f"| {name} | {corpus_name} | {cold:.0f} | {new:.0f} | {again:.0f} | {theirs:.1f} "
        f"| **{np.median(ratios[0]):.0f}** ({ratios[0].min():.0f}-{ratios[0].max():.0f}) "
        f"| {offsets:.0f} | {their_offsets:.1f} "
        f"| **{np.median(ratios[1]):.0f}** ({ratios[1].min():.0f}-{ratios[1].max():.0f}) |"
    )


def main() -> None:
    data, names = Path(sys.argv[1]), sys.argv[2:] or list(PLAN)
    print(
        f"tokenizers {tokenizers.__version__}, crate {_fastft.TOKENIZERS_VERSION}, load "
        f"{os.getloadavg()[0]:.1f}; MB/s of one thread, medians of {REPETITIONS}"
    )
    print(
        "| tokenizer | text | cold | new | repeated | peer | ratio (min-max) | offsets | peer "
        "| ratio (min-max) |"
    )
    print("|---" * 10 + "|")
    for name in names:
        for corpus_name in PLAN[name]:
            print(row(data, name, corpus_name), flush=True)


if __name__ == "__main__":
    main()
