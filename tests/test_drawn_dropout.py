"""Dropout that draws four values at a time: as often as asked, independently, and where it may."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from torch.utils.checkpoint import checkpoint

import fastft
from fastft.modeling.drawn_dropout import DrawnDropout, draw_dropout, drawn, restore_dropout
from tests.parity.recording import FastTrainer, arguments
from tests.tiny import sentences, tiny_model, tiny_tokenizer

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("dropout", [0.1, 0.5, 1 - 1e-4, 1e-4, 1e-9, 1.0])
def test_values_are_dropped_as_often_as_asked_and_their_mean_stays(dropout: float) -> None:
    torch.manual_seed(3)
    number = 1_000_003  # the last draw decides on fewer than four
    kept = drawn(torch.ones(number), dropout)
    is_dropped = kept == 0
    for lane in (slice(None), *(slice(start, None, 4) for start in range(4))):
        count = len(is_dropped[lane])
        spread = 3.5 * math.sqrt(dropout * (1 - dropout) / count) + 1e-5
        assert abs(is_dropped[lane].double().mean().item() - dropout) <= spread
    assert kept[~is_dropped].unique().numel() <= 1
    if dropout <= 0.5:
        spread = 3.5 * math.sqrt(dropout / (1 - dropout) / number)
        assert abs(kept.double().mean().item() - 1) <= spread
    neighbours = (is_dropped[:-1] & is_dropped[1:]).double().mean().item()
    assert abs(neighbours - dropout**2) <= 3.5 * math.sqrt(dropout**2 / number) + 2e-5


def test_a_seed_gives_the_same_draws_and_they_do_not_repeat() -> None:
    def draw() -> torch.Tensor:
        return drawn(torch.ones(5, 7, 9), 0.4)

    torch.manual_seed(5)
    first, second = draw(), draw()
    torch.manual_seed(5)
    assert torch.equal(first, draw())
    assert not torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("shape", [(3, 5, 7), (1,), (), (0, 4)])
def test_what_is_dropped_gets_no_gradient_and_what_is_kept_grows(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    layer = DrawnDropout(0.25)
    values = torch.full(shape, 3.0, dtype=dtype, requires_grad=True)
    out = layer(values)
    assert out.shape == values.shape
    assert out.dtype == dtype
    out.backward(torch.full(shape, 3.0, dtype=dtype))
    assert torch.equal(values.grad, out.detach())
    assert set(out.detach().flatten().tolist()) <= {0.0, 4.0}


def test_values_that_lie_otherwise_in_memory_are_dropped_by_their_place() -> None:
    layer, values = DrawnDropout(0.5), torch.arange(1.0, 25).view(4, 6)
    for turned in (values.t(), values[:, ::2], values[:1].expand(4, 6)):
        out = layer(turned)
        assert ((out == 0) | (out == 2 * turned)).all()


class Own(nn.Dropout):
    """A class of somebody's own."""


def test_what_it_does_not_cover_is_torchs_own() -> None:
    values = torch.ones(64)
    assert DrawnDropout(0.5).eval()(values) is values
    assert torch.equal(DrawnDropout(0.0)(values), values)
    torch.manual_seed(0)
    inplace = DrawnDropout(0.5, inplace=True)(values.clone())
    torch.manual_seed(0)
    assert torch.equal(inplace, nn.functional.dropout(values, 0.5))
    compiled = torch.compile(DrawnDropout(0.5), backend="aot_eager", fullgraph=True)
    assert set(compiled(values).tolist()) <= {0.0, 2.0}


