"""Whether a checkpoint can be gone on with: looks at its files, loads none of them.

A run that is killed while it saves, or a disk that fills up, leaves files that are cut short. Here
each file is held against what its own format says: the header of safetensors names the length, a
file of `torch.save` is a zip whose directory stands at the end, JSON must parse. That costs a few
reads of some kilobytes; a flipped bit inside the weights is not found.
"""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

STATE = "trainer_state.json"
# What transformers saves beside the weights unless `save_only_model` is set.
OPTIMIZER, SCHEDULER, SCALER = "optimizer.pt", "scheduler.pt", "scaler.pt"
WEIGHTS = ("model.safetensors", "adapter_model.safetensors")
WEIGHTS_INDEX = "model.safetensors.index.json"

# The greatest header that the safetensors library itself reads.
MAX_HEADER_BYTES = 100_000_000


def checkpoints(folder: Path) -> list[Path]:
    """Lists the checkpoints of a run, the newest by its step first."""
    found = [
        (int(entry.name.rpartition("-")[2]), entry)
        for entry in folder.glob("checkpoint-*")
        if entry.name.rpartition("-")[2].isdecimal() and entry.is_dir()
    ]
    return [entry for _, entry in sorted(found, reverse=True)]


def step_of(checkpoint: Path) -> int:
    """Gives the step after which a checkpoint was written, as its name says."""
    return int(checkpoint.name.rpartition("-")[2])


def find_faults(
    checkpoint: Path,
    *,
    num_ranks: int,
    is_sharded: bool = False,
    has_scaler: bool = False,
    needs_best: bool = False,
) -> list[str]:
    """Looks for what would keep a run from going on exactly.

    Args:
        checkpoint: The folder `checkpoint-<step>`.
        num_ranks: Processes that train; each has a random state of its own.
        is_sharded: Whether FSDP or DeepSpeed saved it, whose files only they know.
        has_scaler: Whether the run trains in fp16, with a scale of the loss.
        needs_best: Whether the best checkpoint is loaded at the end of the run.

    Returns:
        One line for each fault, the file first; empty when the checkpoint is sound.
    """
    state, fault = read_json(checkpoint / STATE)
    faults = [fault] if fault else _state_faults(checkpoint, state)
    if is_sharded:
        return faults
    random_states = (
        ["rng_state.pth"]
        if num_ranks == 1
        else [f"rng_state_{rank}.pth" for rank in range(num_ranks)]
    )
    pickled = [OPTIMIZER, SCHEDULER, *random_states, *([SCALER] if has_scaler else [])]
    if not any((checkpoint / name).exists() for name in pickled):
        faults.append("it holds the model alone (save_only_model=True), no state of the optimizer")
    else:
        found = (_zip_fault(checkpoint / name) for name in pickled)
        faults += [fault for fault in found if fault]
    faults += _weights_faults(checkpoint)
    best = state.get("best_model_checkpoint") if isinstance(state, dict) else None
    if needs_best and isinstance(best, str):
        # The run may have been moved: the best checkpoint is looked for beside this one.
        beside = checkpoint.parent / best.replace("\\", "/").rpartition("/")[2]
        faults += [f"the best checkpoint {beside.name}: {line}" for line in _weights_faults(beside)]
    return faults


def read_json(path: Path) -> tuple[Any, str | None]:
    """Reads a JSON file; gives None and what is wrong when it is torn or missing."""
    fault = _missing(path)
    if fault:
        return None, fault
    try:
        return json.loads(path.read_text(encoding="utf-8")), None
    except (OSError, ValueError) as error:
        return None, f"{path.name} is no JSON ({error})"


def _state_faults(checkpoint: Path, state: Any) -> list[str]:
    step = state.get("global_step") if isinstance(state, dict) else None
    if not isinstance(step, int) or not isinstance(state.get("log_history"), list):
        return [f"{STATE} is not the state of a Trainer"]
    if step != step_of(checkpoint):
        return [f"{STATE} is of step {step}"]
    return []


def _missing(path: Path) -> str | None:
    if not path.is_file():
        return f"{path.name} is missing"
    return None if path.stat().st_size else f"{path.name} is empty"


def _zip_fault(path: Path) -> str | None:
    """Reads the directory of a file of `torch.save`, which is the last thing that is written."""
    fault = _missing(path)
    if fault:
        return fault
    try:
        with zipfile.ZipFile(path) as archive:
            return None if archive.namelist() else f"{path.name} holds nothing"
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        return f"{path.name} is cut short or damaged ({error})"


def _weights_faults(checkpoint: Path) -> list[str]:
    names = [name for name in WEIGHTS if (checkpoint / name).exists()]
    if (checkpoint / WEIGHTS_INDEX).exists():
        index, fault = read_json(checkpoint / WEIGHTS_INDEX)
        shards = index.get("weight_map") if isinstance(index, dict) else None
        if fault or not isinstance(shards, dict):
            return [fault or f"{WEIGHTS_INDEX} names no files"]
        names += sorted({str(name) for name in shards.values()})
    if not names:
        return [f"{WEIGHTS[0]} is missing"]
    found = (_safetensors_fault(checkpoint / name) for name in names)
    return [fault for fault in found if fault]


def _safetensors_fault(path: Path) -> str | None:
    """Holds the length of a safetensors file against the one that its header names."""
    fault = _missing(path)
    if fault:
        return fault
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            if header_bytes > min(size, MAX_HEADER_BYTES):
                return f"{path.name} is cut short or damaged (its header does not fit)"
            header = json.loads(file.read(header_bytes))
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name[:2] != "__"]
        expected = 8 + header_bytes + max(ends, default=0)
    except (OSError, ValueError, AttributeError, KeyError, TypeError, IndexError):
        return f"{path.name} has no readable header"
    if size != expected:
        return f"{path.name} has {size:,} of {expected:,} bytes"
    return None
