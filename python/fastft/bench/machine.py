"""What a result was measured on: processor, memory, versions, load, the command."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    *("fastft", "torch", "transformers", "tokenizers", "accelerate", "numpy", "pyarrow"),
    *("datasets", "tiktoken", "torchdata", "trl", "peft", "setfit", "sentence-transformers"),
    *("triton", "liger-kernel", "cut-cross-entropy", "quack-kernels"),
)
"""Ourselves, what we stand on, and the peers, by their names in the registry."""

FEATURES = (
    *("sse4_2", "avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512_bf16", "amx_bf16"),
    *("asimd", "asimddp", "bf16", "sve"),
)
"""What a kernel may depend on."""


def now() -> str:
    """The time of day in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def load() -> float | None:
    """How many processes wanted a core in the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def machine() -> dict[str, Any]:
    """Describes this machine; what cannot be found out is left out."""
    found: dict[str, Any] = {
        "system": platform.system(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cores": _cores(),
    }
    facts = _cpu_facts()
    if facts:
        found["cpu"] = facts.get("model name", facts.get("CPU part", platform.processor()))
        found["cpu_features"] = cpu_features()
        if "cache size" in facts:
            found["cpu_cache"] = facts["cache size"]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found["memory_gb"] = round(
            os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1
        )
    return {**found, **_gpu()}


def cpu_features() -> list[str]:
    """Which of `FEATURES` the processor has; none where the system does not say."""
    facts = _cpu_facts()
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    return [name for name in FEATURES if name in flags]


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _cpu_facts() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _gpu() -> dict[str, Any]:
    import torch

    if not torch.cuda.is_available():
        return {}
    return {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}


def versions() -> dict[str, str]:
    """The versions of all packages of `PACKAGES` that are installed, and of Python."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The commit of the checkout that this package lies in, with "+" when files are changed."""
    folder = Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        if git("ls-files", Path(__file__).name) == "":
            return None
        changed = git("status", "--porcelain", "--untracked-files=no", ".")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def command() -> str:
    """The words of this call, without the folders of interpreter and script.

    A package that runs as a module is there as its `__main__.py`.
    """
    script = Path(sys.argv[0])
    name = f"python -m {script.parent.name}" if script.name == "__main__.py" else script.name
    return " ".join([name, *sys.argv[1:]])