def test_a_model_keeps_names_hooks_modes_and_classes_of_others() -> None:
    model = nn.Sequential(nn.Dropout(0.5), Own(0.5), nn.Linear(2, 2), nn.Dropout(0.5).eval())
    calls: list[Any] = []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    before, own = list(model.state_dict()), type(model[1])
    draw_dropout(model)
    draw_dropout(model)  # a second time changes nothing
    assert [type(one) for one in model] == [DrawnDropout, own, nn.Linear, DrawnDropout]
    assert not model[3].training
    model(torch.ones(3, 2))
    twin = copy.deepcopy(model)
    restore_dropout(model)
    assert [type(one) for one in model] == [nn.Dropout, own, nn.Linear, nn.Dropout]
    assert list(model.state_dict()) == before
    assert calls == [1]
    assert type(twin[0]) is DrawnDropout


def test_a_layer_that_is_run_again_drops_the_same() -> None:
    layer = nn.Sequential(nn.Linear(8, 8), DrawnDropout(0.5), nn.Linear(8, 8), DrawnDropout(0.5))
    gradients = []
    for run in (layer, lambda values: checkpoint(layer, values, use_reentrant=False)):
        torch.manual_seed(1)
        layer.zero_grad()
        run(torch.ones(4, 8)).square().sum().backward()
        gradients.append([one.grad.clone() for one in layer.parameters()])
    for plain, again in zip(*gradients, strict=True):
        assert torch.equal(plain, again)


class Sees(transformers.TrainerCallback):
    """Notes the class of every dropout layer when a step ends."""

    def __init__(self) -> None:
        self.classes: list[set[str]] = []

    def on_step_end(self, *args: Any, model: Any = None, **kwargs: Any) -> None:
        found = {type(one).__name__ for one in model.modules() if "Dropout" in type(one).__name__}
        self.classes.append(found)


def _trainer(folder: Path, texts: list[str], *, dropout: float = 0.1, **options: Any) -> Any:
    dataset = fastft.TokenDataset.from_texts(
        texts,
        fastft.Tokenizer.from_hf(tiny_tokenizer()),
        columns={"labels": np.arange(len(texts)) % 2},
    )
    shares = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    training = {"max_steps": 4, **options.pop("training", {})}
    return FastTrainer(
        tiny_model(**shares),
        arguments(fastft.TrainingArguments, folder, **training),
        train_dataset=dataset,
        processing_class=tiny_tokenizer(),
        callbacks=[Sees()],
        **options,
    )


def _seen(trainer: Any) -> list[set[str]]:
    callbacks = trainer.callback_handler.callbacks
    return next(one.classes for one in callbacks if isinstance(one, Sees))


def test_every_step_of_a_trainer_draws_with_padding_or_without(tmp_path: Path) -> None:
    alike = ["this film is good"] * 64
    mixed = [text for text, _ in sentences(64)]
    for texts in (alike, mixed):
        trainer = _trainer(tmp_path, texts)
        trainer.train()
        assert _seen(trainer) == [{"DrawnDropout"}] * 4
        assert not any(type(one) is DrawnDropout for one in trainer.model.modules())


def test_a_padded_trainer_draws_as_the_stock_one(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, [text for text, _ in sentences(64)], padding_free=False)
    trainer.train()
    assert _seen(trainer) == [{"Dropout"}] * 4


def test_the_layers_are_as_they_were_after_an_error(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, [text for text, _ in sentences(64)])

    class Stops(transformers.TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            raise InterruptedError

    trainer.add_callback(Stops())
    with pytest.raises(InterruptedError):
        trainer.train()
    assert not any(type(one) is DrawnDropout for one in trainer.model.modules())


def test_a_run_that_is_gone_on_with_draws_what_the_whole_run_draws(tmp_path: Path) -> None:
    # The first batches have no padding, the later ones do.
    texts = ["this film is good"] * 32 + [text for text, _ in sentences(32)]
    training = {
        "max_steps": 8,
        "per_device_train_batch_size": 8,
        "train_sampling_strategy": "sequential",
        "save_strategy": "steps",
        "save_steps": 3,
    }
    whole = _trainer(tmp_path / "run", texts, dropout=0.3, training=training)
    whole.train()
    again = _trainer(tmp_path / "run", texts, dropout=0.3, training=training)
    again.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-3"))
    assert again.losses == whole.losses
