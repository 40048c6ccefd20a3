"""How lazy logits lie in memory, and what checkpoints of activations make of them."""

from __future__ import annotations

import gc
import random
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from tests.test_fuse_head_lazy import (
    CHAINS,
    ROWS,
    VOCABULARY,
    WIDTH,
    assert_same,
    both,
    heads,
    hidden,
    loss_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastft.modeling.losses.fused_head import FusedHead

MASK = torch.arange(ROWS * WIDTH).view(ROWS, WIDTH) % 2 == 0


def lies(tensor: torch.Tensor) -> tuple[Any, ...]:
    return (
        tensor.stride(),
        tensor.stride(0),
        tensor.stride(-1),
        tensor.is_contiguous(),
        tensor.is_contiguous(memory_format=torch.contiguous_format),
        tensor.storage_offset(),
    )


@pytest.mark.parametrize("name", CHAINS)
def test_they_lie_as_the_true_logits_would(name: str) -> None:
    plain, fused = heads()
    lazy = CHAINS[name](fused(hidden()))
    true = CHAINS[name](plain(hidden()))
    assert lies(lazy) == lies(true)
    assert lies(lazy.log_softmax(-1)) == lies(true.log_softmax(-1))
    # To say so nothing had to be made.
    assert not fused.record.materialised


def test_chains_lie_as_the_true_logits_would() -> None:
    steps = list(CHAINS.values())
    kept = 0
    for seed in range(200):
        rng = random.Random(seed)
        chain = [rng.choice(steps) for _ in range(rng.randint(2, 4))]
        plain, fused = heads()
        true, lazy = plain(hidden()), fused(hidden())
        try:
            for step in chain:
                true = step(true)
        except (RuntimeError, IndexError, ValueError):
            continue
        if not true.dim():
            continue  # a number lies nowhere
        for step in chain:
            lazy = step(lazy)
        kept += 1
        assert lies(lazy) == lies(true), seed
    assert kept > 50


def test_a_number_as_a_tensor_is_an_index_without_a_copy() -> None:
    plain, fused = heads()
    index = (slice(None), torch.tensor(1))
    assert lies(fused(hidden())[index]) == lies(plain(hidden())[index])


@pytest.mark.parametrize(
    "step",
    [
        lambda x: x[:, 1:],
        lambda x: x.transpose(0, 1),
        lambda x: x.transpose(0, 1) * 2,
        lambda x: x[:, ::2].clone(),
    ],
)
def test_a_view_that_cannot_be_is_the_error_of_torch(step: Callable[..., Any]) -> None:
    for head in heads():
        logits = step(head(hidden()))
        if logits.is_contiguous():
            assert loss_of(logits.view(-1, VOCABULARY)).isfinite()
            continue
        with pytest.raises(RuntimeError, match="view size is not compatible"):
            logits.view(-1, VOCABULARY)


VIEWS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "first rows": lambda x: x[1:].view(-1, VOCABULARY),
    "one row": lambda x: x[1].view(-1, VOCABULARY),
    "mask": lambda x: x[MASK].view(-1, VOCABULARY),
    "shifted rows by mask": lambda x: x[:, 1:][MASK[:, 1:]].view(-1, VOCABULARY),
    "numbers": lambda x: x[:, torch.tensor([2, 0])].view(-1, VOCABULARY),
    "contiguous": lambda x: x[:, 1:].contiguous().view(-1, VOCABULARY),
    "transposed": lambda x: x.transpose(0, 1).contiguous().view(-1, VOCABULARY),
    "split rows": lambda x: x.transpose(0, 1).view(WIDTH, 1, ROWS, VOCABULARY),
    "buffer": lambda x: (x + torch.ones(VOCABULARY)).view(-1, VOCABULARY),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_run_fused(name: str) -> None:
    expected, found, head = both(lambda x: loss_of(VIEWS[name](x)))
    assert_same(expected, found)
    assert head.record.fused == 1 and not head.record.materialised


def _changed_by(x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        values.mul_(0.5)
    return loss_of(x) + values.sum()


LOOKS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "data": lambda x: loss_of(x) + x.data.sum(),
    "detach": lambda x: loss_of(x) + x.detach().sum(),
    "data changed": lambda x: _changed_by(x, x.data),
    "detached changed": lambda x: _changed_by(x, x.detach()),
    "part of data": lambda x: loss_of(x[:, 1:]) + x[:, 1:].data[0].sum(),
    "as_strided": lambda x: x.as_strided((2, 3), (1, 2)).sum(),
    "permute": lambda x: loss_of(x.permute(1, 0, 2)),
    "narrow": lambda x: loss_of(x.narrow(0, 1, 2)),
    "chunk": lambda x: loss_of(x.chunk(3)[1]),
}


@pytest.mark.parametrize("name", LOOKS)
def test_what_looks_at_values_makes_them(name: str) -> None:
    expected, found, head = both(LOOKS[name])
    assert_same(expected, found)
    assert sum(head.record.materialised.values()) == 1


def _entropy(x: torch.Tensor) -> torch.Tensor:
    return -(x.softmax(-1) * x.log_softmax(-1)).sum(-1).square().mean()


def _two_heads(head: Any, states: torch.Tensor, again: Callable[..., Any]) -> torch.Tensor:
    loss, logits = again(lambda s: (loss_of(head(s.tanh())), head(s)), states)
    total: torch.Tensor = loss + logits.square().mean()
    return total


def _loss_and_logits(head: Any, states: torch.Tensor, again: Callable[..., Any]) -> torch.Tensor:
    def run(states: torch.Tensor) -> Any:
        logits = head(states.tanh())
        return loss_of(logits), logits

    loss, logits = again(run, states)
    total: torch.Tensor = loss + logits.square().mean()
    return total


def _looked_at(head: Any, states: torch.Tensor, again: Callable[..., Any]) -> torch.Tensor:
    def run(states: torch.Tensor) -> torch.Tensor:
        logits = head(states)
        return loss_of(logits) * logits.argmax(-1).float().mean()

    result: torch.Tensor = again(run, states)
    return result


CHECKPOINTS: dict[str, Any] = {
    "logits": lambda head, s, again: loss_of(again(head, s)),
    "scaled logits": lambda head, s, again: loss_of(again(lambda s: head(s.tanh()) * 2, s)),
    "loss": lambda head, s, again: again(lambda s: loss_of(head(s.tanh())), s),
    "logits inside": lambda head, s, again: again(loss_of, head(s)),
    "scaled inside": lambda head, s, again: again(lambda x: loss_of(x * 2), head(s.tanh())),
    "one in another": lambda head, s, again: again(
        lambda s: loss_of(again(head, s.tanh())), s.sin()
    ),
    "looked at inside": lambda head, s, again: again(_entropy, head(s.tanh())),
    "scaled, looked at inside": lambda head, s, again: again(_entropy, head(s.tanh()) * 2),
    "scaled inside, looked at": lambda head, s, again: again(lambda x: _entropy(x.tanh()), head(s)),
    "columns looked at inside": lambda head, s, again: again(
        lambda x: _entropy(x.transpose(1, 2) / 0.7), head(s)
    ),
    "probabilities inside": lambda head, s, again: again(
        lambda p: (p.exp() * p).sum(), head(s).log_softmax(-1)
    ),
    "two calls of the head": _two_heads,
    "loss and logits": _loss_and_logits,
    "looked at": _looked_at,
}


# A reentrant checkpoint in another runs without gradients first.
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")
@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints_of_activations(name: str, use_reentrant: bool) -> None:
    def again(function: Any, *inputs: Any) -> Any:
        return checkpoint(function, *inputs, use_reentrant=use_reentrant)

    found = []
    records: list[FusedHead] = []
    for head in heads():
        states = hidden()
        loss = CHECKPOINTS[name](head, states, again)
        loss.backward()
        found.append((loss.detach(), [states.grad, head.weight.grad, head.bias.grad]))
        records.append(head)
    assert_same(*found)
    record = records[1].record
    assert record.fused + sum(record.materialised.values()) > 0
    if not use_reentrant and name in ("logits", "scaled logits", "loss", "one in another"):
        assert record.fused and not record.materialised


def test_a_checkpoint_whose_logits_cannot_be_made_again_is_the_error_of_torch() -> None:
    for head in heads():
        states = hidden() * 1
        loss = checkpoint(_entropy, head(states), use_reentrant=False)
        with torch.no_grad():
            states.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


@pytest.mark.parametrize("changed", [lambda x: x, lambda x: x[0], lambda x: x.transpose(0, 1)])
def test_values_changed_behind_a_checkpoint_are_the_error_of_torch(
    changed: Callable[..., Any],
) -> None:
    for head in heads():
        logits = head(hidden())
        loss = checkpoint(_entropy, logits, use_reentrant=False)
        with torch.no_grad():
            changed(logits).mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_values_changed_before_a_checkpoint_are_what_it_sees() -> None:
    def run(x: torch.Tensor) -> torch.Tensor:
        x = x * 1
        x.mul_(0.5)
        result: torch.Tensor = checkpoint(_entropy, x, use_reentrant=False)
        return result + _entropy(x)

    assert_same(*both(run)[:2])


def test_another_checkpoint_may_see_other_values_until_backward() -> None:
    for head in heads():
        logits = head(hidden())
        first = checkpoint(_entropy, logits, use_reentrant=False)
        with torch.no_grad():
            logits.mul_(2)
        second = checkpoint(_entropy, logits, use_reentrant=False)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            (first + second).backward()


SAME: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "logits": lambda x: x,
    "rows in order": lambda x: x[:, 1:].contiguous(),
    "log probabilities": lambda x: x.log_softmax(-1),
    "classes moved, in order": lambda x: x.transpose(1, 2).contiguous(),
}


@pytest.mark.parametrize("name", SAME)
def test_what_is_in_order_is_put_in_order_by_nothing(name: str) -> None:
    """Else it would lose its graph where the call is made without gradients."""
    for head in heads():
        tensor = SAME[name](head(hidden()))
        with torch.no_grad():
            assert tensor.contiguous() is tensor


def test_axes_that_are_one_already_are_flattened_by_nothing() -> None:
    for head in heads():
        logits = head(hidden())
        for tensor in (logits, logits.log_softmax(-1)):
            with torch.no_grad():
                assert tensor.flatten(1, 1) is tensor


def test_values_made_in_a_checkpoint_are_freed() -> None:
    head = heads()[1]
    logits = head(hidden()).tanh()
    checkpoint(_entropy, logits, use_reentrant=False)
    made = weakref.ref(logits._made)
    gc.disable()
    del logits
    is_freed = made() is None
    gc.enable()
    assert is_freed
