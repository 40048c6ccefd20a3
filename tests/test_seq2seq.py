"""Translation, summarization, any text to text: columns, labels, generation, what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import tokenizers
import transformers

from fastft.data.readers import ReadOptions
from fastft.data.sources import open_source
from fastft.data.tokenizer import Tokenizer
from fastft.errors import (
    ArgumentError,
    ColumnError,
    ConfigurationError,
    DataError,
    Error,
    TokenizerError,
)
from fastft.tasks.registry import task_class
from fastft.tasks.seq2seq import Seq2Seq, Summarization, Translation
from tests.test_examples import EXAMPLES
from tests.tiny_seq2seq import shouts, t5_config, t5_tokenizer, tiny_t5

HF = t5_tokenizer()
TOKENIZER = Tokenizer.from_hf(HF)


def made(data: Any, cls: type[Seq2Seq] = Seq2Seq, head: Any = None, **options: Any) -> Seq2Seq:
    return cls.from_source(open_source(data), {**cls.options, **options}, head)


def tokens(
    data: Any, tokenizer: Tokenizer = TOKENIZER, max_length: int = 64, **options: Any
) -> Any:
    task = made(data, **options)
    return task.data(open_source(data).splits["train"], tokenizer, max_length)


def columns(number: int = 6) -> dict[str, list[str]]:
    sources, targets = zip(*shouts(number), strict=True)
    return {"source": list(sources), "target": list(targets)}


# -- columns ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "options", "expected"),
    [
        (("source", "target"), {}, ("source", "target")),
        (("tgt", "src"), {}, ("src", "tgt")),
        (("id", "highlights", "article"), {}, ("article", "highlights")),
        (("text", "summary"), {}, ("text", "summary")),
        (("en", "fr"), {"source": "fr", "target": "en"}, ("fr", "en")),
        (("en", "target"), {"source": "en"}, ("en", "target")),
        (("document", "headline"), {"target": "headline"}, ("document", "headline")),
    ],
)
def test_columns_are_named_or_recognised(names, options, expected):
    task = made({name: ["a"] for name in names}, **options)
    assert (task.source, task.target) == expected


@pytest.mark.parametrize(
    ("data", "options", "error", "words"),
    [
        ({"en": ["a"], "fr": ["b"]}, {}, ColumnError, "source='en', target='fr'"),
        ({n: ["a"] for n in ("document", "text", "summary")}, {}, ColumnError, "several pairs"),
        ({"en": ["a"], "fr": ["b"]}, {"source": "de"}, ColumnError, "no column 'de'"),
        ({"a": ["x"], "b": ["y"]}, {"source": "a", "target": "a"}, ConfigurationError, "both"),
        ({"source": ["a"], "target": [1]}, {}, ColumnError, "target column 'target' is not text"),
        ({"source": ["a", None], "target": ["b", "c"]}, {}, ColumnError, "row 1 of the dict"),
        ([("a", 3)], {}, ColumnError, "not text"),
    ],
)
def test_columns_that_cannot_be_used_are_named(data, options, error, words):
    with pytest.raises(error, match=words):
        made(data, **options)


def test_the_fields_of_a_translation_are_columns(tmp_path):
    rows = [{"translation": {"de": "Hund", "en": "dog"}}, {"translation": {"de": "x", "en": "a"}}]
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    for data in (rows, path):
        task = made(data, source="de", target="en")
        part = task.data(open_source(data).splits["train"], TOKENIZER, 64)
        assert part.reference.texts == ["dog", "a"]
    with pytest.raises(ColumnError, match="the direction is yours to say"):
        made(rows)
    rows[1]["translation"]["en"] = None
    with pytest.raises(ColumnError, match=r"row 1 .*column 'en'"):
        made(rows, source="de", target="en")


def test_labels_in_the_names_of_files_are_no_targets(tmp_path):
    for name in ("de", "en"):
        (tmp_path / f"{name}.txt").write_text("x\n")
    with pytest.raises(DataError, match='source="de", target="en"'):
        made({"train": tmp_path})


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"text": "a"}, ArgumentError, "pass source='a'"),
        ({"label": "b"}, ArgumentError, "pass target='b'"),
        ({"pair": "b"}, ArgumentError, "remove pair"),
        ({"prefix": 3}, ConfigurationError, "prefix is of the wrong type"),
        ({"source": ["a"]}, ConfigurationError, "source is of the wrong type"),
        ({"max_target_length": 1}, ConfigurationError, "max_target_length cannot be used"),
        ({"max_target_length": True}, ConfigurationError, "found: +True"),
        ({"max_target_length": "long"}, ConfigurationError, "found: +'long'"),
    ],
)
def test_options_that_cannot_work_are_refused(options, error, words):
    with pytest.raises(error, match=words):
        made(columns(), **options)


def test_the_decoder_limits_the_target_length():
    bart = transformers.BartConfig(max_position_embeddings=40)
    assert made(columns(), head=bart).max_target_length == 40
    assert made(columns(), head=t5_config()).max_target_length == 512
    assert made(columns(), head=bart, max_target_length=np.int64(40)).max_target_length == 40
    with pytest.raises(ConfigurationError, match="at most 40: the positions of the decoder"):
        made(columns(), head=bart, max_target_length=41)
    led = transformers.LEDConfig(
        max_encoder_position_embeddings=90, max_decoder_position_embeddings=30
    )
    assert made(columns(), head=led).max_target_length == 30


# -- tokens and labels --------------------------------------------------------------------------


def test_tokens_are_those_of_a_call_with_text_target():
    data = columns(50)
    part = tokens(data, prefix="film : ", max_length=6, max_target_length=5)
    expected = HF(["film : " + text for text in data["source"]], max_length=6, truncation=True)
    labels = HF(text_target=data["target"], max_length=5, truncation=True)["input_ids"]
    assert [part.dataset[row]["input_ids"] for row in range(50)] == expected["input_ids"]
    assert [part.dataset[row]["labels"] for row in range(50)] == labels
    assert all(row[-1] == HF.eos_token_id for row in labels)


def test_what_is_cut_is_counted_apart_and_references_stay_whole():
    data = {"source": ["a b c", "a"], "target": ["A " * 9, "A"]}
    data["target"][0] = data["target"][0].strip()
    part = tokens(data, max_length=3, max_target_length=4)
    assert part.dataset.num_truncated_rows == 1 and part.dataset.num_truncated_characters == 2
    (note,) = part.notes
    # The last token that is kept of the nine is the third.
    assert "1 of 2 train targets (50 %) were cut to 4 tokens and lose 12 characters;" in note
    part = tokens(data, max_length=3, max_target_length=4, check="strict")
    assert part.dataset.num_truncated_rows == 1 and part.dataset.num_truncated_tokens == 1
    (note,) = part.notes
    assert (
        "1 of 2 train targets (50 %) were cut to 4 tokens and lose 6 tokens (50 % of all)" in note
    )
    assert part.reference.texts[0] == "A A A A A A A A A"


def test_the_end_of_text_is_added_where_the_tokenizer_leaves_it_out():
    hf = t5_tokenizer(ends_texts=False)
    data = {"source": ["a", "the"], "target": ["A FILM WAS", "A"]}
    part = tokens(data, Tokenizer.from_hf(hf), max_target_length=3)
    assert part.dataset[0]["labels"] == [*hf("A FILM")["input_ids"], 1]
    assert part.dataset[1]["labels"] == [*hf("A")["input_ids"], 1]
    assert any("its eos_token is put behind every target" in note for note in part.notes)
    hf.eos_token = None
    with pytest.raises(TokenizerError, match="no token that ends a text"):
        tokens(data, Tokenizer.from_hf(hf))


def test_rows_that_are_blank_on_one_side_are_left_out_counted_and_named():
    data = {"source": ["a", " ", "film", "the"], "target": ["A", "B", "FILM", "\n"]}
    part = tokens(data)
    assert len(part.dataset) == 2 and part.reference.texts == ["A", "FILM"]
    assert "2 of 4 train rows are blank on one side and left out (row 1" in part.notes[0]
    (warning,) = made(data).warnings()
    assert isinstance(warning, DataError) and "2 such rows" in str(warning)
    assert warning.place.startswith("row 1 of the dict")
    with pytest.raises(DataError, match="no row has both"):
        tokens({"source": ["", "a"], "target": ["A", ""]})


def test_places_stay_right_after_rows_were_left_out(tmp_path):
    (tmp_path / "t.tsv").write_text("source\ttarget\n \tA\na\tB\nfilm\tC\n")
    task = made(tmp_path / "t.tsv")
    # "film" becomes no token at all, so that its row is refused.
    backend = json.loads(HF.backend_tokenizer.to_str())
    backend["normalizer"] = {"type": "Replace", "pattern": {"String": "film"}, "content": ""}
    backend["post_processor"] = None
    bare = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(json.dumps(backend)),
        pad_token="<pad>",
        eos_token="</s>",
        model_input_names=["input_ids", "attention_mask"],
    )
    split = open_source(tmp_path / "t.tsv").splits["train"]
    with pytest.raises(DataError, match=r"t\.tsv, line 4, column 'source'"):
        task.data(split, Tokenizer.from_hf(bare), 9)


def test_labels_beyond_the_vocabulary_are_refused():
    with pytest.raises(TokenizerError, match="ids below 20"):
        tokens(columns(), head=t5_config(vocab_size=20))


def test_tokens_of_real_text_are_those_of_the_real_t5_tokenizer(shared_data):
    hf = transformers.T5Tokenizer.from_pretrained(shared_data / "tokenizers" / "t5")
    source = open_source(EXAMPLES / "data" / "tanaka", ReadOptions(parallel=("en", "ja")))
    for name, (first, second) in {"train": ("en", "ja"), "validation": ("ja", "en")}.items():
        split = source.splits[name]
        task = Seq2Seq.from_source(source, {"source": first, "target": second, "prefix": "to: "})
        part = task.data(split, Tokenizer.from_hf(hf), 24)
        texts = [split.table.column(column).to_pylist() for column in (first, second)]
        expected = hf(["to: " + text for text in texts[0]], max_length=24, truncation=True)
        labels = hf(text_target=texts[1])["input_ids"]
        for row in range(split.table.num_rows):
            assert part.dataset[row]["input_ids"] == expected["input_ids"][row]
            assert part.dataset[row]["labels"] == labels[row]
        assert part.reference.texts == texts[1]


# -- prefix, languages ----------------------------------------------------------------------------


def test_a_checkpoint_with_prefixes_asks_for_one():
    known = {"summarization": {"prefix": "summarize: "}, "x": {"max_length": 3}, "y": "?"}
    head = t5_config(task_specific_params=known)
    (warning,) = made(columns(), head=head).warnings()
    assert "prefix='summarize: '" in str(warning) and 'prefix=""' in str(warning)
    for prefix in ("", "summarize: "):
        assert made(columns(), head=head, prefix=prefix).warnings() == []
    assert made(columns(), head=t5_config()).warnings() == []


def nllb(**settings: Any) -> Any:
    words = ["▁", *"abcdefgh", *(f"▁{letter}" for letter in "abcdefgh")]
    vocab = {word: i for i, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", *words])}
    codes = ["eng_Latn", "deu_Latn", "fra_Latn"]
    return transformers.NllbTokenizer(
        vocab=vocab, merges=[("▁", letter) for letter in "abcdefgh"], extra_special_tokens=codes,
        **settings,
    )  # fmt: skip


@pytest.mark.parametrize("legacy", [False, True])
def test_language_codes_are_those_of_the_tokenizers_own_call(legacy):
    hf = nllb(legacy_behaviour=legacy)
    data = {"source": ["a b", "c"], "target": ["d", "e f g"]}
    options = {"source_lang": "deu_Latn", "target_lang": "fra_Latn"}
    part = tokens(data, Tokenizer.from_hf(hf), max_target_length=4, **options)
    assert (hf.src_lang, hf.tgt_lang) == ("eng_Latn", None)
    hf.src_lang, hf.tgt_lang = options.values()
    expected = hf(data["source"], text_target=data["target"], max_length=4, truncation=True)
    for row in range(2):
        assert part.dataset[row]["input_ids"] == expected["input_ids"][row]
        assert part.dataset[row]["labels"] == expected["labels"][row]


def test_a_target_that_begins_with_a_code_is_forced_to_in_generation():
    hf, model = nllb(), tiny_t5()
    task = made(columns(), source_lang="deu_Latn", target_lang="fra_Latn")
    task.prepare_model(model, hf, {})
    assert model.generation_config.forced_bos_token_id == hf.convert_tokens_to_ids("fra_Latn")
    legacy = tiny_t5()
    task.prepare_model(legacy, nllb(legacy_behaviour=True), {})
    assert legacy.generation_config.forced_bos_token_id is None


@pytest.mark.parametrize(
    ("hf", "options", "words"),
    [
        (nllb(), {}, "pass source_lang='deu_Latn', target_lang="),
        (nllb(), {"target_lang": "fra_Latin"}, "did you mean target_lang='fra_Latn'"),
        (nllb(), {"target_lang": "fra_Latn", "source_lang": "a"}, "argument source_lang"),
        (HF, {"source_lang": "en"}, "no language codes"),
        (HF, {"target_lang": "en"}, "no language codes"),
    ],
)
def test_languages_that_the_tokenizer_does_not_know_are_refused(hf, options, words):
    with pytest.raises(ConfigurationError, match=words):
        tokens({"source": ["a"], "target": ["b"]}, Tokenizer.from_hf(hf), **options)


# -- the rest -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [Seq2Seq, Translation, Summarization])
def test_a_task_survives_json_and_is_found_by_its_name(cls):
    head = t5_config(task_specific_params={"a": {"prefix": "p: "}})
    task = made({"source": ["a", " "], "target": ["A", "B"]}, cls, head)
    assert task.blank_rows and task.known_prefixes
    assert cls.from_state(json.loads(json.dumps(task.state()))) == task
    assert task_class(cls.name) is cls
    assert cls.name in task.describe() and "'source' -> 'target'" in task.describe()


def test_a_cut_keeps_equal_sources_on_one_side():
    data = columns(40)
    data["source"][7] = data["source"][3]
    task, split = made(data), open_source(data).splits["train"]
    train, validation = task.hold_out(split, fraction=0.2, seed=1)
    sides = [set(part.table.column("source").to_pylist()) for part in (train, validation)]
    assert not sides[0] & sides[1]
    assert train.table.num_rows + validation.table.num_rows == 40
    assert validation.table.num_rows >= 5


def test_rouge_of_texts_in_another_script_is_said_to_be_blind():
    data = {"source": ["a", "b"], "target": ["犬が好き", "cat"]}
    task = made(data, Summarization)
    split = open_source({"train": data, "validation": data}).splits["validation"]
    (note,) = task.data(split, TOKENIZER, 64).notes
    assert "1 of 2 validation targets have none" in note
    assert made(data, Translation).data(split, TOKENIZER, 64).notes == ()


def test_parallel_files_become_tokens(tmp_path):
    for name, text in (("train.de", "a\nfilm\n"), ("train.en", "A\nFILM\n")):
        (tmp_path / name).write_text(text)
    source = open_source(tmp_path, ReadOptions(parallel=("de", "en")))
    task = Translation.from_source(source, {**Translation.options, "source": "de", "target": "en"})
    part = task.data(source.splits["train"], TOKENIZER, 64)
    assert [part.dataset[row]["labels"] for row in range(2)] == HF(["A", "FILM"])["input_ids"]


def test_every_error_of_the_task_is_ours():
    for error in (ArgumentError, ColumnError, ConfigurationError, DataError, TokenizerError):
        assert issubclass(error, Error)
