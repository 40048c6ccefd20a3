"""Token ids are those of the Hugging Face tokenizer, whatever comes in."""

from __future__ import annotations

import csv
import gzip
import json
import pickle
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastft
from fastft.data import probes
from fastft.data.tokenizer import TokenBatch, Tokenizer, TokenizerFallbackWarning
from fastft.data.type_ids import TypeIds, concatenate

if TYPE_CHECKING:
    from pathlib import Path

SIDES = ("left", "right")


@pytest.fixture(scope="module")
def tokenizer(hf: Any) -> Tokenizer:
    return Tokenizer.from_hf(hf)


def stock(hf: Any, texts: list[str], pairs: list[str] | None = None, **options: Any) -> Any:
    """The reference: transformers' own call, on the tokenizer that was given to ours."""
    side, hf.truncation_side = (
        hf.truncation_side,
        options.pop("truncation_side", hf.truncation_side),
    )
    try:
        cut = "max_length" in options
        return hf(
            texts, pairs, return_token_type_ids=True, verbose=False, truncation=cut, **options
        )
    finally:
        hf.truncation_side = side


def assert_equal(batch: TokenBatch, expected: Any) -> None:
    """Compares every row, and names the first that differs."""
    rows = expected["input_ids"]
    assert len(batch) == len(rows)
    offsets = np.cumsum([0, *map(len, rows)])
    if not np.array_equal(batch.row_offsets, offsets) or not np.array_equal(
        batch.ids, [token for row in rows for token in row]
    ):
        for index, row in enumerate(rows):
            assert batch.row(index).tolist() == row, f"row {index}"
    lengths = np.diff(batch.row_offsets).astype(np.uint32)
    type_ids = [token for row in expected["token_type_ids"] for token in row]
    assert np.array_equal(batch.type_ids.expanded(lengths), type_ids)


def sst2(data: Path, split: str = "train") -> list[str]:
    lines = (data / f"classification/sst2_glue/{split}.tsv").read_text("utf-8").split("\n")
    return [line.split("\t")[0] for line in lines[1:] if line]


def banking77(data: Path, split: str = "train") -> list[str]:
    with (data / f"classification/banking77/{split}.csv").open(
        encoding="utf-8", newline=""
    ) as file:
        return [row["text"] for row in csv.DictReader(file)]


def pairs(data: Path, name: str) -> tuple[list[str], list[str]]:
    path, columns = {
        "rte": ("pairs/rte_glue/train.tsv", (1, 2)),
        "mrpc": ("pairs/mrpc/train.tsv", (3, 4)),
    }[name]
    lines = (data / path).read_text("utf-8-sig").split("\n")[1:]
    rows = [line.split("\t") for line in lines if line]
    first, second = ([row[column] for row in rows] for column in columns)
    return first, second


def foreign(data: Path) -> list[str]:
    """Texts in Chinese, German and Japanese, and contexts in Arabic."""
    with gzip.open(data / "translation/multi30k_de_en/val.de.gz", "rt", encoding="utf-8") as file:
        german = file.read().split("\n")[:300]
    japanese = (data / "translation/small_parallel_enja/dev.ja").read_text("utf-8").split("\n")
    texts = [*german, *japanese[:300]]
    for language in ("zh", "ar"):
        xquad = json.loads((data / f"qa/xquad/xquad.{language}.json").read_text("utf-8"))
        texts += [p["context"] for article in xquad["data"] for p in article["paragraphs"]][:60]
    return texts


