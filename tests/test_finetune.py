"""finetune() from the outside: every kind of data, what it prints, what it leaves behind."""

from __future__ import annotations

import copy
import csv
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from tokenizers import processors
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    GPT2ForSequenceClassification,
)

import fastft
from fastft.training.output import verify_files
from tests.tiny import sentences, tiny_model, tiny_tokenizer

pytestmark = pytest.mark.floor
QUICK = {"num_train_epochs": 1, "learning_rate": 1e-3, "use_cpu": True, "quiet": True}


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def result(tiny_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return fastft.finetune(
        str(tiny_bert),
        {"train": sentences(400), "validation": sentences(100, seed=1)},
        output_dir=folder / "out",
        **{**QUICK, "num_train_epochs": 6},
    )


def label_files(folder):
    for split, rows in (("train", sentences(60)), ("validation", sentences(20, seed=1))):
        (folder / split).mkdir(parents=True)
        for number, name in enumerate(("negative", "positive")):
            lines = [text for text, label in rows if label == name]
            (folder / split / f"{number}.txt").write_text("\n".join(lines) + "\n")
    return folder


def label_folders(folder):
    for split, rows in (("train", sentences(30)), ("validation", sentences(10, seed=1))):
        for number, (text, label) in enumerate(rows):
            (folder / split / label).mkdir(parents=True, exist_ok=True)
            (folder / split / label / f"{number}.txt").write_text(text)
    return folder


def csv_files(folder):
    folder.mkdir()
    for split, rows in (("train", sentences(60)), ("dev", sentences(20, seed=1))):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("sentence", "label"), *rows])
    return folder


def tsv_file(folder):
    path = folder.with_suffix(".tsv")
    lines = ["\t".join(row) for row in [("text", "label"), *sentences(80)]]
    path.write_text("\n".join(lines) + "\n")
    return path


def jsonl_file(folder):
    path = folder.with_suffix(".jsonl")
    path.write_text(
        "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in sentences(80))
    )
    return path


def parquet_splits(folder):
    for split, rows in (("train", sentences(60)), ("test", sentences(20, seed=1))):
        texts, labels = zip(*rows, strict=True)
        pq.write_table(
            pa.table({"review": texts, "sentiment": labels}), f"{folder}-{split}.parquet"
        )
    return {"train": f"{folder}-train.parquet", "test": f"{folder}-test.parquet"}


def pairs_in_a_list(folder):
    return sentences(80)


def columns_in_a_dict(folder):
    texts, labels = zip(*sentences(80), strict=True)
    return {"text": list(texts), "label": [int(label == "positive") for label in labels]}


def arrow_table(folder):
    return pa.table(columns_in_a_dict(folder))


def pandas_frame(folder):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(columns_in_a_dict(folder))


def polars_frame(folder):
    polars = pytest.importorskip("polars")
    return polars.DataFrame(columns_in_a_dict(folder))


def hugging_face_dataset(folder):
    datasets = pytest.importorskip("datasets")
    return datasets.Dataset.from_dict(columns_in_a_dict(folder))


KINDS = [
    label_files,
    label_folders,
    csv_files,
    tsv_file,
    jsonl_file,
    parquet_splits,
    pairs_in_a_list,
    columns_in_a_dict,
    arrow_table,
    pandas_frame,
    polars_frame,
    hugging_face_dataset,
]


@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
def test_every_kind_of_data_trains(kind, tiny_bert, tmp_path):
    result = fastft.finetune(str(tiny_bert), kind(tmp_path / "data"), **QUICK)
    assert 0 <= result.metrics["eval_accuracy"] <= 1
    assert result.model.config.num_labels == 2
    assert (result.output_dir / "model.safetensors").is_file()


def test_a_path_object_and_a_relative_string_are_taken(tiny_bert, tmp_path):
    label_files(tmp_path / "data")
    result = fastft.finetune(tiny_bert, "data", **QUICK)
    assert result.output_dir.name == "tiny-bert-data-1"
    assert result.model.config.id2label == {0: "0", 1: "1"}


def test_it_learns(result):
    assert result.metrics["eval_accuracy"] > 0.95
    assert result.predict(["the plot was awful", "a great film"])[0]["label"] == "negative"
    assert [answer["label"] for answer in result.predict(["a great film"])] == ["positive"]


def test_the_plan_holds_no_auto(result):
    assert "auto" not in result.plan.values()
    assert result.plan["max_length"] == 64
    assert result.plan["total_steps"] == 150


