"""Every task, from the command line and from Python: the same figures, a folder that works."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

import fastft
from fastft.cli import app
from tests.chat_models import byte_tokenizer
from tests.chat_models import tiny_llama as byte_llama
from tests.tiny import save_tiny_bert, sentences
from tests.tiny_lm import save_tiny_gpt2, save_tiny_mlm, story
from tests.tiny_seq2seq import save_tiny_t5, shouts

if TYPE_CHECKING:
    from pathlib import Path


def save_tiny_chat(folder: Path) -> Path:
    tokenizer = byte_tokenizer()
    byte_llama(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def classified(folder: Path) -> Path:
    return jsonl(folder / "rows.jsonl", [{"text": t, "label": n} for t, n in sentences(40)])


def asked(folder: Path) -> Path:
    context = "the film was good and the music was fine"
    rows = [
        {"question": f"the plot {i % 5}", "context": f"{context} day {i}",
         "answers": {"text": ["good"], "answer_start": [13]}}
        for i in range(30)
    ]  # fmt: skip
    return jsonl(folder / "rows.jsonl", rows)


def shouted(folder: Path) -> Path:
    return jsonl(folder / "rows.jsonl", [{"source": s, "target": t} for s, t in shouts(30)])


def told(folder: Path) -> Path:
    (folder / "text.txt").write_text(story(60))
    return folder / "text.txt"


def chatted(folder: Path) -> Path:
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"say {i}"},
                {"role": "assistant", "content": "a b"},
            ]
        }
        for i in range(30)
    ]
    return jsonl(folder / "rows.jsonl", rows)


CASES = {
    "text-classification": (save_tiny_bert, classified, {}, ["a good film"]),
    "question-answering": (
        save_tiny_bert, asked, {"stride": 8},
        [{"question": "the plot", "context": "the film was good"}],
    ),
    "translation": (save_tiny_t5, shouted, {"prefix": "shout: "}, ["good film"]),
    "causal-lm": (save_tiny_gpt2, told, {"max_length": 16}, ["the film"]),
    "masked-lm": (save_tiny_mlm, told, {"mlm_probability": 0.3}, ["the [MASK] was good"]),
    "chat": (save_tiny_chat, chatted, {"chat_template": "chatml"}, ["say 1"]),
}  # fmt: skip


@pytest.mark.parametrize("task", CASES)
def test_one_command_does_what_one_call_does(task, tmp_path):
    save_model, write_data, options, inputs = CASES[task]
    model, data = save_model(tmp_path / "model"), write_data(tmp_path)
    training = {"num_train_epochs": 1, "learning_rate": 1e-3, "seed": 3}
    result = fastft.finetune(
        model, data, task, quiet=True, output_dir=tmp_path / "python", **options, **training
    )
    words = [
        f"--{name.replace('_', '-')}={value}" for name, value in {**options, **training}.items()
    ]
    command = ["train", str(model), str(data), "--task", task, "--quiet", *words]
    done = CliRunner().invoke(app, [*command, "--output-dir", str(tmp_path / "shell")])
    assert done.exception is None, done.exception

    first, second = (
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("python", "shell")
    )
    same = [name for name in first if not name.endswith(("runtime", "per_second", "time"))]
    assert {name: first[name] for name in same} == {name: second[name] for name in same}
    assert {f"eval_{name}" for name in result.task.metric_names} <= set(first)

    loaded = fastft.load(tmp_path / "shell")
    answers = loaded.predict(inputs)
    assert answers == result.predict(inputs)
    rows = jsonl(tmp_path / "inputs.jsonl", [
        row if isinstance(row, dict) else {loaded.task.input_columns[0]: row} for row in inputs
    ])  # fmt: skip
    lines = CliRunner().invoke(app, ["predict", str(tmp_path / "shell"), str(rows)]).output
    assert [json.loads(line) for line in lines.splitlines()] == answers
    figures = CliRunner().invoke(app, ["eval", str(tmp_path / "shell"), str(data)]).output
    assert json.loads(figures)["eval_loss"] == pytest.approx(
        result.evaluate(data)["eval_loss"], rel=1e-6
    )


@pytest.mark.parametrize("task", CASES)
def test_no_loss_depends_on_how_rows_are_batched(task, tmp_path):
    """The evaluation loss for every batch size; the curve for every split of a step."""
    save_model, write_data, options, _ = CASES[task]
    model, data = save_model(tmp_path / "model"), write_data(tmp_path)
    losses, curves = [], []
    for batch_size, accumulation in ((8, 1), (4, 2), (1, 8)):
        result = fastft.finetune(
            model, data, task, quiet=True, output_dir=tmp_path / f"{batch_size}", **options,
            max_steps=4, learning_rate=1e-3, logging_steps=1, dropout=0.0,
            per_device_train_batch_size=batch_size, per_device_eval_batch_size=batch_size,
            gradient_accumulation_steps=accumulation, save_strategy="no",
        )  # fmt: skip
        losses.append(result.metrics["eval_loss"])
        curves.append([entry["loss"] for entry in result.history if "loss" in entry])
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=1e-6)
    for curve in curves[1:]:
        assert curve == pytest.approx(curves[0], rel=1e-5)