class TestIds:
    def test_it_runs_in_rust(self, tokenizer: Tokenizer) -> None:
        assert tokenizer.explain().startswith("rust: ")
        assert "probe texts equal to tokenizers" in tokenizer.explain()

    def test_sample_of_real_text(self, hf: Any, tokenizer: Tokenizer, shared_data: Path) -> None:
        texts = [*sst2(shared_data, "dev"), *banking77(shared_data, "test")[:500]]
        texts += foreign(shared_data)
        assert_equal(tokenizer.encode(texts), stock(hf, texts))

    @pytest.mark.slow
    @pytest.mark.parametrize("read", [sst2, banking77])
    def test_all_of_sst2_and_banking77(
        self, hf: Any, tokenizer: Tokenizer, shared_data: Path, read: Any
    ) -> None:
        texts = read(shared_data)
        assert len(texts) >= 10_003
        assert_equal(tokenizer.encode(texts), stock(hf, texts))

    @pytest.mark.parametrize("name", ["rte", "mrpc"])
    @pytest.mark.parametrize("side", SIDES)
    def test_pairs_cut_from_either_side(
        self, hf: Any, tokenizer: Tokenizer, shared_data: Path, name: str, side: str
    ) -> None:
        first, second = (column[:80] for column in pairs(shared_data, name))
        for max_length in (12, 50, 511):
            options = {"max_length": max_length, "truncation_side": side}
            batch = tokenizer.encode(first, second, **options)
            assert_equal(batch, stock(hf, first, second, **options))

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["rte", "mrpc"])
    def test_all_pairs(self, hf: Any, tokenizer: Tokenizer, shared_data: Path, name: str) -> None:
        first, second = pairs(shared_data, name)
        cut = [
            {"max_length": n, "truncation_side": side} for n in (12, 50, 64, 511) for side in SIDES
        ]
        for options in ({}, *cut):
            batch = tokenizer.encode(first, second, **options)
            assert_equal(batch, stock(hf, first, second, **options))

    @pytest.mark.parametrize(
        "lengths", [(4, 7), pytest.param((5, 6, 8), marks=pytest.mark.slow)], ids=str
    )
    def test_probes_at_every_short_length(
        self, hf: Any, tokenizer: Tokenizer, lengths: tuple[int, ...]
    ) -> None:
        texts = probes.probe_texts(hf.all_special_tokens)
        others = texts[::-1]
        for max_length in lengths:
            for side in SIDES:
                options = {"max_length": max_length, "truncation_side": side}
                batch = tokenizer.encode(texts, others, **options)
                assert_equal(batch, stock(hf, texts, others, **options))

    @settings(max_examples=60)
    @given(texts=st.lists(st.text(max_size=40), min_size=1, max_size=4), special=st.booleans())
    def test_any_text(self, hf: Any, tokenizer: Tokenizer, texts: list[str], special: bool) -> None:
        batch = tokenizer.encode(texts, texts[::-1], add_special_tokens=special)
        assert_equal(batch, stock(hf, texts, texts[::-1], add_special_tokens=special))


class TestTruncation:
    def test_what_was_cut_is_counted(self, tiny_tokenizer: Any) -> None:
        texts = ["the good film", "the", "a a a a a a"]
        batch = Tokenizer.from_hf(tiny_tokenizer).encode(texts, max_length=4)
        assert [len(batch.row(row)) for row in range(3)] == [4, 3, 4]
        assert (batch.num_truncated_rows, batch.num_truncated_tokens) == (2, None)
        # " film" and " a a a a" stand behind the last token that was kept.
        assert batch.num_truncated_characters == 5 + 8
        counted = Tokenizer.from_hf(tiny_tokenizer).encode(
            texts, max_length=4, count_truncated_tokens=True
        )
        assert counted.ids.tolist() == batch.ids.tolist()
        assert (counted.num_truncated_rows, counted.num_truncated_tokens) == (2, 5)
        assert counted.num_truncated_characters is None

    def test_the_side_is_the_tokenizers_own_by_default(self, tiny_tokenizer: Any) -> None:
        tiny_tokenizer.truncation_side = "left"
        tokenizer = Tokenizer.from_hf(tiny_tokenizer)
        assert_equal(
            tokenizer.encode(["the good film"], max_length=4),
            stock(tiny_tokenizer, ["the good film"], max_length=4),
        )

    def test_no_room_for_the_special_tokens_is_an_error(self, tiny_tokenizer: Any) -> None:
        # transformers 5.23 cuts nothing at all here: the crate's subtraction wraps around.
        assert len(stock(tiny_tokenizer, ["the good film"], max_length=1)["input_ids"][0]) == 5
        tokenizer = Tokenizer.from_hf(tiny_tokenizer)
        with pytest.raises(fastft.ConfigurationError, match="no room for the 2 special tokens"):
            tokenizer.encode(["the good film"], max_length=1)
        with pytest.raises(fastft.ConfigurationError, match="no room for the 3 special tokens"):
            tokenizer.encode(["the"], ["film"], max_length=2)

    def test_padding_and_truncation_of_the_file_are_cleared(self, minilm_tokenizer: Any) -> None:
        assert minilm_tokenizer.backend_tokenizer.padding["length"] == 128
        batch = Tokenizer.from_hf(minilm_tokenizer).encode(["hi", "word " * 300])
        assert np.diff(batch.row_offsets).tolist() == [3, 302]

    @pytest.mark.parametrize("max_length", [-1, 2.5, "8", True])
    def test_lengths_are_whole_numbers(self, tiny_tokenizer: Any, max_length: Any) -> None:
        with pytest.raises(fastft.ConfigurationError, match="max_length"):
            Tokenizer.from_hf(tiny_tokenizer).encode(["a"], max_length=max_length)

    def test_sides_are_left_or_right(self, tiny_tokenizer: Any) -> None:
        with pytest.raises(fastft.ConfigurationError, match="truncation_side"):
            Tokenizer.from_hf(tiny_tokenizer).encode(["a"], truncation_side="middle")


