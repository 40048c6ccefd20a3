"""What wrong input gets from finetune(): an error of ours, before any step, and nothing written.

How files are read, and what is wrong inside them, is in test_bad_data.py; here are the arguments,
labels, model, tokenizer, device and disk.
"""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from tokenizers import processors
from transformers import (
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    BertPreTrainedModel,
    GPT2Config,
    GPT2ForSequenceClassification,
)

import fastft
from fastft import errors
from tests.tiny import sentences, tiny_config, tiny_model, tiny_tokenizer


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def tiny_gpt2_config():
    return GPT2Config(
        vocab_size=len(tiny_tokenizer()), n_embd=16, n_layer=1, n_head=1, n_positions=64,
        num_labels=2, bos_token_id=3, eos_token_id=3,
    )  # fmt: skip


def refused(kind, model, data, **options):
    """Runs finetune, expects an error of that kind with all its parts, and nothing written."""
    with pytest.raises(kind) as caught:
        fastft.finetune(model, data, **{"use_cpu": True, "quiet": True, **options})
    assert isinstance(caught.value, fastft.Error)
    assert caught.value.fix, "an error says what to change"
    import pathlib

    left = [path.name for path in pathlib.Path().iterdir() if path.name != "data"]
    assert left == [], "nothing is written"
    return str(caught.value)


# -- arguments -----------------------------------------------------------------------------------


def test_an_unknown_argument_is_answered_with_the_nearest(tiny_bert):
    text = refused(errors.ArgumentError, tiny_bert, sentences(40), learnig_rate=1e-3)
    assert "did you mean learning_rate" in text


@pytest.mark.parametrize(
    ("name", "value", "nearest"),
    [("task", "text-clasification", "text-classification"), ("train", "heads", "head"),
     ("check", "strickt", "strict"), ("resume", "autto", "auto")],
)  # fmt: skip
def test_an_unknown_choice_is_answered_with_the_nearest(tiny_bert, name, value, nearest):
    text = refused(errors.ConfigurationError, tiny_bert, sentences(40), **{name: value})
    assert f"argument {name}" in text
    assert nearest in text


def test_warmup_longer_than_the_run_is_an_error_under_strict(tiny_bert):
    text = refused(
        errors.ConfigurationError, tiny_bert, sentences(40), warmup_steps=500, check="strict"
    )
    assert "500 warm-up steps, the run has 9" in text
    assert "warmup_steps=0" in text


def test_warmup_longer_than_the_run_is_a_warning_otherwise(tiny_bert, capsys):
    options = {"warmup_steps": 500, "num_train_epochs": 1, "use_cpu": True}
    fastft.finetune(tiny_bert, sentences(40), **options)
    assert "warning: argument warmup_steps: the run never leaves warm-up" in capsys.readouterr().err
    fastft.finetune(tiny_bert, sentences(40), check="off", **options)
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        *((name, value, "the name of a column") for name in ("text", "pair", "label")
          for value in (3, [3], b"text")),
        ("layout", 3, "the name of a layout"), ("layout", None, "the name of a layout"),
        ("encoding", 3, "the name of an encoding"),
        ("quoting", "x", "True or False"), ("quoting", None, "True or False"),
        ("quiet", "x", "True or False"), ("quiet", None, "True or False"),
        ("output_dir", 3, "a folder"), ("output_dir", b"x", "a folder"),
        ("output_dir", "", "a path"), ("output_dir", "a\0b", "a path"),
        ("output_dir", "x" * 5000, "a path"), ("output_dir", "no/" + "x" * 300, "a path"),
        ("check", 3, "'warn'"), ("check", ["warn"], "'warn'"),
        ("train", 5, "'full'"), ("task", 5, "'auto'"), ("task", None, "'auto'"),
    ],
)  # fmt: skip
def test_an_argument_of_the_wrong_type(tiny_bert, name, value, expected):
    text = refused(errors.ConfigurationError, tiny_bert, sentences(40), **{name: value})
    assert text.startswith(f"argument {name}: ")
    assert expected in text
    assert len(text) < 500


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_half_precision_on_a_cpu(tiny_bert, name):
    text = refused(errors.ConfigurationError, tiny_bert, sentences(40), **{name: True})
    assert f"cannot train in {name}" in text
    assert "device cpu" in text


