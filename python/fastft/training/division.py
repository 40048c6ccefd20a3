"""How the micro-batches of a step are divided: over processes, and one after the other.

A step of M micro-batches is the same step on any number of processes that divides M, each taking
M / processes of them. A run that was interrupted on another number of processes is gone on with
that way: same global batches, same learning rates. Only what a process draws at random for itself,
dropout above all, is drawn anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from fastft.data.batch_shard import divisors
from fastft.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import TrainerControl, TrainerState, TrainingArguments

# Where the division stands among the `stateful_callbacks` of a checkpoint.
DIVISION = "fastft_division"


def micro_batches(division: Mapping[str, int]) -> int:
    """Gives M, the micro-batches of a step on all processes together."""
    return division["num_ranks"] * division["gradient_accumulation_steps"]


def accumulation_of(run: Mapping[str, int], call: Mapping[str, int]) -> int | None:
    """Gives the accumulation with which the processes of a call take the steps of a run.

    Args:
        run: How an interrupted run divided its steps.
        call: The same for a call that would go on with it.

    Returns:
        None where the call divides as the run did, or asks for another accumulation itself.

    Raises:
        ConfigurationError: The steps of the run cannot be divided by so many processes.

    Example:
        >>> run = {"num_ranks": 4, "gradient_accumulation_steps": 1}
        >>> accumulation_of(run, {"num_ranks": 2, "gradient_accumulation_steps": 1})
        2
    """
    is_same_command = run["gradient_accumulation_steps"] == call["gradient_accumulation_steps"]
    if run["num_ranks"] == call["num_ranks"] or not is_same_command:
        return None
    refuse_indivisible(micro_batches(run), call["num_ranks"])
    return micro_batches(run) // call["num_ranks"]


def refuse_indivisible(num_micro_batches: int, num_ranks: int) -> None:
    """Refuses a number of processes that cannot share a step.

    Raises:
        ConfigurationError: It does not divide the number of micro-batches.
    """
    if num_micro_batches % num_ranks == 0:
        return
    fitting = divisors(num_micro_batches)
    raise ConfigurationError(
        f"the run takes {num_micro_batches} micro-batches a step, which do not go round",
        place="the number of processes",
        found=str(num_ranks),
        expected=" or ".join(map(str, fitting)),
        fix=f"start {processes(max(n for n in fitting if n < num_ranks))} "
        "(torchrun --nproc-per-node), or begin a new run in another folder",
    )


class DivisionCallback(TrainerCallback):  # type: ignore[misc]  # transformers carries no types
    """Keeps M in each checkpoint, and holds a resume against it."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Runs after the state has been read, before the first step.

        Raises:
            ConfigurationError: The steps of the checkpoint had another number of micro-batches.
        """
        division = {
            "num_ranks": args.world_size,
            "gradient_accumulation_steps": args.gradient_accumulation_steps,
        }
        kept = state.stateful_callbacks.get(DIVISION) if state.global_step else None
        if isinstance(kept, dict) and isinstance(kept.get("attributes"), dict):
            _refuse_other_steps(kept["attributes"], division)
        state.stateful_callbacks[DIVISION] = {"args": {}, "attributes": division}


def _refuse_other_steps(run: Mapping[str, int], call: Mapping[str, int]) -> None:
    expected = micro_batches(run)
    if micro_batches(call) == expected:
        return
    refuse_indivisible(expected, call["num_ranks"])
    raise ConfigurationError(
        "the checkpoint was made by steps of another number of micro-batches",
        place="argument gradient_accumulation_steps",
        found=f"{_shown(call)}: {micro_batches(call)} a step",
        expected=f"{expected} a step, as with {_shown(run)}",
        fix=f"pass gradient_accumulation_steps={expected // call['num_ranks']}",
    )


def _shown(division: Mapping[str, int]) -> str:
    accumulation, ranks = division["gradient_accumulation_steps"], division["num_ranks"]
    return f"gradient_accumulation_steps={accumulation} on {processes(ranks)}"


def processes(count: int) -> str:
    """Names a number of processes."""
    return "1 process" if count == 1 else f"{count} processes"
