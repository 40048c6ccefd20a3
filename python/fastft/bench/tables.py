"""A result as Markdown: ratios first, then what was asked, then times for reading only."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from fastft.bench.figures import Spread, done, of_role, ratio, reaches, short, slope, times
from fastft.bench.row import GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterable

HEADS = {
    "tokens": "Text to tokens",
    "batches": "Tokens to batches",
    "loss": "The loss",
    "train": "Training",
}
RATIOS = ("work", "peer", "times as long as ours", "asked", "ours to the limit", "ours")
GROWTH = ("work", "variant", "slope", "smallest", "largest")


def table(heads: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """A table of Markdown; a bar inside a cell would end it."""
    heads = tuple(heads)
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    texts = ["| " + " | ".join(line) + " |" for line in (heads, *cells)]
    return "\n".join([texts[0], "|---" * len(heads) + "|", *texts[1:]])


def seconds(value: float) -> str:
    """A time in the unit that fits.

    Example:
        >>> seconds(0.0123), seconds(4.5e-06), seconds(12)
        ('12.3 ms', '4.50 us', '12.0 s')
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{short(value / size)} {unit}"
    return f"{short(value * 1e9)} ns"


def shown(value: float, clock: str) -> str:
    """A time, or a count of instructions."""
    return f"{short(value / 1e6)} M" if clock == "instructions" else seconds(value)


def report(results: dict[str, Any]) -> str:
    """The whole page."""
    parts = ["# Benchmarks", about(results)]
    for group in GROUPS:
        rows = [row for row in done(results) if row["group"] == group]
        if rows:
            parts += [f"## {HEADS[group]}", ratios_table(rows)]
            growing = [row for row in rows if row["axis"]]
            if growing:
                parts += ["How it grows (time in proportion to size to the power of):",
                          growth_table(growing)]  # fmt: skip
            peaks = [row for row in rows if _peaks(row)]
            if peaks:
                parts += ["Peak memory above the inputs, MB:", peak_table(peaks)]
            ends = [row for row in rows if _ends(row)]
            if ends:
                parts += ["Where training ends, from the same start:", ends_table(ends)]
    parts += _apart(results)
    return "\n\n".join(parts) + "\n"


def about(results: dict[str, Any]) -> str:
    """Machine, versions, date, command, and how to read the tables."""
    machine = results["machine"]
    features = ", ".join(machine.get("cpu_features", []))
    words = [
        f"{machine.get('cpu', machine['architecture'])} ({features or 'features unknown'}), "
        f"{machine['cores']} cores, {machine.get('memory_gb', '?')} GB"
        + (f", {machine['gpu']}" if "gpu" in machine else ""),
        ", ".join(f"{name} {version}" for name, version in results["versions"].items()),
        f"Began {results['began']}, commit {results.get('commit') or 'unknown'}, "
        f"data: {results['data']}, size: {results['size']}, load {_loads(results)}.",
        f"`{results['command']}`",
        "Ratios are medians of repetitions in which all variants took turns, with the smallest and "
        "the greatest in brackets; above 1 the peer takes longer. Outputs were compared before "
        "anything was timed. Times are for reading only. What was asked belongs to the full size.",
    ]
    return "\n\n".join(words)


def _loads(results: dict[str, Any]) -> str:
    loads = [row["load"] for row in results["rows"] if row.get("load") is not None]
    return f"{min(loads)}-{max(loads)}" if loads else "unknown"


def ratios_table(rows: Iterable[dict[str, Any]]) -> str:
    """A line for each row and peer; rows where a peer is faster stay."""
    return table(RATIOS, (line for row in rows for line in _ratio_lines(row)))


