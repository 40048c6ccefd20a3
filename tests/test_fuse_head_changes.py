"""What happens between the head and the loss: changed weights, in-place functions, options."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import fastft
from fastft.modeling.losses.fuse_head import explain_head, fused_head, unfuse_head
from fastft.modeling.losses.supervised import supervised_rows
from tests.fused_models import batch, build


def logits_of(model: Any) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = batch()
    labels = inputs.pop("labels")
    return model(**inputs).logits, labels


def loss_of(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


CHANGES = {
    "in place": lambda weight: weight.data.mul_(2),
    "one number": lambda weight: weight.data[0, 0].add_(1),
    "under no_grad": lambda weight: torch.no_grad()(weight.mul_)(2),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("use", [torch.Tensor.sum, torch.Tensor.argmax])
def test_logits_are_not_made_of_weights_that_have_changed(use: Any, change: str) -> None:
    model = build("llama")
    fastft.fuse_head(model)
    logits, labels = logits_of(model)
    CHANGES[change](model.lm_head.weight)
    with pytest.raises(fastft.ConfigurationError, match="changed in place"):
        use(logits)
    with pytest.raises(fastft.ConfigurationError, match="changed in place"):
        loss_of(logits, labels)


def test_a_weight_of_nan_has_not_changed() -> None:
    model = build("llama")
    model.lm_head.weight.data.fill_(float("nan"))
    fastft.fuse_head(model)
    assert loss_of(*logits_of(model)).isnan()


def test_a_head_that_was_frozen_in_the_forward_gets_no_gradient() -> None:
    model = build("llama")
    fastft.fuse_head(model)
    model.lm_head.requires_grad_(False)
    logits, labels = logits_of(model)
    model.lm_head.requires_grad_(True)
    loss_of(logits, labels).backward()
    assert model.lm_head.weight.grad is None
    assert model.model.norm.weight.grad is not None


class Tripled(torch.autograd.Function):
    """Changes its input in place, as fused kernels do."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        ctx.mark_dirty(values)
        values.mul_(3.0)
        return values

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        return grads[0] * 3


class Returned(Tripled):
    """The same, and gives what the operation gave."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        ctx.mark_dirty(values)
        return values.mul_(3.0)


@pytest.mark.parametrize("function", [Tripled, Returned])
def test_a_function_in_place_has_its_word_on_the_gradient(function: Any) -> None:
    gradients = []
    for fuse in (False, True):
        model = build("llama")
        if fuse:
            fastft.fuse_head(model)
        logits, labels = logits_of(model)
        loss_of(function.apply(logits * 1.0), labels).backward()
        gradients.append(model.lm_head.weight.grad)
    torch.testing.assert_close(*gradients)


def test_in_place_operations_give_the_tensor_itself() -> None:
    model = build("llama")
    fastft.fuse_head(model)
    logits, _ = logits_of(model)
    logits = logits * 1.0
    assert logits.mul_(2) is logits
    assert logits.unsqueeze_(0) is logits
    assert logits.shape == (logits + 0).shape and logits.dim() == 4


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"chunk_tokens": 0}, "chunk_tokens"),
        ({"backend": "cuda"}, "backend"),
        ({"accum_dtype": "fp8"}, "accum_dtype"),
    ],
)
def test_options_are_looked_at_when_they_are_given(options: dict[str, Any], place: str) -> None:
    model = build("llama")
    with pytest.raises(fastft.ConfigurationError) as caught:
        fastft.fuse_head(model, **options)
    assert caught.value.place == place and fused_head(model) is None


def test_blocks_and_calls_within_each_other() -> None:
    model = build("llama")
    with fastft.fuse_head(model, backend="torch"):
        with fastft.fuse_head(model):
            pass
        head = fused_head(model)
        assert head is not None and head.fused_options == {"backend": "torch"}
    assert fused_head(model) is None


@pytest.mark.parametrize("function", [fastft.fuse_head, unfuse_head, explain_head])
@pytest.mark.parametrize("model", ["llama", type(torch.nn.Linear(2, 2))])
def test_what_is_no_model_is_named(model: Any, function: Any) -> None:
    with pytest.raises(fastft.ConfigurationError, match="is no model"):
        function(model)


def test_the_way_to_a_second_backward_is_told() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(600, 4, generator=generator, requires_grad=True)
    loss = fastft.linear_cross_entropy(
        hidden, torch.randn(500, 4), torch.zeros(600, dtype=torch.int64)
    )
    loss.backward(retain_graph=True)
    with pytest.raises(fastft.ConfigurationError, match=r"fuse_head\(model, backend='torch'\)"):
        loss.backward()


def test_positions_that_come_twice_are_not_taken() -> None:
    """Two labels and the position of one of them, twice: as many, and not the same."""
    labels = torch.full((2, 9), -100)
    labels[0, 3] = labels[1, 4] = 7
    for index in ([2, 2], [2, 400], [2, 2, 12]):
        given = type("Made", (dict,), {"loss_index": torch.tensor(index), "predicts_next": True})
        with fastft.supervised(given(labels=labels)):
            shifted = F.pad(labels, (0, 1), value=-100)[:, 1:].flatten()
            assert supervised_rows(shifted, -100) is None
    for attributes in ({"loss_index": [2, 12]}, {"loss_index": torch.tensor([2, 12])}):
        with fastft.supervised(type("Made", (dict,), attributes)(labels=labels)):
            assert supervised_rows(labels.flatten(), -100) is None