def test_the_timing_is_complete(result):
    assert set(result.timing) == {
        "seconds_before_first_step",
        "data_stall_share",
        "step_ms",
        "eval_s",
    }
    assert all(value is not None for value in result.timing.values())


def test_the_folder_holds_json_yaml_and_safetensors_and_nothing_pickled(result):
    names = {entry.name for entry in result.output_dir.iterdir() if entry.is_file()}
    assert {
        "config.json",
        "history.jsonl",
        "manifest.json",
        "metrics.json",
        "model.safetensors",
        "run.yaml",
        "tokenizer.json",
    } <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl", ".pth"))]
    verify_files(result.output_dir)
    assert json.loads((result.output_dir / "config.json").read_text())["id2label"] == {
        "0": "negative",
        "1": "positive",
    }
    metrics = json.loads((result.output_dir / "metrics.json").read_text())
    assert metrics["eval_accuracy"] == result.metrics["eval_accuracy"]
    history = (result.output_dir / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in history] == result.history


def test_plain_auto_classes_load_the_folder_and_predict_the_same(result):
    model = AutoModelForSequenceClassification.from_pretrained(result.output_dir)
    tokenizer = AutoTokenizer.from_pretrained(result.output_dir)
    texts = [text for text, _ in sentences(10, seed=5)]
    with torch.no_grad():
        logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    ours = result.predict(texts)
    scores = torch.softmax(logits.double(), dim=-1).max(dim=-1)
    names = [model.config.id2label[int(index)] for index in scores.indices]
    assert [answer["label"] for answer in ours] == names
    np.testing.assert_allclose([answer["score"] for answer in ours], scores.values, rtol=1e-5)


def test_evaluate_scores_new_data(result):
    rows = sentences(50, seed=2)
    metrics = result.evaluate(rows)
    right = sum(
        answer["label"] == label
        for answer, (_, label) in zip(result.predict([text for text, _ in rows]), rows, strict=True)
    )
    assert metrics["eval_accuracy"] == pytest.approx(right / 50)


def test_a_single_text_is_not_taken_for_a_list_of_letters(result):
    with pytest.raises(fastft.DataError, match=r"predict\(\[text\]\)"):
        result.predict("a good film")


def test_long_names_fit_into_the_name_of_the_folder(tiny_bert, tmp_path):
    model = tmp_path / ("m" * 200)
    shutil.copytree(tiny_bert, model)
    path = tsv_file(tmp_path / ("d" * 200))
    result = fastft.finetune(model, path, **QUICK)
    assert result.output_dir.name == f"{'m' * 80}-{'d' * 80}-1"


def test_predicting_nothing_gives_nothing(result):
    assert result.predict([]) == []


@pytest.mark.parametrize(
    "texts", ["a good film", b"x", 5, None, {"a": 1}, {"a"}, [1], ["a", None], [["a"]], ["\ud800"]]
)
def test_what_cannot_be_predicted(result, texts):
    with pytest.raises(fastft.DataError, match=r"inputs|texts"):
        result.predict(texts)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "2", True, None])
def test_a_batch_size_that_is_none(result, batch_size):
    with pytest.raises(fastft.ConfigurationError, match="batch_size"):
        result.predict(["a film"], batch_size=batch_size)


@pytest.mark.parametrize("kind", [tuple, np.array, pa.array, iter])
def test_texts_come_in_every_kind_of_row(result, kind):
    texts = ["a great film", "the plot was awful"]
    assert result.predict(kind(texts)) == result.predict(texts)


def test_second_texts_for_a_task_on_single_ones(result):
    with pytest.raises(fastft.DataError, match="leave text_pair out"):
        result.predict(["a film"], ["the plot"])


def test_texts_that_are_cut_are_counted(result):
    text = "good " * 100
    with pytest.warns(UserWarning, match="1 of 2 rows were cut to 64 tokens"):
        result.predict([text, "good"])
    with pytest.warns(UserWarning, match="and lose 191 characters"):
        result.evaluate([(text, "positive")])


@pytest.mark.parametrize(
    "data",
    [5, None, [], "nothing-here", [("a", "neutral")], {"text": ["a"]}, {"text": [1], "label": [0]}],
)
def test_what_cannot_be_evaluated(result, data):
    with pytest.raises(fastft.Error):
        result.evaluate(data)


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        (5, fastft.ConfigurationError),
        (None, fastft.ConfigurationError),
        ("", fastft.ConfigurationError),
        ("a\0b", fastft.ConfigurationError),
        ("/proc/no-such-place", fastft.OutputError),
    ],
)
def test_a_folder_that_cannot_be_saved_into(result, folder, kind):
    with pytest.raises(kind, match="folder"):
        result.save(folder)


