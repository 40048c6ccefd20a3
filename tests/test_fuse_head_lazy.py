"""Lazy logits are what the true logits are, for whatever is done to them."""

from __future__ import annotations

import copy
import io
import pickle
import random
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fastft.errors import ConfigurationError
from fastft.modeling.losses import lazy_logits
from fastft.modeling.losses.fused_head import FusedHead
from fastft.modeling.losses.lazy_logits import LazyLogits
from fastft.modeling.losses.lazy_tensor import LazyTensor
from fastft.modeling.losses.leading_axes import leaves_last, reshaped

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS, WIDTH, HIDDEN, VOCABULARY = 3, 7, 5, 11


def heads(bias: bool = True, dtype: torch.dtype = torch.float32) -> tuple[nn.Linear, FusedHead]:
    """A head and its fused copy, in training mode."""
    torch.manual_seed(0)
    plain = nn.Linear(HIDDEN, VOCABULARY, bias=bias).to(dtype).train()
    return plain, FusedHead.of(copy.deepcopy(plain), {})


def hidden(seed: int = 1, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(ROWS, WIDTH, HIDDEN, generator=generator).to(dtype)
    return values.requires_grad_()


def target(shape: Any, seed: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, VOCABULARY, tuple(shape), generator=generator)
    return torch.where(torch.rand(labels.shape, generator=generator) < 0.3, -100, labels)


def both(run: Callable[[torch.Tensor], torch.Tensor], **options: Any) -> tuple[Any, Any, FusedHead]:
    """Runs on true and on lazy logits; gives loss and gradients of each, and the fused head."""
    found = []
    plain, fused = heads(**options)
    for head in (plain, fused):
        states = hidden(dtype=options.get("dtype", torch.float32))
        loss = run(head(states))
        loss.sum().backward()
        grads = [states.grad, *(one.grad for one in head.parameters())]
        found.append((loss.detach(), grads))
    return found[0], found[1], fused


def assert_same(expected: Any, found: Any, **tolerance: Any) -> None:
    torch.testing.assert_close(found[0].float(), expected[0].float(), **tolerance)
    for one, other in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(one, other, equal_nan=True, **tolerance)


def loss_of(logits: torch.Tensor, **options: Any) -> torch.Tensor:
    flat = logits.reshape(-1, logits.shape[-1])
    labels = target(flat.shape[:1])
    labels = torch.where(labels == -100, labels, labels % max(1, logits.shape[-1]))
    return F.cross_entropy(flat, labels, **options)


PLACES = torch.arange(ROWS * WIDTH).view(ROWS, WIDTH, 1) % VOCABULARY
MASK = torch.arange(ROWS * (WIDTH - 1)).view(ROWS, WIDTH - 1) % 3 != 1

CHAINS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "shift": lambda x: x[..., :-1, :].contiguous(),
    "shift one": lambda x: x[:, 1:],
    "one row": lambda x: x[0],
    "rows by mask": lambda x: x[torch.arange(ROWS * WIDTH).view(ROWS, WIDTH) % 2 == 0],
    "shifted rows by mask, in order": lambda x: x[:, 1:][MASK].contiguous().view(1, -1, VOCABULARY),
    "columns by mask": lambda x: x[:, 1:][:, MASK[0]].contiguous().view(-1, VOCABULARY),
    "rows by number": lambda x: x[torch.tensor([2, 0, 2])],
    "pairs by number": lambda x: x[torch.tensor([2, 0]), torch.tensor([1, 1])],
    "new axis": lambda x: x[:, None],
    "unsqueeze": lambda x: x.unsqueeze(-2),
    "squeeze": lambda x: torch.squeeze(x[:1], -3),
    "squeeze of nothing": lambda x: x.squeeze(1),
    "unbind": lambda x: x.unbind(0)[1],
    "iterate": lambda x: list(x)[2],
    "whole": lambda x: x[...],
    "every second": lambda x: x[:, ::2, :],
    "flatten": lambda x: x.flatten(0, 1),
    "transpose": lambda x: x.transpose(0, 1).contiguous(),
    "transpose torch": lambda x: torch.transpose(x, -2, 0),
    "flatten torch": lambda x: torch.flatten(x, 0, -2),
    "view": lambda x: x.view(-1, VOCABULARY),
    "view as list": lambda x: x.view([ROWS * WIDTH, -1]),
    "four axes": lambda x: x.reshape(ROWS, 1, WIDTH, VOCABULARY),
    "float": lambda x: x.float(),
    "to": lambda x: x.to(torch.float32).to("cpu").to(dtype=torch.float32),
    "clone": lambda x: x.clone(),
    "scale": lambda x: x * 0.25,
    "scale before": lambda x: 2 * x,
    "divide": lambda x: x / 8.0,
    "softcap": lambda x: torch.tanh(x / 3.0) * 3.0,
    "softcap of a scale": lambda x: (x * 0.5 / 2.0).tanh() * 2.0,
    "capped, then scaled": lambda x: torch.tanh(x) * 5.0 / 2.0,
    "buffer": lambda x: x + torch.linspace(-1, 1, VOCABULARY),
    "buffer of BART": lambda x: x + torch.linspace(-1, 1, VOCABULARY)[None],
    "two buffers, a scale": lambda x: (
        torch.add(x + torch.linspace(-1, 1, VOCABULARY), torch.ones(VOCABULARY)) * 2.0
    ),
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("bias", [True, False])
def test_what_losses_do_runs_fused(name: str, bias: bool) -> None:
    expected, found, head = both(lambda x: loss_of(CHAINS[name](x)), bias=bias)
    assert_same(expected, found)
    assert head.record.fused == 1 and not head.record.materialised, head.record


def _written(x: torch.Tensor) -> torch.Tensor:
    x = x * 1.0
    x[:, 0] = 0.5
    return x


MATERIALISED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "log_softmax of another axis": lambda x: x.log_softmax(1),
    "softmax": lambda x: x.softmax(-1),
    "part of the vocabulary": lambda x: x[..., :7],
    "one token": lambda x: x[..., 3:4],
    "mask over the vocabulary": lambda x: torch.where(torch.eye(VOCABULARY)[0] > 0, -9.0, x),
    "transposed": lambda x: x.transpose(1, 2).transpose(-1, 1),
    "joined": lambda x: torch.cat([x, x]),
    "stacked": lambda x: torch.stack((x, x)),
    "sum of two": lambda x: x + x,
    "matrix": lambda x: x @ torch.ones(VOCABULARY, VOCABULARY),
    "capped twice": lambda x: torch.tanh(torch.tanh(x)),
    "bias behind a scale": lambda x: x * 2.0 + torch.ones(VOCABULARY),
    "bias for each row": lambda x: x + torch.ones(ROWS, 1, 1),
    "negative cap": lambda x: torch.tanh(x) * -2.0,
    "divided by nothing": lambda x: (x / 0.0).clamp(-5, 5),
    "scale of a tensor": lambda x: x * torch.tensor(0.5),
    "in place": lambda x: x.mul_(0.5),
    "written to": _written,
    "double": lambda x: x.double(),
    "other shape": lambda x: x.reshape(ROWS, WIDTH * VOCABULARY),
    "numpy index": lambda x: x[[0, 1]],
    "unbind of words": lambda x: x.unbind(1)[1],
    "squeeze of all": lambda x: x[:1].squeeze(),
    "an axis behind": lambda x: x.unsqueeze(-1).squeeze(-1),
}


