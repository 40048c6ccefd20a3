"""On a GPU the host never waits for a loss: watched without one, by the operations that would."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

pytest.importorskip("triton", reason="triton comes with torch for CUDA, and is not here")

import fastft
from fastft.modeling.losses import targets
from tests.losses import Problem, options_for, problem

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TRITON = {"backend": "triton"}

# The interpreter computes in numpy, which tells of NaN where a GPU does not.
pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")


class Waits(TorchDispatchMode):
    """Raises where a GPU would be waited for."""

    names = ("_local_scalar_dense", "nonzero", "item", "is_nonzero", "masked_select", "equal")

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = function.overloadpacket.__name__
        assert name not in self.names, f"{function} waits for the device"
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["plain", "none", "sum", "all", "denominator"])
def test_nothing_waits_for_the_device(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a GPU: values are not looked at.
    monkeypatch.setattr(targets, "may_look", lambda tensor: False)
    case = problem(9, 8, 40, bias=True, dtype=dtype)
    case = Problem(*(one.to(DEVICE) for one in vars(case).values()))
    options = {
        key: one.to(DEVICE) if isinstance(one, torch.Tensor) else one
        for key, one in options_for(name, 9, 40).items()
    }
    if name == "denominator":
        options["denominator"] = torch.tensor(7, device=DEVICE)
    leaves, index = case.leaves(), torch.arange(9, device=DEVICE)
    logits = F.linear(*leaves)
    with Waits():
        loss, _ = fastft.linear_cross_entropy(
            *(leaves[0], leaves[1], case.labels),
            bias=leaves[2],
            index=index,
            chunk_tokens=4,
            return_stats=True,
            **TRITON,
            **options,
        )
        loss.sum().backward()
        for inplace in (False, True):
            loss = fastft.cross_entropy(
                logits * 1, case.labels, inplace=inplace, **TRITON, **options
            )
            loss.sum().backward(retain_graph=True)
    assert all(leaf.grad is not None for leaf in leaves)


def test_the_watch_over_waiting_can_fail() -> None:
    with pytest.raises(AssertionError, match="waits for the device"), Waits():
        float(torch.ones(()))
