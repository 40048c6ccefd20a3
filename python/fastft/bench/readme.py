"""Writes the table of the README from results: `python -m fastft.bench.readme [FILE[,FILE]...]`.

The README has two markers around the table; the first names the result file, so that whoever reads
a figure finds where it comes from. With FILE the marker is changed to it, a path from the folder of
the README. Of several files a row is taken from the last that has it. A row that all of them lack
keeps its line and says so.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.bench.figures import of_role, ratio, short
from fastft.bench.results import read_results
from fastft.bench.tables import table
from fastft.errors import DamagedFileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HEADLINES = (
    ("tokens/bert_uncased/long/ids", "tokenizers", "BERT, long text to ids"),
    ("tokens/gpt2/long/ids", "tokenizers", "GPT-2, long text to ids"),
    ("tokens/padded/bert_uncased/short-512", "transformers", "BERT, text to padded batches"),
    ("tokens/file", "datasets.map", "a table to tokens and labels"),
    ("batches/collator/padding", "transformers", "a padded batch of tokens"),
    ("batches/loader", "torch, 0 workers", "an epoch of batches"),
    ("batches/pack/2048", "TRL", "packing rows into bins of 2,048"),
    ("loss/linear/gpt2", "eager torch", "loss of a GPT-2 head"),
    ("train/padding-free/short", "transformers, default", "training MiniLM on short texts"),
    ("train/padding-free/short", "transformers, group_by_length", "the same, theirs by length"),
    ("train/evaluate", "transformers", "evaluating MiniLM"),
)
"""Row, peer, and what the README calls the work; rows where a peer may win belong here too."""

MARKED = re.compile(
    r"(<!-- bench: )(?P<file>\S+)( -->\n).*?(?P<end><!-- end of bench -->)", re.DOTALL
)


def readme_table(*results: dict[str, Any]) -> str:
    """The headline rows and, below, what they were measured on."""
    heads = ("work", "peer", "takes so many times as long", "asked")
    captions = "; ".join(dict.fromkeys(map(_caption, results)))
    loads = [row["load"] for one in results for row in one["rows"] if row.get("load") is not None]
    load = f"Load {max(loads, default='unknown')} at most"
    asked = "What was asked belongs to the full sizes."
    return f"{table(heads, _lines(results))}\n\n{captions}. {load}. {asked}\n"


def _lines(results: Sequence[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    rows = {row["name"]: row for one in results for row in one["rows"]}
    for name, peer, work in HEADLINES:
        row = rows.get(name)
        asked = (row or {}).get("asked", {}).get(peer)
        yield work, peer, _found(row, peer), "" if asked is None else short(asked)


def _found(row: dict[str, Any] | None, peer: str) -> str:
    """The ratio with its spread, or why there is none."""
    if row is None:
        return "not in this run"
    if row["state"] != "done":
        return str(row["state"])
    point = row["points"][-1]
    if peer not in point["variants"]:
        return "peer not installed"
    found = ratio(point, peer, of_role(point, "ours")[0], row["clock"])
    return "below the clock" if found is None else str(found)


def _caption(results: dict[str, Any]) -> str:
    machine = results["machine"]
    parts = (
        results["began"][:10],
        machine.get("gpu", machine.get("cpu", machine["architecture"])),
        f"{machine['cores']} cores",
        f"{results['size']} sizes",
        results["data"],
    )
    return ", ".join(parts)


def with_table(text: str, root: Path, file: str | None = None) -> str:
    """A README with its table made anew.

    Args:
        text: The README.
        root: Its folder.
        file: The result file, or several between commas, from `root`; None for that of the marker.

    Raises:
        DamagedFileError: The markers are not there once, or the result is none.
    """
    found = MARKED.findall(text)
    if len(found) != 1:
        raise DamagedFileError(
            "the place of the table cannot be told",
            place=str(root / "README.md"),
            found=f"{len(found)} pairs of markers",
            expected="one <!-- bench: FILE --> and one <!-- end of bench --> behind it",
        )

    def made(match: re.Match[str]) -> str:
        name = file or match["file"]
        results = [read_results(root / one) for one in name.split(",")]
        return f"{match[1]}{name}{match[3]}{readme_table(*results)}{match['end']}"

    return MARKED.sub(made, text)


def main(file: str | None = None, readme: str = "README.md") -> None:
    """Writes the README of the working folder."""
    path = Path(readme)
    text = with_table(path.read_text(encoding="utf-8"), path.parent, file)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
