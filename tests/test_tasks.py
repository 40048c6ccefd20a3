from __future__ import annotations

import numpy as np
import pytest
from transformers import EvalPrediction

from fastft.request import TASKS
from fastft.tasks.base import Columns
from fastft.tasks.labels import LabelSet
from fastft.tasks.registry import TASK_CLASSES, task_class
from fastft.tasks.text_classification import TextClassification

TASK = TextClassification(Columns("text", None, "label"), LabelSet(("no", "yes", "maybe")))


def test_every_task_that_can_be_asked_for_exists():
    assert sorted(TASKS) == sorted(["auto", *TASK_CLASSES])
    assert all(task_class(name).name in TASK_CLASSES for name in TASKS)


def test_the_state_builds_the_same_task():
    import json

    assert TextClassification.from_state(json.loads(json.dumps(TASK.state()))) == TASK


def test_the_likeliest_class_is_named_with_its_probability():
    answers = TASK.decode(np.array([[0.0, np.log(2.0), 0.0], [800.0, 0.0, 0.0]], np.float32))
    assert [answer["label"] for answer in answers] == ["yes", "no"]
    assert answers[0]["score"] == pytest.approx(0.5)
    assert answers[1]["score"] == pytest.approx(1.0)


def test_accuracy_and_macro_f1():
    logits = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    metrics = TASK.compute_metrics(EvalPrediction(logits, np.array([0, 1, 1, 2])))
    assert metrics["accuracy"] == 0.75
    assert metrics["f1_macro"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)


def test_the_description_names_columns_and_loss():
    text = TASK.describe()
    assert "'text' -> 'label', 3 labels: no, yes, maybe" in text
    assert "cross entropy" in text
