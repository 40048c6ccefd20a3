"""Losses under torch.func, forward mode and traces: right, or a clear error.

The problems are large enough for the kernels; what a transform cannot see goes the plain way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
import torch.autograd.functional as functional
import torch.nn.functional as F
from torch.func import functional_call, grad, jacrev, jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx

import fastft
from fastft.modeling.losses.settings import SMALL
from tests.losses import logits_and_labels, problem, relative

if TYPE_CHECKING:
    from collections.abc import Callable

# Forward mode of torch compiles its decompositions when it is used first.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")

CASE = problem(700, 4, 500, dtype=torch.float32)
LOGITS, LABELS = logits_and_labels(350, 800)
assert CASE.weight.shape[0] * int((CASE.labels != -100).sum()) > SMALL < LOGITS.numel()


def linear(weight: torch.Tensor, **options: Any) -> torch.Tensor:
    loss: torch.Tensor = fastft.linear_cross_entropy(CASE.hidden, weight, CASE.labels, **options)
    return loss


def right_linear(weight: torch.Tensor, **options: Any) -> torch.Tensor:
    return F.cross_entropy(F.linear(CASE.hidden, weight), CASE.labels, **options)


def of_logits(logits: torch.Tensor, **options: Any) -> torch.Tensor:
    loss: torch.Tensor = fastft.cross_entropy(logits, LABELS, **options)
    return loss


def right_of_logits(logits: torch.Tensor, **options: Any) -> torch.Tensor:
    return F.cross_entropy(logits, LABELS, **options)


PAIRS = pytest.mark.parametrize(
    ("ours", "exact", "x"),
    [(linear, right_linear, CASE.weight), (of_logits, right_of_logits, LOGITS)],
    ids=["linear", "logits"],
)
TANGENT = torch.Generator().manual_seed(5)


def tangent_of(x: torch.Tensor) -> torch.Tensor:
    return torch.randn(x.shape, generator=TANGENT.manual_seed(5))


def each(function: Callable[..., torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """A sum of the losses of rows, each with a weight of its own."""
    losses = function(x, reduction="none")
    return (losses * torch.linspace(-1, 2, len(losses))).sum()


def dual(function: Callable[..., torch.Tensor], x: torch.Tensor) -> Any:
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(function(forward_ad.make_dual(x, tangent_of(x)))).tangent


WAYS: dict[str, Callable[[Callable[..., torch.Tensor], torch.Tensor], Any]] = {
    "grad": lambda f, x: grad(f)(x),
    "grad of each": lambda f, x: grad(lambda x: each(f, x))(x),
    "jacrev": lambda f, x: jacrev(f)(x),
    "vmap": lambda f, x: vmap(f)(torch.stack([x, x.cos()])),
    "vmap of each": lambda f, x: vmap(lambda x: f(x, reduction="none"))(torch.stack([x, x.cos()])),
    "vmap of grad": lambda f, x: vmap(grad(f))(torch.stack([x, x.cos()])),
    "jvp": lambda f, x: jvp(f, (x,), (tangent_of(x),))[1],
    "hessian times vector": lambda f, x: jvp(grad(f), (x,), (tangent_of(x),))[1],
    "forward mode": dual,
    "jacobian": lambda f, x: functional.jacobian(f, x),
    "jacobian of rows": lambda f, x: functional.jacobian(
        lambda x: f(x, reduction="none")[:4], x, vectorize=True
    ),
    "hvp of each": lambda f, x: functional.hvp(lambda x: each(f, x), x, tangent_of(x))[1],
}


@PAIRS
@pytest.mark.parametrize("way", WAYS)
def test_transforms_give_what_they_give_on_the_loss_of_torch(
    way: str, ours: Any, exact: Any, x: torch.Tensor
) -> None:
    found, right = WAYS[way](ours, x), WAYS[way](exact, x)
    assert found.shape == right.shape
    assert relative(found, right) < 3e-6


@pytest.mark.parametrize("way", ["grad", "vmap", "jvp", "forward mode"])
@PAIRS
def test_a_kernel_that_was_asked_for_says_that_it_cannot(
    way: str, ours: Any, exact: Any, x: torch.Tensor
) -> None:
    with pytest.raises(fastft.ConfigurationError, match=r"torch\.func") as caught:
        WAYS[way](lambda x: ours(x, backend="rust"), x)
    assert caught.value.place == "backend"


def test_labels_of_a_batch_of_problems_are_not_looked_at() -> None:
    labels = torch.stack([CASE.labels, CASE.labels.flip(0)])
    found = vmap(lambda labels: fastft.linear_cross_entropy(CASE.hidden, CASE.weight, labels))(
        labels
    )
    logits = F.linear(CASE.hidden, CASE.weight)
    right = torch.stack([F.cross_entropy(logits, one) for one in labels])
    assert relative(found, right) < 1e-6


@pytest.mark.parametrize("way", WAYS)
def test_small_problems_under_transforms(way: str) -> None:
    case = problem(9, 4, 11, dtype=torch.float32)

    def ours(weight: torch.Tensor, **options: Any) -> Any:
        return fastft.linear_cross_entropy(case.hidden, weight, case.labels, **options)

    def of_logits(weight: torch.Tensor, **options: Any) -> Any:
        return fastft.cross_entropy(F.linear(case.hidden, weight), case.labels, **options)

    def exact(weight: torch.Tensor, **options: Any) -> Any:
        return F.cross_entropy(F.linear(case.hidden, weight), case.labels, **options)

    right = WAYS[way](exact, case.weight)
    for found in (WAYS[way](ours, case.weight), WAYS[way](of_logits, case.weight)):
        assert found.shape == right.shape
        assert relative(found, right) < 3e-6


def _traced(way: str, function: Any, values: tuple[torch.Tensor, ...]) -> Any:
    if way == "torch.jit.trace":
        return torch.jit.trace(function, values, check_trace=False)
    return make_fx(function, tracing_mode=way)(*values)


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:FutureWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("way", ["real", "fake", "symbolic", "torch.jit.trace"])
@pytest.mark.parametrize("size", [(9, 4, 11), (700, 4, 500)])
def test_a_trace_is_right_for_other_values(way: str, size: tuple[int, int, int]) -> None:
    case = problem(*size, dtype=torch.float32)
    assert (case.labels == -100).any()

    def of_layer(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> Any:
        return fastft.linear_cross_entropy(hidden, weight, labels)

    def of_logits(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> Any:
        return fastft.cross_entropy(F.linear(hidden, weight), labels)

    others = (case.hidden.cos(), case.weight.sin(), case.labels.flip(0))
    right = F.cross_entropy(F.linear(*others[:2]), others[2])
    for function in (of_layer, of_logits):
        run = _traced(way, function, (case.hidden, case.weight, case.labels))
        assert relative(run(*others), right) < 3e-6
        # No label counts, which no look at the values of the trace tells.
        assert run(case.hidden, case.weight, torch.full_like(case.labels, -100)) == 0
        if way in ("symbolic", "torch.jit.trace"):
            fewer = (case.hidden[1:], case.weight, case.labels[1:])
            assert relative(run(*fewer), function(*fewer)) < 3e-6


class _Loss(torch.nn.Module):
    def __init__(self, function: Any, options: dict[str, Any]) -> None:
        super().__init__()
        self.function, self.options = function, options

    def forward(self, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> Any:
        if self.function is fastft.cross_entropy:
            return fastft.cross_entropy(F.linear(hidden, weight), labels, **self.options)
        return self.function(hidden, weight, labels, **self.options)


@pytest.mark.parametrize("function", [fastft.linear_cross_entropy, fastft.cross_entropy])
@pytest.mark.parametrize(
    "options", [{}, {"reduction": "none", "return_stats": True}, {"z_loss": 0.1, "softcap": 5.0}]
)
def test_an_export_is_right_for_another_number_of_rows(
    function: Any, options: dict[str, Any]
) -> None:
    case = problem(9, 4, 11, dtype=torch.float32)
    module, rows = _Loss(function, options), {0: torch.export.Dim("N", min=2, max=64)}
    inputs = (case.hidden, case.weight, case.labels)
    program = torch.export.export(module, inputs, dynamic_shapes=(rows, None, rows))
    others = (case.hidden[2:].cos(), case.weight.sin(), case.labels[2:])
    found, right = program.module()(*others), module(*others)
    if "return_stats" in options:
        (found, *stats), (right, *exact) = found, right
        for one, other in zip(stats[0], exact[0], strict=True):
            assert torch.allclose(one, other, rtol=1e-5)
    assert torch.allclose(found, right, rtol=1e-5)


def test_a_trace_holds_the_gradient_too() -> None:
    def slope_of(function: Any) -> Callable[[torch.Tensor], torch.Tensor]:
        def slope(weight: torch.Tensor) -> torch.Tensor:
            weight = weight.detach().requires_grad_()
            return torch.autograd.grad(function(weight), weight)[0]

        return slope

    other = CASE.weight.cos()
    found = make_fx(slope_of(linear))(CASE.weight)(other)
    assert relative(found, slope_of(right_linear)(other)) < 3e-6


def test_parameters_from_outside_get_their_gradient() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh())

    def loss(parameters: Any, function: Any) -> Any:
        hidden = functional_call(model, parameters, (CASE.hidden,))
        return function(hidden, CASE.weight, CASE.labels)

    def exact(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(F.linear(hidden, weight), labels)

    parameters = {name: one.detach() for name, one in model.named_parameters()}
    found = grad(loss)(parameters, fastft.linear_cross_entropy)
    right = grad(loss)(parameters, exact)
    for name, one in found.items():
        assert relative(one, right[name]) < 3e-6


@PAIRS
def test_the_gradient_of_the_gradient_of_each_row(ours: Any, exact: Any, x: torch.Tensor) -> None:
    """It came without a graph, as if it were constant."""
    results = []
    for function in (ours, exact):
        leaf = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(each(function, leaf), leaf, create_graph=True)
        results.append(torch.autograd.grad(slope.square().sum(), leaf)[0])
    assert relative(*results) < 1e-5


def test_many_gradients_of_a_sum_at_once_are_a_clear_error() -> None:
    leaf = CASE.weight.clone().requires_grad_()
    for found in ("is_grads_batched", "create_graph"):
        loss = linear(leaf)
        with pytest.raises(fastft.ConfigurationError, match=found) as caught:
            if found == "create_graph":
                functional.hvp(linear, CASE.weight, CASE.weight)
            else:
                torch.autograd.grad(loss, leaf, torch.arange(3.0), is_grads_batched=True)
        assert "backend='torch'" in str(caught.value.fix)
    loss = linear(leaf, backend="torch")
    (slopes,) = torch.autograd.grad(loss, leaf, torch.arange(3.0), is_grads_batched=True)
    assert relative(slopes[2], 2 * grad(right_linear)(CASE.weight)) < 3e-6
