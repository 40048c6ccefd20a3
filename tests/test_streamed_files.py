"""Streamed files give what whole ones give, wherever they are cut; errors name lines."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastft
from fastft import TokenDataset
from fastft.data import table_stream
from fastft.data.readers import ReadOptions, read_lines, read_table
from fastft.data.split_files import DataFile
from fastft.data.table_stream import stream_tables
from fastft.data.token_cache import TokenCacheWarning
from tests.tiny import sentences, tiny_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("negative", "positive")
ROWS = [(text, NAMES.index(label)) for text, label in sentences(300)]


@pytest.fixture(scope="module")
def hf() -> Any:
    return tiny_tokenizer()


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(table_stream, "PIECE_BYTES", 500)
    monkeypatch.setenv("FASTFT_CACHE", str(tmp_path / "cache"))


def write_rows(folder: Path, suffix: str) -> Path:
    path = folder / f"rows{suffix}"
    if suffix == ".parquet":
        texts, labels = zip(*ROWS, strict=True)
        pa.parquet.write_table(pa.table({"text": texts, "label": labels}), path, row_group_size=70)
    elif suffix in (".jsonl", ".json"):
        lines = [json.dumps({"text": text, "label": label}) for text, label in ROWS]
        path.write_text("[" + ",\n".join(lines) + "]" if suffix == ".json" else "\n".join(lines))
    elif suffix == ".txt":
        path.write_text("\n".join(text for text, _ in ROWS))
    else:
        with path.open("w", newline="") as file:
            writer = csv.writer(file, delimiter="," if suffix == ".csv" else "\t")
            writer.writerows([("text", "label"), *ROWS])
    return path


def same(ours: TokenDataset, other: TokenDataset) -> bool:
    mine, theirs = ours.arrays(), other.arrays()
    return list(mine) == list(theirs) and all(
        mine[name].dtype == theirs[name].dtype and np.array_equal(mine[name], theirs[name])
        for name in mine
    )


class TestRows:
    @pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json", ".parquet", ".txt"])
    def test_every_format_gives_what_the_texts_give(
        self, hf: Any, tmp_path: Path, suffix: str
    ) -> None:
        texts, labels = [text for text, _ in ROWS], [label for _, label in ROWS]
        columns = {} if suffix == ".txt" else {"labels": "label"}
        streamed = TokenDataset.from_files(
            write_rows(tmp_path, suffix), hf, columns=columns, max_length=9
        )
        whole = TokenDataset.from_texts(
            texts, hf, columns={"labels": labels} if columns else {}, max_length=9
        )
        assert same(streamed, whole)
        assert streamed.num_truncated_rows == whole.num_truncated_rows > 0
        assert streamed[7] == whole[7]
        assert streamed[-1] == whole[-1]

    def test_lost_tokens_are_counted_where_that_is_asked_for(self, hf: Any, tmp_path: Path) -> None:
        path, texts = write_rows(tmp_path, ".csv"), [text for text, _ in ROWS]
        for counts in (False, True, False):
            options: dict[str, Any] = {"max_length": 9, "count_truncated_tokens": counts}
            streamed = TokenDataset.from_files(path, hf, **options)
            assert same(streamed, TokenDataset.from_texts(texts, hf, **options))
            found = streamed.num_truncated_tokens, streamed.num_truncated_characters
            assert [count is None for count in found] == [not counts, counts]

    def test_several_files_follow_each_other(self, hf: Any, tmp_path: Path) -> None:
        files = [write_rows(tmp_path, ".csv"), str(write_rows(tmp_path, ".parquet"))]
        streamed = TokenDataset.from_files(files, hf, columns={"y": "label"})
        texts = [text for text, _ in ROWS] * 2
        labels = [label for _, label in ROWS] * 2
        assert same(streamed, TokenDataset.from_texts(texts, hf, columns={"y": labels}))

    def test_pairs(self, hf: Any, tmp_path: Path) -> None:
        path = tmp_path / "pairs.tsv"
        path.write_text("a\tb\n" + "".join(f"{text}\t{text[::-1]}\n" for text, _ in ROWS))
        streamed = TokenDataset.from_files(path, hf, text="a", text_pair="b", max_length=12)
        texts = [text for text, _ in ROWS]
        pair = [text[::-1] for text in texts]
        whole = TokenDataset.from_texts(texts, hf, text_pair=pair, max_length=12)
        assert same(streamed, whole)
        assert streamed.type_ids.second_segment_starts is not None

    def test_type_ids_of_any_shape(self, tmp_path: Path) -> None:
        from tokenizers.processors import TemplateProcessing

        hf = tiny_tokenizer()
        specials = [(token, hf.convert_tokens_to_ids(token)) for token in ("[CLS]", "[SEP]")]
        hf.backend_tokenizer.post_processor = TemplateProcessing(
            single="[CLS]:0 $A:1 [SEP]:0", special_tokens=specials
        )
        streamed = TokenDataset.from_files(write_rows(tmp_path, ".txt"), hf)
        whole = TokenDataset.from_texts([text for text, _ in ROWS], hf)
        assert same(streamed, whole)
        assert set(streamed[0]["token_type_ids"]) == {0, 1}

    def test_a_column_whose_first_rows_are_whole_numbers(self, hf: Any, tmp_path: Path) -> None:
        path = tmp_path / "scores.csv"
        scores = [*range(200), 0.5]
        path.write_text("text,score\n" + "".join(f"some words,{score}\n" for score in scores))
        streamed = TokenDataset.from_files(path, hf, columns={"labels": "score"})
        labels = streamed.columns["labels"]
        assert labels.dtype == np.float32
        assert labels.tolist() == scores

    def test_a_column_may_bear_the_name_of_an_array(self, hf: Any, tmp_path: Path) -> None:
        path = tmp_path / "scores.csv"
        scores = [*range(200), 0.5]
        path.write_text("a,b,score\n" + "".join(f"good film,bad,{score}\n" for score in scores))
        names = ("type_ids", "second_segment_starts", "ids")
        columns = dict.fromkeys(names, "score")
        streamed = TokenDataset.from_files(path, hf, text="a", text_pair="b", columns=columns)
        texts = ["good film"] * len(scores), ["bad"] * len(scores)
        whole = TokenDataset.from_texts(
            texts[0], hf, text_pair=texts[1], columns=dict.fromkeys(names, scores)
        )
        assert same(streamed, whole)

    def test_names_of_labels(self, hf: Any, tmp_path: Path) -> None:
        path = tmp_path / "named.csv"
        path.write_text("text,y\n" + "".join(f"{text},{NAMES[y]}\n" for text, y in ROWS))
        options: dict[str, Any] = {"columns": {"labels": "y"}}
        streamed = TokenDataset.from_files(path, hf, label_names=NAMES, **options)
        assert streamed.columns["labels"].tolist() == [label for _, label in ROWS]
        turned = TokenDataset.from_files(path, hf, label_names=NAMES[::-1], **options)
        assert turned.columns["labels"].tolist() == [1 - label for _, label in ROWS]
        with pytest.raises(fastft.Error, match="none of the names given") as error:
            TokenDataset.from_files(path, hf, label_names=NAMES[:1], **options)
        row = next(row for row, (_, label) in enumerate(ROWS) if label == 1)
        assert error.value.place == f"{path}, line {row + 2}, column 'y'"

    def test_wide_ids(self, tmp_path: Path) -> None:
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        vocab = {f"w{i}": i for i in range(70_000)} | {"[UNK]": 70_000}
        backend = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
        backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        hf = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")
        path = tmp_path / "wide.txt"
        path.write_text("w69999 w3\nw65536\n")
        assert TokenDataset.from_files(path, hf).ids.tolist() == [69_999, 3, 65_536]

    def test_another_encoding(self, hf: Any, tmp_path: Path) -> None:
        path = tmp_path / "wide.csv"
        content = "text\n" + "".join(f"Größe {text}\n" for text, _ in ROWS)
        path.write_text(content, encoding="utf-16")
        plain = tmp_path / "plain.csv"
        plain.write_text(content, encoding="utf-8-sig")
        wide = TokenDataset.from_files(path, hf, encoding="utf-16")
        assert same(wide, TokenDataset.from_files(plain, hf))
        with pytest.raises(fastft.Error, match="UTF-16"):
            TokenDataset.from_files(path, hf)


FIELDS = st.text(st.sampled_from('ab ,"\n\r\té'), max_size=30)


class TestCutting:
    @settings(max_examples=300)
    @given(
        rows=st.lists(st.tuples(FIELDS, FIELDS), min_size=1, max_size=30), size=st.integers(1, 60)
    )
    def test_quoted_fields_are_never_cut(
        self, rows: list[tuple[str, str]], size: int, tmp_path_factory: Any
    ) -> None:
        path = tmp_path_factory.mktemp("csv") / "rows.csv"
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([("text", "other"), *rows])
        path.write_bytes(out.getvalue().encode())
        assert_streamed_as_whole(path, size, ReadOptions())

    @settings(max_examples=200)
    @given(
        content=st.text(st.sampled_from("ab\"'\n\r\t  é"), max_size=200).map("x\ty\n".__add__),
        size=st.integers(1, 60),
    )
    def test_any_tsv(self, content: str, size: int, tmp_path_factory: Any) -> None:
        path = tmp_path_factory.mktemp("tsv") / "rows.tsv"
        path.write_bytes(content.encode())
        assert_streamed_as_whole(path, size, ReadOptions())

    @settings(max_examples=200)
    @given(
        rows=st.lists(st.dictionaries(st.just("text"), FIELDS, min_size=1), min_size=1),
        gaps=st.lists(st.sampled_from(["\n", "\r\n", "\n\n", "\n \n"]), min_size=1),
        size=st.integers(1, 60),
    )
    def test_any_jsonl(
        self, rows: list[dict[str, str]], gaps: list[str], size: int, tmp_path_factory: Any
    ) -> None:
        path = tmp_path_factory.mktemp("jsonl") / "rows.jsonl"
        lines = [json.dumps(row) + gaps[i % len(gaps)] for i, row in enumerate(rows)]
        path.write_bytes("".join(lines).encode())
        assert_streamed_as_whole(path, size, ReadOptions())

    def test_the_hash_has_seen_every_byte(self, tmp_path: Path) -> None:
        for suffix in (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".txt"):
            path = write_rows(tmp_path, suffix)
            hasher = hashlib.sha256()
            assert sum(part.table.num_rows for part in stream_tables(path, hasher)) == len(ROWS)
            assert hasher.digest() == hashlib.sha256(path.read_bytes()).digest(), suffix

    def test_lines_of_text(self, tmp_path: Path) -> None:
        path = tmp_path / "lines.txt"
        path.write_bytes(b"\n\none\r\n \n" + b"two\n" * 300 + b"three")
        whole = read_lines(DataFile(path, None))
        parts = list(stream_tables(path, hashlib.sha256()))
        assert len(parts) > 2
        texts = [text for part in parts for text in part.table["text"].to_pylist()]
        assert texts == whole.table["text"].to_pylist()
        assert parts[0].place(0) == whole.rows.place(0)
        assert parts[-1].place(parts[-1].table.num_rows - 1) == f"{path}, line 305"


def assert_streamed_as_whole(path: Path, size: int, options: ReadOptions) -> None:
    """The same rows at the same places; or the same error, where the file is at fault."""
    before, table_stream.PIECE_BYTES = table_stream.PIECE_BYTES, size
    try:
        parts = list(stream_tables(path, hashlib.sha256(), options))
    except fastft.Error as error:
        with pytest.raises(fastft.Error) as whole:
            read_table(path, options)
        assert error.place == whole.value.place
        return
    finally:
        table_stream.PIECE_BYTES = before
    read = read_table(path, options)
    rows = [row for part in parts for row in part.table.to_pylist()]
    assert rows == read.table.to_pylist()
    places = [part.place(row) for part in parts for row in range(part.table.num_rows)]
    assert places == [read.rows.place(row) for row in range(len(rows))]


class TestFaults:
    def fault(self, hf: Any, path: Path, content: str | bytes, **options: Any) -> fastft.Error:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(fastft.Error) as found:
            TokenDataset.from_files(path, hf, **options)
        assert not list((path.parent / "cache").glob(".*")), "something was left behind"
        return found.value

    def test_each_names_its_line(self, hf: Any, tmp_path: Path) -> None:
        good = '{"text": "some words here", "label": 1}\n' * 100
        path = tmp_path / "rows.jsonl"
        labels = {"columns": {"labels": "label"}}
        for bad, part in (
            ('{"text": null, "label": 1}', "missing"),
            ('{"label": 1, "text": ', "JSON"),
            ("[1]", ""),
        ):
            error = self.fault(hf, path, good + bad + "\n" + good, **labels)
            assert (error.place or "").startswith(f"{path}, line 101"), error
            assert part in str(error)
        error = self.fault(hf, path, good + '{"text": "a", "label": null}\n' + good, **labels)
        assert error.place == f"{path}, line 101, column 'label'"
        error = self.fault(hf, path, good.encode() + b'{"text": "\xff"}\n')
        assert error.place == f"{path}, line 101"

    def test_csv(self, hf: Any, tmp_path: Path) -> None:
        good = 'text,label\n"some\nwords, here",1\n' + "some words here,1\n" * 100
        path = tmp_path / "rows.csv"
        labels = {"columns": {"labels": "label"}}
        error = self.fault(hf, path, good + "one,2,3\n" + "a,1\n" * 99, **labels)
        assert error.place == f"{path}, line 104"
        error = self.fault(hf, path, good + "one,good\n" + "a,1\n" * 99, **labels)
        assert error.place == f"{path}, line 104, column 'label'"
        assert error.found == "'good'"
        error = self.fault(hf, path, good + '"one,1\n' + "a,1\n" * 2000, **labels)
        assert error.place == f"{path}, line 104"
        error = self.fault(hf, path, good, text="txt")
        assert "did you mean 'text'" in str(error)
        error = self.fault(hf, path, good, columns={"labels": "lable"})
        assert "did you mean 'label'" in str(error)

    @pytest.mark.parametrize(
        ("name", "content", "problem"),
        [
            ("a.csv", b"", "empty"),
            ("a.csv", b"\n\n \n", "blank"),
            ("a.csv", b"text,label\n", "no rows"),
            ("a.jsonl", b"", "empty"),
            ("a.txt", b"\n\n", "blank"),
            ("a.txt", b"\x1f\x8b\x08", "compressed"),
            ("a.txt", b"one\0two", "NUL"),
            ("a.parquet", b"PAR1nothing", "read"),
            ("a.xlsx", b"x", "format"),
        ],
    )
    def test_files_that_hold_nothing(
        self, hf: Any, tmp_path: Path, name: str, content: bytes, problem: str
    ) -> None:
        assert problem in str(self.fault(hf, tmp_path / name, content))

    def test_files_that_are_not_there(self, hf: Any, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="no such file"):
            TokenDataset.from_files(tmp_path / "none.csv", hf)
        with pytest.raises(fastft.Error, match="format that can be read"):
            TokenDataset.from_files(tmp_path, hf)

    def test_integers_beyond_int64(self, hf: Any, tmp_path: Path) -> None:
        path = tmp_path / "a.parquet"
        labels = pa.array([1, 2**64 - 1], pa.uint64())
        pa.parquet.write_table(pa.table({"text": ["a", "b"], "label": labels}), path)
        with pytest.raises(fastft.Error, match="no number"):
            TokenDataset.from_files(path, hf, columns={"y": "label"})

    @pytest.mark.parametrize("name", ["input_ids", "../up", "a b", ""])
    def test_names_that_are_no_columns(self, hf: Any, tmp_path: Path, name: str) -> None:
        error = self.fault(hf, tmp_path / "a.txt", "one\n", columns={name: "text"})
        assert "no name for a column" in str(error)

    def test_a_full_disk(self, hf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from fastft.data.token_shards import ArrayWriter

        def full(self: ArrayWriter, values: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(ArrayWriter, "append", full)
        error = self.fault(hf, tmp_path / "a.txt", "one\n")
        assert isinstance(error, OSError)
        assert error.found == "No space left on device"


def test_a_tokenizer_without_a_text_is_not_cached(tmp_path: Path) -> None:
    from tokenizers import NormalizedString, PreTokenizedString, pre_tokenizers

    class Halves:
        def pre_tokenize(self, text: PreTokenizedString) -> None:
            text.split(self._halves)

        def _halves(self, number: int, text: NormalizedString) -> list[NormalizedString]:
            middle = len(str(text)) // 2
            return [text[:middle], text[middle:]]

    hf = tiny_tokenizer()
    hf.backend_tokenizer.pre_tokenizer = pre_tokenizers.PreTokenizer.custom(Halves())
    path = write_rows(tmp_path, ".txt")
    with pytest.warns(UserWarning) as warned:
        streamed = TokenDataset.from_files(path, hf)
    assert any(issubclass(warning.category, TokenCacheWarning) for warning in warned)
    assert len(streamed) == len(ROWS)
    assert not list((tmp_path / "cache").glob("*"))
