"""What the first process alone decides: all processes go on with it, or all of them stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastft.errors import Error
from fastft.training.distributed import broadcast_json, is_main

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch


def from_first_process(decide: Callable[[], Any], device: torch.device, *, problem: str) -> Any:
    """Decides something in the first process and tells the others.

    Args:
        decide: Gives what JSON holds; called in the first process only.
        device: The device of this process.
        problem: What the others say when it failed.

    Raises:
        Error: `decide` failed. The first process raises the very exception, the others one that
            names it.
    """
    value: Any = None
    failure: Exception | None = None
    if is_main():
        try:
            value = decide()
        except Exception as error:  # whatever it is, the others must not wait for a value
            failure = error
    reason = failure.problem if isinstance(failure, Error) else str(failure)
    shared = broadcast_json([value, None if failure is None else reason], device)
    if failure is not None:
        raise failure
    if shared[1] is not None:
        raise Error(problem, found=shared[1])
    return shared[0]