TEXTS = ["the good film", "", "a naïve 你好 plot", "bad"]


class TestInput:
    @pytest.mark.parametrize(
        "column",
        [
            tuple(TEXTS),
            np.array(TEXTS),
            np.array(TEXTS, dtype=object),
            pa.array(TEXTS),
            pa.array(TEXTS, pa.large_string()),
            pa.array(TEXTS).cast(pa.string_view()),
            pa.array(TEXTS).dictionary_encode(),
            pa.array(["x", *TEXTS, "y"])[1:-1],
            pa.array(["x", *TEXTS, "y"], pa.large_string()).slice(1, 4),
            pa.chunked_array([TEXTS]),
            pa.chunked_array([TEXTS[:1], [], TEXTS[1:]]),
        ],
        ids=lambda column: f"{type(column).__name__}-{getattr(column, 'type', '')}",
    )
    def test_every_kind_of_column_gives_the_same(self, tiny_tokenizer: Any, column: Any) -> None:
        tokenizer = Tokenizer.from_hf(tiny_tokenizer)
        expected = tokenizer.encode(TEXTS)
        batch = tokenizer.encode(column)
        assert batch.ids.tolist() == expected.ids.tolist()
        assert batch.row_offsets.tolist() == expected.row_offsets.tolist()

    @pytest.mark.parametrize(
        "empty", [[], pa.array([], pa.string()), pa.chunked_array([], pa.string()), pa.nulls(0)]
    )
    def test_no_rows(self, tiny_tokenizer: Any, empty: Any) -> None:
        batch = Tokenizer.from_hf(tiny_tokenizer).encode(empty)
        assert (len(batch), batch.ids.size, batch.row_offsets.tolist()) == (0, 0, [0])

    @pytest.mark.parametrize(
        ("column", "message"),
        [
            (["a", None], "row 1: a text is missing"),
            (["a", 3], "row 1: .*\n.*int"),
            (["a", b"b"], "row 1: .*\n.*bytes"),
            (["a", float("nan")], "row 1: .*\n.*float"),
            (["a", "b", "c\ud800"], "row 2, character 1: .*surrogate"),
            (pa.array(["a", None, "b"]), "row 1: a text is missing.*\n.*null"),
            (pa.chunked_array([["a"], ["b", None]]), "row 2: a text is missing"),
            (pa.nulls(2), "row 0"),
            ("a text", "a list of texts belongs"),
        ],
    )
    def test_what_is_no_text_is_named_by_its_row(
        self, tiny_tokenizer: Any, column: Any, message: str
    ) -> None:
        with pytest.raises(fastft.DataError, match=message):
            Tokenizer.from_hf(tiny_tokenizer).encode(column)

    def test_bytes_that_are_not_utf8_are_named_by_their_row(self, tiny_tokenizer: Any) -> None:
        good = pa.array(["a", "b"])
        data = pa.py_buffer(b"okno\xff!")
        offsets = pa.py_buffer(np.array([0, 2, 6], np.int32))
        bad = pa.StringArray.from_buffers(2, offsets, data)
        tokenizer = Tokenizer.from_hf(tiny_tokenizer)
        with pytest.raises(fastft.DataError, match="row 1, byte 2: the text is not valid UTF-8"):
            tokenizer.encode(bad)
        with pytest.raises(fastft.DataError, match="text_pair, row 3, byte 2"):
            tokenizer.encode(["w", "x", "y", "z"], pa.chunked_array([good, bad]))

    def test_a_column_of_numbers_is_refused(self, tiny_tokenizer: Any) -> None:
        with pytest.raises(fastft.ColumnError, match="not text"):
            Tokenizer.from_hf(tiny_tokenizer).encode(pa.array([1, 2]))

    def test_columns_of_different_lengths(self, tiny_tokenizer: Any) -> None:
        with pytest.raises(fastft.DataError, match="3 and 1 rows"):
            Tokenizer.from_hf(tiny_tokenizer).encode(["a", "b", "c"], ["d"])

    def test_rows_of_a_batch(self, tiny_tokenizer: Any) -> None:
        batch = Tokenizer.from_hf(tiny_tokenizer).encode(["the film", "good"])
        assert batch.row(1).tolist() == tiny_tokenizer(["good"])["input_ids"][0]
        with pytest.raises(IndexError):
            batch.row(2)


