"""Every token, offset, word and mark of the engines is that of the installed Python tokenizer."""

from __future__ import annotations

import gzip
import json
import os
import signal
import threading
import time
import warnings
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastft import _fastft
from fastft.data import probes
from fastft.data.text_column import as_arrow, buffers
from fastft.data.token_batch import TokenBatch
from fastft.data.tokenizer import Tokenizer, TokenizerFallbackWarning
from fastft.errors import ConfigurationError, TokenizerError
from tests.hostile_texts import every_character, hostile_texts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DETAILS: dict[str, Any] = {
    "return_offsets_mapping": True,
    "return_word_ids": True,
    "return_special_tokens_mask": True,
}

ENGINES = {
    "bert": "BERT WordPiece",
    "roberta": "byte-level BPE",
    "gpt2": "byte-level BPE",
    "t5": "Unigram",
    "albert": "Unigram",
}

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def backend(hf: Any) -> Any:
    """The stock tokenizer itself, without truncation and padding."""
    stock = hf.backend_tokenizer
    stock.no_truncation()
    stock.no_padding()
    return stock


def assert_exact(stock: Any, rust: Any, texts: list[str], pairs: list[str] | None = None) -> None:
    """Compares ids, offsets, words and marks of each text with those of the stock tokenizer."""
    columns = [None if column is None else buffers(as_arrow(column)) for column in (texts, pairs)]
    found = rust.encode(*columns, **DETAILS)
    expected = stock.encode_batch(texts if pairs is None else list(zip(texts, pairs, strict=True)))
    ends = np.cumsum([0, *(len(row) for row in expected)])
    rows = pairwise(found.row_offsets.tolist())
    for text, (start, end), wanted in zip(texts, rows, expected, strict=True):
        assert found.ids[start:end].tolist() == wanted.ids, repr(text)
    for name, ours, values in (
        ("offsets", found.offset_mapping, [row.offsets for row in expected]),
        ("marks", found.special_tokens_mask, [row.special_tokens_mask for row in expected]),
        ("words", found.word_ids, [_words(row) for row in expected]),
    ):
        flat = np.array([value for row in values for value in row]).reshape(ours.shape)
        different = ours != flat
        differing = np.flatnonzero(different.any(axis=1) if ours.ndim == 2 else different)
        if len(differing):
            row = int(np.searchsorted(ends, differing[0], side="right")) - 1
            place = slice(ends[row], ends[row + 1])
            raise AssertionError(
                f"{name} of {texts[row]!r}: {ours[place].tolist()}, not {flat[place].tolist()}"
            )


def _words(row: Any) -> list[int]:
    return [-1 if word is None else word for word in row.word_ids]


def engine_of(stock: Any, **options: Any) -> Any:
    return _fastft.Tokenizer(stock.to_str(), **options)