def _ratio_lines(row: dict[str, Any]) -> Iterable[tuple[str, ...]]:
    point, clock = row["points"][-1], row["clock"]
    title = f"{row['title']} ({clock})"
    if row["axis"]:
        title += f" at {short(point['at'])}"
    own = of_role(point, "ours")
    peers = of_role(point, "peer") or [""]
    for variant in own:
        # Asked of the first way of ours; the others stand beside it to be compared.
        asked = {reach.name: reach for reach in reaches(row)} if variant == own[0] else {}
        bound = ", ".join(_limits(point, variant, clock, asked))
        took = shown(statistics.median(times(point, variant, clock)), clock)
        for peer in peers:
            found = ratio(point, peer, variant, clock) if peer else None
            reach = asked.get(peer)
            yield (
                title if variant == own[0] else f"{title}: {variant}",
                peer or "none",
                _bold(found) if found else "",
                f"{short(reach.asked)}{'' if reach.ok else ', not reached'}" if reach else "",
                bound,
                took,
            )


def _bold(found: Spread) -> str:
    head, bracket, rest = str(found).partition(" (")
    return f"**{head}**{bracket}{rest}"


def _limits(
    point: dict[str, Any], variant: str, clock: str, asked: dict[str, Any]
) -> Iterable[str]:
    for name in of_role(point, "limit"):
        found = ratio(point, variant, name, clock)
        if found is not None:
            reach = asked.get(name)
            wish = f" (asked {short(reach.asked)})" if reach else ""
            yield f"{short(found.median)} x {name}{wish}"


def growth_table(rows: Iterable[dict[str, Any]]) -> str:
    """The exponent of each variant, with its time at both ends."""
    lines = []
    for row in rows:
        first, last, clock = row["points"][0], row["points"][-1], row["clock"]
        for name in last["variants"]:
            found = slope(row, name, clock)
            if found is None or name not in first["variants"]:
                continue
            ends = [
                f"{shown(statistics.median(times(point, name, clock)), clock)} "
                f"at {short(point['at'])}"
                for point in (first, last)
            ]
            lines.append((f"{row['title']}, by {row['axis']}", name, f"{found:.2f}", *ends))
    return table(GROWTH, lines)


def _peaks(row: dict[str, Any]) -> dict[str, float]:
    variants = row["points"][-1]["variants"]
    return {n: v["peak_mb"] for n, v in variants.items() if v.get("peak_mb") is not None}


def peak_table(rows: Iterable[dict[str, Any]]) -> str:
    """Memory of every variant, and that of ours as a share of it."""
    lines = []
    for row in rows:
        peaks = _peaks(row)
        own = next((peaks[name] for name in of_role(row["points"][-1], "ours") if name in peaks), 0)
        for name, peak in peaks.items():
            share = short(own / peak) if peak > 0 else ""
            lines.append((row["title"], name, short(peak), share))
    return table(("work", "variant", "MB", "ours to it"), lines)


def _ends(row: dict[str, Any]) -> bool:
    return any("curve" in value for value in row["points"][-1]["variants"].values())


def ends_table(rows: Iterable[dict[str, Any]]) -> str:
    """The loss at the end of each way of training."""
    lines = []
    for row in rows:
        for name, value in row["points"][-1]["variants"].items():
            curve = value.get("curve")
            if curve:
                lines.append((row["title"], name, f"{curve[-1][0]}", f"{curve[-1][1]:.5f}"))
    return table(("training", "variant", "step", "loss there"), lines)


def _apart(results: dict[str, Any]) -> list[str]:
    """Rows without figures and peers that were not there, each with its reason."""
    rows = [row for row in results["rows"] if row["state"] != "done"]
    missing: dict[tuple[str, str], list[str]] = {}
    for row in done(results):
        for name, reason in row["absent"].items():
            missing.setdefault((name, reason), []).append(row["name"])
    parts = []
    if rows:
        lines = [(row["name"], row["state"], row["reason"]) for row in rows]
        parts += ["## Rows without figures", table(("row", "state", "reason"), lines)]
    if missing:
        absent = [(name, reason, f"{len(where)}") for (name, reason), where in missing.items()]
        parts += ["## Peers that were skipped", table(("peer", "reason", "rows"), absent)]
    return parts
