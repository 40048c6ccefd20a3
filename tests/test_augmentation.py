from __future__ import annotations

import json

import numpy as np
import pytest

import fastft
from fastft.data.augmentation import AugmentingCollator, read_augmentation
from fastft.data.collator import DataCollatorWithPadding
from fastft.data.flattening_collator import DataCollatorWithFlattening
from fastft.data.language_modeling_collator import DataCollatorForLanguageModeling
from fastft.data.packed_collator import PackedMaskingCollator
from fastft.data.ragged_column import RaggedColumn
from fastft.data.seq2seq_collator import DataCollatorForSeq2Seq
from fastft.data.sources import open_source
from fastft.data.token_classification_collator import DataCollatorForTokenClassification
from fastft.data.token_dataset import TokenDataset
from fastft.data.tokenizer import Tokenizer
from fastft.errors import ArgumentError, ConfigurationError
from fastft.tasks.registry import task_class, task_options
from tests.tiny import sentences, tiny_model, tiny_tokenizer
from tests.tiny_lm import tiny_gpt2
from tests.tiny_seq2seq import shouts, t5_tokenizer, tiny_t5

HF = tiny_tokenizer()
TEXTS = [text for text, _ in sentences(60)]
DATASET = TokenDataset.from_texts(
    TEXTS, HF, text_pair=TEXTS[::-1], columns={"labels": np.arange(60)}
)


def collator(seed=1, **shares):
    return AugmentingCollator(DataCollatorWithPadding(HF), shares, HF, seed)


def rows_of(collate, rows):
    batch = collate(DATASET.__getitems__(rows))
    return {
        int(label): (ids[mask.bool()].tolist(), types[mask.bool()].tolist())
        for label, ids, types, mask in zip(
            batch["labels"], batch["input_ids"], batch["token_type_ids"],
            batch["attention_mask"], strict=True,
        )
    }  # fmt: skip


PLAIN = rows_of(DataCollatorWithPadding(HF), range(60))


@pytest.mark.parametrize("kind", ["delete", "swap", "mask"])
def test_changes_depend_on_seed_epoch_and_row_alone(kind):
    collate = collator(**{kind: 0.3})
    first = rows_of(collate, range(60))
    assert first != PLAIN
    assert rows_of(collate, [17, 3]) == {row: first[row] for row in (17, 3)}
    assert rows_of(collator(seed=2, **{kind: 0.3}), range(60)) != first
    collate.set_epoch(1)
    assert rows_of(collate, range(60)) != first
    assert rows_of(collate.for_evaluation(), range(60)) == PLAIN


def test_deleting_leaves_special_tokens_segments_and_at_least_a_word():
    special = [HF.cls_token_id, HF.sep_token_id]
    lost = total = 0
    for row, (ids, types) in rows_of(collator(delete=0.5), range(60)).items():
        before, before_types = PLAIN[row]
        assert [token for token in ids if token in special] == [
            token for token in before if token in special
        ]
        assert types == sorted(types)
        assert set(types) == set(before_types)
        assert len(ids) > 3
        lost, total = lost + len(before) - len(ids), total + len(before) - 3
    assert abs(lost / total - 0.5) < 0.06


def test_almost_everything_deleted_leaves_one_word():
    for ids, _ in rows_of(collator(delete=0.999999), range(60)).values():
        assert len(ids) >= 4


def test_swapping_keeps_the_words_and_masking_their_places():
    for row, (ids, _) in rows_of(collator(swap=0.5), range(60)).items():
        assert sorted(ids) == sorted(PLAIN[row][0])
    changed = total = 0
    for row, (ids, _) in rows_of(collator(mask=0.2), range(60)).items():
        pairs = list(zip(ids, PLAIN[row][0], strict=True))
        assert all(new in (old, HF.mask_token_id) for new, old in pairs)
        changed += sum(new != old for new, old in pairs)
        total += len(pairs) - 3
    assert abs(changed / total - 0.2) < 0.05


@pytest.mark.parametrize("given", ["drop", 5, {}, {"delete": 1}, {"mask": "x"}, {"swap": True}])
def test_what_is_no_augmentation_is_refused(given):
    with pytest.raises(ConfigurationError, match="augment cannot be used"):
        read_augmentation(given)


def test_masking_needs_a_mask_token():
    hf = tiny_tokenizer()
    hf.mask_token = None
    with pytest.raises(ConfigurationError, match="no mask token"):
        AugmentingCollator(None, {"mask": 0.1}, hf, 0)