def real_texts(data: Path, share: int) -> list[str]:
    """Every `share`-th text of the shared data, in nine languages."""
    texts: list[str] = []
    for path in sorted(data.rglob("*")):
        if path.suffix in (".tsv", ".txt", ".csv", ".xml", ".en", ".ja", ".raw", ".jsonl", ".json"):
            if "tokenizers" in path.parts or "weights" in path.parts:
                continue
            lines = path.read_text("utf-8", errors="ignore").split("\n")
            texts += [line[:20_000] for line in lines][::share]
        elif path.suffix == ".gz":
            texts += gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")[::share]
    for language in ("ar", "de", "es", "zh"):
        xquad = json.loads((data / f"qa/xquad/xquad.{language}.json").read_text("utf-8"))
        contexts = [p["context"] for article in xquad["data"] for p in article["paragraphs"]]
        texts += contexts[:: max(share // 20, 1)]
    return texts


class TestExactness:
    def test_the_engine_is_ours(self, hf: Any, tokenizer: Tokenizer) -> None:
        kind = type(hf).__name__.lower().removesuffix("tokenizer")
        expected = ENGINES.get(kind)
        explanation = tokenizer.explain()
        assert explanation.startswith("rust: ")
        assert expected is None or explanation.startswith(f"rust: {expected} engine")

    def test_real_text(self, hf: Any, shared_data: Path) -> None:
        stock = backend(hf)
        assert_exact(stock, engine_of(stock), real_texts(shared_data, 401))

    @pytest.mark.slow
    @pytest.mark.timeout(1800)
    def test_all_real_text(self, hf: Any, shared_data: Path) -> None:
        stock = backend(hf)
        rust, texts = engine_of(stock), real_texts(shared_data, 1)
        for start in range(0, len(texts), 20_000):
            assert_exact(stock, rust, texts[start : start + 20_000])

    def test_hostile_texts(self, hf: Any) -> None:
        stock = backend(hf)
        assert_exact(stock, engine_of(stock), hostile_texts(1500))

    def test_a_sample_of_all_characters(self, hf: Any) -> None:
        stock = backend(hf)
        assert_exact(stock, engine_of(stock), list(every_character(211)))

    @pytest.mark.slow
    @pytest.mark.timeout(1800)
    def test_all_characters_and_many_hostile_texts(self, hf: Any) -> None:
        stock = backend(hf)
        rust = engine_of(stock)
        assert_exact(stock, rust, list(every_character()))
        texts = hostile_texts(50_000, seed=2)
        assert_exact(stock, rust, texts)
        assert_exact(stock, rust, texts[:5000], texts[5000:10_000])

    @settings(max_examples=100)
    @given(texts=st.lists(st.text(max_size=60), min_size=1, max_size=3))
    def test_any_text(self, hf: Any, texts: list[str]) -> None:
        stock = backend(hf)
        assert_exact(stock, _remembered(stock), texts, texts[::-1])

    def test_memory_and_threads_change_nothing(self, hf: Any) -> None:
        stock = backend(hf)
        texts = hostile_texts(400, seed=3)
        column = buffers(as_arrow([*texts, *texts]))
        expected = engine_of(stock, reference_only=True).encode(column, **DETAILS)
        for slots in (0, 16, None):
            rust = engine_of(stock, memo_slots=slots)
            for num_threads in (1, 4):
                found = rust.encode(column, num_threads=num_threads, **DETAILS)
                for name in ("ids", "row_offsets", "offset_mapping", "word_ids"):
                    assert np.array_equal(getattr(found, name), getattr(expected, name)), name

    def test_the_place_in_the_buffer_changes_nothing(self, hf: Any) -> None:
        stock = backend(hf)
        text = "It's a naïve café-goer's 1,234 words; don't 中文 stop!  \n Done."
        assert_exact(stock, engine_of(stock), [text[start:] for start in range(len(text))])
        assert_exact(stock, engine_of(stock), [text[:end] for end in range(len(text))])


_LOADED: dict[int, tuple[Any, Any]] = {}


def _remembered(stock: Any) -> Any:
    if id(stock) not in _LOADED:
        _LOADED[id(stock)] = stock, engine_of(stock)
    return _LOADED[id(stock)][1]


@pytest.fixture(scope="module")
def tokenizer(hf: Any) -> Tokenizer:
    """Made once for each stock tokenizer: it is probed with hundreds of texts."""
    return Tokenizer.from_hf(hf)


class TestOptions:
    @pytest.mark.parametrize("side", ["left", "right"])
    @pytest.mark.parametrize("truncation", ["longest_first", "only_first", "only_second"])
    @pytest.mark.parametrize("stride", [0, 3])
    def test_overflowing_rows(
        self, hf: Any, tokenizer: Tokenizer, side: str, truncation: str, stride: int
    ) -> None:
        long = "The quick brown fox jumps over the lazy dog, again and again. " * 2
        short = "A naïve question?"
        first, second = [long, long, short], [short, long, short]
        if truncation == "only_first":
            second = [short] * 3
        elif truncation == "only_second":
            first, second = [short] * 3, first
        options = {"max_length": 30, "stride": stride, "return_overflowing_tokens": True}
        batch = tokenizer.encode(
            first, second, truncation=truncation, truncation_side=side, **options, **DETAILS
        )
        hf.truncation_side = side
        expected = hf(
            first,
            second,
            truncation=truncation,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            return_token_type_ids=True,
            **options,
        )
        hf.truncation_side = "right"
        assert [batch.row(row).tolist() for row in range(len(batch))] == expected["input_ids"]
        types = [batch.row_type_ids(row).tolist() for row in range(len(batch))]
        assert types == expected["token_type_ids"]
        samples = batch.overflow_to_sample_mapping
        assert samples is not None
        assert samples.tolist() == expected["overflow_to_sample_mapping"]
        assert batch.offset_mapping is not None
        flat = [list(pair) for row in expected["offset_mapping"] for pair in row]
        assert batch.offset_mapping.tolist() == flat
        assert batch.special_tokens_mask is not None
        marks = [mark for row in expected["special_tokens_mask"] for mark in row]
        assert batch.special_tokens_mask.tolist() == marks

    def test_the_python_route_gives_the_same(self, tiny_tokenizer: Any) -> None:
        rust = Tokenizer.from_hf(tiny_tokenizer)
        python = Tokenizer(tiny_tokenizer, rust._python, None, "python: asked for")
        texts = ["a good film , a bad film", "bad"]
        for options in ({}, {"max_length": 5, "stride": 1, "return_overflowing_tokens": True}):
            first = rust.encode(texts, **options, **DETAILS)
            second = python.encode(texts, **options, **DETAILS)
            for name in ("ids", "offset_mapping", "word_ids", "special_tokens_mask"):
                assert np.array_equal(getattr(first, name), getattr(second, name)), name
            samples = first.overflow_to_sample_mapping, second.overflow_to_sample_mapping
            assert (samples[0] is None) == (samples[1] is None)
            assert samples[0] is None or samples[0].tolist() == samples[1].tolist()

    @pytest.mark.parametrize("stride", [4, 9])
    def test_a_stride_that_never_moves_on(self, tiny_tokenizer: Any, stride: int) -> None:
        tokenizer = Tokenizer.from_hf(tiny_tokenizer)
        with pytest.raises(ConfigurationError, match=f"stride {stride} is not below"):
            tokenizer.encode(["a b c"], max_length=6, stride=stride)

    def test_a_text_with_too_little_to_lose(self, tiny_tokenizer: Any) -> None:
        tokenizer = Tokenizer.from_hf(tiny_tokenizer)
        with pytest.raises(ConfigurationError, match="too few to lose") as caught:
            tokenizer.encode(["a"], ["bad film " * 9], max_length=7, truncation="only_first")
        assert "row 0" in str(caught.value)

    @pytest.mark.parametrize("truncation", ["longest", 3, None])
    def test_an_unknown_strategy(self, tiny_tokenizer: Any, truncation: Any) -> None:
        with pytest.raises(ConfigurationError, match="truncation"):
            Tokenizer.from_hf(tiny_tokenizer).encode(["a"], truncation=truncation)

    def test_truncation_may_be_off(self, tiny_tokenizer: Any) -> None:
        tokenizer = Tokenizer.from_hf(tiny_tokenizer)
        batch = tokenizer.encode(["a good bad film"], max_length=3, truncation=False)
        assert len(batch.row(0)) == 6
        assert batch.num_truncated_rows == 0


@pytest.fixture(scope="module")
def sample_text() -> list[str]:
    """Enough text to train a vocabulary on, from what the project carries."""
    from tests.conftest import ROOT

    files = sorted((ROOT / "docs").rglob("*.md"))
    return "".join(path.read_text("utf-8") for path in files).split("\n")


@pytest.mark.parametrize("pattern", [LLAMA3, QWEN2])
@pytest.mark.parametrize("normalizer", [None, "NFC"])
@pytest.mark.parametrize("ignore_merges", [False, True])
def test_published_split_patterns(
    sample_text: list[str], pattern: str, normalizer: str | None, ignore_merges: bool
) -> None:
    import tokenizers
    from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

    stock = tokenizers.Tokenizer(models.BPE(ignore_merges=ignore_merges))
    split = pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    stock.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    stock.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=1200,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|begin_of_text|>", "<|im_start|>"],
    )
    stock.train_from_iterator(sample_text, trainer)
    if normalizer == "NFC":
        stock.normalizer = normalizers.NFC()
    rust = engine_of(stock)
    assert rust.engine == "byte-level BPE", rust.refusal
    assert_exact(stock, rust, sample_text)
    assert_exact(stock, rust, hostile_texts(3000, seed=4))
    assert_exact(stock, rust, ["<|im_start|>user\nHello<|im_start|>", "<|begin_of_text|>"])


def test_the_probes_see_rows_that_end_elsewhere() -> None:
    def encode(ends: list[int]) -> Any:
        # The flat ids are the same; only the border between the rows differs.
        ids = np.array([5, 6, 7], np.uint32)
        return lambda *_, **__: TokenBatch(ids, np.array(ends, np.uint64))

    compare = probes._compare
    assert compare(["a", "b"], None, encode([0, 1, 3]), encode([0, 1, 3]), {}) is None
    difference = compare(["a", "b"], None, encode([0, 1, 3]), encode([0, 2, 3]), {})
    assert difference == ("a", "ids", [5], [5, 6])


class TestRoutes:
    def test_an_engine_that_is_wrong_is_replaced_with_one_warning(
        self, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from fastft.data import tokenizer_route

        monkeypatch.setattr(tokenizer_route, "_agreed", {})
        encode = tokenizer_route.encode_in_rust

        def wrong(rust: Any, texts: Any, text_pair: Any = None, **options: Any) -> Any:
            batch = encode(rust, texts, text_pair, **options)
            if rust.engine is not None:
                batch.ids[-1] += 1
            return batch

        monkeypatch.setattr(tokenizer_route, "encode_in_rust", wrong)
        with pytest.warns(TokenizerFallbackWarning, match="not through our engine") as caught:
            tokenizer = Tokenizer.from_hf(tiny_tokenizer)
        assert len(caught) == 1
        assert tokenizer.explain().startswith("rust: tokenizers crate 0.")
        assert "gives other ids" in tokenizer.explain()

    def test_what_no_engine_knows_goes_to_the_crate_without_a_warning(
        self, tiny_tokenizer: Any
    ) -> None:
        from tokenizers import normalizers

        tiny_tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tokenizer = Tokenizer.from_hf(tiny_tokenizer)
        assert "the normalizer is Lowercase, not BertNormalizer" in tokenizer.explain()

    @pytest.mark.parametrize(
        "definition",
        [
            "",
            "{}",
            "[1]",
            '{"model": {"type": "Dream"}}',
            '{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}}',
            '{"model": {"type": "BPE", "vocab": {"a": 0, "aa": 1}, "merges": [["a", "a", "a"]]}}',
            '{"model": {"type": "Unigram", "vocab": [], "unk_id": 0}}',
            '{"model": {"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 9}}',
            '{"model": {"type": "WordPiece", "vocab": {"a": -1}, "unk_token": "a"}}',
            '{"model": {"type": "WordLevel", "vocab": {"a": 99999999999}, "unk_token": "a"}}',
            '{"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAA="},'
            ' "model": {"type": "BPE", "vocab": {}, "merges": []}}',
            '{"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated",'
            ' "invert": false}, "model": {"type": "BPE", "vocab": {}, "merges": []}}',
            '{"a":' * 5000 + "1" + "}" * 5000,
        ],
    )
    def test_a_hostile_definition_is_a_typed_error(self, definition: str) -> None:
        with pytest.raises(TokenizerError, match="cannot be loaded"):
            _fastft.Tokenizer(definition)


class TestThreads:
    def test_the_gil_is_free_while_rust_works(self, tiny_tokenizer: Any) -> None:
        rust = engine_of(backend(tiny_tokenizer), reference_only=True)
        column = buffers(as_arrow(["a good film and a bad film " * 50] * 1500))
        ticks: list[float] = []
        done = threading.Event()

        def tick() -> None:
            while not done.is_set():
                ticks.append(time.perf_counter())
                time.sleep(0.001)

        thread = threading.Thread(target=tick)
        thread.start()
        before = len(ticks)
        rust.encode(column, num_threads=1)
        during = len(ticks) - before
        done.set()
        thread.join()
        # With the GIL held the other thread would stand still until the call returns.
        assert during >= 5

    @pytest.fixture
    def _ctrl_c(self) -> Iterator[None]:
        """Lets SIGINT interrupt: a shell that starts tests in the background has it ignored."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        signal.signal(signal.SIGINT, before)

    @pytest.mark.usefixtures("_ctrl_c")
    def test_ctrl_c_ends_a_long_call(self, tiny_tokenizer: Any) -> None:
        rust = engine_of(backend(tiny_tokenizer), reference_only=True)
        column = buffers(as_arrow(["a good film and a bad film " * 50] * 10_000))
        start = time.perf_counter()
        rust.encode(column, num_threads=2)
        whole = time.perf_counter() - start
        timer = threading.Timer(whole / 10, os.kill, (os.getpid(), signal.SIGINT))
        start = time.perf_counter()
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            rust.encode(column, num_threads=2)
        # A call that only looks at its end would take as long as the first one.
        assert time.perf_counter() - start < whole / 2
        again = rust.encode(buffers(as_arrow(["a good film"])))
        assert len(again.ids) == 5

    def test_calls_from_several_threads_at_once(self, tiny_tokenizer: Any) -> None:
        tokenizer = Tokenizer.from_hf(tiny_tokenizer)
        texts = ["a good film", "bad", ""] * 200
        expected = tokenizer.encode(texts).ids
        found: list[Any] = []
        threads = [
            threading.Thread(target=lambda: found.append(tokenizer.encode(texts, num_threads=2)))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert all(np.array_equal(batch.ids, expected) for batch in found)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
    def test_a_forked_child_encodes(self, tiny_tokenizer: Any) -> None:
        tokenizer = Tokenizer.from_hf(tiny_tokenizer)
        texts = ["a good film"] * 500
        expected = tokenizer.encode(texts, num_threads=2).ids.tolist()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            same = tokenizer.encode(texts, num_threads=2).ids.tolist() == expected
            os._exit(0 if same else 1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
