"""Masked language modelling on plain text: blocks, masks, filled texts, what is refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForMaskedLM, PreTrainedTokenizerFast

import fastft
from fastft.data.readers import ReadOptions
from fastft.data.sources import open_source
from fastft.data.tokenizer import Tokenizer
from fastft.errors import ArgumentError, ConfigurationError, DataError, TokenizerError
from fastft.tasks.inference import Inference
from fastft.tasks.masked_lm import MaskedLM
from fastft.training.task_trainer import task_trainer
from tests.test_examples import EXAMPLES, run, run_here
from tests.tiny import sentences, tiny_config, tiny_tokenizer
from tests.tiny_lm import gpt2_tokenizer, save_tiny_mlm, tiny_bert_mlm, tiny_gpt2

HF = tiny_tokenizer()
BERT = Tokenizer.from_hf(HF)
CLS, SEP, MASK = HF.cls_token_id, HF.sep_token_id, HF.mask_token_id
TEXTS = [text for text, _ in sentences(40)]


def source_of(data, documents="auto"):
    return open_source(data, ReadOptions(documents=documents))


def made(data, documents="auto", head=None, **options):
    given = {"text": None, **MaskedLM.options, "documents": documents, **options}
    return MaskedLM.from_source(source_of(data, documents), given, head)


def data_of(data, max_length=10, documents="auto", **options):
    split = source_of(data, documents).splits["train"]
    return made(data, documents, **options).data(split, BERT, max_length)


def rows(dataset):
    return [dataset[row]["input_ids"] for row in range(len(dataset))]


def plain_ids(text):
    return HF(text, add_special_tokens=False)["input_ids"]


# -- blocks -------------------------------------------------------------------------------------


def test_rows_of_a_table_stay_apart_each_block_between_its_marks():
    found = rows(data_of(TEXTS).dataset)
    for text in TEXTS:
        whole, ids = [], plain_ids(text)
        while len(whole) < len(ids):
            block = found.pop(0)
            assert (block[0], block[-1]) == (CLS, SEP)
            assert len(block) <= 10
            whole += block[1:-1]
        assert whole == ids
    assert not found


def test_files_are_joined_with_the_separator_between_them(tmp_path):
    for index, text in enumerate(TEXTS[:3]):
        (tmp_path / f"{index}.txt").write_text(text)
    found = rows(data_of(tmp_path).dataset)
    inside = [token for block in found for token in block[1:-1]]
    first, second, third = map(plain_ids, TEXTS[:3])
    assert inside == [*first, SEP, *second, SEP, *third]
    assert all((block[0], block[-1]) == (CLS, SEP) for block in found)
    assert {len(block) for block in found[:-1]} == {10}


@pytest.mark.parametrize(
    ("documents", "options", "joined"),
    [
        ("auto", {}, True),
        ("file", {}, True),
        ("line", {}, False),
        ("paragraph", {}, False),
        ("auto", {"join_documents": False}, False),
        ("line", {"join_documents": True}, True),
    ],
)
def test_what_is_joined_by_itself(tmp_path, documents, options, joined):
    path = tmp_path / "a.txt"
    path.write_text("the film\n\na plot\n")
    assert made(path, documents, **options).join_documents is joined
    assert made(TEXTS).join_documents is False


def test_notes_count_what_became_blocks():
    data = data_of(["the film", "", "a plot"])
    assert "train: 2 documents, 4 tokens, in 2 blocks; nothing is cut off" in data.notes
    assert any("1 empty text is left out: row 1" in note for note in data.notes)


# -- masks --------------------------------------------------------------------------------------


def test_the_share_of_hidden_tokens_is_the_one_asked_for_and_marks_are_never_hidden():
    for share in (0.15, 0.5):
        task = made(TEXTS, mlm_probability=share)
        dataset = data_of(TEXTS * 20, max_length=32).dataset
        batch = task.collator(HF, None)(dataset.__getitems__(list(range(len(dataset)))))
        labels, ids = batch["labels"], batch["input_ids"]
        plain = ~torch.isin(ids, torch.tensor([CLS, SEP, HF.pad_token_id])) | (labels != -100)
        assert float((labels != -100).sum() / plain.sum()) == pytest.approx(share, rel=0.1)
        assert not torch.isin(labels, torch.tensor([CLS, SEP, HF.pad_token_id])).any()


def trainer_of(task, model, folder, data, **arguments):
    built = fastft.TrainingArguments(
        output_dir=str(folder), report_to="none", use_cpu=True, disable_tqdm=True,
        **{**task.training_defaults({}), **arguments},
    )  # fmt: skip
    return task_trainer(task, model, HF, built, {"train": data, "validation": data})


def test_an_evaluation_hides_the_same_tokens_whatever_seed_and_batch_size(tmp_path):
    task = made(TEXTS)
    data = data_of(TEXTS)
    losses = []
    for seed, size in ((1, 1), (2, 4), (3, 16), (3, 64)):
        trainer = trainer_of(
            task, tiny_bert_mlm(), tmp_path, data, seed=seed, per_device_eval_batch_size=size
        )
        metrics = trainer.evaluate()
        losses.append(metrics["eval_loss"])
        assert metrics["eval_perplexity"] == math.exp(metrics["eval_loss"])
    np.testing.assert_allclose(losses, losses[0], rtol=1e-6)


# -- what is refused ------------------------------------------------------------------------------


def test_a_decoder_is_refused():
    for config in (tiny_gpt2().config, tiny_config(is_decoder=True), transformers.T5Config()):
        with pytest.raises(ConfigurationError, match="from both sides") as error:
            made(TEXTS, head=config)
        assert 'task="causal-lm"' in error.value.fix
    made(TEXTS, head=tiny_config())


def test_a_tokenizer_without_a_mask_token_is_refused():
    task, hf = made(TEXTS), gpt2_tokenizer()
    tokenizer = Tokenizer.from_hf(hf)
    split = source_of(TEXTS).splits["train"]
    with pytest.raises(TokenizerError, match="no token that hides others"):
        task.data(split, tokenizer, 10)
    with pytest.raises(TokenizerError, match="no token that hides others"):
        task.collator(hf, None)
    with pytest.raises(TokenizerError, match="no token that hides others"):
        task.predict(split, Inference(tiny_gpt2(), tokenizer, 10))


@pytest.mark.parametrize("share", [0, 1.5, -0.1, "0.15", True, None, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ConfigurationError, match="no share of the tokens"):
        made(TEXTS, mlm_probability=share)


def test_a_length_without_room_for_text_is_refused():
    with pytest.raises(ConfigurationError, match="no room for text"):
        data_of(TEXTS, max_length=2)
    assert data_of(TEXTS, max_length=3).dataset.lengths.max() == 3


# -- prediction -----------------------------------------------------------------------------------


def filled(texts, model=None, batch_size=8, max_length=64, **options):
    inference = Inference(model or tiny_bert_mlm(), BERT, max_length, batch_size, options)
    return made(TEXTS).predict(source_of(texts).splits["train"], inference)


def test_each_mask_gets_the_likeliest_token_and_the_text_stays_as_it_was():
    model, text = tiny_bert_mlm().eval(), "The  [MASK] was\n[MASK], Not bad"
    encoded = HF(text, return_tensors="pt")
    logits = model(**encoded).logits[0][encoded["input_ids"][0] == MASK]
    first, second = HF.convert_ids_to_tokens(logits.argmax(-1))
    assert filled([text]) == [
        {"tokens": [first, second], "text": f"The  {first} was\n{second}, Not bad"}
    ]


def test_a_fill_does_not_depend_on_the_texts_beside_it():
    texts = ["the [MASK]", "a [MASK] plot was not [MASK] but very good", "[MASK]"]
    assert filled(texts, batch_size=2) == [filled([text])[0] for text in texts]


def test_a_part_of_a_word_joins_the_word_before_it():
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers

    vocab = {"[PAD]": 0, "[UNK]": 1, "[MASK]": 2, "play": 3, "##ing": 4}
    backend = Backend(models.WordPiece(vocab, unk_token="[UNK]"))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece()
    hf = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]"
    )
    model = transformers.BertForMaskedLM(tiny_config(vocab_size=5))
    with torch.no_grad():
        model.cls.predictions.bias.copy_(torch.tensor([0.0, 0, 0, 0, 100]))
    inference = Inference(model, Tokenizer.from_hf(hf), 16)
    rows = made(TEXTS).predict(source_of(["play [MASK] play"]).splits["train"], inference)
    assert rows == [{"tokens": ["##ing"], "text": "playing play"}]


def test_a_text_without_a_mask_or_with_one_cut_away_is_named():
    with pytest.raises(DataError, match="no mask token") as error:
        filled(["the [MASK]", "the film"])
    assert error.value.place == "row 1 of the list given as data"
    with pytest.raises(DataError, match="1 of 2 mask tokens are cut away"):
        filled(["[MASK] film was very bad [MASK]"], max_length=6)
    with pytest.raises(ArgumentError, match="no option 'top_k'"):
        filled(["[MASK]"], top_k=3)


# -- to a folder and back -------------------------------------------------------------------------


def test_the_task_goes_through_json_and_the_model_loads_with_plain_transformers(tmp_path):
    task = made({"body": TEXTS}, mlm_probability=0.3)
    assert MaskedLM.from_state(json.loads(json.dumps(task.state()))) == task
    model = tiny_bert_mlm().eval()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    encoded = HF("the [MASK] was", return_tensors="pt")
    assert torch.equal(model(**encoded).logits, loaded(**encoded).logits)


# -- through finetune -----------------------------------------------------------------------------


def test_finetune_takes_lines_and_the_folder_loads_again(tmp_path):
    folder = save_tiny_mlm(tmp_path / "bert")
    (tmp_path / "lines.txt").write_text("\n".join(TEXTS * 5), encoding="utf-8")
    result = fastft.finetune(
        str(folder), tmp_path / "lines.txt", "masked-lm", documents="line", num_train_epochs=1,
        output_dir=tmp_path / "run", quiet=True, use_cpu=True,
    )  # fmt: skip
    assert result.metrics["eval_perplexity"] == pytest.approx(math.exp(result.metrics["eval_loss"]))
    loaded = fastft.load(tmp_path / "run")
    assert loaded.predict(["the [MASK]"]) == result.predict(["the [MASK]"])
    scores = [one.evaluate(TEXTS)["eval_loss"] for one in (loaded, result)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)


def test_the_example_is_short_and_runs(tmp_path, monkeypatch):
    assert len((EXAMPLES / "masked_lm.py").read_text().splitlines()) <= 15
    folder = save_tiny_mlm(tmp_path / "bert")
    run_here("masked_lm.py", folder, cwd=tmp_path, monkeypatch=monkeypatch)


@pytest.mark.slow
def test_the_example_runs_on_all_its_data(tmp_path):
    done = run("masked_lm.py", save_tiny_mlm(tmp_path / "bert"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
