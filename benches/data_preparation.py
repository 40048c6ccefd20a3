"""Text to padded batches and to ready datasets against transformers and `datasets`, as tables.

    python benches/data_preparation.py ../shared/data [batches] [file] [threads]

Both sides work in one process on the same rows, in interleaved repetitions, and their outputs are
held equal before anything is timed. Nothing is kept between repetitions: our tokenizer begins each
without a memo of these texts (it is loaded untimed, as the peer's is), `datasets` with an empty
cache folder.

*Padded batches of 32.* A batch is what a model takes: int64 `input_ids`, `attention_mask` and, for
BERT, `token_type_ids`, as torch tensors in a `BatchEncoding`. The peer is what a collate function
that tokenizes would call, `tokenizer(texts, padding=True, truncation=True, return_tensors="pt")`,
once for each 32 rows. Ours makes the same batches in two ways:

- column: the whole column becomes a `TokenDataset`, then the collator gathers batch by batch. Both
  parts are counted, over one epoch: it is the whole way from the same texts to the same tensors. A
  second epoch would pay for the second part alone, the peer for everything again.
- each: our tokenizer is called as the peer is, once for each 32 rows, so that no text is touched
  before its batch is asked for.

The loader around either is left out: it costs both sides the same. Time is CPU time of the process
on one core, to which it is bound, so that neither side has a second thread.

*File.* From `train.tsv` of SST-2 to tokens and labels in memory: `open_source`, the task and its
data on our side, `load_dataset` and `map(batched=True)` on the other, on all cores.

*Threads.* One column with one and with two threads, wall time, best of five.
"""

from __future__ import annotations

import csv
import os
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"

from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import torch
import transformers

from fastft import BatchSampler, DataCollatorWithPadding, TokenDataset, Tokenizer
from fastft.data import tokenizer_route
from fastft.data.sources import open_source
from fastft.data.text_column import as_arrow
from fastft.tasks.text_classification import TextClassification
from tokenizer_table import corpus, megabytes

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 32
REPETITIONS = 3
CASES = (("sst2", 67_349, 512), ("imdb", 4_096, 256), ("imdb", 4_096, 512))
"""Corpus, rows, the length that both sides cut to."""


def load(data: Path, name: str) -> Any:
    """The tokenizer of transformers; GPT-2 pads with its end-of-text token."""
    classes = {"bert_uncased": transformers.BertTokenizer, "gpt2": transformers.GPT2Tokenizer}
    hf = classes[name].from_pretrained(data / "tokenizers" / name)
    if hf.pad_token is None:
        hf.pad_token = hf.eos_token
    return hf


def seconds(work: Callable[..., object], *values: object) -> float:
    """CPU time of the process."""
    start = time.process_time()
    work(*values)
    return time.process_time() - start


def fresh(hf: Any) -> Tokenizer:
    """Our tokenizer, loaded anew: it has seen the texts of its self-check and no others."""
    tokenizer_route._agreed.clear()
    return Tokenizer.from_hf(hf)


def of_call(tokenizer: Any, texts: list[str]) -> Any:
    return tokenizer(texts, padding=True, truncation=True, return_tensors="pt")


def of_rows(dataset: TokenDataset, collate: DataCollatorWithPadding, rows: list[int]) -> Any:
    return collate(dataset.__getitems__(rows))


def of_batches(work: Callable[[Any], Any], batches: list[Any]) -> None:
    """Makes every batch and drops it, as a training step does."""
    for batch in batches:
        work(batch)


def check_batches(
    hf: Any, texts: list[str], dataset: TokenDataset, batches: list[list[int]]
) -> None:
    """Holds the batches of all three ways equal: keys, order, types, values."""
    tokenizer, collate = Tokenizer.from_hf(hf), DataCollatorWithPadding(hf)
    for rows in batches:
        texts_of_batch = [texts[row] for row in rows]
        expected = of_call(hf, texts_of_batch)
        for batch in (
            of_rows(dataset, collate, rows),
            of_call(tokenizer, texts_of_batch),
        ):
            assert list(batch) == list(expected), f"{list(batch)}, not {list(expected)}"
            for name in expected:
                assert batch[name].dtype == expected[name].dtype == torch.int64
                assert torch.equal(batch[name], expected[name]), f"{name} of rows {rows}"


def batch_row(data: Path, name: str, case: tuple[str, int, int]) -> str:
    corpus_name, num_rows, max_length = case
    hf = load(data, name)
    hf.model_max_length = max_length
    texts = corpus(data, corpus_name)[:num_rows]
    collate = DataCollatorWithPadding(hf)
    rows = list(BatchSampler(texts, "sequential", batch_size=BATCH))
    parts = [[texts[row] for row in batch] for batch in rows]
    dataset = TokenDataset.from_texts(texts, hf, max_length=max_length)
    check_batches(hf, texts, dataset, rows)
    figures = np.zeros((REPETITIONS, 4))
    for repetition in range(REPETITIONS):
        encode = partial(TokenDataset.from_texts, texts, fresh(hf), max_length=max_length)
        figures[repetition, 0] = seconds(encode)
        figures[repetition, 1] = seconds(of_batches, partial(of_rows, dataset, collate), rows)
        each = partial(of_call, fresh(hf))
        figures[repetition, 2] = seconds(of_batches, each, parts)
        figures[repetition, 3] = seconds(of_batches, partial(of_call, hf), parts)
    microseconds = 1e6 / len(rows) * np.median(figures, axis=0)
    column = figures[:, 3] / (figures[:, 0] + figures[:, 1])
    return (
        f"| {name} | {corpus_name} {max_length} | {microseconds[3]:.0f} | {microseconds[0]:.0f} "
        f"+ {microseconds[1]:.0f} | {ratio(column)} | {microseconds[2]:.0f} "
        f"| {ratio(figures[:, 3] / figures[:, 2])} |"
    )