def test_both_half_precisions_at_once(tiny_bert):
    text = refused(errors.ConfigurationError, tiny_bert, sentences(40), bf16=True, fp16=True)
    assert "exclude each other" in text


@pytest.mark.parametrize("value", [65, 10_000])
def test_max_length_above_the_positions(tiny_bert, value):
    text = refused(errors.ConfigurationError, tiny_bert, sentences(40), max_length=value)
    assert "at most 64" in text


@pytest.mark.parametrize("value", [0, -1, 1.5, "long", True])
def test_max_length_that_is_no_length(tiny_bert, value):
    text = refused(errors.ConfigurationError, tiny_bert, sentences(40), max_length=value)
    assert repr(value) in text


def test_max_length_below_the_special_tokens(tiny_bert):
    text = refused(errors.Error, tiny_bert, sentences(40), max_length=1)
    assert "max_length" in text


@pytest.mark.parametrize(
    "option", [{"early_stopping": 2}, {"load_best_model_at_end": True}, {"eval_strategy": "epoch"}]
)
def test_evaluation_without_validation(tiny_bert, option):
    text = refused(errors.ConfigurationError, tiny_bert, sentences(40), validation=None, **option)
    assert next(iter(option)) in text
    assert "validation=0.1" in text


@pytest.mark.parametrize("value", [0, True, 1.5, -0.1])
def test_a_validation_share_that_is_none(tiny_bert, value):
    text = refused(errors.ConfigurationError, tiny_bert, sentences(40), validation=value)
    assert "argument validation" in text


# -- where it is written -------------------------------------------------------------------------


def test_an_output_folder_that_cannot_be_written(tiny_bert):
    text = refused(errors.OutputError, tiny_bert, sentences(40), output_dir="/proc/fastft/run")
    assert "output_dir" in text