@pytest.mark.parametrize("name", MATERIALISED)
def test_all_else_makes_the_true_logits(name: str) -> None:
    expected, found, head = both(lambda x: loss_of(MATERIALISED[name](x)))
    assert_same(expected, found)
    assert head.record.fused == 0 and sum(head.record.materialised.values()) == 1


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignore_index", [-100, 3])
def test_options_of_cross_entropy(
    reduction: str, smoothing: float, weighted: bool, ignore_index: int
) -> None:
    options: dict[str, Any] = {"reduction": reduction, "label_smoothing": smoothing}
    if weighted:
        options["weight"] = torch.linspace(0.5, 2.0, VOCABULARY)

    def run(logits: torch.Tensor) -> torch.Tensor:
        labels = target((ROWS * WIDTH,))
        labels = torch.where(labels == -100, ignore_index, labels)
        return F.cross_entropy(
            logits.view(-1, VOCABULARY), labels, ignore_index=ignore_index, **options
        )

    expected, found, head = both(run)
    assert_same(expected, found)
    assert head.record.fused == 1 and not head.record.materialised


def test_options_that_have_no_fused_form() -> None:
    def probabilities(logits: torch.Tensor) -> torch.Tensor:
        flat = logits.view(-1, VOCABULARY)
        return F.cross_entropy(flat, torch.full((len(flat), VOCABULARY), 1 / VOCABULARY))

    def columns(logits: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits, target((ROWS, VOCABULARY)) % WIDTH)

    for run in (probabilities, columns):
        expected, found, head = both(run)
        assert_same(expected, found)
        assert head.record.fused == 0


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_nll_loss_of_log_softmax(reduction: str) -> None:
    def run(logits: torch.Tensor) -> torch.Tensor:
        log_probs = F.log_softmax(logits.view(-1, VOCABULARY), dim=-1)
        return F.nll_loss(log_probs, target((ROWS * WIDTH,)), reduction=reduction)

    expected, found, head = both(run)
    assert_same(expected, found)
    assert head.record.fused == 1 and not head.record.materialised


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("items", [None, 37, torch.tensor(37)])
def test_the_label_smoother_of_transformers(shift: bool, items: Any) -> None:
    from transformers.trainer_pt_utils import LabelSmoother

    def run(logits: torch.Tensor) -> torch.Tensor:
        smoother = LabelSmoother(epsilon=0.2)
        loss: torch.Tensor = smoother(
            {"logits": logits}, target((ROWS, WIDTH)), shift_labels=shift, num_items_in_batch=items
        )
        return loss

    expected, found, head = both(run)
    assert_same(expected, found)
    assert head.record.fused == 2 and not head.record.materialised