class TestRoutes:
    def test_a_tokenizer_is_never_changed(self, minilm_tokenizer: Any) -> None:
        before = minilm_tokenizer.backend_tokenizer.to_str()
        tokenizer = Tokenizer.from_hf(minilm_tokenizer)
        tokenizer.encode(["some text"] * 9, max_length=5, truncation_side="left")
        assert minilm_tokenizer.backend_tokenizer.to_str() == before
        assert minilm_tokenizer.truncation_side == "right"

    def test_what_differs_from_the_python_tokenizer_runs_there(self, tiny_tokenizer: Any) -> None:
        class Shouting(type(tiny_tokenizer)):  # type: ignore[misc]
            """Overrides in Python what Rust cannot see."""

            def _encode_plus(self, text: Any, *args: Any, **kwargs: Any) -> Any:
                return super()._encode_plus([row + " good" for row in text], *args, **kwargs)

        tiny_tokenizer.__class__ = Shouting
        with pytest.warns(TokenizerFallbackWarning, match="Rust route gives other ids") as caught:
            tokenizer = Tokenizer.from_hf(tiny_tokenizer)
        assert len(caught) == 1
        assert tokenizer.explain().startswith("python: the Rust route gives other ids for ''")
        for options in ({}, {"max_length": 4}, {"max_length": 4, "truncation_side": "left"}):
            assert_equal(
                tokenizer.encode(TEXTS, **options), stock(tiny_tokenizer, TEXTS, **options)
            )

    def test_the_python_route_counts_and_refuses_alike(self, tiny_tokenizer: Any) -> None:
        rust = Tokenizer.from_hf(tiny_tokenizer)
        python = Tokenizer(tiny_tokenizer, rust._python, None, "python: asked for")
        texts, others = [*TEXTS, "the " * 9], ["film", "", "bad bad", "a " * 7, "good"]
        for max_length in (None, 3, 6, 7):
            first = rust.encode(texts, others, max_length=max_length)
            second = python.encode(texts, others, max_length=max_length)
            lengths = np.diff(first.row_offsets).astype(np.uint32)
            assert first.ids.tolist() == second.ids.tolist()
            assert first.row_offsets.tolist() == second.row_offsets.tolist()
            assert np.array_equal(
                first.type_ids.expanded(lengths), second.type_ids.expanded(lengths)
            )
            assert first.num_truncated_rows == second.num_truncated_rows
            assert first.num_truncated_tokens == second.num_truncated_tokens
            assert first.num_truncated_characters == second.num_truncated_characters
        with pytest.raises(fastft.ConfigurationError, match="no room"):
            python.encode(texts, max_length=1)
        assert len(python.encode([])) == 0

    def test_parts_written_in_python_run_there(self, tiny_tokenizer: Any) -> None:
        from tokenizers import pre_tokenizers

        class Halves:
            def pre_tokenize(self, text: Any) -> None:
                text.split(
                    lambda i, part: [part[: len(str(part)) // 2], part[len(str(part)) // 2 :]]
                )

        custom = pre_tokenizers.PreTokenizer.custom(Halves())
        tiny_tokenizer.backend_tokenizer.pre_tokenizer = custom
        tiny_tokenizer.backend_tokenizer.enable_truncation(7)
        with pytest.warns(TokenizerFallbackWarning):
            tokenizer = Tokenizer.from_hf(tiny_tokenizer)
        assert tokenizer.explain().startswith("python: ")
        batch = tokenizer.encode(["goodfilm", "bad"], max_length=3)
        assert batch.row(0).tolist() == [*tiny_tokenizer(["goodfilm"])["input_ids"][0][:2], 3]
        assert tiny_tokenizer.backend_tokenizer.truncation is None  # by the stock call just made

    def test_special_tokens_in_text_may_be_split(self, tiny_tokenizer: Any) -> None:
        tiny_tokenizer.split_special_tokens = True
        tokenizer = Tokenizer.from_hf(tiny_tokenizer)
        assert tokenizer.explain().startswith("rust")
        assert_equal(tokenizer.encode(["a [SEP] b"]), stock(tiny_tokenizer, ["a [SEP] b"]))

    def test_other_type_ids_are_kept_in_full(self, tiny_tokenizer: Any) -> None:
        from tokenizers import processors

        tiny_tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="$A:0 [SEP]:0 [CLS]:2",
            pair="$A:0 [SEP]:0 $B:1 [SEP]:1 [CLS]:2",
            special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
        )
        tokenizer = Tokenizer.from_hf(tiny_tokenizer)
        assert tokenizer.explain().startswith("rust")
        assert tokenizer.encode(TEXTS).type_ids.flat is not None
        assert_equal(tokenizer.encode(TEXTS, TEXTS), stock(tiny_tokenizer, TEXTS, TEXTS))

    def test_a_pickled_tokenizer_encodes_the_same(self, tiny_tokenizer: Any) -> None:
        tokenizer = Tokenizer.from_hf(tiny_tokenizer)
        copied = pickle.loads(pickle.dumps(tokenizer))
        assert copied.encode(TEXTS).ids.tolist() == tokenizer.encode(TEXTS).ids.tolist()


class TestLoading:
    def test_from_a_folder_and_from_a_file(self, tiny_tokenizer: Any, tmp_path: Path) -> None:
        tiny_tokenizer.save_pretrained(tmp_path)
        expected = Tokenizer.from_hf(tiny_tokenizer).encode(TEXTS).ids.tolist()
        for location in (tmp_path, str(tmp_path), tmp_path / "tokenizer.json"):
            assert Tokenizer.from_hf(location).encode(TEXTS).ids.tolist() == expected
        (tmp_path / "tokenizer_config.json").unlink()
        assert Tokenizer.from_hf(tmp_path).encode(TEXTS).ids.tolist() == expected

    def test_a_tokenizer_of_ours_is_returned_as_it_is(self, tiny_tokenizer: Any) -> None:
        tokenizer = Tokenizer.from_hf(tiny_tokenizer)
        assert Tokenizer.from_hf(tokenizer) is tokenizer

    def test_a_slow_tokenizer_is_refused_with_the_way_out(self) -> None:
        class Slow:
            is_fast = False

        for wrong in (Slow(), object()):
            with pytest.raises(fastft.TokenizerError, match="not a fast one") as caught:
                Tokenizer.from_hf(wrong)  # type: ignore[arg-type]
            assert "AutoTokenizer.from_pretrained" in str(caught.value)

    def test_a_folder_without_a_tokenizer(self, tmp_path: Path) -> None:
        with warnings.catch_warnings(), pytest.raises(fastft.ModelNotFoundError, match="tokenizer"):
            Tokenizer.from_hf(tmp_path)

    def test_what_it_says_of_itself(self, minilm_tokenizer: Any) -> None:
        tokenizer = Tokenizer.from_hf(minilm_tokenizer)
        assert (tokenizer.pad_token_id, tokenizer.vocab_size) == (0, 30522)
        assert tokenizer.model_max_length == 512
        assert tokenizer.has_token_type_ids
        assert "BertTokenizer, 30522 tokens, rust" in repr(tokenizer)


def test_type_ids_of_any_form_are_joined() -> None:
    lengths = np.array([2, 0, 3], np.uint32)
    zero, starts = TypeIds(), TypeIds(np.array([1, 0, 3], np.uint32))
    flat = TypeIds(flat=np.array([0, 1, 2, 0, 0], np.uint8))
    for parts in ([zero, zero], [zero, starts], [starts, flat, zero], [flat, flat]):
        joined = concatenate([(part, lengths) for part in parts])
        expected = np.concatenate([part.expanded(lengths) for part in parts])
        assert np.array_equal(joined.expanded(np.tile(lengths, len(parts))), expected)
    assert concatenate([(zero, lengths)]) == zero
