"""Kept states of frozen layers: where they lie, when they are not used, what they leave alone."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import transformers

import fastft
from fastft.command_line import finetune_call
from fastft.data.token_cache import TokenCacheWarning
from fastft.training import frozen_plan, frozen_states
from tests.frozen_trainers import Recorded, build, tokens, trainer
from tests.tiny import sentences, tiny_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

# Where the number of steps decides nothing.
FEW_STEPS: dict[str, Any] = {"per_device_train_batch_size": 20}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the states of this test."""
    monkeypatch.setenv("FASTFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "frozen"


def trained(one: Recorded) -> Recorded:
    one.train()
    return one


def entries(folder: Path) -> list[Path]:
    return [one for one in folder.iterdir() if one.is_dir()] if folder.is_dir() else []


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks by an old name
def test_adapters_on_the_last_layers(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    runs = []
    for choice in ("auto", "off"):
        torch.manual_seed(3)
        settings = LoraConfig(
            r=2, target_modules=["query"], layers_to_transform=[2], task_type="SEQ_CLS"
        )
        plain = build("bert", "full")
        for module in plain.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        plain.config.attention_probs_dropout_prob = 0.0
        for layer in plain.bert.encoder.layer:
            layer.attention.self.dropout.p = 0.0
        model = get_peft_model(plain, settings)
        runs.append(trained(trainer(tmp_path, "bert", "", choice, model=model)))
    assert all(runs[0].carried) and not any(runs[1].carried), runs[0].explain_frozen()
    np.testing.assert_allclose(runs[0].losses, runs[1].losses, rtol=1e-5)


@pytest.mark.parametrize("train", ["head", pytest.param("last:1", marks=pytest.mark.slow)])
def test_evaluations_and_metrics_are_the_ordinary_ones(train: str, tmp_path: Path) -> None:
    def metrics(prediction: Any) -> dict[str, float]:
        return {"sum": float(np.abs(prediction.predictions).sum())}

    options: dict[str, Any] = {"eval_strategy": "epoch", "compute_metrics": metrics}
    one = trainer(tmp_path, "gpt2", train, evaluates=True, **options)
    trained(one)
    assert one.explain_frozen().count("run once") == 2
    # The last evaluation of the training ran on kept states; this one runs the whole model.
    logged = [entry for entry in one.state.log_history if "eval_loss" in entry][-1]
    again = one.evaluate()
    for name in ("eval_loss", "eval_sum"):
        assert again[name] == pytest.approx(logged[name], rel=1e-5)


def test_a_resumed_run_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    options: dict[str, Any] = {"save_strategy": "steps", "save_steps": 7}
    whole = trained(trainer(tmp_path / "a", "bert", "head", **options))
    folder = tmp_path / "a" / "checkpoint-7"
    for choice in ("memory", "disk"):
        rest = trainer(tmp_path / "b", "bert", "head", choice, **options)
        rest.train(resume_from_checkpoint=str(folder))
        assert rest.losses == whole.losses[7:] and all(rest.carried)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, rest.model.state_dict()[name])


def test_what_is_saved_is_an_ordinary_model(tmp_path: Path) -> None:
    before = list(build("bert", "last:1").state_dict())
    seen: list[list[str]] = []

    class Look(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            seen.append(list(kwargs["model"].state_dict()))
            assert not any("Skipped" in type(one).__name__ for one in kwargs["model"].modules())

    one = trainer(
        tmp_path, "bert", "last:1", callbacks=[Look()], save_strategy="epoch", save_total_limit=1
    )
    trained(one)
    assert all(names == before for names in seen) and len(seen) == 20
    (folder,) = tmp_path.glob("checkpoint-*")
    again = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    assert type(again) is type(one.model)
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_the_disk_is_read_by_the_second_run(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = trained(trainer(tmp_path, "bert", "last:1", "disk", **FEW_STEPS))
    (entry,) = entries(cache)
    # Everything that is run from now on is an error.
    monkeypatch.setattr(frozen_states.Filling, "into", lambda *_: pytest.fail("run again"))
    assert trained(trainer(tmp_path, "bert", "last:1", "disk", **FEW_STEPS)).losses == first.losses
    assert entries(cache) == [entry]


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "damage",
    ["flip", *(pytest.param(one, marks=SLOW) for one in ("cut", "manifest", "missing"))],
)
def test_a_damaged_cache_is_made_again(damage: str, tmp_path: Path, cache: Path) -> None:
    first = trained(trainer(tmp_path, "bert", "last:1", "disk", **FEW_STEPS))
    (entry,) = entries(cache)
    file = entry / ("manifest.json" if damage == "manifest" else "frozen_states.safetensors")
    if damage == "missing":
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[-40] ^= 4
        file.write_bytes(content[:-8] if damage == "cut" else content)
    with pytest.warns(TokenCacheWarning, match="made again"):
        again = trained(trainer(tmp_path, "bert", "last:1", "disk", **FEW_STEPS))
    assert again.losses == first.losses and all(again.carried)


@pytest.mark.slow
def test_other_weights_tokens_or_borders_are_another_entry(tmp_path: Path, cache: Path) -> None:
    trained(trainer(tmp_path, "bert", "last:1", "disk", **FEW_STEPS))
    changed = build("bert", "last:1")
    with torch.no_grad():
        changed.bert.encoder.layer[0].output.dense.weight[0, 0] += 1e-3
    trained(trainer(tmp_path, "bert", "last:1", "disk", model=changed, **FEW_STEPS))
    trained(trainer(tmp_path, "bert", "last:2", "disk", **FEW_STEPS))
    trained(trainer(tmp_path, "bert", "last:1", "disk", rows=41, **FEW_STEPS))
    assert len(entries(cache)) == 4
    # What is trained may differ: it is no part of what is kept.
    changed = build("bert", "last:1")
    with torch.no_grad():
        changed.classifier.weight[0, 0] += 1e-3
    trained(trainer(tmp_path, "bert", "last:1", "disk", model=changed, **FEW_STEPS))
    assert len(entries(cache)) == 4


def test_a_full_disk_leaves_an_ordinary_run(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = trained(trainer(tmp_path, "bert", "last:1", "off", **FEW_STEPS))
    monkeypatch.setattr(frozen_plan, "free_disk", lambda: 1000)
    early = trained(trainer(tmp_path, "bert", "last:1", "disk", **FEW_STEPS))
    assert "the disk has 1.0 kB free" in early.explain_frozen()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.undo()
    monkeypatch.setenv("FASTFT_CACHE", str(cache.parent))
    monkeypatch.setattr(frozen_states.OnDisk, "append", full)
    late = trained(trainer(tmp_path, "bert", "last:1", "disk", **FEW_STEPS))
    assert "No space left on device" in late.explain_frozen() and not entries(cache)
    assert plain.losses == early.losses == late.losses
    assert not list(cache.glob(".*.*/"))


@pytest.mark.slow
def test_auto_goes_to_the_disk_where_memory_is_short(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen_plan, "free_memory", lambda: 1000)
    one = trained(trainer(tmp_path, "bert", "last:1", **FEW_STEPS))
    assert "kept on the disk" in one.explain_frozen() and len(entries(cache)) == 1
    shutil.rmtree(cache)


@pytest.mark.parametrize(
    ("name", "train", "options", "words"),
    [
        ("bert", "full", {}, "no weight is frozen"),
        ("bert", "head", {"num_train_epochs": 1}, "one pass over the rows does not pay"),
        ("bert", "head", {"neftune_noise_alpha": 5.0}, "neftune_noise_alpha is set"),
        ("albert", "head", {}, "all layers share their weights"),
        ("bert-qa", "last:1", {}, "loss would differ"),
        ("bert", "last:3", {}, "the first layer of bert.encoder.layer is trained"),
    ],
)
def test_what_speaks_against_it_is_named(
    name: str, train: str, options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    one = trained(trainer(tmp_path, name, train, **{**FEW_STEPS, **options}))
    assert words in one.explain_frozen()
    assert one.losses and not any(one.carried)


def test_more_that_speaks_against_it(tmp_path: Path) -> None:
    model = build("bert", "head")
    model.bert.embeddings.requires_grad_(True)
    assert (
        "the embeddings are trained"
        in trained(trainer(tmp_path, "bert", "", model=model, **FEW_STEPS)).explain_frozen()
    )
    tied = build("gpt2-lm", "last:1")
    tied.lm_head.requires_grad_(True)
    assert (
        "it is the embedding of the first layer too"
        in trained(trainer(tmp_path, "gpt2-lm", "", model=tied, **FEW_STEPS)).explain_frozen()
    )
    masked = trainer(tmp_path, "bert", "head")
    masked.data_collator = fastft.DataCollatorForLanguageModeling(tiny_tokenizer())
    masked.model = build("bert", "head")
    plan = frozen_plan.why_not_by_collator(masked.data_collator)
    assert plan == "random tokens are masked in every epoch"
    rows = [tokens("bert")[number] for number in range(8)]
    one = trainer(tmp_path, "bert", "head", **FEW_STEPS)
    one.train_dataset = rows
    assert "the data set is a list" in trained(one).explain_frozen()


def test_what_is_no_choice_is_an_error(tmp_path: Path, tiny_bert: Path) -> None:
    for value in ("ram", True, None):
        with pytest.raises(fastft.ConfigurationError, match="argument frozen_cache"):
            trainer(tmp_path, "bert", "head", value)  # type: ignore[arg-type]
    with pytest.raises(fastft.ConfigurationError, match="argument frozen_cache"):
        fastft.finetune(tiny_bert, sentences(20), quiet=True, use_cpu=True, frozen_cache="ram")


class Unfreeze(transformers.TrainerCallback):  # type: ignore[misc]
    """Trains one more layer from the second epoch on, or from a step on."""

    def __init__(self, step: int | None = None) -> None:
        self.step = step

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.step is None and state.epoch >= 1:
            kwargs["model"].bert.encoder.layer[1].requires_grad_(True)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            kwargs["model"].bert.encoder.layer[1].requires_grad_(True)


def test_a_layer_that_is_unfrozen_between_epochs_is_trained(tmp_path: Path) -> None:
    one = trained(trainer(tmp_path, "bert", "last:1", callbacks=[Unfreeze()]))
    assert one.carried == [True] * 10 + [False] * 10
    assert one.model.bert.encoder.layer[1].output.dense.weight.grad is None  # zeroed, but used
    with pytest.raises(fastft.ConfigurationError, match="in the middle of an epoch"):
        trained(trainer(tmp_path, "bert", "last:1", callbacks=[Unfreeze(step=3)]))


@pytest.mark.slow
def test_batches_of_like_length_carry_states_too(tmp_path: Path) -> None:
    runs = []
    for choice in ("auto", "off"):
        model = build("bert", "last:1")
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        one = Recorded(
            model,
            trainer(tmp_path, "bert", "last:1").args,
            train_dataset=tokens("bert"),
            processing_class=tiny_tokenizer(),
            batching="bucketed",
            frozen_cache=choice,
        )
        runs.append(trained(one))
    assert all(runs[0].carried), runs[0].explain_frozen()
    np.testing.assert_allclose(runs[0].losses, runs[1].losses, rtol=1e-5)


def test_finetune_trains_a_head_on_kept_states(tmp_path: Path, tiny_bert: Path) -> None:
    results = {}
    for choice in ("disk", "off"):
        results[choice] = fastft.finetune(
            tiny_bert,
            sentences(80),
            train="head",
            frozen_cache=choice,
            num_train_epochs=3,
            output_dir=tmp_path / choice,
            quiet=True,
            use_cpu=True,
        )
    result = results["disk"]
    assert "run once for each of 72 training rows" in result.trainer.explain_frozen()
    assert "run once for each of 8 validation rows" in result.trainer.explain_frozen()
    for name in ("train_loss", "eval_loss", "eval_accuracy"):
        # This model has no dropout, so both are the same training.
        assert result.metrics[name] == pytest.approx(results["off"].metrics[name], rel=1e-5)
    texts = [text for text, _ in sentences(6, seed=5)]
    assert result.predict(texts) == fastft.load(tmp_path / "disk").predict(texts)


def test_the_command_line_knows_the_choice(tmp_path: Path) -> None:
    run_file = tmp_path / "run.yaml"
    run_file.write_text("model: m\ndata: d\nfrozen_cache: off\n")
    given = {"model": None, "data": None, "frozen_cache": None}
    assert finetune_call(dict(given), run_file, [])["frozen_cache"] == "off"
    words = {"model": "m", "data": "d", "frozen_cache": "disk"}
    assert finetune_call(words, run_file, [])["frozen_cache"] == "disk"
