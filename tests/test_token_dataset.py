"""Rows equal those of the tokenizer's own call; files are read back whole or refused."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fastft
from fastft.data.token_dataset import BatchReference, TokenDataset
from fastft.data.type_ids import TypeIds
from tests.tiny import sentences, tiny_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = [text for text, _ in sentences(60)]
LABELS = list(range(60))


@pytest.fixture(scope="module")
def hf() -> Any:
    return tiny_tokenizer()


@pytest.fixture
def dataset(hf: Any) -> TokenDataset:
    return TokenDataset.from_texts(TEXTS, hf, max_length=12, columns={"labels": LABELS})


def stock_row(hf: Any, *texts: str, **options: Any) -> dict[str, Any]:
    return dict(copy.deepcopy(hf)(*texts, truncation=True, verbose=False, **options))


class TestRows:
    def test_rows_are_those_of_the_tokenizers_call(self, hf: Any, dataset: TokenDataset) -> None:
        assert len(dataset) == len(TEXTS)
        for index, text in enumerate(TEXTS):
            expected = {**stock_row(hf, text, max_length=12), "labels": index}
            assert dataset[index] == expected
            assert list(dataset[index]) == list(expected)
        assert dataset[-1] == dataset[len(TEXTS) - 1]
        assert type(dataset[0]["labels"]) is int
        assert type(dataset[0]["input_ids"][0]) is int

    def test_pairs(self, hf: Any) -> None:
        dataset = TokenDataset.from_texts(TEXTS, hf, text_pair=TEXTS[::-1], max_length=15)
        for index, texts in enumerate(zip(TEXTS, TEXTS[::-1], strict=True)):
            assert dataset[index] == stock_row(hf, *texts, max_length=15)

    def test_real_texts(self, minilm_tokenizer: Any, shared_data: Path) -> None:
        lines = (shared_data / "classification/sst2_glue/dev.tsv").read_text("utf-8").split("\n")
        texts = [line.split("\t")[0] for line in lines[1:200]]
        dataset = TokenDataset.from_texts(texts, minilm_tokenizer, max_length=32)
        expected = minilm_tokenizer(texts, truncation=True, max_length=32)
        for index in range(len(texts)):
            assert dataset[index] == {name: rows[index] for name, rows in expected.items()}

    def test_keys_are_those_that_the_model_takes(self, hf: Any) -> None:
        hf = copy.deepcopy(hf)
        hf.model_input_names = ["input_ids", "attention_mask"]
        dataset = TokenDataset.from_texts(["a", "b"], hf, text_pair=["c", "d"])
        assert list(dataset[0]) == ["input_ids", "attention_mask"]
        assert dataset[0] == stock_row(hf, "a", "c")

    @pytest.mark.parametrize("index", [60, -61, 10**12])
    def test_a_row_that_does_not_exist(self, dataset: TokenDataset, index: int) -> None:
        with pytest.raises(IndexError, match="60 rows"):
            dataset[index]
        with pytest.raises(IndexError, match="60 rows"):
            dataset.__getitems__([0, index])

    def test_indices_are_integers(self, dataset: TokenDataset) -> None:
        assert dataset[np.int64(3)] == dataset[3]  # type: ignore[index]
        assert dataset[torch.tensor(3)] == dataset[3]  # type: ignore[index]
        with pytest.raises(TypeError):
            dataset["labels"]  # type: ignore[index]
        with pytest.raises(fastft.DataError):
            dataset.__getitems__([0.5])  # type: ignore[list-item]

    def test_what_it_says_of_itself(self, hf: Any, dataset: TokenDataset) -> None:
        rows = [stock_row(hf, text, max_length=12)["input_ids"] for text in TEXTS]
        whole = copy.deepcopy(hf)(TEXTS, verbose=False)["input_ids"]
        assert dataset.lengths.dtype == np.uint32
        assert dataset.lengths.tolist() == [len(row) for row in rows]
        assert dataset.num_tokens == sum(map(len, rows))
        assert dataset.num_truncated_rows == sum(len(row) > 12 for row in whole)
        counted = TokenDataset.from_texts(TEXTS, hf, max_length=12, count_truncated_tokens=True)
        assert counted.num_truncated_tokens == sum(map(len, whole)) - dataset.num_tokens
        assert (counted.num_truncated_characters, dataset.num_truncated_tokens) == (None, None)
        cut = copy.deepcopy(hf)(TEXTS, max_length=12, truncation=True, return_offsets_mapping=True)
        ends = [offsets[-2][1] for offsets in cut["offset_mapping"]]
        lost = [
            len(text) - end
            for text, end, row in zip(TEXTS, ends, whole, strict=True)
            if len(row) > 12
        ]
        assert dataset.num_truncated_characters == sum(lost) > 0
        assert repr(dataset).startswith("TokenDataset(60 rows,")

    def test_ids_are_narrow_where_the_vocabulary_allows(self, dataset: TokenDataset) -> None:
        assert dataset.ids.dtype == np.uint16
        ids = np.array([5, 70_000], np.uint32)
        wide = TokenDataset(ids, np.array([0, 2], np.uint64), model_inputs=["input_ids"])
        assert wide[0] == {"input_ids": [5, 70_000]}

    def test_arrays_cannot_be_written_to(self, dataset: TokenDataset) -> None:
        for array in dataset.arrays().values():
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1

    def test_no_rows(self, hf: Any) -> None:
        dataset = TokenDataset.from_texts([], hf, columns={"labels": []})
        assert (len(dataset), dataset.num_tokens, len(dataset.lengths)) == (0, 0, 0)
        assert dataset.columns["labels"].dtype == np.int64


class TestFromTexts:
    def test_slices_give_what_one_call_gives(
        self, hf: Any, dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fastft.data.encoded_slices.ROWS_PER_SLICE", 7)
        done: list[int] = []
        for texts in (TEXTS, pa.array(TEXTS), pa.chunked_array([TEXTS[:10], TEXTS[10:]])):
            done.clear()
            sliced = TokenDataset.from_texts(texts, hf, max_length=12, progress=done.append)
            assert sliced.ids.tolist() == dataset.ids.tolist()
            assert sliced.row_offsets.tolist() == dataset.row_offsets.tolist()
            assert sliced.num_truncated_characters == dataset.num_truncated_characters
            assert done == [7, 14, 21, 28, 35, 42, 49, 56, 60]
        pairs = TokenDataset.from_texts(TEXTS, hf, text_pair=TEXTS)
        assert pairs[30] == stock_row(hf, TEXTS[30], TEXTS[30])

    def test_it_can_be_interrupted_between_slices(
        self, hf: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fastft.data.encoded_slices.ROWS_PER_SLICE", 7)

        def stop(rows: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            TokenDataset.from_texts(TEXTS, hf, progress=stop)

    def test_a_fault_in_a_later_slice_names_its_row(
        self, hf: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fastft.data.encoded_slices.ROWS_PER_SLICE", 7)
        with pytest.raises(fastft.DataError, match="row 60"):
            TokenDataset.from_texts([*TEXTS, None], hf)  # type: ignore[list-item]
        with pytest.raises(fastft.DataError, match="60 and 1 rows"):
            TokenDataset.from_texts(TEXTS, hf, text_pair=["a"])


class TestColumns:
    @pytest.mark.parametrize(
        ("values", "dtype", "first"),
        [
            ([3, 4], np.int64, 3),
            ([True, False], np.int64, 1),
            ([0.5, 2], np.float32, 0.5),
            (np.array([3, 4], np.uint8), np.int64, 3),
            (np.array([0.5, 1]), np.float32, 0.5),
            (torch.tensor([3, 4]), np.int64, 3),
            (pa.array([3, 4]), np.int64, 3),
            ([[1, 0], [0, 1]], np.int64, [1, 0]),
            ([[0.5, 0.0], [0.0, 1.0]], np.float32, [0.5, 0.0]),
        ],
    )
    def test_numbers_become_int64_or_float32(
        self, hf: Any, values: Any, dtype: Any, first: Any
    ) -> None:
        dataset = TokenDataset.from_texts(["a", "b"], hf, columns={"labels": values})
        assert dataset.columns["labels"].dtype == dtype
        assert dataset[0]["labels"] == first

    @pytest.mark.parametrize(
        ("name", "values", "message"),
        [
            ("labels", ["x", "y"], "'x' in row 0"),
            ("labels", [1, None], "None in row 1"),
            ("labels", [1], "1 entries"),
            ("labels", 7, "single value"),
            ("labels", [[1], [1, 2]], "one shape"),
            ("labels", np.array([1, 2**63], np.uint64), "beyond int64"),
            ("input_ids", [1, 2], "taken"),
        ],
    )
    def test_what_is_no_column(self, hf: Any, name: str, values: Any, message: str) -> None:
        with pytest.raises(fastft.ColumnError, match=message):
            TokenDataset.from_texts(["a", "b"], hf, columns={name: values})

    def test_the_given_array_stays_the_users_own(self, hf: Any) -> None:
        labels = np.array([1, 2])
        dataset = TokenDataset.from_texts(["a", "b"], hf, columns={"labels": labels})
        labels[0] = 9
        assert dataset[0]["labels"] == 1


def assert_same(first: TokenDataset, second: TokenDataset) -> None:
    arrays, others = first.arrays(), second.arrays()
    assert list(arrays) == list(others)
    for name, array in arrays.items():
        assert array.dtype == others[name].dtype
        assert np.array_equal(array, others[name])


class TestCopies:
    def test_arrays_and_pickles_hold_everything(self, hf: Any) -> None:
        columns = {"labels": LABELS, "score": np.linspace(0, 1, 60)}
        dataset = TokenDataset.from_texts(TEXTS, hf, text_pair=TEXTS, columns=columns, max_length=9)
        for copied in (
            TokenDataset.from_arrays(dataset.arrays()),
            pickle.loads(pickle.dumps(dataset)),
            copy.deepcopy(dataset),
        ):
            assert_same(dataset, copied)
            assert copied.num_truncated_rows == dataset.num_truncated_rows
            assert copied.num_truncated_tokens is None
            assert copied.num_truncated_characters == dataset.num_truncated_characters > 0
            assert [copied[row] for row in (0, 30)] == [dataset[row] for row in (0, 30)]

    @pytest.mark.parametrize("change", ["ids", "row_offsets", "metadata", "column.labels"])
    def test_arrays_that_do_not_fit_are_refused(self, dataset: TokenDataset, change: str) -> None:
        arrays = dataset.arrays()
        for wrong in (arrays[change][:-1], arrays[change].astype(np.complex64), [1]):
            with pytest.raises(fastft.DataError):
                TokenDataset.from_arrays({**arrays, change: wrong})  # type: ignore[dict-item]
        del arrays[change]
        with pytest.raises(fastft.DataError):
            TokenDataset.from_arrays(arrays)

    def test_an_id_beyond_the_vocabulary_is_refused(self, dataset: TokenDataset) -> None:
        ids = dataset.ids.copy()
        ids[3] = 65_535
        with pytest.raises(fastft.DataError, match="row 0: token id 65535"):
            TokenDataset.from_arrays({**dataset.arrays(), "ids": ids})


class TestFiles:
    def test_round_trip(self, dataset: TokenDataset, tmp_path: Path) -> None:
        path = tmp_path / "train.safetensors"
        dataset.save(path)
        assert_same(dataset, TokenDataset.load(path))
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]

    @settings(max_examples=25)
    @given(
        rows=st.lists(st.lists(st.integers(0, 80_000), max_size=6), max_size=6),
        flat=st.booleans(),
    )
    def test_any_rows(self, rows: list[list[int]], flat: bool, tmp_path_factory: Any) -> None:
        path = tmp_path_factory.mktemp("files") / "rows.safetensors"
        ids = np.array([token for row in rows for token in row], np.uint32)
        offsets = np.cumsum([0, *map(len, rows)]).astype(np.uint64)
        type_ids = TypeIds(flat=(ids % 3).astype(np.uint8)) if flat else None
        dataset = TokenDataset(ids, offsets, type_ids, columns={"label": range(len(rows))})
        dataset.save(path)
        assert_same(dataset, TokenDataset.load(path))

    def test_the_old_file_stays_until_the_new_one_is_whole(
        self, dataset: TokenDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "train.safetensors"
        dataset.save(path)
        before = path.read_bytes()

        def fail(*args: Any, **kwargs: Any) -> None:
            raise OSError("no space left on device")

        monkeypatch.setattr("safetensors.numpy.save_file", fail)
        with pytest.raises(fastft.OutputError, match="no space left"):
            dataset.save(path)
        assert path.read_bytes() == before
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]

    def test_a_folder_that_is_not_there(self, dataset: TokenDataset, tmp_path: Path) -> None:
        with pytest.raises(fastft.OutputError):
            dataset.save(tmp_path / "nowhere" / "train.safetensors")
        with pytest.raises(fastft.DataNotFoundError):
            TokenDataset.load(tmp_path / "nowhere.safetensors")

    def test_a_flipped_bit_anywhere_is_refused(self, hf: Any, tmp_path: Path) -> None:
        path = tmp_path / "train.safetensors"
        dataset = TokenDataset.from_texts(TEXTS[:3], hf, columns={"labels": [1, 2, 3]})
        dataset.save(path)
        whole = path.read_bytes()
        for position in range(len(whole)):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << (position % 8)
            path.write_bytes(damaged)
            try:
                loaded = TokenDataset.load(path)
            except fastft.DataError as error:
                assert str(path) in str(error) or "arrays" in str(error)
            else:  # blanks that pad the header may change without a meaning
                assert_same(dataset, loaded)

    @pytest.mark.parametrize("keep", [0, 1, 7, 8, 100, 0.5, 0.99])
    def test_a_file_that_was_cut_short_is_refused(
        self, dataset: TokenDataset, tmp_path: Path, keep: float
    ) -> None:
        path = tmp_path / "train.safetensors"
        dataset.save(path)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
        with pytest.raises(fastft.DataError, match="damaged"):
            TokenDataset.load(path)

    def test_a_file_of_another_kind_is_refused(self, tmp_path: Path) -> None:
        from safetensors.numpy import save_file

        path = tmp_path / "model.safetensors"
        save_file({"weight": np.zeros(3)}, path)
        with pytest.raises(fastft.DataError, match="not a token dataset of this version"):
            TokenDataset.load(path)


class TestBatchReference:
    def test_it_is_a_list_of_the_rows(self, dataset: TokenDataset) -> None:
        rows = [dataset[4], dataset[0], dataset[4]]
        batch = dataset.__getitems__([4, 0, 4])
        assert isinstance(batch, list)
        assert (len(batch), bool(batch), batch.is_untouched) == (3, True, True)
        assert batch.indices.tolist() == [4, 0, 4]
        assert batch.dataset is dataset
        for look in (
            list,
            lambda batch: [*batch],
            lambda batch: batch[:],
            lambda batch: [batch[0], batch[1], batch[-1]],
            lambda batch: list(reversed(batch))[::-1],
            lambda batch: [*batch],
            lambda batch: batch.copy(),
            lambda batch: sorted(batch, key=lambda row: 0),
            lambda batch: [row for row in rows if row in batch],
            copy.deepcopy,
            lambda batch: list(pickle.loads(pickle.dumps(batch))),
        ):
            assert look(dataset.__getitems__([4, 0, 4])) == rows
        assert batch == rows
        assert rows == batch

    def test_negative_rows_count_from_the_end(self, dataset: TokenDataset) -> None:
        assert dataset.__getitems__([-1, 0]).indices.tolist() == [59, 0]

    def test_changes_are_kept(self, dataset: TokenDataset) -> None:
        batch = dataset.__getitems__([1, 2])
        batch[0]["labels"] = 77
        batch.append(dataset[3])
        assert not batch.is_untouched
        assert (batch[0]["labels"], len(batch)) == (77, 3)
        assert pickle.loads(pickle.dumps(batch)) == list(batch)

    def test_an_empty_one(self, dataset: TokenDataset) -> None:
        batch = BatchReference(dataset, [])
        assert (len(batch), list(batch)) == (0, [])

    def test_torch_hands_it_to_the_collator(self, dataset: TokenDataset) -> None:
        subset = torch.utils.data.Subset(dataset, [5, 6, 7, 8])
        for source, rows in ((dataset, [[0, 1], [2, 3]]), (subset, [[5, 6], [7, 8]])):
            loader = torch.utils.data.DataLoader(source, 2, collate_fn=lambda batch: batch)
            batches = iter(loader)
            for expected in rows:
                batch = next(batches)
                assert isinstance(batch, BatchReference)
                assert batch.indices.tolist() == expected