@pytest.mark.parametrize("name", ["labels", "tags"])
def test_labels_of_tokens_are_not_left_behind(name):
    column = RaggedColumn.from_rows([[1] * int(length) for length in DATASET.lengths])
    labelled = TokenDataset(DATASET.ids, DATASET.row_offsets, columns={name: column})
    collate = AugmentingCollator(DataCollatorForTokenClassification(HF), {"delete": 0.3}, HF, 1)
    with pytest.raises(ConfigurationError, match=f"(?s)column '{name}'.*a sequence in every row"):
        collate(labelled.__getitems__([0, 1]))


def test_labels_of_tokens_are_evaluated_as_they_are():
    column = RaggedColumn.from_rows([[1] * int(length) for length in DATASET.lengths])
    labelled = TokenDataset(DATASET.ids, DATASET.row_offsets, columns={"labels": column})
    inner = DataCollatorForTokenClassification(HF)
    collate = AugmentingCollator(inner, {"delete": 0.3}, HF, 1).for_evaluation()
    batch, expected = (one(labelled.__getitems__([0, 1])) for one in (collate, inner))
    assert batch["labels"].tolist() == expected["labels"].tolist()


def test_places_of_answers_are_not_left_behind():
    columns = {"start_positions": np.ones(60), "end_positions": np.ones(60)}
    answers = TokenDataset(DATASET.ids, DATASET.row_offsets, columns=columns)
    with pytest.raises(ConfigurationError, match="column 'start_positions'"):
        collator(delete=0.3)(answers.__getitems__([0, 1]))


@pytest.mark.parametrize(
    "inner",
    [
        DataCollatorForLanguageModeling(HF, seed=4),
        DataCollatorForLanguageModeling(HF, mlm=False),
        DataCollatorWithFlattening(),
    ],
)
def test_every_collator_can_be_augmented(inner):
    plain = TokenDataset(DATASET.ids, DATASET.row_offsets)
    collate = AugmentingCollator(inner, {"delete": 0.3}, HF, 1)
    alone = collate(plain.__getitems__([17]))
    together = collate(plain.__getitems__([17, 3]))
    width = alone["input_ids"].shape[1]
    for name in ("input_ids", "labels"):  # masks too are those of the row, not of its place
        assert together[name][0, :width].tolist() == alone[name][0].tolist()
    assert together.rows.tolist() == [17, 3]
    assert (
        together["input_ids"].tolist() != inner(plain.__getitems__([17, 3]))["input_ids"].tolist()
    )


@pytest.mark.parametrize("way", [lambda inner: inner, lambda inner: PackedMaskingCollator(inner)])
def test_random_masks_follow_the_epoch_and_stay_in_evaluations(way):
    inner = DataCollatorForLanguageModeling(HF, seed=4)
    plain = TokenDataset(DATASET.ids, DATASET.row_offsets)
    collate = AugmentingCollator(way(inner), {"mask": 1e-9}, HF, 1)
    found = []
    for epoch in (0, 1):
        collate.set_epoch(epoch)
        inner.set_epoch(epoch)
        features = plain.__getitems__([17, 3, 20, 30])
        found.append(collate(features)["labels"].tolist())
        assert found[-1] == way(inner)(features)["labels"].tolist()
    assert found[0] != found[1]
    fixed, expected = (one(features) for one in (collate.for_evaluation(), inner.for_evaluation()))
    assert fixed["labels"].tolist() == expected["labels"].tolist()


@pytest.fixture(scope="module")
def pairs():
    """Sources behind a prefix of two tokens, and targets."""
    hf = t5_tokenizer()
    sources, targets = zip(*shouts(20), strict=True)
    labels = RaggedColumn.from_rows([hf(text)["input_ids"] for text in targets])
    texts = [f"the : {text}" for text in sources]
    return hf, TokenDataset.from_texts(texts, hf, columns={"labels": labels})


def test_of_an_encoder_and_decoder_the_source_is_changed_alone(pairs):
    hf, dataset = pairs
    inner = DataCollatorForSeq2Seq(hf)
    collate = AugmentingCollator(
        inner, {"delete": 0.5, "swap": 0.3}, hf, 1, apart=("labels",), num_kept=2
    )
    rows = list(range(20))
    changed, plain = (one(dataset.__getitems__(rows)) for one in (collate, inner))
    assert changed["labels"].tolist() == plain["labels"].tolist()
    assert changed["attention_mask"].sum() < plain["attention_mask"].sum()
    assert changed["input_ids"][:, :2].tolist() == plain["input_ids"][:, :2].tolist()
    assert changed.rows.tolist() == rows
    with pytest.raises(ConfigurationError, match="column 'labels'"):
        AugmentingCollator(inner, {"delete": 0.5}, hf, 1)(dataset.__getitems__(rows))


