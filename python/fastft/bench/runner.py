"""Runs rows one after the other and keeps each as soon as it is finished.

A row that fails, or whose outputs are not equal, is kept with its reason and the run goes on; a
peer that is not installed costs one line. `run` says at the end whether every row is sound.
"""

from __future__ import annotations

import time
import traceback
from typing import TYPE_CHECKING, Any

from fastft.bench import machine
from fastft.bench.figures import of_role, ratio
from fastft.bench.measure import Clocks, in_turn, threads
from fastft.bench.peak import peak_mb
from fastft.bench.row import GROUPS, SkippedRow, UnequalError
from fastft.errors import ConfigurationError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fastft.bench.results import Results
    from fastft.bench.row import Case, Context, Row


def chosen(rows: Iterable[Row], what: str) -> list[Row]:
    """The rows of a group, of "all", or whose name begins with `what`.

    Raises:
        ConfigurationError: There is none.
    """
    rows = list(rows)
    words = ("all", *GROUPS)
    found = [row for row in rows if what == "all" or f"{row.name}/".startswith(f"{what}/")]
    if not found:
        names = [row.name for row in rows]
        near = nearest(what, [*words, *names])
        raise ConfigurationError(
            "there are no such rows",
            place="fastft bench",
            found=repr(what),
            expected=f"{', '.join(words)}, or a row as `fastft bench --list` shows them",
            fix=f"did you mean {near[0]}?" if near else None,
        )
    return found


def run(
    rows: Iterable[Row],
    context: Context,
    results: Results,
    say: Callable[[str], None],
    *,
    clocks: Clocks | None = None,
) -> bool:
    """Runs what `results` does not have yet; returns whether every row is sound."""
    for row in rows:
        if results.has(row.name):
            say(f"{row.name}: in the file already")
            continue
        began = time.perf_counter()
        record = record_of(row, context, clocks or Clocks())
        record["seconds"] = round(time.perf_counter() - began, 1)
        results.add(record)
        say(line_of(record))
    wanted = {row.name for row in rows}
    return all(
        record["state"] in ("done", "skipped")
        for record in results.rows
        if record["name"] in wanted
    )


def record_of(row: Row, context: Context, clocks: Clocks) -> dict[str, Any]:
    """Runs a row and gives what is kept of it, whatever happens in it."""
    record: dict[str, Any] = {
        **{"name": row.name, "group": row.group, "title": row.title, "state": "failed"},
        **{"clock": row.clock, "threads": row.threads, "asked": dict(row.asked), "axis": row.axis},
        **{"date": machine.now(), "load": machine.load()},
    }
    try:
        with threads(row.threads):
            record.update(_measured(row, context, clocks))
        record["state"] = "done"
    except SkippedRow as reason:
        record.update(state="skipped", reason=str(reason))
    except UnequalError as error:
        record.update(state="unequal", reason=str(error))
    except Exception as error:  # whatever a peer raises must not end the run
        record.update(reason=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
    return record


def _measured(row: Row, context: Context, clocks: Clocks) -> dict[str, Any]:
    # Growth may make its cases one by one, so that two sizes are never in memory together.
    points, missing, compared = [], {}, ""
    for number, case in enumerate(row.make(context)):
        compared = case.check()
        missing.update(case.absent)
        points.append(_point(row, case, number, context, clocks))
        del case
    return {"equal": compared, "absent": missing, "points": points}


def _point(row: Row, case: Case, number: int, context: Context, clocks: Clocks) -> dict[str, Any]:
    repetitions, seconds = context.pick(*zip(row.repetitions, row.seconds, strict=True))
    found = in_turn(case.variants, repetitions, seconds, clocks=clocks)
    variants: dict[str, Any] = {}
    for variant in case.variants:
        times = found[variant.name]
        values: dict[str, Any] = {"role": variant.role, "calls": times.calls}
        values["wall"] = [_digits(value) for value in times.wall]
        values["cpu"] = [_digits(value) for value in times.cpu]
        if variant.note is not None:
            values.update(variant.note(times.result))
        if row.peak:
            values["peak_mb"] = peak_mb(row.name, variant.name, number, context)
        variants[variant.name] = values
    return {"at": case.at, "amount": case.amount, "unit": case.unit, "variants": variants}


def _digits(value: float) -> float:
    """Six digits: more are noise, and make files long."""
    return float(f"{value:.6g}")


def line_of(record: dict[str, Any]) -> str:
    """A line a row: its ratios, or why it has none; then a line for every absent peer."""
    head = f"{record['name']} ({record.get('seconds', 0):.0f} s): "
    if record["state"] != "done":
        return f"{head}{record['state']}: {record['reason']}"
    point = record["points"][-1]
    own = of_role(point, "ours")[:1]
    parts = []
    for name, value in point["variants"].items():
        if not own or value["role"] == "ours":
            continue
        if value["role"] == "limit":
            parts.append(f"{ratio(point, own[0], name, record['clock'])} x {name}")
        else:
            found = ratio(point, name, own[0], record["clock"])
            parts.append(f"{found} times as long: {name}")
    lines = [f"  {name}: skipped, {reason}" for name, reason in record["absent"].items()]
    return "\n".join([head + ("; ".join(parts) or "no peer"), *lines])
