"""Columns, labels and tokens that cannot be learnt from: what `fastft.check` says before a run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import fastft
from fastft import _fastft
from fastft.data.encoded_slices import ROWS_PER_SLICE
from fastft.data.python_tokenizer import PythonTokenizer
from fastft.data.sources import open_source
from fastft.data.token_dataset import TokenDataset
from fastft.data.tokenizer import Tokenizer as FastTokenizer
from fastft.errors import (
    ColumnError,
    ConfigurationError,
    DataError,
    Error,
    LabelError,
    TokenizerError,
)
from fastft.tasks.single_label import SingleLabel
from fastft.tasks.text_classification import TextClassification
from tests.tiny import sentences

if TYPE_CHECKING:
    from pathlib import Path

TASK = TextClassification("text", None, SingleLabel("label", ("no", "yes")))


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def check(model: Path, data: object, **options: Any) -> Any:
    return fastft.check(model, data, use_cpu=True, quiet=True, **options)


def refused(kind: type[Error], model: Path, data: object, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        check(model, data, **options)
    assert caught.value.fix
    return str(caught.value)


# Columns


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"text": "label"}, "column 'label' is both text and label"),
        ({"label": "text"}, "column 'text' is both text and label"),
        ({"text": "text", "label": "text"}, "column 'text' is both text and label"),
        ({"pair": "text"}, "column 'text' is both text and pair"),
        ({"pair": "label"}, "column 'label' is both pair and label"),
    ],
)
def test_one_column_cannot_play_two_parts(
    tiny_bert: Path, options: dict[str, str], words: str
) -> None:
    assert words in refused(ColumnError, tiny_bert, sentences(40), **options)


def test_a_column_without_a_name_is_counted(tiny_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,\n" + "".join(f"{t},{n}\n" for t, n in sentences(9)))
    assert "column 2 has no name" in refused(ColumnError, tiny_bert, tmp_path / "train.csv")


def test_unknown_names_may_be_a_row(tiny_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a b c,first\n" + "good,yes\nbad,no\n")
    text = refused(ColumnError, tiny_bert, tmp_path / "train.csv")
    assert "where the first row holds data, put names above it" in text


# Labels


def test_labels_that_look_alike_are_a_warning_and_an_error_under_strict(tiny_bert: Path) -> None:
    rows = [(text, label if row % 4 else f" {label}") for row, (text, label) in
            enumerate(sentences(80))]  # fmt: skip
    report = check(tiny_bert, rows)
    assert len([text for text in report.warnings if "labels that look alike" in text]) == 2
    assert "labels that look alike" in refused(LabelError, tiny_bert, rows, check="strict")
    assert check(tiny_bert, rows, check="off").warnings == ()


# Validation


@pytest.mark.parametrize("share", ["0.25", " 0.25 ", "2.5e-1"])
def test_a_share_written_as_text(tiny_bert: Path, share: str) -> None:
    notes = check(tiny_bert, sentences(80), validation=share).notes
    assert any("20 training rows were held back, 25 %" in note for note in notes)


@pytest.mark.parametrize(
    ("validation", "kind", "words"),
    [
        ("1.5", ConfigurationError, "the validation share is out of range"),
        ("nan", ConfigurationError, "the validation share is out of range"),
        ("None", ConfigurationError, "pass validation=None"),
        ("false", ConfigurationError, "pass validation=None"),
        ("", DataError, "argument validation: the path is empty"),
        ([], DataError, "the list given as validation: there are no rows"),
        ({"dev": 5}, DataError, "the int given as validation['dev']"),
    ],
)
def test_validation_that_is_no_data(
    tiny_bert: Path, validation: Any, kind: type[Error], words: str
) -> None:
    assert words in refused(kind, tiny_bert, sentences(40), validation=validation)


# Tokens


def word_tokenizer(unk_token: str | None = None) -> PreTrainedTokenizerFast:
    """A tokenizer of three words that adds no special tokens."""
    vocab = {"[PAD]": 0, "good": 1, "bad": 2} | ({unk_token: 3} if unk_token else {})
    backend = Tokenizer(models.WordLevel(vocab, unk_token=unk_token or "[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token=unk_token, model_max_length=64
    )


def tokenizer_by(route: str, unk_token: str | None = None) -> FastTokenizer:
    """That tokenizer on one of the two routes, whatever the self-check would choose."""
    hf = word_tokenizer(unk_token)
    python = PythonTokenizer(hf)
    rust = _fastft.Tokenizer(python.definition(), split_special_tokens=False)
    return FastTokenizer(hf, python, rust if route == "rust" else None, route)


@pytest.mark.parametrize("route", ["rust", "python"])
@pytest.mark.parametrize("as_pair", [False, True])
def test_a_text_that_is_not_tokenized_is_named_by_its_row(route: str, as_pair: bool) -> None:
    texts = ["good"] * (ROWS_PER_SLICE + 10)
    odd = list(texts)
    odd[ROWS_PER_SLICE + 3] = "strange"
    with pytest.raises(TokenizerError) as caught:
        TokenDataset.from_texts(
            texts if as_pair else odd, tokenizer_by(route), text_pair=odd if as_pair else None
        )
    assert caught.value.place == f"row {ROWS_PER_SLICE + 3}"
    assert caught.value.problem.startswith("the text cannot be tokenized: WordLevel error")
    assert caught.value.found == ("'good'" if as_pair else "'strange'")
    assert "unk_token" in str(caught.value.fix)


@pytest.mark.parametrize("route", ["rust", "python"])
def test_a_text_that_is_not_tokenized_is_named_by_its_line(tmp_path: Path, route: str) -> None:
    rows = [{"text": "good", "label": "yes"}] * 5000
    rows[4500] = {"text": "strange", "label": "no"}
    path = tmp_path / "train.jsonl"
    path.write_text("\n" + "".join(json.dumps(row) + "\n" for row in rows))
    split = open_source(path).splits["train"]
    with pytest.raises(TokenizerError) as caught:
        TASK.data(split, tokenizer_by(route), 16)
    assert caught.value.place == f"{path}, line 4502"


def test_rows_without_tokens_are_refused_with_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text('text,label\ngood,yes\n"",no\n" ",no\nbad,no\n')
    split = open_source(path).splits["train"]
    with pytest.raises(DataError) as caught:
        TASK.data(split, tokenizer_by("rust", "[UNK]"), 16)
    assert caught.value.place == f"{path}, line 3, column 'text'"
    assert "2 such rows" in str(caught.value)
    assert caught.value.fix == "drop the rows without text"


def test_rows_of_special_tokens_alone_are_trained_on(tiny_bert: Path) -> None:
    assert check(tiny_bert, [*sentences(40), ("", "positive")]).ok
