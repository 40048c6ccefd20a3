"""Loads a configuration, a tokenizer and a model, and says plainly when one is not there.

Nothing here runs code from a model's repository (`trust_remote_code=False`) and nothing reads
pickled weights (`use_safetensors=True`). Weights are held in float32, whatever the checkpoint
stores: AdamW loses small updates in half precision.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers.utils import logging as transformers_logging

from fastft.errors import ConfigurationError, ModelNotFoundError, TokenizerError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

# The weights of which `from_pretrained` reads one; listed in the message when none is there.
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")


@dataclass(frozen=True)
class LoadedModel:
    """A model and where its weights came from.

    Attributes:
        model: The model, in float32, on the CPU.
        new_weights: Names of the parameters that the checkpoint did not hold and that are
            initialised at random.
        unused_weights: Names in the checkpoint that the model has no place for.
    """

    model: PreTrainedModel
    new_weights: tuple[str, ...]
    unused_weights: tuple[str, ...]


def load_config(name: str) -> PreTrainedConfig:
    """Reads the configuration of a model.

    Args:
        name: A folder, or the name of a model on the hub.

    Raises:
        ModelNotFoundError: Neither the folder nor the cache nor the hub has it.
        ConfigurationError: The architecture is unknown, or needs code from the repository.
    """
    with _missing_files(name, ("config.json",)):
        try:
            return transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
        except (ValueError, KeyError) as error:
            raise ConfigurationError(
                "the installed transformers does not know this model",
                place=name,
                found=_first_line(error),
                expected="an architecture of transformers; code from a repository is never run",
                fix="update transformers, or build the model yourself and pass the object with "
                "tokenizer=",
            ) from error


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Loads the tokenizer that belongs to a model.

    Args:
        name: A folder, or the name of a model on the hub.

    Raises:
        ModelNotFoundError: No tokenizer file was found.
        TokenizerError: The files are there but cannot be read.
    """
    with _missing_files(name, ("tokenizer.json", "tokenizer_config.json")):
        try:
            return transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        except (ValueError, KeyError, TypeError, ImportError) as error:
            raise TokenizerError(
                "the tokenizer cannot be loaded",
                place=name,
                found=_first_line(error),
                expected="a tokenizer.json, or the vocabulary files of a known tokenizer class",
                fix="save a fast tokenizer beside the model (tokenizer.save_pretrained(folder)) "
                "or pass tokenizer=",
            ) from error


def load_model(name: str, auto_class: str, overrides: Mapping[str, Any]) -> LoadedModel:
    """Loads a model with the head of a task.

    Args:
        name: A folder, or the name of a model on the hub.
        auto_class: The name of a transformers Auto class.
        overrides: Configuration values that the task sets, for example `num_labels`.

    Raises:
        ModelNotFoundError: The weights were not found.
        ConfigurationError: The architecture has no head for this task.
    """
    loader = getattr(transformers, auto_class)
    with _missing_files(name, WEIGHT_FILES), quiet_transformers():
        try:
            model, info = loader.from_pretrained(
                name,
                **overrides,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        except ValueError as error:
            raise ConfigurationError(
                f"{auto_class} cannot build this model",
                place=name,
                found=_first_line(error),
                expected="an architecture with a head for the task",
                fix="choose another model or another task=",
            ) from error
    mismatched = [str(key if isinstance(key, str) else key[0]) for key in info["mismatched_keys"]]
    return LoadedModel(
        model=model,
        new_weights=tuple(sorted({*info["missing_keys"], *mismatched})),
        unused_weights=tuple(sorted(info["unexpected_keys"])),
    )


@contextlib.contextmanager
def no_transformers_bars() -> Iterator[None]:
    """Hides the bars that transformers draws while it reads and writes weights."""
    bars_were_on = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars_were_on:
            transformers_logging.enable_progress_bar()


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silences transformers' own load report and bars: the run prints its own."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        with no_transformers_bars():
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)


@contextlib.contextmanager
def _missing_files(name: str, files: tuple[str, ...]) -> Iterator[None]:
    """Turns the loader's OSError into one that names the files and the folder searched."""
    _check_folder(name)
    try:
        yield
    except ModelNotFoundError:
        raise
    except OSError as error:
        raise _not_found(name, files, error) from error


def _check_folder(name: str) -> None:
    """Refuses a path that cannot be a model before the hub is asked for it."""
    path = Path(name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelNotFoundError(
                "the folder holds no config.json",
                place=name,
                found=", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing",
                expected="config.json, model.safetensors and the tokenizer's files",
                fix="pass the folder that save_pretrained() wrote",
            )
    elif path.is_file() or name.count("/") > 1 or name.startswith((".", "/", "~")):
        siblings = path.parent.iterdir() if path.parent.is_dir() else ()
        close = nearest(path.name, [entry.name for entry in siblings if entry.is_dir()])
        raise ModelNotFoundError(
            "there is no such model folder",
            place=name,
            found="a file" if path.is_file() else "nothing",
            expected="a folder with config.json and model.safetensors, or a hub name",
            fix=f"did you mean {path.parent / close[0]}?" if close else "check the path",
        )


def _not_found(name: str, files: tuple[str, ...], error: OSError) -> ModelNotFoundError:
    if Path(name).is_dir():
        present = ", ".join(sorted(entry.name for entry in Path(name).iterdir())[:8])
        pickled = any(Path(name).glob("*.bin"))
        return ModelNotFoundError(
            "the model folder is incomplete",
            place=name,
            found=f"{present} ({_first_line(error)})",
            expected=" or ".join(files),
            fix="convert the pickled weights with save_pretrained()"
            if pickled
            else "save the model again with save_pretrained()",
        )
    searched = Path(_hub_cache()) / f"models--{name.replace('/', '--')}"
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


def _hub_cache() -> str:
    from huggingface_hub import constants

    return str(constants.HF_HUB_CACHE)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
