"""What `fastft bench` does: run rows, compare two results, write the table of one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.bench import machine, registry, runner
from fastft.bench.compare import compare
from fastft.bench.data import Data
from fastft.bench.page import page
from fastft.bench.results import Results, read_results
from fastft.bench.row import Context
from fastft.bench.tables import report
from fastft.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastft.console import Console


def bench(
    words: list[str],
    *,
    quick: bool = False,
    json_file: Path | None = None,
    data: Path | None = None,
    output: Path | None = None,
    show: Callable[[str], None] = print,
    console: Console,
) -> int:
    """Does what the words say: rows, `compare A B` or `report FILE`.

    Args:
        words: The words of the command line.
        quick: Small sizes.
        json_file: Where finished rows are kept, and found again.
        data: A folder with the real sets.
        output: A folder for the table; of `report` that of the file when not given.
        show: What prints results.
        console: What prints progress.

    Returns:
        The exit code: 1 for a regression, or a row that failed or was unequal.

    Raises:
        Error: A word, a file or a folder is not what it should be.
    """
    what, *files = words or ["all"]
    if what == "compare":
        before, after = _paths("fastft bench compare A B", files, 2)
        comparison = compare(read_results(before), read_results(after))
        show(str(comparison))
        return int(comparison.regressed)
    if what == "report":
        (path,) = _paths("fastft bench report FILE", files, 1)
        for written in _write(read_results(path), output or path.parent, path.stem):
            show(str(written))
        return 0
    _paths(f"fastft bench {what}", files, 0)
    return _run(what, quick, json_file, data, output, show, console)


def _paths(usage: str, files: list[str], number: int) -> list[Path]:
    if len(files) != number:
        raise ArgumentError(
            f"{len(files)} files are named",
            place="fastft bench",
            found=" ".join(files) or "none",
            expected=usage,
        )
    return [Path(file) for file in files]


def _run(
    what: str,
    quick: bool,
    json_file: Path | None,
    data: Path | None,
    output: Path | None,
    show: Callable[[str], None],
    console: Console,
) -> int:
    # Before anything imports the libraries that look at them.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    found = Data.find(data)
    rows = runner.chosen(registry.all_rows(), what)
    from fastft.modeling.quiet import quiet_libraries

    size = "quick" if quick else "full"
    results = Results.open(header(size, found), json_file)
    console.line(f"{len(rows)} rows, {size}; {found}")
    with quiet_libraries(quiet=True):
        sound = runner.run(rows, Context(found, size), results, console.line)
    show(report(results.as_json()))
    if output is not None:
        _write(results.as_json(), output, f"bench-{size}" if json_file is None else json_file.stem)
    return 0 if sound else 1


def header(size: str, data: Data) -> dict[str, Any]:
    """What a result says about its run."""
    return {
        "size": size,
        "data": str(data),
        "machine": machine.machine(),
        "versions": machine.versions(),
        "commit": machine.commit(),
        "command": machine.command(),
        "began": machine.now(),
    }


def listing() -> str:
    """All rows, a line each."""
    rows = registry.all_rows()
    width = max(len(row.name) for row in rows)
    return "\n".join(f"{row.name:<{width}}  {row.title}" for row in rows)


def _write(results: dict[str, Any], folder: Path, stem: str) -> list[Path]:
    """Writes the table, and the page with its plots."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"{stem}.md": report(results), f"{stem}.html": page(results)}
    paths = []
    for name, text in files.items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths
