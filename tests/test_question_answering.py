"""Question answering: answers of every shape, windows, faults that are named, answers found again.

The wiring into `finetune` is tested elsewhere; here the task is held alone and with a Trainer.
"""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from transformers import BertForQuestionAnswering, EvalPrediction

import fastft
from fastft.data.sources import open_source
from fastft.data.tokenizer import Tokenizer
from fastft.errors import ArgumentError, ColumnError, ConfigurationError, DataError
from fastft.tasks.inference import Inference
from fastft.tasks.question_answering import QuestionAnswering
from tests.parity.recording import arguments
from tests.tiny import GOOD, WORDS, tiny_config, tiny_tokenizer

CONTEXT = "the good film was slow but we like the music"
QUESTION = "was the film good"


def row(text: str | None = "slow", start: int | None = None, **fields: Any) -> dict[str, Any]:
    answers: dict[str, Any] = {"text": [], "answer_start": []}
    if text is not None:
        at = CONTEXT.index(text) if start is None else start
        answers = {"text": [text], "answer_start": [at]}
    return {"question": QUESTION, "context": CONTEXT, "answers": answers, **fields}


def task_of(data: Any, **given: Any) -> tuple[QuestionAnswering, Any]:
    source = open_source(data)
    options = {**QuestionAnswering.options, "check": "warn", **given}
    return QuestionAnswering.from_source(source, options), source.splits["train"]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_hf(tiny_tokenizer())


def positions(data: Any) -> list[tuple[int, int]]:
    columns = data.dataset.columns
    return list(
        zip(*(columns[f"{end}_positions"].tolist() for end in ("start", "end")), strict=True)
    )


def answer_texts(data: Any, tokenizer: Any) -> list[str]:
    return [
        tokenizer.hf.decode(data.dataset[window]["input_ids"][start : end + 1])
        for window, (start, end) in enumerate(positions(data))
    ]


# -- answers as the data gives them --------------------------------------------------------------