SEQUENCES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "rows": lambda p: p[:, 1:].gather(-1, PLACES[:, 1:]),
    "rows by mask": lambda p: p[PLACES[..., 0] > 2].gather(-1, PLACES[PLACES[..., 0] > 2]),
    "flat": lambda p: F.nll_loss(p.view(-1, VOCABULARY), PLACES.flatten(), reduction="none"),
    "in order": lambda p: p[:, 1:].contiguous().view(-1, VOCABULARY).sum(-1),
    "one sequence": lambda p: p[:1].squeeze(0).flatten(0, 0).gather(-1, PLACES[0]),
    "mean": lambda p: p.mean(-1),
    "mean kept": lambda p: -torch.mean(p, dim=-1, keepdim=True),
    "smoothing by hand": lambda p: 0.9 * p.gather(-1, PLACES) + 0.1 * p.mean(-1, keepdim=True),
}


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("sign", [1, -1])
def test_rows_and_means_of_log_probabilities_run_fused(name: str, sign: int) -> None:
    def run(x: torch.Tensor) -> torch.Tensor:
        log_probs = x.log_softmax(-1)
        found = SEQUENCES[name](log_probs if sign > 0 or name == "flat" else -log_probs)
        return (found * torch.linspace(-1, 2, found.numel()).view(found.shape)).sum()

    expected, found, head = both(run)
    assert_same(expected, found)
    assert head.record.fused and not head.record.materialised


def test_other_uses_of_log_probabilities() -> None:
    uses: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "entropy": lambda x: -(x.log_softmax(-1).exp() * x.log_softmax(-1)).sum(-1),
        "over rows": lambda x: torch.log_softmax(x, -1).sum(0),
        "two labels a row": lambda x: x.log_softmax(-1).gather(
            -1, torch.zeros(ROWS, WIDTH, 2, dtype=torch.long)
        ),
        "kl": lambda x: F.kl_div(F.log_softmax(x, -1), torch.full((VOCABULARY,), 0.1)),
    }
    for run in uses.values():
        with pytest.warns() if run is uses["kl"] else _nothing():
            expected, found, head = both(run)
        assert_same(expected, found)
        assert head.record.fused == 0 and head.record.materialised


def _nothing() -> Any:
    import contextlib

    return contextlib.nullcontext()


