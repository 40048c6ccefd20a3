"""Lazy logits and what happens between an operation and the moment its values are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F

import fastft
from fastft.errors import ConfigurationError, LabelError
from tests.test_fuse_head_lazy import HIDDEN, ROWS, VOCABULARY, WIDTH, heads, hidden, loss_of

if TYPE_CHECKING:
    from collections.abc import Callable

COPIES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "scaled": lambda x: x * 2.0,
    "cloned": lambda x: x.clone(),
    "log softmax": lambda x: x.log_softmax(-1),
    "rows by number": lambda x: x[torch.tensor([2, 0])],
    "slice made whole": lambda x: x[:, 1:].contiguous(),
    "view of a copy": lambda x: (x * 2.0)[:, 1:],
    "cast": lambda x: x.to(torch.bfloat16),
    "scaled view": lambda x: x[:, 1:] * 2.0,
}
VIEWS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "slice": lambda x: x[:, 1:],
    "shape": lambda x: x.view(-1, VOCABULARY),
    "transposed": lambda x: x.transpose(0, 1),
}


@pytest.mark.parametrize("name", [*COPIES, *VIEWS])
def test_a_change_in_place_reaches_views_and_no_copies(name: str) -> None:
    take, found = {**COPIES, **VIEWS}[name], []
    for head in heads():
        logits = head(hidden())
        taken = take(logits)
        logits.detach().zero_()
        found.append(taken)
    torch.testing.assert_close(found[1].detach(), found[0].detach())
    assert (float(found[0].detach().abs().max()) == 0) == (name in VIEWS)


@pytest.mark.parametrize("look", [torch.inference_mode, torch.no_grad])
def test_a_look_without_a_graph_keeps_the_gradient_of_a_later_loss(look: Any) -> None:
    grads = []
    for head in heads():
        states = hidden()
        logits = head(states)
        with look():
            logits.argmax(-1)
        loss_of(logits).backward()
        grads.append([states.grad, head.weight.grad, head.bias.grad])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(other, one)


@pytest.mark.parametrize("where", ["head", "slice"])
def test_a_bias_that_is_trained_does_not_train_what_had_no_graph(where: str) -> None:
    for head in heads():
        bias = torch.nn.Parameter(torch.ones(VOCABULARY))
        if where == "head":
            with fastft.supervised({}, loss_alone=True), torch.no_grad():
                logits = head(hidden())
        else:
            logits = head(hidden())
            with torch.no_grad():
                logits = logits[:, 1:]
        loss_of(logits + bias).backward()
        assert head.weight.grad is None
        assert bias.grad is not None and bias.grad.abs().sum() > 0


def test_what_was_added_or_picked_is_taken_as_it_was() -> None:
    losses = []
    for head in heads():
        buffer, rows = torch.linspace(0, 1, VOCABULARY), torch.tensor([2, 0])
        logits = head(hidden())[rows] + buffer
        rows.zero_()
        buffer.mul_(9)
        losses.append(loss_of(logits).item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)


def test_gathering_at_a_place_that_is_no_class_is_an_error() -> None:
    _, fused = heads()
    index = torch.full((ROWS, WIDTH, 1), -100)
    with pytest.raises((RuntimeError, LabelError)):
        fused(hidden()).log_softmax(-1).gather(-1, index)


@pytest.mark.parametrize("looks", [False, True])
def test_a_gradient_of_logits_is_refused_once_a_loss_went_past_them(looks: bool) -> None:
    _, fused = heads()
    logits = fused(hidden())
    loss = loss_of(logits)
    if looks:
        logits.argmax(-1)
    with pytest.raises(ConfigurationError, match="the loss ran without logits"):
        logits.register_hook(lambda grad: grad)
    with pytest.raises(ConfigurationError, match="the loss ran without logits"):
        torch.autograd.grad(loss, logits)


def test_a_loss_without_a_graph_refuses_nothing() -> None:
    _, fused = heads()
    logits = fused(hidden())
    with torch.no_grad():
        loss_of(logits)
    seen: list[torch.Tensor] = []
    logits.register_hook(seen.append)
    loss_of(logits).backward()
    assert len(seen) == 1


ODD: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "rounded division": lambda x: torch.div(x, 2.0, rounding_mode="floor"),
    "scaled addition": lambda x: torch.add(x, torch.ones(VOCABULARY), alpha=3),
    "factor by name": lambda x: x.mul(other=2.0),
    "sum by axis": lambda x: x.log_softmax(-1).sum(axis=-1),
    "sparse gather": lambda x: x.log_softmax(-1).gather(
        -1, torch.zeros(ROWS, WIDTH, 1).long(), sparse_grad=False
    ),
    "nothing left": lambda x: x[:0].log_softmax(-1).sum(-1),
}


@pytest.mark.parametrize("name", list(ODD))
def test_arguments_that_no_record_knows_go_to_the_true_logits(name: str) -> None:
    plain, fused = (ODD[name](head(hidden())) for head in heads())
    torch.testing.assert_close(fused, plain)


@pytest.mark.parametrize("wrong", [lambda x: x.flatten(0, 4), lambda x: x.transpose(0, 4)])
def test_an_axis_that_is_not_there_is_an_error(wrong: Any) -> None:
    for head in heads():
        with pytest.raises(IndexError):
            wrong(head(hidden()))


def test_a_head_on_the_meta_device_gives_shapes() -> None:
    _, fused = heads()
    logits = fused.to("meta")(torch.empty(2, 3, HIDDEN, device="meta"))
    assert logits.shape == (2, 3, VOCABULARY)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch compiles its rules by torch.jit
def test_a_tangent_goes_through_the_head() -> None:
    import torch.autograd.forward_ad as forward

    tangents = []
    for head in heads():
        with forward.dual_level():
            states = forward.make_dual(hidden().detach(), torch.ones(ROWS, WIDTH, HIDDEN))
            loss = F.cross_entropy(head(states).view(-1, VOCABULARY), torch.zeros(21).long())
            tangents.append(forward.unpack_dual(loss).tangent)
    torch.testing.assert_close(tangents[1], tangents[0])
