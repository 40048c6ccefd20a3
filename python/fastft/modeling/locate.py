"""Where a model should be, and what to say when it is not there.

The folder is looked at before transformers is asked: its own message names neither what was found
nor what to change.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import constants
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from fastft.errors import ModelNotFoundError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

HUB_ADDRESSES = ("https://huggingface.co/", "https://hf.co/", "http://huggingface.co/")


@contextlib.contextmanager
def missing_files(name: str, needed: tuple[str, ...], files: tuple[str, ...]) -> Iterator[None]:
    """Turns the loader's OSError into one that names the files and the folder searched.

    Args:
        name: A folder, or the name of a model on the hub.
        needed: Files of which a folder must hold one before it is worth asking the loader.
        files: Files that the loader looks for, for the message.

    Raises:
        ModelNotFoundError: There is no such folder, or the loader finds a file missing.
    """
    if Path(name).is_dir():
        _check_folder(Path(name), needed)
    else:
        _check_hub_name(name)
    try:
        yield
    except OSError as error:
        raise _not_found(name, files, error) from error


def first_line(error: BaseException) -> str:
    """Gives the first line of a message of another library, or the name of the exception."""
    lines = str(error).strip().splitlines() or [""]
    # A line that ends in a colon only announces what the next one says.
    text = " ".join(line.strip() for line in lines[: 2 if lines[0].endswith(":") else 1])
    return text if len(text) > 20 else f"{type(error).__name__}: {text}"


def _check_folder(path: Path, needed: tuple[str, ...]) -> None:
    if any((path / file).is_file() for file in needed):
        return
    raise ModelNotFoundError(
        f"the folder holds no {' and no '.join(needed)}",
        place=str(path),
        found=_entries(path) or "nothing",
        expected="config.json, model.safetensors and the tokenizer's files",
        fix="pass the folder that save_pretrained() wrote",
    )


def _check_hub_name(name: str) -> None:
    """Refuses a path that is no folder, and a name that the hub could not have."""
    path = Path(name)
    for address in HUB_ADDRESSES:
        if name.startswith(address):
            raise _no_such_folder(name, "an address", f"pass {name.removeprefix(address)!r}")
    if path.is_file() or name.count("/") > 1 or name.startswith((".", "/", "~")):
        siblings = path.parent.iterdir() if path.parent.is_dir() else ()
        close = nearest(path.name, [entry.name for entry in siblings if entry.is_dir()])
        fix = f"did you mean {path.parent / close[0]}?" if close else "check the path"
        if path.is_file():
            fix = f"pass the folder that holds it: {str(path.parent)!r}"
        raise _no_such_folder(name, "a file" if path.is_file() else "nothing", fix)
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise _no_such_folder(name, f"nothing, and no hub name either: {error}", "") from error


def _no_such_folder(name: str, found: str, fix: str) -> ModelNotFoundError:
    return ModelNotFoundError(
        "there is no such model folder",
        place=repr(name)[1:-1],
        found=found,
        expected="a folder with config.json and model.safetensors, or a hub name",
        fix=fix or "check the spelling",
    )


def _not_found(name: str, files: tuple[str, ...], error: OSError) -> ModelNotFoundError:
    if Path(name).is_dir():
        pickled = any(Path(name).glob("*.bin"))
        return ModelNotFoundError(
            "the model folder is incomplete",
            place=name,
            found=f"{_entries(Path(name))} ({first_line(error)})",
            expected=" or ".join(files),
            fix="convert the pickled weights with save_pretrained()"
            if pickled
            else "save the model again with save_pretrained()",
        )
    searched = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    return ModelNotFoundError(
        "the model is not on this machine and the hub was not reached",
        place=name,
        found=f"no {' and no '.join(files)} in {searched}"
        + (" (HF_HUB_OFFLINE is set)" if offline else ""),
        expected="a folder with config.json, model.safetensors and the tokenizer's files, "
        "or a model in the cache",
        fix=f"on a machine with network run `hf download {name}`, or pass a local folder",
    )


def _entries(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    more = f", … ({len(names)})" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more
