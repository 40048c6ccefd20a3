from __future__ import annotations

import numpy as np

from fastft.data.collator import DataCollatorWithPadding
from fastft.data.language_modeling_collator import DataCollatorForLanguageModeling
from fastft.data.ragged_column import RaggedColumn
from fastft.data.seq2seq_collator import DataCollatorForSeq2Seq
from fastft.data.token_dataset import TokenDataset
from fastft.tasks.preview import preview
from tests.tiny import tiny_tokenizer

HF = tiny_tokenizer()
TEXTS = ["a good film", "bad", "dull"]


def dataset(**columns):
    return TokenDataset.from_texts(TEXTS, HF, columns=columns)


def ids(text):
    return HF(text, add_special_tokens=False)["input_ids"]


def test_a_class_is_named_and_two_rows_are_shown():
    lines = preview(dataset(labels=[1, 0, 1]), DataCollatorWithPadding(HF), HF, {0: "no", 1: "yes"})
    assert lines == ["[CLS] a good film [SEP] → ⟦yes⟧", "[CLS] bad [SEP] → ⟦no⟧"]


def test_numbers_and_several_classes_are_shown_as_they_are():
    collate = DataCollatorWithPadding(HF)
    assert preview(dataset(labels=[0.5, 1.0, 2.0]), collate, HF)[0].endswith("→ ⟦0.5⟧")
    many = np.array([[1, 0], [0, 0], [1, 1]], np.float32)
    lines = preview(dataset(labels=many), collate, HF, {0: "rude", 1: "toxic"}, rows=3)
    assert [line.partition("→ ")[2] for line in lines] == ["⟦rude⟧", "⟦none⟧", "⟦rude, toxic⟧"]


def test_the_span_of_an_answer_is_marked():
    data = dataset(start_positions=[2, 0, 1], end_positions=[3, 0, 1])
    first, second = preview(data, DataCollatorWithPadding(HF), HF)
    assert first == "[CLS] a ⟦good film⟧ [SEP]"
    assert second == "⟦[CLS]⟧ bad [SEP]"


def test_of_a_reply_only_what_is_trained_on_is_marked():
    labels = RaggedColumn.from_rows([[-100, -100, *ids("good film"), -100], [-100] * 3, [-100] * 3])
    first, second = preview(dataset(labels=labels), DataCollatorForSeq2Seq(HF), HF)
    assert first == "[CLS] a ⟦good film⟧ [SEP]"
    assert second == "[CLS] bad [SEP]"


def test_a_hidden_token_is_shown_as_what_it_was():
    collate = DataCollatorForLanguageModeling(HF, mlm_probability=1.0, seed=1)
    assert preview(dataset(), collate, HF)[0] == "[CLS] ⟦a good film⟧ [SEP]"


def test_long_texts_are_cut_in_the_middle_and_line_breaks_shown():
    data = TokenDataset.from_texts(["film " * 200], HF, columns={"labels": [0]})
    (line,) = preview(data, DataCollatorWithPadding(HF), HF)
    assert " … " in line
    assert len(line) < 260