def test_every_look_at_them_sees_the_true_tensor() -> None:
    plain, fused = heads()
    expected, lazy = plain(hidden()), fused(hidden())
    assert isinstance(lazy, LazyLogits) and isinstance(lazy, torch.Tensor)
    for name in ("shape", "dtype", "device", "ndim", "requires_grad", "is_leaf", "layout"):
        assert getattr(lazy, name) == getattr(expected, name), name
    assert lazy.size() == expected.size() and lazy.size(-1) == VOCABULARY
    assert (lazy.dim(), len(lazy), lazy.numel()) == (3, ROWS, expected.numel())
    assert lazy.grad_fn is not None and not fused.record.materialised
    assert repr(lazy) == repr(expected)
    assert torch.equal(lazy, expected) and torch.equal(expected, lazy)
    assert lazy.tolist() == expected.tolist()
    assert [one.tolist() for one in lazy] == expected.tolist()
    assert (lazy.detach().numpy() == expected.detach().numpy()).all()
    assert lazy.detach().argmax(-1).tolist() == expected.argmax(-1).tolist()
    assert torch.equal(copy.deepcopy(lazy.detach()), expected.detach())
    assert torch.equal(pickle.loads(pickle.dumps(lazy.detach())), expected.detach())
    file = io.BytesIO()
    torch.save(fused(hidden()).detach(), file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=True), expected.detach())


def test_an_expression_of_many_steps_is_what_it_is_without_us() -> None:
    """Random chains of known and unknown operations, shapes and casts among them."""
    steps = [*CHAINS.values(), *MATERIALISED.values()]
    kept = num_fused = 0
    for seed in range(80):
        rng = random.Random(seed)
        chain = [rng.choice(steps) for _ in range(rng.randint(1, 4))]

        def run(x: torch.Tensor, chain: Any = chain) -> torch.Tensor:
            for step in chain:
                x = step(x)
            return loss_of(x)

        try:
            heads_, states = heads(), hidden()
            expected_loss = run(heads_[0](states))
        except (RuntimeError, IndexError, ValueError):
            continue  # the chain does not fit its own shapes, in plain torch
        if not torch.isfinite(expected_loss):
            continue
        expected, found, head = both(run)
        assert_same(expected, found, rtol=2e-5, atol=2e-6)
        kept, num_fused = kept + 1, num_fused + head.record.fused
    assert kept > 30 and num_fused > 10


def test_a_change_in_place_is_seen_by_every_view() -> None:
    plain, fused = heads()
    results = []
    for head in (plain, fused):
        logits = head(hidden())
        flat = logits.view(-1, VOCABULARY)
        logits[0, 0] = 3.0
        flat[1, :] = -2.0
        results.append((F.cross_entropy(flat, target((ROWS * WIDTH,))), logits.sum()))
    torch.testing.assert_close(results[1], results[0])
    assert fused.record.fused == 0


def test_values_made_without_gradients_do_not_lose_them() -> None:
    plain, fused = heads()
    found = []
    for head in (plain, fused):
        states = hidden()
        logits = head(states)
        with torch.no_grad():
            best = logits.argmax(-1)
        (logits.pow(2).mean() + best.float().mean()).backward()
        found.append((states.grad, head.weight.grad))
    torch.testing.assert_close(found[1], found[0])


WITHOUT: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], Callable[..., torch.Tensor]]] = {
    "gather": (lambda x: x.log_softmax(-1), lambda p: p.gather(-1, PLACES)[..., 0]),
    "sum": (lambda x: -x.log_softmax(-1), lambda p: p.sum(-1)),
    "nll_loss": (
        lambda x: x.view(-1, VOCABULARY).log_softmax(-1),
        lambda p: F.nll_loss(p, PLACES.flatten(), reduction="none").view(ROWS, WIDTH),
    ),
    "classes moved": (
        lambda x: x.transpose(1, 2),
        lambda x: F.cross_entropy(x, PLACES[..., 0], reduction="none"),
    ),
}


@pytest.mark.parametrize("name", WITHOUT)
@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_what_was_made_without_gradients_is_a_constant(name: str, without: Any) -> None:
    """The old policy of PPO, whose ratio to the new one is 1 and has a gradient all the same."""
    make, losses = WITHOUT[name]

    def run(x: torch.Tensor) -> torch.Tensor:
        with without():
            old = make(x)
        return (losses(make(x)) - losses(old).clone()).exp().mean()

    expected, found, _ = both(run)
    assert_same(expected, found)
    assert expected[1][0].abs().sum() > 0.01


def test_a_view_made_without_gradients_gives_none() -> None:
    _, fused = heads()
    logits = fused(hidden())
    with torch.no_grad():
        view = logits[:, 1:]
    assert not view.requires_grad and logits.requires_grad
    assert not loss_of(view).requires_grad and fused.record.fused == 1