def test_a_result_is_kept_by_its_files_and_not_by_pickle(result):
    for keep in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(fastft.ConfigurationError, match=r"fastft\.load"):
            keep(result)


def test_a_result_is_shown_in_a_line(result):
    shown = repr(result)
    assert shown.startswith("FinetuneResult(BertForSequenceClassification, train_loss=")
    assert len(shown) < 300


def test_save_writes_the_same_result_elsewhere(result, tmp_path):
    folder = result.save(tmp_path / "copy")
    verify_files(folder)
    again = AutoModelForSequenceClassification.from_pretrained(folder)
    assert torch.equal(again.classifier.weight, result.model.classifier.weight)


def test_the_run_file_runs_the_job_again(tiny_bert, tmp_path):
    first = fastft.finetune(tiny_bert, csv_files(tmp_path / "data"), **QUICK)
    call = yaml.safe_load((first.output_dir / "run.yaml").read_text())
    second = fastft.finetune(**call, quiet=True)
    assert second.output_dir != first.output_dir
    assert second.metrics["train_loss"] == first.metrics["train_loss"]
    assert second.metrics["eval_loss"] == first.metrics["eval_loss"]


def test_the_run_file_says_which_objects_to_pass_again(tmp_path):
    result = fastft.finetune(tiny_model(), sentences(40), tokenizer=tiny_tokenizer(), **QUICK)
    text = (result.output_dir / "run.yaml").read_text()
    call = yaml.safe_load(text)
    for name in ("model", "data", "tokenizer"):
        assert call[name].startswith("PASS THE OBJECT AGAIN")
        assert f"'{name}': …" in text


def test_a_model_object_keeps_its_place_and_gets_the_label_names(tmp_path):
    model = tiny_model()
    result = fastft.finetune(model, sentences(40), tokenizer=tiny_tokenizer(), **QUICK)
    assert result.model is model
    assert model.config.id2label == {0: "negative", 1: "positive"}


def test_head_training_changes_the_head_alone(tiny_bert):
    torch.manual_seed(0)
    before = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    result = fastft.finetune(tiny_bert, sentences(60), train="head", **QUICK)
    for name, weight in result.model.named_parameters():
        is_head = name.startswith("classifier.")
        assert weight.requires_grad == is_head, name
        if not is_head:
            assert torch.equal(weight, dict(before.named_parameters())[name]), name


def test_the_learning_rate_of_head_training_is_its_own(tiny_bert):
    options = {**QUICK}
    del options["learning_rate"]
    plan = fastft.finetune(tiny_bert, sentences(40), train="head", **options).plan
    assert plan["learning_rate"] == 1e-3


def test_pairs_of_sentences_get_two_segments(tiny_bert):
    texts, labels = zip(*sentences(60), strict=True)
    data = {"premise": list(texts), "hypothesis": list(reversed(texts)), "label": list(labels)}
    result = fastft.finetune(tiny_bert, data, pair="hypothesis", **QUICK)
    dataset = result.trainer.train_dataset
    assert 1 in dataset[0]["token_type_ids"]
    assert len(result.predict(["a film"], ["the plot"])) == 1
    with pytest.raises(fastft.DataError, match=r"pass predict\(texts, text_pair\)"):
        result.predict(["a film"])


def test_without_validation_nothing_is_evaluated(tiny_bert):
    result = fastft.finetune(tiny_bert, sentences(40), validation=None, **QUICK)
    assert set(result.metrics) == {"train_loss"}
    assert len(result.trainer.train_dataset) == 40


def test_a_tenth_is_held_back_when_there_is_no_validation_split(tiny_bert):
    result = fastft.finetune(tiny_bert, sentences(200), **QUICK)
    held_back = len(result.trainer.eval_dataset)
    assert 15 <= held_back <= 25
    assert len(result.trainer.train_dataset) == 200 - held_back


def test_no_validation_is_remembered_by_the_run_file(tiny_bert):
    result = fastft.finetune(
        tiny_bert, sentences(40), validation=None, save_total_limit=None, **QUICK
    )
    call = yaml.safe_load((result.output_dir / "run.yaml").read_text())
    assert call["validation"] is None
    assert call["save_total_limit"] is None
    assert "pair" not in call