def ratio(values: Any) -> str:
    return f"**{np.median(values):.0f}** ({values.min():.0f}-{values.max():.0f})"


def batches_table(data: Path) -> None:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    print(f"Padded batches of {BATCH}: microseconds of CPU time a batch, one core\n")
    print("| tokenizer | text, cut to | peer | column: encode + pad | ratio | each | ratio |")
    print("|---" * 7 + "|")
    for name in ("bert_uncased", "gpt2"):
        for case in CASES:
            print(batch_row(data, name, case), flush=True)
    os.sched_setaffinity(0, cores)


def file_of_ours(path: Path, tokenizer: Tokenizer) -> TokenDataset:
    source = open_source(path)
    names = ("text", "pair", "label", "label_names")
    options = {**TextClassification.options, **dict.fromkeys(names)}
    task = TextClassification.from_source(source, options)
    return task.data(source.splits["train"], tokenizer, 512).dataset


def file_of_peer(path: Path, hf: Any, cache: Path) -> Any:
    shutil.rmtree(cache, ignore_errors=True)
    rows = datasets.load_dataset(
        "csv",
        data_files=str(path),
        delimiter="\t",
        quoting=csv.QUOTE_NONE,
        cache_dir=str(cache),
        split="train",
    )
    return rows.map(
        lambda part: hf(part["sentence"], truncation=True, max_length=512), batched=True
    )


def check_file(ours: TokenDataset, theirs: Any) -> None:
    lists = theirs["input_ids"][:]
    assert ours.lengths.tolist() == [len(row) for row in lists], "the lengths differ"
    assert np.array_equal(ours.ids, np.concatenate(lists)), "the ids differ"
    assert ours.columns["labels"].tolist() == theirs["label"][:], "the labels differ"


def file_table(data: Path) -> None:
    datasets.disable_progress_bars()
    datasets.disable_caching()
    path = data / "classification/sst2_glue/train.tsv"
    hf = load(data, "bert_uncased")
    clocks = (time.process_time, time.perf_counter)
    figures = np.zeros((REPETITIONS, 2, 2))
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        check_file(file_of_ours(path, Tokenizer.from_hf(hf)), file_of_peer(path, hf, cache))
        for repetition in range(REPETITIONS):
            tokenizer = fresh(hf)
            start = [clock() for clock in clocks]
            file_of_ours(path, tokenizer)
            middle = [clock() for clock in clocks]
            file_of_peer(path, hf, cache)
            end = [clock() for clock in clocks]
            figures[repetition] = np.diff([start, middle, end], axis=0)
    print("\nSST-2, file to tokens and labels, BERT uncased: seconds\n")
    print("| time | fastft | datasets | ratio |")
    print("|---" * 4 + "|")
    for index, name in enumerate(("CPU", "wall")):
        ours, theirs = figures[:, 0, index], figures[:, 1, index]
        print(
            f"| {name} | {np.median(ours):.2f} | {np.median(theirs):.1f} | {ratio(theirs / ours)} |"
        )


def threads_table(data: Path) -> None:
    texts = corpus(data, "imdb")
    column, hf = as_arrow(texts), load(data, "bert_uncased")
    figures = np.zeros((5, 2))
    for repetition in range(5):
        for index, num_threads in enumerate((1, 2)):
            tokenizer = fresh(hf)
            start = time.perf_counter()
            tokenizer.encode(column, max_length=512, num_threads=num_threads)
            figures[repetition, index] = time.perf_counter() - start
    speeds = megabytes(texts) / figures
    ratios = figures[:, 0] / figures[:, 1]
    print(f"\nIMDB, {megabytes(texts):.0f} MB, BERT uncased: MB/s of wall time, best of five\n")
    print("| one thread | two threads | ratio | all ratios |")
    print("|---" * 4 + "|")
    one, two = speeds.max(axis=0)
    listed = ", ".join(f"{value:.2f}" for value in sorted(ratios))
    print(f"| {one:.0f} | {two:.0f} | **{two / one:.2f}** | {listed} |")


def main() -> None:
    data, parts = Path(sys.argv[1]), sys.argv[2:] or ["batches", "file", "threads"]
    torch.set_num_threads(1)
    print(
        f"transformers {transformers.__version__}, datasets {datasets.__version__}, torch "
        f"{torch.__version__}, load {os.getloadavg()[0]:.1f}; medians of {REPETITIONS}, ratios "
        "with smallest and greatest\n"
    )
    tables = {"batches": batches_table, "file": file_table, "threads": threads_table}
    for part in parts:
        tables[part](data)


if __name__ == "__main__":
    main()