FOREIGN: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "copy": lambda x: x.clone(),
    "the input": lambda x: x,
    "alias": lambda x: x.view_as(x),
    "scale": lambda x: x * 2,
    "scale of a part": lambda x: x[..., :, :] * 2.0,
    "unknown": lambda x: x.exp().log(),
    "cast": lambda x: x.to(torch.float32),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_function_of_autograd_has_its_word_on_the_gradient(name: str) -> None:
    """A function that turns the gradient round gets it, whatever of ours it goes through."""

    class Reversed(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, logits: torch.Tensor) -> torch.Tensor:
            return FOREIGN[name](logits)

        @staticmethod
        def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
            return grads[0] * -3

    uses: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = (
        lambda x: loss_of(Reversed.apply(x)),
        lambda x: loss_of(Reversed.apply(x[:, 1:] * 3.0)[:, 1:].float() * 0.5),
        lambda x: Reversed.apply(x).pow(2).mean(),
        lambda x: F.log_softmax(Reversed.apply(Reversed.apply(x)), -1).sum(-1),
        lambda x: loss_of(Reversed.apply(x)) + loss_of(x),
    )
    for use in uses:
        expected, found, _ = both(use)
        assert_same(expected, found)


def test_a_bias_that_is_trained_gets_its_gradient() -> None:
    """As the head of ESM has it; also from code that takes the logits below Python."""

    class Halved(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, logits: torch.Tensor) -> torch.Tensor:
            return logits * 1

        @staticmethod
        def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
            return grads[0] / 2

    for below in (False, True):
        found = []
        plain, fused = heads(bias=False)
        for head in (plain, fused):
            bias = nn.Parameter(torch.linspace(-1, 1, VOCABULARY))
            head.requires_grad_(False)
            logits = head(hidden().detach()) + bias * 2
            assert logits.requires_grad
            loss_of(Halved.apply(logits[:, 1:]) if below else logits[:, 1:]).backward()
            found.append(bias.grad)
        torch.testing.assert_close(found[1], found[0])
        assert fused.record.fused == (0 if below else 1)


def test_logits_after_the_weights_have_moved_are_an_error() -> None:
    _, fused = heads()
    logits = fused(hidden())
    loss_of(logits).backward()
    with torch.no_grad():
        fused.weight.add_(1.0)
    with pytest.raises(ConfigurationError, match="changed in place since the forward"):
        logits.argmax(-1)
    with pytest.raises(ConfigurationError, match="unfuse_head"):
        loss_of(logits)


def test_a_gradient_that_could_not_come_is_an_error() -> None:
    _, fused = heads()
    logits = fused(hidden())
    loss_of(logits)
    with pytest.raises(ConfigurationError, match="gradient of the logits was asked for"):
        logits.retain_grad()
    again = fused(hidden())
    again.retain_grad()
    loss_of(again).backward()
    assert again.grad is not None and again.grad.shape == again.shape


def test_errors_of_torch_stay_errors() -> None:
    _, fused = heads()
    for labels in (torch.zeros(4, dtype=torch.long), torch.zeros(ROWS * WIDTH)):
        with pytest.raises((RuntimeError, ValueError)):
            F.cross_entropy(fused(hidden()).view(-1, VOCABULARY), labels)
    with pytest.raises(RuntimeError):
        fused(hidden()).view(-1, VOCABULARY + 1)
    with pytest.raises(IndexError):
        fused(hidden())[..., 99, :]


def test_all_labels_masked_is_zero_with_a_graph() -> None:
    _, fused = heads()
    states = hidden()
    loss = F.cross_entropy(fused(states).view(-1, VOCABULARY), torch.full((ROWS * WIDTH,), -100))
    loss.backward()
    assert loss.item() == 0 and states.grad is not None and not states.grad.any()


@pytest.mark.parametrize("frozen", ["hidden", "weight", "all"])
def test_frozen_parts_get_no_gradient(frozen: str) -> None:
    _, fused = heads()
    states = hidden().detach().requires_grad_(frozen == "weight")
    if frozen != "hidden":
        fused.requires_grad_(False)
    logits = fused(states)
    assert isinstance(logits, LazyTensor) and logits.requires_grad == (frozen != "all")
    loss = loss_of(logits)
    assert loss.requires_grad == (frozen != "all")
    if frozen != "all":
        loss.backward()
    assert (states.grad is not None) == (frozen == "weight")
    assert (fused.weight.grad is not None) == (frozen == "hidden")


