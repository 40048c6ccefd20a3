"""`run.yaml`: what was asked for, in a form that asks for it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from fastft.errors import DataError

# Where a Python object stood, the file says what to pass instead.
OBJECT_MARK = "PASS THE OBJECT AGAIN"


def run_file_text(call: dict[str, Any], versions: dict[str, str]) -> str:
    """Writes a call of `finetune` as YAML.

    Args:
        call: The arguments of the call, `output_dir` and `resume` left out.
        versions: Versions in use, kept as a comment.

    Returns:
        The text of the file.
    """
    plain = {name: _plain(name, value) for name, value in call.items()}
    objects = [name for name, value in plain.items() if _is_mark(value)]
    head = ["# Runs this job again: fastft train --config run.yaml"]
    if objects:
        head = [
            "# Runs this job again from Python, with the objects that a file cannot hold:",
            "#   fastft.finetune(**{**yaml.safe_load(open('run.yaml')), "
            + ", ".join(f"{name!r}: …" for name in objects)
            + "})",
        ]
    head.append("# " + "  ".join(f"{name} {version}" for name, version in versions.items()))
    body = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    return "\n".join([*head, body])


def read_run_file(path: str | Path) -> dict[str, Any]:
    """Reads the arguments of a call from a YAML file.

    Raises:
        DataError: The file is broken, or is no mapping.
    """
    path = Path(path)
    try:
        call = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(
            "the run file cannot be read",
            place=str(path),
            found=str(error).splitlines()[0],
            expected="YAML: a name and a value a line",
            fix="compare it with the run.yaml of a run that works",
        ) from error
    if not isinstance(call, dict) or not all(isinstance(name, str) for name in call):
        raise DataError(
            "the run file is not a list of names and values",
            place=str(path),
            found=type(call).__name__,
            expected="lines such as `model: bert-base-uncased`",
            fix="compare it with the run.yaml of a run that works",
        )
    return call


def missing_objects(call: dict[str, Any]) -> list[str]:
    """Names the arguments that were Python objects and must be passed again."""
    return [name for name, value in call.items() if _is_mark(value)]


def _is_mark(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(OBJECT_MARK)


def _plain(name: str, value: Any) -> Any:
    """Keeps what YAML can hold; anything else becomes a line that says what to pass."""
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, list | tuple) and all(
        isinstance(item, str | int | float) for item in value
    ):
        return list(value)
    if isinstance(value, dict) and all(
        isinstance(key, str) and isinstance(item, str | int | float | bool | Path)
        for key, item in value.items()
    ):
        return {key: str(item) if isinstance(item, Path) else item for key, item in value.items()}
    return f"{OBJECT_MARK}: {name} was a {type(value).__module__}.{type(value).__qualname__}"
