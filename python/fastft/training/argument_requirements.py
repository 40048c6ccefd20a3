"""What an argument needs beyond its value: a package, a file, a login, several processes.

transformers asks for these when the Trainer is built or later; by then the data has been read and
the run folder is there.
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import huggingface_hub
from huggingface_hub import constants
from transformers.integrations import get_available_reporting_integrations
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from fastft.errors import ConfigurationError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

# argument -> the package that it needs when it is given
PACKAGES = {"deepspeed": "deepspeed", "use_liger_kernel": "liger_kernel"}

# Arguments that may be the path of a JSON file.
CONFIG_FILES = ("accelerator_config", "deepspeed", "fsdp_config")


def check_requirements(arguments: Mapping[str, Any]) -> None:
    """Looks for what the arguments need of this machine; connects nowhere.

    Args:
        arguments: Training arguments under today's names, of the right kinds.

    Raises:
        ConfigurationError: Something is not there.
    """
    for name in CONFIG_FILES:
        _check_config_file(name, arguments.get(name))
    for name, package in PACKAGES.items():
        if arguments.get(name) not in (None, False) and not _is_installed(package):
            _refuse(
                f"{name} needs a package that is not installed",
                name,
                found=f"no package {package}",
                expected=f"the package {package}",
                fix=f"pip install {package.replace('_', '-')}, or remove {name}",
            )
    _check_trackers(arguments.get("report_to"))
    if arguments.get("fsdp") and "WORLD_SIZE" not in os.environ:
        _refuse(
            "fsdp shards a model over several processes",
            "fsdp",
            found="one process",
            expected="a start by torchrun or accelerate",
            fix="torchrun --nproc-per-node 2 -m fastft train ..., or remove fsdp",
        )
    if arguments.get("push_to_hub"):
        _check_hub(arguments.get("hub_token"))
    if arguments.get("torch_compile_backend") or arguments.get("torch_compile_mode"):
        _check_compiler(arguments)


def _check_config_file(name: str, value: Any) -> None:
    if not isinstance(value, str | Path):
        return
    is_inline = str(value).startswith("{")
    try:
        text = str(value) if is_inline else Path(value).read_text(encoding="utf-8")
        fault = None if isinstance(json.loads(text), dict) else "JSON that is no object"
    except (OSError, ValueError) as error:
        fault = str(getattr(error, "strerror", None) or error)
    if fault is not None:
        _refuse(
            f"{name} cannot be read",
            name,
            found=f"{_clip(str(value))}: {fault}",
            expected="a dict, or a file that holds one JSON object",
            fix=f"correct the file, or pass {name} as a dict",
        )


def _clip(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _check_trackers(report_to: Any) -> None:
    trackers = [report_to] if isinstance(report_to, str) else list(report_to or ())
    if trackers in ([], ["all"], ["none"]):
        return
    available = get_available_reporting_integrations()
    for tracker in trackers:
        if tracker not in INTEGRATION_TO_CALLBACK:
            alone = ("all", "none") if len(trackers) == 1 else ()
            close = nearest(str(tracker), [*INTEGRATION_TO_CALLBACK, *alone], count=1)
            _refuse(
                "report_to names no tracker",
                "report_to",
                found=repr(tracker),
                expected="all or none alone, or " + ", ".join(sorted(INTEGRATION_TO_CALLBACK)),
                fix=f"did you mean {close[0]!r}?" if close else 'pass report_to="none"',
            )
        if tracker in available:
            continue
        try:  # the classes say themselves what they lack
            INTEGRATION_TO_CALLBACK[tracker]()
        except (ImportError, RuntimeError) as error:
            _refuse(
                f"the tracker {tracker} cannot be used",
                "report_to",
                found=str(error).splitlines()[0],
                expected="an installed one: " + (", ".join(available) or "there is none"),
                fix=f'install {tracker}, or pass report_to="none"',
            )


def _check_hub(token: Any) -> None:
    is_offline = bool(constants.HF_HUB_OFFLINE)
    if not is_offline and (token or huggingface_hub.get_token()):
        return
    _refuse(
        "push_to_hub needs the Hugging Face hub",
        "push_to_hub",
        found="HF_HUB_OFFLINE is set" if is_offline else "no token",
        expected="a connection and a token that may write",
        fix="unset HF_HUB_OFFLINE, or remove push_to_hub"
        if is_offline
        else "run `hf auth login`, pass hub_token=, or remove push_to_hub",
    )


def _check_compiler(arguments: Mapping[str, Any]) -> None:
    import torch

    known = {"torch_compile_backend": torch.compiler.list_backends(exclude_tags=())}
    if arguments.get("torch_compile_backend") in (None, "inductor"):
        from torch._inductor import list_mode_options

        known["torch_compile_mode"] = list(list_mode_options())
    for name, names in known.items():
        value = arguments.get(name)
        if value is not None and value not in names:
            close = nearest(str(value), names, count=1)
            _refuse(
                f"{name} has no such value",
                name,
                found=repr(value),
                expected=", ".join(names),
                fix=f"did you mean {close[0]!r}?" if close else f"remove {name}",
            )


def _refuse(problem: str, name: str, *, found: str, expected: str, fix: str) -> None:
    raise ConfigurationError(
        problem, place=f"argument {name}", found=found, expected=expected, fix=fix
    )