def test_validation_may_be_other_data(tiny_bert):
    result = fastft.finetune(tiny_bert, sentences(40), validation=sentences(13, seed=3), **QUICK)
    assert len(result.trainer.eval_dataset) == 13


def test_the_same_seed_gives_the_same_weights(tiny_bert):
    first, second = (fastft.finetune(tiny_bert, sentences(60), **QUICK) for _ in range(2))
    for ours, theirs in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_early_stopping_ends_the_run(tiny_bert):
    options = {**QUICK, "num_train_epochs": 20, "learning_rate": 1e-9}
    result = fastft.finetune(
        tiny_bert,
        sentences(40),
        validation=0.2,
        early_stopping=1,
        metric_for_best_model="accuracy",
        **options,
    )
    assert result.trainer.state.epoch < 20


def test_an_interrupted_run_is_resumed_and_ends_like_an_uninterrupted_one(tiny_bert, tmp_path):
    data = sentences(120)
    options = {**QUICK, "num_train_epochs": 3}
    whole = fastft.finetune(tiny_bert, data, output_dir=tmp_path / "whole", **options)

    class Interrupt(Exception):
        pass

    from fastft.training.trainer import TrainerMixin

    original = TrainerMixin.training_step

    def interrupted(self, *args, **kwargs):
        if self.state.global_step == 9:
            raise Interrupt
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupt):
        patch.setattr(TrainerMixin, "training_step", interrupted)
        fastft.finetune(tiny_bert, data, output_dir=tmp_path / "cut", **options)
    resumed = fastft.finetune(
        tiny_bert, data, output_dir=tmp_path / "cut", resume="auto", **options
    )
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_four_steps_are_printed(tiny_bert, capsys):
    options = {**QUICK}
    del options["quiet"]
    fastft.finetune(tiny_bert, sentences(40), train="head", **options)
    text = capsys.readouterr().err
    places = [text.index(f"[{number}/4]") for number in (1, 2, 3, 4)]
    assert places == sorted(places)
    for part in (
        "BertForSequenceClassification",
        "bert.encoder.layer x 2",
        "frozen",
        "cross entropy",
        "new weights, random from seed 42: classifier.bias, classifier.weight",
        "learning_rate=0.001",
        "saved ",
    ):
        assert part in text
    assert "\x1b" not in text  # no bars, no colours when nobody watches


# Run apart, because the loggers of libraries keep the standard error that they were made with.
NOISE = """
import sys, fastft
from tests.tiny import sentences
for words in sys.argv[2:]:
    if "info" in words:
        import transformers
        transformers.utils.logging.set_verbosity_info()
    options = {"use_cpu": True, "num_train_epochs": 2, "quiet": "quiet" in words}
    result = fastft.finetune(sys.argv[1], sentences(40), **options)
    if words == "quiet":
        result.save("copy")
        result.predict(["a film"])
    for stream in (sys.stdout, sys.stderr):
        print("THE END", file=stream, flush=True)
"""