def test_in_autocast_the_products_are_those_of_autocast() -> None:
    found = []
    plain, fused = heads()
    for head in (plain, fused):
        states = hidden()
        with torch.autocast("cpu", torch.bfloat16):
            logits = head(states)
            assert logits.dtype == torch.bfloat16
            loss = loss_of(logits.float())
        loss.backward()
        found.append((loss, states.grad, head.weight.grad, head.bias.grad))
        with torch.autocast("cpu", torch.bfloat16):
            late = head(states)
        assert late.sum(-1).dtype == torch.bfloat16  # made outside, in the mode of the head
    torch.testing.assert_close(found[1], found[0], rtol=2e-2, atol=2e-3)
    assert fused.record.fused == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    expected, found, head = both(lambda x: loss_of(x.float()), dtype=dtype)
    assert_same(expected, found, rtol=2e-2, atol=2e-3)
    assert head.record.fused == 1


def test_double_precision_stays_plain() -> None:
    expected, found, head = both(loss_of, dtype=torch.float64)
    assert_same(expected, found)
    assert head.record.plain == {"hidden states of torch.float64": 1}


def test_transforms_and_inference_stay_plain() -> None:
    _, fused = heads()
    states = hidden().detach()
    grads = torch.func.grad(lambda weight: loss_of(_with_weight(fused, weight, states)))(
        fused.weight.detach()
    )
    assert grads.shape == fused.weight.shape
    with torch.inference_mode():
        assert type(fused(states)) is torch.Tensor
    with torch.no_grad():
        assert type(fused(states)) is torch.Tensor
    assert type(fused.eval()(states)) is torch.Tensor
    assert fused.record.fused == 0


def _with_weight(head: FusedHead, weight: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = torch.func.functional_call(head, {"weight": weight}, (states,))
    return result


def test_hooks_of_the_head_see_true_logits() -> None:
    torch.manual_seed(0)
    plain = nn.Linear(HIDDEN, VOCABULARY)
    seen = []
    plain.register_forward_hook(lambda *call: seen.append(call[2].sum().item()))
    fused = FusedHead.of(plain, {})
    loss_of(fused(hidden()))
    assert len(seen) == 1 and fused.record.materialised == {"sum": 1}


def test_indices_and_shapes_against_torch() -> None:
    """Where the rule says that the last axis stays, it stays, value for value."""
    probe = torch.arange(2 * 3 * 5).view(2, 3, 5)
    column = torch.arange(5)
    parts = [..., None, slice(None), slice(1, None), 0, -1, torch.tensor([0, 1])]
    parts += [torch.ones(2, dtype=torch.bool), torch.ones(2, 3, dtype=torch.bool), True, "x"]
    kept = 0
    for seed in range(3000):
        rng = random.Random(seed)
        index = tuple(rng.choice(parts) for _ in range(rng.randint(1, 4)))
        if not leaves_last(index, 3):
            continue
        try:
            found = probe[index]
        except IndexError:
            continue
        kept += 1
        assert torch.equal(found % 5, column.expand(found.shape)), index
    assert kept > 100
    for seed in range(2000):
        rng = random.Random(seed)
        shape = tuple(rng.choice([-1, 1, 2, 3, 5, 6, 10, 15, 30]) for _ in range(rng.randint(1, 3)))
        leading = reshaped((2, 3, 5), shape)
        if leading is not None:
            found = probe.reshape(shape)
            assert found.shape == (*leading, 5)
            assert torch.equal(found % 5, column.expand(found.shape))


def test_the_fused_call_gets_the_options_of_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []
    stock = lazy_logits.linear_cross_entropy
    monkeypatch.setattr(
        lazy_logits,
        "linear_cross_entropy",
        lambda *args, **kwargs: made.append(kwargs) or stock(*args, **kwargs),
    )
    fused = FusedHead.of(heads()[0], {"chunk_tokens": 4, "accum_dtype": "float32"})
    loss_of(torch.tanh(fused(hidden()) / 3.0) * 3.0)
    assert made[0]["chunk_tokens"] == 4 and made[0]["accum_dtype"] == "float32"
    assert made[0]["softcap"] == 3.0 and made[0]["logit_scale"] == 1.0
