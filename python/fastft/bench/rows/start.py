"""What a call costs before it does anything: imports and help, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from fastft.bench.row import Case, Context, Row, Variant, absent, demand, limit, ours

if TYPE_CHECKING:
    from collections.abc import Iterable


def rows() -> list[Row]:
    """An import, and the first page of help."""
    settings: dict[str, Any] = {"clock": "wall", "threads": None, "seconds": (0, 0)}
    return [
        Row("train/start/import", "import in a new process", _imports, **settings),
        Row("train/start/help", "the help of the command in a new process", _helps, **settings),
    ]


def run(*words: str) -> str:
    """What a new interpreter prints."""
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
    return done.stdout


def _imports(context: Context) -> Iterable[Case]:
    def check() -> str:
        code = "import sys, fastft; print({'torch', 'numpy', 'pyarrow'} & set(sys.modules))"
        demand(run("-c", code).strip() == "set()", "import fastft imports something heavy")
        return "neither torch nor numpy nor pyarrow is imported"

    names = ("transformers", "torch", "datasets")
    peers = [name for name in names if absent(name) is None]
    yield Case(
        [
            ours(partial(run, "-c", "import fastft")),
            *(Variant(f"import {name}", partial(run, "-c", f"import {name}")) for name in peers),
            limit("bare Python", partial(run, "-c", "pass")),
        ],
        check,
        absent={name: f"{name} is not installed" for name in names if name not in peers},
    )


def _helps(context: Context) -> Iterable[Case]:
    def check() -> str:
        demand("train" in run("-m", "fastft", "--help"), "no help is shown")
        return "help is shown"

    transformers = "import sys; sys.argv = ['transformers', '--help']\nfrom transformers.cli.transformers import main\ntry: main()\nexcept SystemExit: pass"  # noqa: E501
    case = Case(
        [
            ours(partial(run, "-m", "fastft", "--help")),
            limit("bare Python", partial(run, "-c", "pass")),
        ],
        check,
    )
    for name, words in (("transformers --help", ("-c", transformers)),):
        try:
            run(*words)
        except subprocess.CalledProcessError as error:
            case.absent[name] = (error.stderr.strip().splitlines() or ["it failed"])[-1]
        else:
            case.variants.insert(1, Variant(name, partial(run, *words)))
    yield case