def printed(model, *runs):
    """What each of some runs, one after the other in one process, printed and said."""
    command = [sys.executable, "-c", NOISE, str(model), *runs]
    root = str(Path(__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    parts = [stream.split("THE END\n") for stream in (run.stdout, run.stderr)]
    assert [len(part) for part in parts] == [len(runs) + 1] * 2
    assert parts[0].pop() == parts[1].pop() == ""
    return list(zip(*parts, strict=True))


def assert_only_fastft_speaks(out, err):
    assert out == ""
    lines = err.splitlines()
    assert lines
    assert not [line for line in lines if not line.startswith(("data  ", "[", " ", "saved "))]
    assert "[transformers]" not in err
    assert "\r" not in err


def test_quiet_prints_nothing_and_else_only_fastft_speaks(tiny_bert):
    quiet, speaking, quiet_again = printed(tiny_bert, "quiet", "", "quiet info")
    assert quiet == quiet_again == ("", "")
    assert_only_fastft_speaks(*speaking)


@pytest.mark.slow
@pytest.mark.parametrize("words", ["quiet", "quiet info"])
def test_quiet_prints_nothing(tiny_bert, words):
    assert printed(tiny_bert, words) == [("", "")]


@pytest.mark.slow
def test_only_fastft_speaks(tiny_bert):
    assert_only_fastft_speaks(*printed(tiny_bert, "")[0])


def test_what_is_said_about_a_text_does_not_depend_on_the_texts_beside_it(capsys):
    tokenizer = tiny_tokenizer()
    tokenizer.padding_side = "left"
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=16, n_layer=2, n_head=2, n_positions=64, num_labels=2,
        pad_token_id=0, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    model = GPT2ForSequenceClassification(config)
    options = {**QUICK, "learning_rate": 1e-2, "quiet": False}
    result = fastft.finetune(model, sentences(60), tokenizer=tokenizer, **options)
    assert "pads on the left; here it pads on the right" in capsys.readouterr().err
    texts = [text for text, _ in sentences(20, seed=5)]
    together = [answer["score"] for answer in result.predict(texts)]
    alone = [result.predict([text])[0]["score"] for text in texts]
    np.testing.assert_allclose(together, alone, rtol=1e-6)
    assert len(set(together)) > 1


def test_a_text_without_a_token_cannot_be_predicted():
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    result = fastft.finetune(tiny_model(), sentences(40), tokenizer=tokenizer, **QUICK)
    for texts, row in (([""], 0), (["good", ""], 1)):
        with pytest.raises(fastft.DataError, match=f"row {row} of the list given as inputs"):
            result.predict(texts)


def test_a_model_that_is_partly_frozen_says_so(capsys):
    model = tiny_model()
    model.bert.encoder.requires_grad_(False)
    before = model.bert.encoder.layer[0].output.dense.weight.clone()
    options = {**QUICK, "quiet": False}
    fastft.finetune(model, sentences(40), tokenizer=tiny_tokenizer(), **options)
    assert "17,088 of 21,666 parameters stay frozen" in capsys.readouterr().err
    assert torch.equal(model.bert.encoder.layer[0].output.dense.weight, before)
    report = fastft.check(model, sentences(40), tokenizer=tiny_tokenizer(), quiet=True)
    assert any("stay frozen" in note for note in report.notes)


def test_check_leaves_a_model_object_as_it_was():
    model = tiny_model()
    fastft.check(model, sentences(40), tokenizer=tiny_tokenizer(), train="head", quiet=True)
    assert all(weight.requires_grad for weight in model.parameters())
    assert model.config.id2label == {0: "LABEL_0", 1: "LABEL_1"}


def test_a_gpt2_like_tokenizer_is_given_a_pad_token_and_the_users_own_is_left_alone(capsys):
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    tokenizer.eos_token = "[SEP]"
    model = tiny_model()
    model.config.pad_token_id = None
    options = {**QUICK, "quiet": False}
    result = fastft.finetune(model, sentences(40), tokenizer=tokenizer, **options)
    assert tokenizer.pad_token is None
    assert result.model.config.pad_token_id == result.tokenizer.pad_token_id
    assert "no pad token: '[SEP]' (eos_token) pads" in capsys.readouterr().err


def test_check_reports_and_writes_nothing(tiny_bert, tmp_path):
    report = fastft.check(tiny_bert, sentences(40), warmup_steps=500, use_cpu=True, quiet=True)
    assert not report.ok
    assert "never leaves warm-up" in report.warnings[0]
    assert report.plan["total_steps"] == 9
    assert list(tmp_path.iterdir()) == []


def test_importing_fastft_loads_nothing_heavy_and_starts_nothing():
    code = (
        "import sys, threading, fastft;"
        "heavy = {'torch', 'transformers', 'numpy', 'pyarrow'} & set(sys.modules);"
        "assert not heavy, heavy; assert threading.active_count() == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ})


def test_a_head_that_was_trained_keeps_its_classes(tiny_bert, tmp_path, capsys):
    rows = sentences(300)
    first = fastft.finetune(
        tiny_bert, rows, label_names=["positive", "negative"], output_dir=tmp_path / "first",
        **{**QUICK, "num_train_epochs": 6},
    )  # fmt: skip
    second = fastft.finetune(
        tmp_path / "first", rows, **{**QUICK, "learning_rate": 1e-7, "quiet": False}
    )
    assert second.model.config.id2label == {0: "positive", 1: "negative"}
    assert second.metrics["eval_accuracy"] == pytest.approx(first.metrics["eval_accuracy"], abs=0.1)
    assert "a head of this size, which is kept" in capsys.readouterr().err


@pytest.mark.parametrize("validation", [0.25, None])
def test_a_validation_split_that_is_left_out_is_said_to_be(tiny_bert, validation):
    data = {"train": sentences(40), "validation": sentences(9, seed=1)}
    report = fastft.check(tiny_bert, data, validation=validation, quiet=True)
    assert any("own validation split is left out" in note for note in report.notes)
    kept = fastft.check(tiny_bert, data, quiet=True)
    assert not any("left out" in note for note in kept.notes)