AT = CONTEXT.index("slow but")
PLAIN = {"question": [QUESTION], "context": [CONTEXT]}
SHAPES = {
    "dict of lists": [row("slow but")],
    "list of dicts": [
        {"question": QUESTION, "context": CONTEXT,
         "answers": [{"text": "slow but", "answer_start": AT}]}
    ],
    "dict": {**PLAIN, "answers": [{"text": "slow but", "answer_start": AT}]},
    "two columns": {**PLAIN, "answer": ["slow but"], "answer_start": [AT]},
    "digits": {**PLAIN, "answer": ["slow but"], "answer_start": [str(AT)]},
    "pandas, whose missing numbers make decimals": pd.DataFrame(
        {**PLAIN, "answer": ["slow but"], "answer_start": [float(AT)]}
    ),
    "large types of Arrow": pa.table(
        {
            "question": pa.array([QUESTION], pa.large_string()),
            "context": pa.array([CONTEXT], pa.large_string()),
            "answers": pa.array(
                [{"text": ["slow but"], "answer_start": [AT]}],
                pa.struct(
                    [
                        ("text", pa.large_list(pa.large_string())),
                        ("answer_start", pa.large_list(pa.int32())),
                    ]
                ),
            ),
        }
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_answers_of_every_shape_mark_the_same_tokens(shape, tokenizer):
    task, split = task_of(SHAPES[shape])
    data = task.data(split, tokenizer, 64)
    assert answer_texts(data, tokenizer) == ["slow but"]
    assert data.reference.answers == [["slow but"]]
    assert not task.search.allow_null


def test_a_csv_file_and_a_jsonl_file(tmp_path, tokenizer):
    (tmp_path / "a.csv").write_text(
        f"question,context,answer,answer_start\n{QUESTION},{CONTEXT},slow,{CONTEXT.index('slow')}\n"
        f"{QUESTION},{CONTEXT},,\n"
    )
    lines = [row("slow"), row(None)]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    for name in ("a.csv", "b.jsonl"):
        task, split = task_of(tmp_path / name)
        assert task.search.allow_null
        assert answer_texts(task.data(split, tokenizer, 64), tokenizer) == ["slow", "[CLS]"]


def test_columns_of_other_names(tokenizer):
    data = [{"q": QUESTION, "c": CONTEXT, "a": row()["answers"], "question": "like"}]
    task, split = task_of(data, question="q", context="c", answers="a")
    assert task.input_columns == ("q", "c")
    assert answer_texts(task.data(split, tokenizer, 64), tokenizer) == ["slow"]


WRONG_SHAPES = [
    {**PLAIN, "answers": ["slow"]},
    {**PLAIN, "answers": [["slow"]]},
    {**PLAIN, "answers": [3]},
    {**PLAIN, "answers": [{"text": ["slow"]}]},
    {**PLAIN, "answers": [{"text": ["slow"], "answer_start": 3}]},
    {**PLAIN, "answers": [{"text": [3], "answer_start": [3]}]},
]


@pytest.mark.parametrize("data", WRONG_SHAPES)
def test_answers_without_a_place_are_refused(data):
    with pytest.raises(ColumnError, match="answers have no shape that can be read") as caught:
        task_of(data)
    assert "column 'answers'" in caught.value.place


def test_a_split_whose_answers_have_another_shape_is_refused(tokenizer):
    task, _ = task_of([row()])
    other = open_source({**PLAIN, "answers": ["slow"], "answer_start": [3]}).splits["train"]
    with pytest.raises(ColumnError, match="answers have no shape"):
        task.data(other, tokenizer, 64)


# -- rows that cannot be trained on --------------------------------------------------------------

FAULTS = [
    (row("slow", 3), "is not where answer_start says", "which stands at character 18"),
    (row("horse", 3), "is not where answer_start says", "nowhere in the context"),
    (row("slow", -1), "is not where answer_start says", "answer_start -1 of a context of 44"),
    (row("slow", 44), "is not where answer_start says", "answer_start 44 of a context of 44"),
    (row("music", 40), "is not where answer_start says", "'usic' at character 40"),
    (row("SLOW", 18), "is not where answer_start says", "'slow' at character 18"),
    (row("", 3), "an answer is blank", "''"),
    (row(" ", 3), "an answer is blank", "' '"),
    ({**row(), "answers": {"text": ["slow"], "answer_start": []}}, "is missing", "without"),
    ({**row(), "answers": {"text": [None], "answer_start": [18]}}, "is blank", "None"),
    ({**row(), "answers": None}, "the answers are missing", "null"),
    ({**row(), "question": " \n"}, "the question is blank", "' \\n'"),
    ({**row("slow", 0), "context": ""}, "the context is blank", "''"),
]


@pytest.mark.parametrize(("wrong", "problem", "detail"), FAULTS)
def test_a_wrong_row_is_left_out_and_named_or_refused(wrong, problem, detail, tokenizer):
    rows = [row(), row(), wrong, row("like")]
    task, split = task_of(rows)
    data = task.data(split, tokenizer, 64)
    assert answer_texts(data, tokenizer) == ["slow", "slow", "like"]
    assert data.reference.contexts.to_pylist() == [CONTEXT] * 3
    note = data.notes[0]
    assert "1 of 4 rows is left out: row 2 of the list given as data" in note
    assert problem in note and detail in note

    task, split = task_of(rows, check="strict")
    with pytest.raises(DataError) as caught:
        task.data(split, tokenizer, 64)
    assert "row 2 of the list" in caught.value.place
    assert problem in caught.value.problem
    assert "check='warn'" in caught.value.fix


def test_many_wrong_rows_are_counted_and_three_of_them_named(tokenizer):
    task, split = task_of([row("slow", 3)] * 5 + [row()] * 6)
    note = task.data(split, tokenizer, 64).notes[0]
    assert "5 of 11 rows are left out" in note and "; and 2 more" in note
    assert "row 2 of" in note and "row 3 of" not in note


EURO = "€ 5 for a good film"  # three bytes, one character
SUN = "\U0001f31e 5 for a good film"  # two units of UTF-16
SYSTEMATIC = [
    (CONTEXT, "slow", CONTEXT.index("slow") + 1, "answer_start is off by +1"),
    (EURO, "film", EURO.encode().index(b"film"), "counts bytes of UTF-8"),
    (SUN, "film", SUN.index("film") + 1, "counts units of UTF-16"),
]


@pytest.mark.parametrize(("context", "text", "start", "cause"), SYSTEMATIC)
def test_when_most_starts_are_wrong_the_message_says_how_they_were_counted(
    context, text, start, cause, tokenizer
):
    answers = {"text": [text], "answer_start": [start]}
    rows = [{"question": QUESTION, "context": context, "answers": answers}] * 3 + [row()] * 2
    task, split = task_of(rows)
    with pytest.raises(DataError, match="3 of 5 rows are at fault") as caught:
        task.data(split, tokenizer, 64)
    assert cause in caught.value.fix


def test_only_the_first_answer_is_trained_on_and_others_are_only_counted(tokenizer):
    answers = {"text": ["slow", "music", "film"], "answer_start": [18, 0, 9]}
    task, split = task_of([{**row(), "answers": answers}])
    data = task.data(split, tokenizer, 64)
    assert answer_texts(data, tokenizer) == ["slow"]
    assert data.reference.answers == [["slow", "music", "film"]]
    assert "1 further answer not where answer_start says" in data.notes[0]


def test_a_mark_of_impossibility_wins_over_answers(tokenizer):
    task, split = task_of([row(is_impossible=False), row("like", is_impossible=True)])
    data = task.data(split, tokenizer, 64)
    assert task.search.allow_null
    assert answer_texts(data, tokenizer) == ["slow", "[CLS]"]
    assert data.reference.answers == [["slow"], []]
    assert "1 question marked is_impossible, with answers" in data.notes[0]


def test_marks_of_a_csv_file_are_words(tmp_path, tokenizer):
    lines = [f"{QUESTION},{CONTEXT},slow,18,{mark}" for mark in ("False", "TRUE", "0", "1")]
    head = "question,context,answer,answer_start,is_impossible"
    (tmp_path / "a.csv").write_text("\n".join([head, *lines, ""]))
    task, split = task_of(tmp_path / "a.csv")
    data = task.data(split, tokenizer, 64)
    assert answer_texts(data, tokenizer) == ["slow", "[CLS]", "slow", "[CLS]"]


def test_no_answer_at_all_is_nothing_to_learn_from(tokenizer):
    task, split = task_of([row(None), row(None)])
    with pytest.raises(DataError, match="no question has an answer"):
        task.data(split, tokenizer, 64)


def test_a_question_without_an_answer_where_training_has_none_such(tokenizer):
    task, _ = task_of([row()])
    other = open_source([row(None), row(), row()]).splits["train"]
    data = task.data(other, tokenizer, 64)
    assert "the question has no answer, while all questions of the training" in data.notes[0]
    assert len(data.dataset) == 2


# -- windows -------------------------------------------------------------------------------------


def test_windows_overlap_by_the_stride_and_those_without_the_answer_point_to_cls(tokenizer):
    # 4 tokens of the question and 3 special ones leave 5 of 10 for the context.
    task, split = task_of([row("slow but")], stride=2)
    data = task.data(split, tokenizer, 12)
    contexts = [
        tokenizer.hf.decode(data.dataset[window]["input_ids"][6:-1]).split()
        for window in range(len(data.dataset))
    ]
    words = CONTEXT.split()
    assert contexts == [words[0:5], words[3:8], words[6:10]]
    assert positions(data) == [(0, 0), (7, 8), (0, 0)]
    assert data.dataset.num_truncated_rows == 0
    assert "1 question in 3 windows of at most 12 tokens; neighbours share 2" in data.notes[-1]


def test_an_answer_that_is_the_last_token_of_a_window(tokenizer):
    """run_qa of transformers runs over the end here and marks `[SEP]` as the start."""
    task, split = task_of([row("slow")], stride=1)
    assert CONTEXT.split()[4] == "slow"  # the last of the first window, and first of the second
    assert positions(task.data(split, tokenizer, 12)) == [(10, 10), (6, 6), (0, 0)]


def test_an_answer_inside_a_token_marks_that_token(tokenizer):
    task, split = task_of([row("low", CONTEXT.index("low"))])
    assert answer_texts(task.data(split, tokenizer, 64), tokenizer) == ["slow"]


def test_an_answer_between_white_space_marks_no_neighbour(tokenizer):
    task, split = task_of([row(" slow ", CONTEXT.index(" slow"))])
    assert answer_texts(task.data(split, tokenizer, 64), tokenizer) == ["slow"]


def test_several_tokens_of_one_character_are_all_part_of_the_answer(shared_data):
    from transformers import GPT2Tokenizer

    hf = GPT2Tokenizer.from_pretrained(shared_data / "tokenizers" / "gpt2")
    answers = {"text": ["\U0001f31e"], "answer_start": [4]}
    data = [{"question": "what", "context": "the \U0001f31e sun", "answers": answers}]
    task, split = task_of(data)
    encoded = Tokenizer.from_hf(hf)
    (found,) = answer_texts(task.data(split, encoded, 64), encoded)
    assert found.strip() == "\U0001f31e"


def test_an_answer_that_no_window_holds_is_counted_and_above_one_in_a_hundred_an_error(tokenizer):
    rows = [row("slow but we")] + [row("film")] * 199  # tokens 4 to 6, windows 0-4 and 4-8
    task, split = task_of(rows, stride=1)
    assert len(task.data(split, tokenizer, 12).notes) == 1
    long = row("good film was slow but we")  # six tokens into windows of five
    task, split = task_of([long, *rows[1:]], stride=1)
    notes = task.data(split, tokenizer, 12).notes
    assert "in 1 of 200 rows no window holds the whole answer: row 0 of the list" in notes[0]
    task, split = task_of([long] * 3 + rows[1:], stride=1)
    with pytest.raises(DataError, match="no window holds the whole answer") as caught:
        task.data(split, tokenizer, 12)
    assert "stride=" in caught.value.fix and "max_length=" in caught.value.fix


def test_a_question_without_room_for_its_context_is_refused(tokenizer):
    task, split = task_of([row(), {**row(), "question": "good " * 20}])
    with pytest.raises(ConfigurationError, match="no room for its context") as caught:
        task.data(split, tokenizer, 20)
    assert caught.value.place == "row 1 of the list given as data, column 'question'"
    assert "20 tokens and 3 special ones, of at most 20" in caught.value.found


def test_a_stride_as_long_as_a_window_is_refused_only_where_a_context_is_cut(tokenizer):
    task, split = task_of([row()], stride=5)
    assert len(task.data(split, tokenizer, 17).dataset) == 1  # ten words, ten tokens of room
    with pytest.raises(ConfigurationError, match="stride is as long as") as caught:
        task.data(split, tokenizer, 12)
    assert "row 0 of the list" in caught.value.place
    assert "below 5" in caught.value.fix


def test_white_space_before_a_question_takes_no_room(tokenizer):
    task, split = task_of([{**row(), "question": " \n" * 500 + QUESTION}, row()])
    data = task.data(split, tokenizer, 64)
    assert data.dataset[0] == data.dataset[1]


def test_the_tokenizer_of_the_user_is_left_as_it_was():
    hf = tiny_tokenizer()
    before = hf.backend_tokenizer.to_str()
    task, split = task_of([row()], stride=2)
    task.data(split, Tokenizer.from_hf(hf), 12)
    assert hf.backend_tokenizer.to_str() == before


def test_a_tokenizer_that_pads_on_the_left_has_the_question_behind_the_context():
    hf = tiny_tokenizer()
    hf.padding_side = "left"
    encoded = Tokenizer.from_hf(hf)
    task, split = task_of([row("slow")], stride=2)
    data = task.data(split, encoded, 12)
    ids = data.dataset[0]["input_ids"]
    assert encoded.hf.decode(ids[1:6]).split() == CONTEXT.split()[:5]
    assert encoded.hf.decode(ids[7:-1]) == QUESTION
    assert positions(data)[0] == (5, 5)


def test_progress_counts_rows(tokenizer):
    task, split = task_of([row()] * 600)
    seen: list[int] = []
    task.data(split, tokenizer, 64, seen.append)
    assert seen == [512, 600]


# -- the cut -------------------------------------------------------------------------------------


def corpus(articles: int, contexts: int, title: bool = True) -> list[dict[str, Any]]:
    return [
        {**row(), "context": f"{CONTEXT} {article} {number}", "name": f"{article}"}
        | ({"title": f"t{article}"} if title else {})
        for article in range(articles)
        for number in range(contexts)
        for _ in range(3)
    ]


@pytest.mark.parametrize("title", [True, False])
def test_no_context_and_no_article_is_on_both_sides(title):
    task, split = task_of(corpus(20, 4, title))
    train, held = task.hold_out(split, fraction=0.1, seed=1)
    assert train.table.num_rows + held.table.num_rows == 240
    for column in ["context", "name"] if title else ["context"]:
        sides = [set(part.table.column(column).to_pylist()) for part in (train, held)]
        assert not sides[0] & sides[1]
    assert held.table.num_rows == 24
    assert held.place(0).startswith("row ")


def test_few_articles_are_cut_by_context():
    task, split = task_of(corpus(3, 10))
    _, held = task.hold_out(split, fraction=0.1, seed=1)
    assert held.table.num_rows == 9


def test_articles_that_share_a_context_stay_together():
    rows = corpus(20, 1)
    for number in range(0, 60, 6):  # pairs of articles: 0 and 1, 2 and 3, ...
        rows[number]["context"] = rows[number + 3]["context"] = f"{CONTEXT} shared {number}"
    task, split = task_of(rows)
    _, held = task.hold_out(split, fraction=0.2, seed=1)
    titles = sorted({int(title[1:]) for title in held.table.column("title").to_pylist()})
    assert [title // 2 for title in titles[::2]] == [title // 2 for title in titles[1::2]]
    assert len(titles) == 4


def test_titles_that_are_no_texts_or_missing_are_passed_over():
    for title in ([1], None):
        rows = [{**one, "title": title} for one in corpus(20, 2, title=False)]
        rows[0]["title"] = rows[0]["title"] or [2]
        task, split = task_of(rows)
        assert task.hold_out(split, fraction=0.1, seed=1)[1].table.num_rows == 12


def test_a_single_context_cannot_be_cut():
    task, split = task_of([row(), row("film")])
    with pytest.raises(DataError, match="too few contexts"):
        task.hold_out(split, fraction=0.5, seed=1)


# -- options and state ---------------------------------------------------------------------------

WRONG_OPTIONS = [
    {"stride": -1}, {"stride": 1.5}, {"stride": True}, {"n_best": 0}, {"n_best": "20"},
    {"max_answer_length": 0}, {"no_answer_threshold": "best"},
    {"no_answer_threshold": float("nan")}, {"no_answer_threshold": None},
    {"question": ["question"]}, {"context": True}, {"answers": 3},
]  # fmt: skip


@pytest.mark.parametrize("given", WRONG_OPTIONS)
def test_an_option_that_cannot_work_is_named(given):
    (name,) = given
    with pytest.raises(ConfigurationError) as caught:
        task_of([row()], **given)
    assert caught.value.place == f"argument {name}"
    assert name in caught.value.fix


@pytest.mark.parametrize("name", ["text", "pair", "label", "label_names"])
def test_the_columns_of_other_tasks_are_refused(name):
    with pytest.raises(ArgumentError, match=f"{name} is no option") as caught:
        task_of([row()], **{name: "question"})
    assert caught.value.place == f"argument {name}"


def test_one_column_cannot_play_two_parts():
    with pytest.raises(ColumnError, match="is both question and context"):
        task_of([row()], question="context")


def test_the_state_builds_the_same_task():
    task, _ = task_of([row(), row(None)], stride=7, no_answer_threshold="auto")
    task.search.found_threshold = -1.25
    again = QuestionAnswering.from_state(json.loads(json.dumps(task.state())))
    assert again == task
    assert again.search.threshold == -1.25


def test_the_description_says_which_kind_of_squad_it_is():
    assert "every question has an answer (as in SQuAD 1.1)" in task_of([row()])[0].describe()
    assert (
        "some questions have no answer (as in SQuAD 2.0)"
        in task_of([row(), row(None)])[0].describe()
    )


# -- answers found again -------------------------------------------------------------------------


def planted(data: Any, *wanted: tuple[int, int, float]) -> EvalPrediction:
    """Logits of a model that wants a span in each window by so much, and is padded to 50."""
    starts = np.zeros((len(data.dataset), 50), np.float32)
    ends = np.zeros_like(starts)
    for window, (start, end, logit) in enumerate(wanted):
        starts[window, start] = ends[window, end] = logit
        starts[window, data.dataset.lengths[window] :] = 99.0
        ends[window, data.dataset.lengths[window] :] = 99.0
    labels = tuple(data.dataset.columns[f"{end}_positions"] for end in ("start", "end"))
    return EvalPrediction((starts, ends), labels)


def test_the_best_span_of_all_windows_is_scored(tokenizer):
    task, split = task_of([row("slow but"), row("film")], stride=2)
    data = task.data(split, tokenizer, 12)
    wants = [(6, 6, 3.0), (7, 8, 4.0), (6, 6, 1.0)]
    figures = task.compute_metrics(
        planted(data, *wants, (8, 9, 5.0), (6, 6, 1.0), (6, 6, 1.0)), data.reference
    )
    # "slow but" in the second window; then "film was" for "film".
    assert figures == {"exact_match": 50.0, "f1": pytest.approx((100 + 200 / 3) / 2)}


def test_a_question_is_left_unanswered_above_the_threshold(tokenizer):
    rows = [row("slow"), row(None)]
    for threshold, exact in ((0.0, 50.0), (10.0, 50.0), (-10.0, 50.0), (4.0, 100.0)):
        task, split = task_of(rows, no_answer_threshold=threshold)
        data = task.data(split, tokenizer, 64)
        prediction = planted(data, (10, 10, 1.0), (10, 10, 1.0))
        # No answer is above the answer by 2 in the first row, by 6 in the second.
        prediction.predictions[0][:, 0] = [2.0, 4.0]
        prediction.predictions[1][:, 0] = [2.0, 4.0]
        figures = task.compute_metrics(prediction, data.reference)
        assert figures["exact_match"] == exact, threshold
        assert figures["HasAns_exact"] == (100.0 if threshold >= 4 else 0.0)
        assert figures["NoAns_exact"] == (0.0 if threshold == 10 else 100.0)


def test_the_threshold_auto_is_found_on_the_validation_set_alone(tokenizer):
    task, split = task_of([row("slow"), row(None)], no_answer_threshold="auto")
    data, other = task.data(split, tokenizer, 64), task.data(split, tokenizer, 64)
    task.training_defaults({"train": other, "validation": data})
    assert task.warnings() == []
    prediction = planted(data, (10, 10, 1.0), (10, 10, 1.0))
    prediction.predictions[0][:, 0] = prediction.predictions[1][:, 0] = [2.0, 4.0]
    assert task.compute_metrics(prediction, other.reference)["exact_match"] == 50.0
    assert task.search.found_threshold is None
    figures = task.compute_metrics(prediction, data.reference)
    assert figures["exact_match"] == 100.0
    assert figures["no_answer_threshold"] == task.search.threshold == 2.0
    assert task.compute_metrics(prediction, other.reference)["exact_match"] == 100.0

    # Loaded again and scored on other data, it is kept.
    task = QuestionAnswering.from_state(json.loads(json.dumps(task.state())))
    task.training_defaults({"train": other, "validation": other})
    prediction.predictions[0][:, 0] = prediction.predictions[1][:, 0] = [4.0, 6.0]
    assert task.compute_metrics(prediction, other.reference)["exact_match"] == 50.0
    assert task.search.threshold == 2.0


def test_data_that_is_only_scored_on_is_no_place_to_find_a_threshold(tokenizer):
    task, split = task_of([row("slow"), row(None)], no_answer_threshold="auto")
    data = task.data(split, tokenizer, 64)
    task.training_defaults({"train": data, "validation": data})
    prediction = planted(data, (10, 10, 1.0), (10, 10, 1.0))
    assert task.compute_metrics(prediction, data.reference)["no_answer_threshold"] == 0.0


@pytest.mark.parametrize(
    ("rows", "found"), [([row()], "an answer to every"), ([row(), row(None)], "no validation")]
)
def test_a_threshold_that_cannot_be_found_is_a_warning(rows, found, tokenizer):
    task, split = task_of(rows, no_answer_threshold="auto")
    task.training_defaults({"train": task.data(split, tokenizer, 64)})
    (warning,) = task.warnings()
    assert found in warning.found
    assert task_of(rows)[0].warnings() == []


def test_where_no_likely_token_is_in_the_context_the_context_is_searched(tokenizer):
    task, split = task_of([row("slow")], n_best=2)
    data = task.data(split, tokenizer, 64)
    prediction = planted(data, (10, 10, 1.0))
    prediction.predictions[0][:, 1:4] = prediction.predictions[1][:, 1:4] = 50.0  # the question
    assert task.compute_metrics(prediction, data.reference)["exact_match"] == 100.0


def test_predictions_in_another_order_are_never_scored(tokenizer):
    """So does the stock Trainer evaluate under `group_by_length`; the scores would mean nothing."""
    task, split = task_of([row("slow"), row("film")])
    data = task.data(split, tokenizer, 64)
    prediction = planted(data, (10, 10, 1.0), (8, 8, 1.0))
    assert task.compute_metrics(prediction, data.reference)["exact_match"] == 100.0
    turned = EvalPrediction(
        tuple(part[::-1] for part in prediction.predictions),
        tuple(part[::-1] for part in prediction.label_ids),
    )
    with pytest.raises(ConfigurationError, match="another order than the questions"):
        task.compute_metrics(turned, data.reference)


def test_an_answer_is_no_longer_than_asked_for(tokenizer):
    task, split = task_of([row("slow")], max_answer_length=1)
    data = task.data(split, tokenizer, 64)
    prediction = planted(data, (9, 11, 5.0))
    prediction.predictions[0][:, 10] = prediction.predictions[1][:, 10] = 4.0
    assert task.compute_metrics(prediction, data.reference)["exact_match"] == 100.0


def finders(number: int, seed: int) -> list[dict[str, Any]]:
    """Contexts with one good word among others; it is the answer to every question."""
    draw = random.Random(seed)
    rows = []
    for _ in range(number):
        words = [draw.choice(WORDS[-10:]) for _ in range(draw.randint(5, 30))]
        place = draw.randint(0, len(words))
        words.insert(place, draw.choice(GOOD))
        start = len(" ".join([*words[:place], ""]))
        answers = {"text": [words[place]], "answer_start": [start]}
        rows.append({"question": QUESTION, "context": " ".join(words), "answers": answers})
    return rows


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tokenizer):
    """A tiny BERT that has learnt to find the good word, over windows of 24 tokens."""
    task, split = task_of(finders(600, 1), stride=4)
    data = task.data(split, tokenizer, 24)
    torch.manual_seed(0)
    model = BertForQuestionAnswering(tiny_config())
    trainer = fastft.Trainer(
        model,
        arguments(
            fastft.TrainingArguments, tmp_path_factory.mktemp("qa"), learning_rate=5e-3, seed=3
        ),
        train_dataset=data.dataset,
        data_collator=task.collator(tokenizer.hf, model),
        processing_class=tokenizer.hf,
    )
    trainer.train()
    return task, trainer


def test_a_trained_model_is_evaluated_through_the_trainer(trained, tokenizer):
    task, trainer = trained
    data = task.data(open_source(finders(80, 2)).splits["train"], tokenizer, 24)
    evaluator = fastft.Trainer(
        trainer.model,
        trainer.args,
        eval_dataset=data.dataset,
        data_collator=task.collator(tokenizer.hf, trainer.model),
        processing_class=tokenizer.hf,
        preprocess_logits_for_metrics=task.preprocess_logits,
        compute_metrics=lambda prediction: task.compute_metrics(prediction, data.reference),
    )
    assert len(data.dataset) > 90  # some contexts are cut into windows
    figures = evaluator.evaluate()
    assert figures["eval_exact_match"] > 95.0
    assert figures["eval_f1"] >= figures["eval_exact_match"]


def test_predictions_are_spans_of_their_contexts(trained, tokenizer):
    task, trainer = trained
    rows = finders(70, 3)
    split = open_source([{k: row[k] for k in ("question", "context")} for row in rows])
    inference = Inference(trainer.model, tokenizer, 24, batch_size=16, options={"n_best": 3})
    found = task.predict(split.splits["train"], inference)
    right = [
        each["answer"] == row["answers"]["text"][0] for each, row in zip(found, rows, strict=True)
    ]
    assert np.mean(right) > 0.95
    for each, row in zip(found, rows, strict=True):
        assert row["context"][each["start"] : each["end"]] == each["answer"]
        assert 0.0 < each["score"] <= 1.0
        assert len(each["n_best"]) == 3
        assert each["n_best"][0] == {k: each[k] for k in ("answer", "score", "start", "end")}
    plain = task.predict(split.splits["train"], Inference(trainer.model, tokenizer, 24))
    assert [list(each) for each in plain[:1]] == [["answer", "score", "start", "end"]]
    # Windows are padded otherwise in other batches, which may not change the answers.
    assert [each["answer"] for each in plain] == [each["answer"] for each in found]


def test_a_prediction_without_an_answer(trained, tokenizer):
    _, trainer = trained
    task, _ = task_of([row(), row(None)], no_answer_threshold=-1000.0)
    split = open_source([{"question": QUESTION, "context": CONTEXT}]).splits["train"]
    (found,) = task.predict(split, Inference(trainer.model, tokenizer, 64))
    assert (found["answer"], found["start"], found["end"]) == ("", None, None)
    assert 0.0 < found["score"] < 1.0


@pytest.mark.parametrize("n_best", [0, 21, "3", True])
def test_a_wrong_n_best_of_a_prediction_is_named(trained, tokenizer, n_best):
    task, trainer = trained
    split = open_source([{"question": QUESTION, "context": CONTEXT}]).splits["train"]
    with pytest.raises(ConfigurationError, match="n_best"):
        task.predict(split, Inference(trainer.model, tokenizer, 64, options={"n_best": n_best}))


@pytest.mark.parametrize("column", ["question", "context"])
def test_a_blank_text_is_refused_in_a_prediction(trained, tokenizer, column):
    task, trainer = trained
    rows = [{"question": QUESTION, "context": CONTEXT}] * 2
    rows[1] = {**rows[1], column: "  "}
    split = open_source(rows).splits["train"]
    with pytest.raises(DataError, match=f"the {column} is blank") as caught:
        task.predict(split, Inference(trainer.model, tokenizer, 64))
    assert "row 1 of the list" in caught.value.place


def test_an_unknown_option_of_a_prediction_is_named(trained, tokenizer):
    task, trainer = trained
    split = open_source([{"question": QUESTION, "context": CONTEXT}]).splits["train"]
    with pytest.raises(ArgumentError, match="num_beams is no option"):
        task.predict(split, Inference(trainer.model, tokenizer, 64, options={"num_beams": 3}))


# -- from a file to a folder and back ------------------------------------------------------------


def squad_file(path: Any, rows: list[dict[str, Any]]) -> Any:
    """Writes rows as SQuAD does, an article a row."""
    articles = []
    for number, one in enumerate(rows):
        pairs = zip(*one["answers"].values(), strict=True)
        answers = [{"text": text, "answer_start": start} for text, start in pairs]
        question = {"id": f"q{number}", "question": one["question"], "answers": answers}
        paragraph = {"context": one["context"], "qas": [question]}
        articles.append({"title": f"t{number}", "paragraphs": [paragraph]})
    path.write_text(json.dumps({"version": "v2.0", "data": articles}))
    return path


def test_a_squad_file_is_learnt_from_saved_and_loaded(tiny_bert, tmp_path):
    rows = finders(60, 5)
    for one in rows[::4]:
        one["answers"] = {"text": [], "answer_start": []}
    result = fastft.finetune(
        tiny_bert, squad_file(tmp_path / "squad.json", rows), output_dir=tmp_path / "run",
        num_train_epochs=1, validation=0.2, max_length=24, stride=5, no_answer_threshold="auto",
        use_cpu=True, quiet=True,
    )  # fmt: skip
    assert {"eval_exact_match", "eval_f1", "eval_NoAns_f1"} <= set(result.metrics)
    questions = [{name: one[name] for name in ("question", "context")} for one in rows[:5]]
    answers = result.predict(questions)
    again = fastft.load(tmp_path / "run")
    assert again.predict(questions) == answers
    assert again.task.search.found_threshold == result.metrics["eval_no_answer_threshold"]
    assert again.task.search.stride == 5
    figures = again.evaluate(squad_file(tmp_path / "test.json", rows[:20]))
    assert figures["eval_no_answer_threshold"] == result.metrics["eval_no_answer_threshold"]


def test_wrong_answers_of_a_file_stop_a_strict_run_before_anything_is_written(tiny_bert, tmp_path):
    rows = finders(20, 5)
    rows[7]["answers"]["answer_start"][0] += 1
    path = squad_file(tmp_path / "squad.json", rows)
    with pytest.raises(DataError, match="not where answer_start says") as caught:
        fastft.finetune(
            tiny_bert, path, check="strict", max_length=24, output_dir=tmp_path / "run", quiet=True
        )
    assert f"{path}, data[7] 't7', paragraphs[0], question 'q7'" in caught.value.place
    assert not (tmp_path / "run").exists()
