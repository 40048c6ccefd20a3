"""Holds the fingerprint of a call against that of an interrupted run, and names what differs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastft.training.division import micro_batches, processes
from fastft.training.fingerprint import ENDLESS_SCHEDULES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# A value is shown up to this many characters.
SHOWN = 60
# A changed one of these changes the tokens too, or the rows that are held back for validation.
DECIDE_DATA = ("max_length", "seed")


@dataclass(frozen=True)
class Difference:
    """One thing that a call and a run do not share.

    Attributes:
        name: What differs: an argument, "train data", "model".
        found: How the call has it.
        expected: How the run had it.
    """

    name: str
    found: str
    expected: str


def differences(call: Mapping[str, Any], run: Mapping[str, Any]) -> list[Difference]:
    """Names everything that keeps a call from going on with a run.

    Args:
        call: The fingerprint of the call.
        run: The fingerprint that the run left.

    Returns:
        Settings first, then data, then the model: what follows from something that is named already
        is not named again.
    """
    length = list(_length(call["length"], run["length"], call["settings"]))
    division = list(_division(call["division"], run["division"]))
    # The warm-up is a share of the length unless it is given.
    found = [
        difference
        for difference in _settings(call["settings"], run["settings"])
        if difference.name != "warmup_steps" or not (length or division)
    ]
    found += division or length
    names = {difference.name for difference in found}
    if not names & set(DECIDE_DATA):
        found += _data(call["data"], run["data"])
    if "labels" not in names:
        found += _model(call["model"], run["model"], compare_trained="train" not in names)
    return found


def _settings(call: Mapping[str, Any], run: Mapping[str, Any]) -> Iterator[Difference]:
    """Compares the settings that both know: another version of transformers has others."""
    for name, value in call.items():
        if name in run and value != run[name]:
            yield Difference(name, _show(value, run[name]), _show(run[name], value))


def _division(call: Mapping[str, int], run: Mapping[str, int]) -> Iterator[Difference]:
    """Compares the micro-batches of a step, however they are divided over processes."""
    if micro_batches(call) != micro_batches(run):
        name = "gradient_accumulation_steps"
        yield Difference(
            name,
            f"{call[name]} on {processes(call['num_ranks'])}",
            f"{run[name]} on {processes(run['num_ranks'])}",
        )


def _length(
    call: Mapping[str, Any], run: Mapping[str, Any], settings: Mapping[str, Any]
) -> Iterator[Difference]:
    """Lets a run be made longer or shorter where its schedule does not depend on its length.

    Everywhere else the learning rates of the steps that are done belong to another schedule, and
    the run would end like none that was not interrupted.
    """
    if call["total_steps"] == run["total_steps"]:
        return
    schedule = settings.get("lr_scheduler_type")
    if schedule in ENDLESS_SCHEDULES:
        return
    other = "" if run["argument"] == call["argument"] else f"{run['argument']}="
    yield Difference(
        call["argument"],
        f"{call['value']} ({call['total_steps']:,} steps)",
        f"{other}{run['value']} ({run['total_steps']:,} steps), because with "
        f"lr_scheduler_type={schedule!r} the learning rate of the steps done depends on it",
    )


def _data(call: Mapping[str, Any], run: Mapping[str, Any]) -> Iterator[Difference]:
    for split in sorted({*call, *run}):
        ours, theirs = call.get(split), run.get(split)
        if ours == theirs:
            continue
        if ours is None or theirs is None or ours["rows"] != theirs["rows"]:
            yield Difference(f"{split} data", _rows(ours), _rows(theirs))
            continue
        parts = [part for part in ("texts", "labels") if ours[part] != theirs[part]]
        what = " and ".join(parts) or "tokens"
        yield Difference(
            f"{split} data", f"{_rows(ours)} with other {what}", f"the {what} of the run"
        )


def _model(
    call: Mapping[str, Any], run: Mapping[str, Any], *, compare_trained: bool
) -> Iterator[Difference]:
    if call["architecture"] != run["architecture"]:
        yield Difference("model", call["architecture"], run["architecture"])
        return
    config = list(_settings(call["config"], run["config"]))
    if config:
        yield from (
            Difference(f"model configuration, {one.name}", one.found, one.expected)
            for one in config
        )
    elif call["shapes"] != run["shapes"]:
        yield Difference("model", f"{call['name']}, weights of other shapes", run["name"])
    elif compare_trained and call["trained"] != run["trained"]:
        yield Difference("model", "other weights are frozen", "those that the run froze")
    elif None not in (call["weights"], run["weights"]) and call["weights"] != run["weights"]:
        yield Difference("model", f"{call['name']}, with other weights", run["name"])


def _rows(data: Mapping[str, Any] | None) -> str:
    return "none" if data is None else f"{data['rows']:,} rows"


def _show(value: Any, other: Any) -> str:
    """Shows a value; of two lists only the entries that the other one lacks, when they are long."""
    text = repr(value)
    if len(text) <= SHOWN:
        return text
    if isinstance(value, list) and isinstance(other, list):
        own = [entry for entry in value if entry not in other]
        text = f"{len(value)} entries" + (f", among them {own[:3]!r}" if own else ", another order")
    return text if len(text) <= 2 * SHOWN else text[: 2 * SHOWN] + "…"
