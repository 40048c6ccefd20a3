"""A step divided over another number of processes: when it goes, and what is said when not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fastft.errors import ConfigurationError
from fastft.training.division import DIVISION, DivisionCallback, accumulation_of


def division(num_ranks, accumulation):
    return {"num_ranks": num_ranks, "gradient_accumulation_steps": accumulation}


@pytest.mark.parametrize(
    ("run", "call", "accumulation"),
    [
        ((2, 1), (1, 1), 2),
        ((1, 4), (2, 4), 2),
        ((4, 3), (6, 3), 2),
        ((2, 1), (2, 1), None),  # nothing changes
        ((2, 1), (1, 2), None),  # it is asked for already
        ((2, 1), (2, 4), None),  # another run, which the fingerprint says
    ],
)
def test_the_accumulation_follows_from_the_steps_of_the_run(run, call, accumulation):
    assert accumulation_of(division(*run), division(*call)) == accumulation


def test_processes_that_do_not_divide_a_step_are_told_which_do():
    with pytest.raises(ConfigurationError) as caught:
        accumulation_of(division(2, 3), division(4, 3))
    assert caught.value.expected == "1 or 2 or 3 or 6"
    assert "start 3 processes" in str(caught.value)
    with pytest.raises(ConfigurationError, match="start 1 process "):
        accumulation_of(division(1, 1), division(2, 1))


def trained(kept, *, num_ranks, accumulation, step=5):
    state = SimpleNamespace(
        global_step=step, stateful_callbacks={DIVISION: {"args": {}, "attributes": kept}}
    )
    args = SimpleNamespace(world_size=num_ranks, gradient_accumulation_steps=accumulation)
    DivisionCallback().on_train_begin(args, state, None)
    return state.stateful_callbacks[DIVISION]["attributes"]


def test_a_trainer_keeps_its_division_and_takes_one_of_as_many_micro_batches():
    assert trained(division(4, 1), num_ranks=2, accumulation=2) == division(2, 2)
    assert trained(division(4, 1), num_ranks=1, accumulation=1, step=0) == division(1, 1)
    assert trained(None, num_ranks=1, accumulation=3) == division(1, 3)


def test_a_trainer_refuses_steps_of_another_size():
    with pytest.raises(ConfigurationError, match="pass gradient_accumulation_steps=2"):
        trained(division(4, 1), num_ranks=2, accumulation=1)
    with pytest.raises(ConfigurationError, match="do not go round"):
        trained(division(4, 1), num_ranks=3, accumulation=1)
