"""Text to text through `finetune`: data in, a saved model out that plain transformers runs."""

from __future__ import annotations

import pytest
import transformers

import fastft
from tests.test_examples import EXAMPLES, run, run_here
from tests.tiny_seq2seq import save_tiny_t5, shouts

QUICK = {"num_train_epochs": 1, "use_cpu": True, "quiet": True}


@pytest.fixture(scope="module")
def tiny_t5_folder(tmp_path_factory):
    return save_tiny_t5(tmp_path_factory.mktemp("t5") / "tiny-t5")


def write_pairs(folder, rows):
    for column, name in enumerate(("low", "high")):
        text = "\n".join(row[column] for row in rows)
        (folder / f"train.{name}").write_text(text + "\n", encoding="utf-8")
    return folder


def test_parallel_files_become_a_model_that_plain_transformers_runs(tiny_t5_folder, tmp_path):
    data = write_pairs(tmp_path, [*shouts(60), ("a film", " ")])
    result = fastft.finetune(
        tiny_t5_folder, data, "translation", source="low", target="high", prefix="the : ",
        output_dir=tmp_path / "run", **QUICK,
    )  # fmt: skip
    assert {"eval_loss", "eval_bleu", "eval_chrf"} <= set(result.metrics)
    assert result.plan["predict_with_generate"] is True
    texts = [text for text, _ in shouts(5, seed=9)]
    found = [row["text"] for row in result.predict(texts, max_new_tokens=12)]
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "run").eval()
    hf = transformers.AutoTokenizer.from_pretrained(tmp_path / "run")
    plain = [
        model.generate(**hf("the : " + text, return_tensors="pt"), max_new_tokens=12)[0]
        for text in texts
    ]
    assert found == [hf.decode(tokens, skip_special_tokens=True) for tokens in plain]


def test_a_blank_side_stops_a_strict_run_before_anything_is_written(tiny_t5_folder, tmp_path):
    data = write_pairs(tmp_path, [*shouts(20), ("a film", " ")])
    with pytest.raises(fastft.DataError, match=r"train\.low and .*train\.high, line 21"):
        fastft.finetune(
            tiny_t5_folder, data, "seq2seq", source="low", target="high", check="strict",
            output_dir=tmp_path / "run", **QUICK,
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_the_task_follows_from_the_model_and_pairs_are_enough(tiny_t5_folder, tmp_path):
    result = fastft.finetune(tiny_t5_folder, shouts(30), output_dir=tmp_path / "run", **QUICK)
    assert {"eval_chrf", "eval_rougeL", "eval_exact_match"} <= set(result.metrics)


def test_the_example_is_short_and_runs(tiny_t5_folder, tmp_path, monkeypatch, capsys):
    assert len((EXAMPLES / "translation.py").read_text().splitlines()) <= 15
    run_here("translation.py", tiny_t5_folder, cwd=tmp_path, monkeypatch=monkeypatch)
    assert "'text':" in capsys.readouterr().out


@pytest.mark.slow
def test_the_example_runs_on_all_its_data(tiny_t5_folder, tmp_path):
    done = run("translation.py", tiny_t5_folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "'text':" in done.stdout