def test_too_little_disk_for_the_checkpoints(tiny_bert, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    text = refused(errors.OutputError, tiny_bert, sentences(40))
    assert "GB free" in text
    assert "save_total_limit" in text


def test_a_folder_with_a_run_is_not_written_over(tiny_bert, tmp_path):
    run = tmp_path / "run"
    options = {"output_dir": run, "num_train_epochs": 1}
    fastft.finetune(tiny_bert, sentences(40), use_cpu=True, quiet=True, **options)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    text = refused(errors.ConfigurationError, tiny_bert, sentences(40), **options)
    assert 'resume="auto"' in text
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


# -- model and tokenizer -------------------------------------------------------------------------


def test_an_unknown_model_while_offline_names_files_and_folder():
    text = refused(errors.ModelNotFoundError, "nobody/no-such-model", sentences(40))
    assert "config.json" in text
    assert "models--nobody--no-such-model" in text
    assert "HF_HUB_OFFLINE is set" in text
    assert "hf download nobody/no-such-model" in text


def test_a_mistyped_model_folder_is_answered_with_the_nearest(tiny_bert):
    text = refused(errors.ModelNotFoundError, str(tiny_bert.parent / "tiny-bret"), sentences(40))
    assert "tiny-bert" in text.partition("did you mean")[2]


def test_a_folder_that_holds_no_model(tmp_path):
    (tmp_path / "empty").mkdir()
    text = refused(errors.ModelNotFoundError, str(tmp_path / "empty"), sentences(40))
    assert "no config.json" in text


def test_a_model_folder_without_weights(tiny_bert, tmp_path):
    folder = tmp_path / "no-weights"
    shutil.copytree(tiny_bert, folder)
    (folder / "model.safetensors").unlink()
    text = refused(errors.ModelNotFoundError, str(folder), sentences(40))
    assert "model.safetensors" in text


def test_pickled_weights_are_not_read(tiny_bert, tmp_path):
    folder = tmp_path / "pickled"
    shutil.copytree(tiny_bert, folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    text = refused(errors.ModelNotFoundError, str(folder), sentences(40))
    assert "convert the pickled weights" in text


def test_a_model_object_without_a_tokenizer():
    text = refused(errors.ConfigurationError, tiny_model(), sentences(40))
    assert "tokenizer=" in text


def test_a_model_that_is_none():
    text = refused(errors.ConfigurationError, 7, sentences(40), tokenizer=tiny_tokenizer())
    assert "builtins.int" in text


def test_a_tokenizer_that_is_not_a_fast_one():
    from transformers import ByT5Tokenizer

    text = refused(errors.TokenizerError, tiny_model(), sentences(40), tokenizer=ByT5Tokenizer())
    assert "fast" in text


def test_a_tokenizer_larger_than_the_embedding_names_the_row():
    small = tiny_model(vocab_size=20)
    text = refused(
        errors.TokenizerError, small, sentences(40), tokenizer=tiny_tokenizer(), check="off"
    )
    assert "train split, row" in text
    assert "ids below 20" in text


def test_a_tokenizer_of_another_model_is_an_error_under_strict():
    large = tiny_model(vocab_size=5000)
    text = refused(
        errors.TokenizerError, large, sentences(40), tokenizer=tiny_tokenizer(), check="strict"
    )
    assert "does not fit the model" in text


def test_special_tokens_of_another_model_are_an_error_under_strict():
    model = tiny_model()
    model.config.pad_token_id = 3
    text = refused(
        errors.TokenizerError, model, sentences(40), tokenizer=tiny_tokenizer(), check="strict"
    )
    assert "disagree on pad_token_id" in text


def test_a_tokenizer_with_nothing_that_could_pad():
    tokenizer = tiny_tokenizer()
    for name in ("pad_token", "eos_token", "bos_token", "sep_token", "unk_token"):
        setattr(tokenizer, name, None)
    text = refused(errors.TokenizerError, tiny_model(), sentences(40), tokenizer=tokenizer)
    assert "pad_token" in text


def test_an_architecture_without_a_head_for_the_task(tmp_path):
    from transformers import CLIPTextConfig, CLIPTextModel

    folder = tmp_path / "clip"
    CLIPTextModel(CLIPTextConfig(vocab_size=60, hidden_size=8, num_hidden_layers=1,
                                 num_attention_heads=1, intermediate_size=8,
                                 max_position_embeddings=64)).save_pretrained(folder)  # fmt: skip
    tiny_tokenizer().save_pretrained(folder)
    text = refused(errors.ConfigurationError, str(folder), sentences(40))
    assert "AutoModelForSequenceClassification" in text


@pytest.mark.parametrize("train", ["full", "head"])
@pytest.mark.parametrize("kind", [BertModel, BertForMaskedLM])
def test_a_model_object_without_the_head_of_the_task(kind, train):
    model = kind(tiny_config(num_labels=2))
    text = refused(
        errors.ConfigurationError, model, sentences(40), tokenizer=tiny_tokenizer(), train=train
    )
    assert f"found:    {kind.__name__}" in text
    assert "expected: BertForSequenceClassification" in text


def test_a_head_that_the_user_wrote_is_taken():
    class OwnHead(BertPreTrainedModel):
        def __init__(self, config):
            super().__init__(config)
            self.bert = BertModel(config)
            self.score = torch.nn.Linear(config.hidden_size, 2)

        def forward(self, input_ids, attention_mask=None, token_type_ids=None, labels=None):
            logits = self.score(self.bert(input_ids, attention_mask).pooler_output)
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

    class DerivedHead(BertForSequenceClassification):
        pass

    for kind in (OwnHead, DerivedHead):
        options = {"tokenizer": tiny_tokenizer(), "num_train_epochs": 1, "use_cpu": True}
        result = fastft.finetune(kind(tiny_config()), sentences(40), quiet=True, **options)
        assert result.metrics["train_loss"] > 0


def test_a_head_derived_from_that_of_another_task():
    class DerivedHead(BertForMaskedLM):
        pass

    model = DerivedHead(tiny_config())
    text = refused(errors.ConfigurationError, model, sentences(40), tokenizer=tiny_tokenizer())
    assert "no head for text-classification" in text


def test_a_model_with_another_loss():
    model = tiny_model(problem_type="regression")
    text = refused(errors.ConfigurationError, model, sentences(40), tokenizer=tiny_tokenizer())
    assert "config.problem_type='regression'" in text


def test_a_model_that_is_frozen_all_through():
    model = tiny_model().requires_grad_(False)
    text = refused(errors.ConfigurationError, model, sentences(40), tokenizer=tiny_tokenizer())
    assert "requires_grad is False for all 21,666 parameters" in text


def test_a_model_without_its_weights():
    with torch.device("meta"):
        model = BertForSequenceClassification(tiny_config())
    text = refused(errors.ConfigurationError, model, sentences(40), tokenizer=tiny_tokenizer())
    assert "on the meta device: bert.embeddings.word_embeddings.weight" in text


def test_a_quantised_model():
    model = tiny_model()
    model.is_quantized = True
    text = refused(errors.ConfigurationError, model, sentences(40), tokenizer=tiny_tokenizer())
    assert "quantised weights cannot be trained" in text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_numbers_are_named(tmp_path, value):
    model = tiny_model()
    model.bert.pooler.dense.weight.data[3, 4] = value
    text = refused(errors.ConfigurationError, model, sentences(40), tokenizer=tiny_tokenizer())
    assert "NaN or infinity in bert.pooler.dense.weight\n" in text
    model.save_pretrained(tmp_path / "broken")
    tiny_tokenizer().save_pretrained(tmp_path / "broken")
    text = refused(errors.ConfigurationError, tmp_path / "broken", sentences(40))
    assert "NaN or infinity in bert.pooler.dense.weight\n" in text


def test_a_wrapped_model_is_answered_with_the_model_inside():
    wrapped = torch.nn.DataParallel(tiny_model())
    text = refused(errors.ConfigurationError, wrapped, sentences(40), tokenizer=tiny_tokenizer())
    assert "model.module" in text


def test_half_precision_weights_are_an_error_under_strict():
    model = tiny_model().to(torch.bfloat16)
    text = refused(
        errors.ConfigurationError, model, sentences(40), tokenizer=tiny_tokenizer(), check="strict"
    )
    assert "torch.bfloat16" in text
    assert "model.float()" in text


def edit_config(**values):
    def edit(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **values}))

    return edit


