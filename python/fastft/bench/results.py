"""A result file: JSON, complete after every row, so that a run that was killed goes on.

The schema has a number. A file knows machine, versions and size of its run; a run that goes on
with it has to have the same, because figures of two machines do not belong into one table.
Raw times are kept, a number for each repetition; what is derived from them is derived by readers.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from fastft.errors import ConfigurationError, DamagedFileError, DataNotFoundError

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1
SAME = ("schema", "size", "data", "machine", "versions")
"""What must be equal for a run to go on in a file."""
STATES = ("done", "skipped", "unequal", "failed")


class Results:
    """The rows of a run, in memory and in a file.

    Args:
        header: What the run is: machine, versions, size, command.
        path: The file; without one nothing is written.
    """

    def __init__(self, header: dict[str, Any], path: Path | None = None) -> None:
        self.header = {"schema": SCHEMA, **header}
        self.path = path
        self.rows: list[dict[str, Any]] = []

    @classmethod
    def open(cls, header: dict[str, Any], path: Path | None) -> Results:
        """Begins a file, or goes on with one.

        Raises:
            ConfigurationError: The file is of another machine, size, data or other versions.
            DamagedFileError: It is no result file.
        """
        results = cls(header, path)
        if path is not None and path.exists():
            found = read_results(path)
            results._compare(found)
            results.rows = found["rows"]
            results.header["began"] = found.get("began", results.header.get("began"))
        return results

    def _compare(self, found: dict[str, Any]) -> None:
        mine = json.loads(json.dumps(self.header))
        for name in SAME:
            if found.get(name) != mine.get(name):
                raise ConfigurationError(
                    f"this run cannot go on in a file with another {name}",
                    place=str(self.path),
                    found=json.dumps(found.get(name)),
                    expected=json.dumps(mine.get(name)),
                    fix="give --json another file",
                )

    def has(self, name: str) -> bool:
        """Whether a row is there and needs no second try; failed rows are run again."""
        return any(row["name"] == name and row["state"] in ("done", "unequal") for row in self.rows)

    def add(self, record: dict[str, Any]) -> None:
        """Takes a row, in place of an older one of its name, and saves."""
        self.rows = [row for row in self.rows if row["name"] != record["name"]] + [record]
        self.save()

    def as_json(self) -> dict[str, Any]:
        """All there is, as it is written."""
        return {**self.header, "rows": self.rows}

    def save(self) -> None:
        """Writes the file anew; it is there whole or not at all."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        staged = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        staged.write_text(dumps(self.as_json()), encoding="utf-8")
        staged.replace(self.path)


def dumps(results: dict[str, Any]) -> str:
    """JSON that a diff can show: a row a paragraph, lists of numbers on one line."""
    head = {name: value for name, value in results.items() if name != "rows"}
    rows = ",\n".join(_row(row) for row in results["rows"])
    return f'{json.dumps(head, indent=1)[:-2]},\n "rows": [\n{rows}\n ]\n}}\n'


def _row(row: dict[str, Any]) -> str:
    points = row.get("points", [])
    head = json.dumps({name: value for name, value in row.items() if name != "points"})
    if not points:
        return f"  {head}"
    lines = []
    for point in points:
        variants = ",\n".join(
            f"    {json.dumps(name)}: {json.dumps(value)}"
            for name, value in point["variants"].items()
        )
        rest = json.dumps({key: value for key, value in point.items() if key != "variants"})
        lines.append(f'   {rest[:-1]}, "variants": {{\n{variants}\n   }}}}')
    return f'  {head[:-1]}, "points": [\n' + ",\n".join(lines) + "\n  ]}"


def read_results(path: Path) -> dict[str, Any]:
    """Reads a result file.

    Raises:
        DataNotFoundError: It is not there.
        DamagedFileError: It is no JSON, or no result of ours.
        ConfigurationError: Its schema is another.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataNotFoundError("there is no such result file", place=str(path)) from None
    except (UnicodeDecodeError, ValueError) as error:
        raise DamagedFileError("this is no JSON", place=str(path), found=str(error)) from None
    if not isinstance(found, dict) or not isinstance(found.get("rows"), list):
        raise DamagedFileError(
            "this is no result file", place=str(path), expected="what `fastft bench --json` wrote"
        )
    if found.get("schema") != SCHEMA:
        raise ConfigurationError(
            "this file has a schema that is not known here",
            place=str(path),
            found=repr(found.get("schema")),
            expected=str(SCHEMA),
            fix="use the fastft that wrote it",
        )
    return found
