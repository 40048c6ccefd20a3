"""The tasks by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastft.tasks.text_classification import TextClassification

if TYPE_CHECKING:
    from fastft.tasks.base import Task

TASK_CLASSES: dict[str, type[Task]] = {TextClassification.name: TextClassification}


def task_class(name: str) -> type[Task]:
    """Gives the class of a task; "auto" is text classification, the only one so far."""
    return TextClassification if name == "auto" else TASK_CLASSES[name]