def cut_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


def without_tokenizer(folder):
    for path in folder.glob("tokenizer*"):
        path.unlink()


@pytest.mark.parametrize(
    ("edit", "kind", "part"),
    [
        (cut_weights, errors.ConfigurationError, "file not fully covered"),
        (write("config.json", "{"), errors.ModelNotFoundError, "not a valid JSON file"),
        (write("config.json", "null"), errors.ConfigurationError, "repair config.json"),
        (edit_config(hidden_size="x"), errors.ConfigurationError, "Field 'hidden_size' expected"),
        (edit_config(hidden_size=-1), errors.ConfigurationError, "negative dimension"),
        (edit_config(hidden_act="x"), errors.ConfigurationError, "KeyError: 'x'"),
        (edit_config(hidden_size=64), errors.ConfigurationError, "37 weights of the body that are"),
        (edit_config(id2label=[1]), errors.ConfigurationError, "'list' object"),
        (write("tokenizer_config.json", "[]"), errors.TokenizerError, "cannot be loaded"),
        (write("tokenizer_config.json", '{"model_max_length": "x"}'), errors.TokenizerError, "'x'"),
        (without_tokenizer, errors.TokenizerError, "no vocabulary"),
    ],
)
def test_a_damaged_model_folder(tiny_bert, tmp_path, edit, kind, part):
    folder = tmp_path / "damaged"
    shutil.copytree(tiny_bert, folder)
    edit(folder)
    assert part in refused(kind, folder, sentences(40))


