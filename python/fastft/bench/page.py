"""A result as one HTML page that opens from disk: plots as SVG, then the table as it is.

Nothing is loaded from anywhere. Ratios are bars with the spread of their repetitions; growth is
drawn on logarithms, loss curves over each other.
"""

from __future__ import annotations

import math
import statistics
from html import escape
from typing import TYPE_CHECKING, Any

from fastft.bench.figures import done, of_role, ratio, short, times
from fastft.bench.tables import report

if TYPE_CHECKING:
    from collections.abc import Iterator

COLOURS = ("#0b6", "#d33", "#36c", "#a5a", "#c80", "#555")
WIDTH, HEIGHT, EDGE = 640, 300, 60
Line = tuple[str, list[tuple[float, float]]]


def page(results: dict[str, Any]) -> str:
    """The whole page."""
    parts = [figure for row in done(results) for figure in plots(row)]
    text = escape(report(results))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>fastft: benchmarks</title>'
        "<style>body{font:14px sans-serif;margin:2em}pre{overflow:auto}</style>"
        f"<h1>fastft: benchmarks</h1>{''.join(parts)}<pre>{text}</pre></html>\n"
    )


def plots(row: dict[str, Any]) -> Iterator[str]:
    """The plots of a row: ratios or growth, and loss curves where it trained."""
    title, point = row["title"], row["points"][-1]
    if row["axis"] and len(row["points"]) > 1:
        yield lines(f"{title}: seconds by {row['axis']}", list(_growth(row)), logarithms=True)
    elif of_role(point, "peer") and of_role(point, "ours"):
        yield bars(f"{title}: times as long as ours", row)
    curves: list[Line] = [
        (name, [(float(step), float(loss)) for step, loss in value["curve"]])
        for name, value in point["variants"].items()
        if value.get("curve")
    ]
    if curves:
        yield lines(f"{title}: loss by step", curves)


def _growth(row: dict[str, Any]) -> Iterator[Line]:
    for name in row["points"][0]["variants"]:
        found = [
            (float(point["at"]), statistics.median(times(point, name, row["clock"])))
            for point in row["points"]
            if name in point["variants"]
        ]
        yield name, [(x, y) for x, y in found if x > 0 and y > 0]


def lines(title: str, curves: list[Line], *, logarithms: bool = False) -> str:
    """Curves over each other, on logarithms where asked."""

    def scale(value: float) -> float:
        return math.log10(value) if logarithms else value

    points = [(scale(x), scale(y)) for _, curve in curves for x, y in curve]
    if not points:
        return ""
    (left, right), (low, high) = ((min(axis), max(axis)) for axis in zip(*points, strict=True))
    wide, tall = (right - left) or 1.0, (high - low) or 1.0
    parts = []
    for number, (name, curve) in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        places = " ".join(
            f"{EDGE + (scale(x) - left) / wide * (WIDTH - 2 * EDGE):.1f},"
            f"{HEIGHT - EDGE - (scale(y) - low) / tall * (HEIGHT - 2 * EDGE):.1f}"
            for x, y in curve
        )
        parts.append(f'<polyline fill="none" stroke="{colour}" points="{places}"/>')
        parts.append(_text(WIDTH, EDGE + 16 * number, name, colour))
    ends = [10**value if logarithms else value for value in (left, right, low, high)]
    parts += [
        _text(EDGE, HEIGHT - EDGE / 2, short(ends[0])),
        _text(WIDTH - 2 * EDGE, HEIGHT - EDGE / 2, short(ends[1])),
        _text(0, HEIGHT - EDGE, short(ends[2])),
        _text(0, EDGE, short(ends[3])),
    ]
    return _svg(title, "".join(parts), HEIGHT)


def bars(title: str, row: dict[str, Any]) -> str:
    """A bar a peer, with a line from the smallest to the greatest ratio."""
    point = row["points"][-1]
    own = of_role(point, "ours")[0]
    found = {name: ratio(point, name, own, row["clock"]) for name in of_role(point, "peer")}
    spreads = {name: spread for name, spread in found.items() if spread is not None}
    most = max([1.0, *(spread.high for spread in spreads.values())])
    unit, parts = (WIDTH - 2 * EDGE) / most, []
    for number, (name, spread) in enumerate(spreads.items()):
        top = 30 + 24 * number
        parts.append(
            f'<rect x="{EDGE}" y="{top}" width="{spread.median * unit:.1f}" height="14" '
            f'fill="{COLOURS[1]}"/><line x1="{EDGE + spread.low * unit:.1f}" y1="{top + 7}" '
            f'x2="{EDGE + spread.high * unit:.1f}" y2="{top + 7}" stroke="#000"/>'
        )
        parts.append(_text(WIDTH, top + 12, f"{name}: {spread}"))
    return _svg(title, "".join(parts), 40 + 24 * len(spreads))


def _text(x: float, y: float, words: str, colour: str = "#000") -> str:
    return f'<text x="{x}" y="{y}" font-size="12" fill="{colour}">{escape(words)}</text>'


def _svg(title: str, inner: str, height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + 320}" height="{height}">'
        f"{_text(0, 16, title)}{inner}</svg><br>"
    )