def test_a_trainer_changes_sources_and_refuses_models_that_write_on(pairs, tmp_path):
    hf, dataset = pairs
    arguments = fastft.Seq2SeqTrainingArguments(str(tmp_path), use_cpu=True, report_to="none")
    options = {"train_dataset": dataset, "processing_class": hf, "augment": {"delete": 0.5}}
    trainer = fastft.Seq2SeqTrainer(tiny_t5(), arguments, **options)
    rows = [int(batch["attention_mask"].sum()) for batch in trainer.get_train_dataloader()]
    assert sum(rows) < dataset.lengths.sum()
    refused = fastft.Trainer(tiny_gpt2(), arguments, **options)
    with pytest.raises(ConfigurationError, match="would learn to write the changed texts"):
        refused.get_train_dataloader()


@pytest.mark.parametrize("task", ["seq2seq", "masked-lm", "regression", "labels", "pairs"])
def test_tasks_whose_labels_stay_right_take_it(task, tmp_path):
    split = {"x": [f"{text} {text}" for text, _ in sentences(40)], "y": [0.5, 1.5] * 20}
    split |= {"a": [0, 1] * 20, "b": [1, 0] * 20, "z": list(split["x"][::-1])}
    given = {
        "seq2seq": {"source": "x", "target": "z", "prefix": "the : "},
        "masked-lm": {"text": "x"},
        "regression": {"text": "x", "label": "y", "problem_type": "regression"},
        "labels": {"text": "x", "label": ["a", "b"]},
        "pairs": {"text": "x", "pair": "z", "label": "a"},
    }[task]
    name = task if task in ("seq2seq", "masked-lm") else "text-classification"
    source, kind = open_source(split), task_class(name)
    hf = t5_tokenizer() if task == "seq2seq" else HF
    defaults = {"text": None, "pair": None, "label": None, "label_names": None, **kind.options}
    options = {**defaults, **given, "augment": {"delete": 0.4}}
    made = kind.from_source(source, options)
    made = kind.from_state(json.loads(json.dumps(made.state())))  # as another rank gets it
    dataset = made.data(source.splits["train"], Tokenizer.from_hf(hf), 64).dataset
    rows = dataset.__getitems__(list(range(10)))
    collate = made.collator(hf, None, 3)
    changed, plain = collate(rows), collate.collator(rows)
    assert changed["attention_mask"].sum() < plain["attention_mask"].sum()
    if name != "masked-lm":
        assert changed["labels"].equal(plain["labels"])


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ("question-answering", "answers are places of tokens"),
        ("causal-lm", "would learn to write the changed texts"),
        ("chat", "would learn to write the changed replies"),
    ],
)
def test_tasks_whose_labels_would_break_say_why_not(task, reason):
    with pytest.raises(ArgumentError, match=rf"(?s)augment is no option.*{reason}.*'seq2seq'"):
        task_options(task, {"augment": "mask"})


def test_one_argument_augments_the_training_rows(tmp_path, tiny_bert):
    options = {"num_train_epochs": 1, "quiet": True, "seed": 3}
    plain = fastft.finetune(tiny_bert, sentences(64), output_dir=tmp_path / "a", **options)
    result = fastft.finetune(
        tiny_bert, sentences(64), output_dir=tmp_path / "b", augment={"delete": 0.5}, **options
    )
    assert result.metrics["train_loss"] != plain.metrics["train_loss"]
    with pytest.raises(ArgumentError, match="augment is no option of the task"):
        fastft.check(tiny_bert, sentences(64), task="question-answering", augment="mask")


@pytest.mark.parametrize("batching", ["random", "tokens"])
def test_a_trainer_augments_its_training_rows_alone(tmp_path, batching):
    arguments = fastft.TrainingArguments(
        str(tmp_path), use_cpu=True, report_to="none", seed=5, per_device_train_batch_size=4
    )

    def batches(augment):
        trainer = fastft.Trainer(
            tiny_model(), arguments, train_dataset=DATASET, eval_dataset=DATASET,
            processing_class=HF, augment=augment, batching=batching,
        )  # fmt: skip
        return list(trainer.get_train_dataloader()), list(trainer.get_eval_dataloader())

    plain, changed = batches(None), batches({"mask": 0.5})
    masked = [int((batch["input_ids"] == HF.mask_token_id).sum()) for batch in changed[0]]
    assert sum(masked) > len(masked)
    assert not any((batch["input_ids"] == HF.mask_token_id).any() for batch in plain[0])
    for batch, other in zip(changed[1], plain[1], strict=True):
        assert batch["input_ids"].equal(other["input_ids"])
    with pytest.raises(ConfigurationError, match="augment cannot be used"):
        batches("maks")