def test_the_weights_of_another_architecture(tiny_bert, tmp_path):
    folder = tmp_path / "other"
    GPT2ForSequenceClassification(tiny_gpt2_config()).save_pretrained(folder)
    shutil.copy(tiny_bert / "config.json", folder)
    tiny_tokenizer().save_pretrained(folder)
    text = refused(errors.ConfigurationError, folder, sentences(40))
    assert "weights of the body that are not in the file" in text


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("", "it is empty"),
        ("x" * 5000, "longer than 255 bytes"),
        ("a\0b", "null byte"),
        ("~nobody-of-that-name/model", "home directory"),
        ("bert base", "no hub name either"),
        ("https://huggingface.co/org/name", "pass 'org/name'"),
    ],
)
def test_a_model_name_that_can_be_none(name, part):
    text = refused(errors.Error, name, sentences(40))
    assert part in text
    assert len(text) < 500


def test_a_home_folder_is_expanded(tiny_bert, monkeypatch):
    monkeypatch.setenv("HOME", str(tiny_bert.parent))
    options = {"quiet": True, "use_cpu": True}
    assert fastft.check("~/tiny-bert", sentences(40), **options).ok
    assert fastft.check(tiny_bert, sentences(40), tokenizer="~/tiny-bert", **options).ok


def test_a_tokenizer_folder_needs_no_model(tmp_path):
    tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    options = {"tokenizer": tmp_path / "tokenizer", "quiet": True, "use_cpu": True}
    assert fastft.check(tiny_model(), sentences(40), **options).ok


@pytest.mark.parametrize("value", [5, [1], tiny_tokenizer])
def test_a_tokenizer_that_is_none(tiny_bert, value):
    text = refused(errors.TokenizerError, tiny_bert, sentences(40), tokenizer=value)
    assert "argument tokenizer" in text


def test_a_bare_tokenizer_has_to_be_wrapped(tiny_bert):
    raw = tiny_tokenizer().backend_tokenizer
    text = refused(errors.TokenizerError, tiny_bert, sentences(40), tokenizer=raw)
    assert "PreTrainedTokenizerFast(tokenizer_object=" in text


# -- labels and columns --------------------------------------------------------------------------


def test_num_labels_of_a_given_model_other_than_found():
    text = refused(
        errors.LabelError, tiny_model(num_labels=3), sentences(40), tokenizer=tiny_tokenizer()
    )
    assert "2 labels and the model's head has 3" in text


def test_a_label_out_of_range_for_a_given_model_names_its_row():
    rows = [("good", 0), ("bad", 1), ("bad", 5)] * 10
    text = refused(errors.LabelError, tiny_model(num_labels=3), rows, tokenizer=tiny_tokenizer())
    assert "row 2 of the list" in text
    assert "0 to 2" in text


def test_a_label_in_validation_that_training_lacks(tiny_bert):
    data = {"train": sentences(40), "validation": [("good", "positive"), ("fine", "neutral")]}
    text = refused(errors.LabelError, tiny_bert, data)
    assert "row 1" in text
    assert "'neutral'" in text


def test_one_class_only(tiny_bert):
    text = refused(errors.LabelError, tiny_bert, [("good", "a"), ("bad", "a")])
    assert "2 rows labelled 'a'" in text


def test_a_single_row(tiny_bert):
    assert "1 row labelled" in refused(errors.LabelError, tiny_bert, [("good", "a")])


@pytest.mark.parametrize(
    ("labels", "part"),
    [
        ([0, None, 1, 0], "row 1"),
        ([0.0, float("nan"), 1.0, 0.0], "row 1"),
        ([0.0, 1.0, 0.0, 1.0], "turn the column into integers"),
        (["a", "b", "1", "a"], "mix numbers and names"),
        ([0, "one", 1, 0], "row 1"),
    ],
)
def test_labels_that_cannot_be_used(tiny_bert, labels, part):
    data = {"text": ["a", "b", "c", "d"], "label": labels}
    assert part in refused(errors.DataError, tiny_bert, data)


def test_a_missing_column_is_answered_with_the_nearest(tiny_bert):
    data = {"text": ["a", "b"], "lable": [0, 1]}
    assert "did you mean label='lable'" in refused(errors.ColumnError, tiny_bert, data)
    data = {"sentences": ["a", "b"], "label": [0, 1]}
    assert "did you mean text='sentences'" in refused(errors.ColumnError, tiny_bert, data)


def test_a_column_named_wrongly_is_answered_with_the_nearest(tiny_bert):
    data = {"text": ["a", "b"], "label": [0, 1]}
    text = refused(errors.ColumnError, tiny_bert, data, text="txet")
    assert "did you mean text='text'" in text
    assert "'text', 'label'" in text


def test_a_text_column_that_is_not_text(tiny_bert):
    data = {"text": [1, 2], "label": [0, 1]}
    text = refused(errors.ColumnError, tiny_bert, data)
    assert "column 'text' is not text" in text
    assert "int64" in text


def test_a_text_that_is_missing_names_its_row(tiny_bert):
    data = {"text": ["a", None, "b"], "label": [0, 1, 0]}
    assert "row 1" in refused(errors.ColumnError, tiny_bert, data)


def test_a_folder_that_is_not_there(tiny_bert):
    refused(errors.DataNotFoundError, tiny_bert, "no-such-folder")


def test_gpt2_without_a_pad_token_trains_and_says_what_pads(capsys):
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    tokenizer.eos_token = "[SEP]"
    torch.manual_seed(0)
    fastft.finetune(
        GPT2ForSequenceClassification(tiny_gpt2_config()), sentences(40), tokenizer=tokenizer,
        num_train_epochs=1, use_cpu=True,
    )  # fmt: skip
    assert "no pad token: '[SEP]' (eos_token) pads" in capsys.readouterr().err


def test_a_text_without_a_token_names_its_row():
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    rows = [*sentences(40)[:3], ("", "positive"), *sentences(40)[3:]]
    text = refused(errors.DataError, tiny_model(), rows, tokenizer=tokenizer, validation=None)
    assert "row 3 of the list" in text


@pytest.mark.parametrize(
    ("validation", "part"),
    [
        ({"text": ["a"], "lable": ["positive"]}, "rename 'lable' to 'label'"),
        ({"txt": ["a"], "label": ["positive"]}, "rename 'txt' to 'text'"),
    ],
)
def test_a_column_that_only_training_has(tiny_bert, validation, part):
    text = refused(errors.ColumnError, tiny_bert, sentences(40), validation=validation)
    assert "the validation split has no column" in text
    assert part in text


def test_a_model_folder_is_not_written_over(tiny_bert):
    for resume in (False, "auto"):
        text = refused(
            errors.ConfigurationError, tiny_bert, sentences(40), output_dir=tiny_bert, resume=resume
        )
        assert "holds a model" in text


@pytest.mark.parametrize(
    "option",
    [{"optim": "adamm"}, {"save_strategy": "never"}, {"lr_scheduler_type": "cosin"}],
)
def test_values_that_transformers_refuses_are_refused_before_anything_is_written(tiny_bert, option):
    text = refused(errors.ConfigurationError, tiny_bert, sentences(40), **option)
    assert next(iter(option.values())) in text


def test_decimal_labels_in_a_text_file(tiny_bert, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "good,1.0\nbad,0.0\n" * 10)
    assert "decimal numbers" in refused(errors.LabelError, tiny_bert, str(path))
