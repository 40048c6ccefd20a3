"""Which run a call goes on with, and from which checkpoint: decided before anything is written.

A resumed run ends like one that was never interrupted, or it does not start: the call must ask for
the same numbers as the run did, and the checkpoint must be whole.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.errors import ConfigurationError, Error
from fastft.training.checkpoint import STATE, checkpoints, find_faults, read_json, step_of
from fastft.training.differences import Difference, differences
from fastft.training.division import accumulation_of, processes
from fastft.training.fingerprint import FINGERPRINT, VERSION
from fastft.training.output import is_finished, is_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastft.training.arguments import TrainingArguments


@dataclass(frozen=True)
class Resume:
    """What was decided; plain values, so that the first process can send it to the others.

    Attributes:
        output_dir: The folder of the run.
        checkpoint: The checkpoint that it goes on from; None to start from the beginning.
        damaged: Newer checkpoints that cannot be used.
        notes: What the user should know.
        refused: An interrupted run that the call does not fit, as the parts of an `Error`.
        accumulation: The `gradient_accumulation_steps` with which this number of processes takes
            the steps of the run; to be decided once more with it. None where nothing changes.
    """

    output_dir: str
    checkpoint: str | None = None
    damaged: Sequence[str] = ()
    notes: Sequence[str] = ()
    refused: Mapping[str, str] | None = None
    accumulation: int | None = None

    def warnings(self) -> list[Error]:
        """Names the interrupted run that is not gone on with."""
        return [] if self.refused is None else [ConfigurationError(**self.refused)]


@dataclass(frozen=True)
class Resumption:
    """What a call brings along when it looks for a run to go on with.

    Attributes:
        fingerprint: The fingerprint of the call.
        has_scaler: Whether it trains in fp16.
        needs_best: Whether the best checkpoint is loaded at its end.
        is_sharded: Whether FSDP or DeepSpeed writes its checkpoints.
    """

    fingerprint: Mapping[str, Any]
    has_scaler: bool = False
    needs_best: bool = False
    is_sharded: bool = False

    @classmethod
    def of(cls, fingerprint: Mapping[str, Any], arguments: TrainingArguments) -> Resumption:
        """Picks from the training arguments what decides which files a checkpoint needs."""
        launched = (os.environ.get(f"ACCELERATE_USE_{name}") for name in ("FSDP", "DEEPSPEED"))
        return cls(
            fingerprint,
            has_scaler=bool(arguments.fp16),
            needs_best=bool(arguments.load_best_model_at_end),
            is_sharded=bool(arguments.fsdp or arguments.deepspeed)
            or any(value == "true" for value in launched),
        )

    @property
    def total_steps(self) -> int:
        """Optimizer steps that the call asks for."""
        return int(self.fingerprint["length"]["total_steps"])

    def in_folder(self, folder: Path) -> Resume:
        """Goes on with the run in the folder that the user named.

        Raises:
            ConfigurationError: The run is finished, is another one, has done more steps than are
                asked for, or has no checkpoint that is whole.
        """
        found = checkpoints(folder)
        # The state is written last: without it a save was cut off, which never was a checkpoint.
        has_checkpoint = any((checkpoint / STATE).exists() for checkpoint in found)
        if is_finished(folder) and not has_checkpoint:
            raise _finished(folder, "a finished run")
        if not found:
            return _from_the_beginning(folder, found)
        run, fault = read_fingerprint(folder)
        if run is None:
            raise _unknown(folder, str(fault))
        if not has_checkpoint:
            return _from_the_beginning(folder, found)
        accumulation = self._other_accumulation(run)
        if accumulation is not None:
            return Resume(str(folder), accumulation=accumulation)
        different = differences(self.fingerprint, run)
        if different:
            raise ConfigurationError(**_refusal(folder, different))
        self._refuse_finished(folder, run, step_of(found[0]))
        return self._from_newest(folder, found, run)

    def among(self, folders: Sequence[Path], fresh: Path) -> Resume:
        """Goes on with the newest interrupted run that the call fits, or starts a new one.

        Args:
            folders: Runs of this model and data by their names, the newest first.
            fresh: The folder of a new run.
        """
        refused: dict[str, str] | None = None
        for folder in map(Path.absolute, folders):
            if is_finished(folder):
                continue
            run, fault = read_fingerprint(folder)
            if run is not None and self._divides_anew(run):
                return self.in_folder(folder)
            different = [] if run is None else differences(self.fingerprint, run)
            if run is not None and not different:
                return self.in_folder(folder)
            if refused is None and checkpoints(folder):
                refused = (
                    _parts(_unknown(folder, str(fault)))
                    if run is None
                    else _refusal(folder, different)
                )
        if refused is not None:
            refused["problem"] += "; a new run begins"
        return Resume(str(fresh), refused=refused)

    def _divides_anew(self, run: Mapping[str, Any]) -> bool:
        try:
            return self._other_accumulation(run) is not None
        except ConfigurationError:  # the steps cannot be divided: one of the differences
            return False

    def _other_accumulation(self, run: Mapping[str, Any]) -> int | None:
        return accumulation_of(run["division"], self.fingerprint["division"])

    def _refuse_finished(self, folder: Path, run: Mapping[str, Any], done: int) -> None:
        planned = int(run["length"]["total_steps"])
        if is_finished(folder) and (done < planned or self.total_steps <= done):
            raise _finished(folder, f"{done:,} of {planned:,} steps done")

    def _from_newest(self, folder: Path, found: Sequence[Path], run: Mapping[str, Any]) -> Resume:
        faults = {}
        for checkpoint in found:
            lines = self._faults(checkpoint, run["division"]["num_ranks"])
            if not lines:
                break
            faults[checkpoint] = "; ".join(lines)
        else:
            raise _all_damaged(folder, faults)
        done = step_of(checkpoint)
        if done > self.total_steps:
            raise _too_short(folder, done, self.fingerprint["length"])
        notes = [
            f"{damaged.name} cannot be used: {why}. It is set aside as {_aside(damaged).name}, "
            f"and {checkpoint.name} is gone on from"
            for damaged, why in faults.items()
        ]
        return Resume(
            str(folder),
            checkpoint=str(checkpoint),
            damaged=[str(damaged) for damaged in faults],
            notes=[*notes, *self._other_notes(run)],
        )

    def _faults(self, checkpoint: Path, num_ranks: int) -> list[str]:
        return find_faults(
            checkpoint,
            num_ranks=num_ranks,
            is_sharded=self.is_sharded,
            has_scaler=self.has_scaler,
            needs_best=self.needs_best,
        )

    def _other_notes(self, run: Mapping[str, Any]) -> list[str]:
        notes = []
        planned = int(run["length"]["total_steps"])
        if planned != self.total_steps:
            notes.append(
                f"the run was planned for {planned:,} steps and now has {self.total_steps:,}"
            )
        ours, theirs = self.fingerprint["division"], run["division"]
        if ours != theirs:
            notes.append(
                f"the run began on {processes(theirs['num_ranks'])} and goes on on "
                f"{processes(ours['num_ranks'])}, with gradient_accumulation_steps="
                f"{ours['gradient_accumulation_steps']}: the same batches and steps; dropout "
                "draws other numbers"
            )
        ours, theirs = self.fingerprint["versions"], run.get("versions", {})
        changed = [
            f"{name} {theirs[name]}" for name in ours if theirs.get(name, ours[name]) != ours[name]
        ]
        if changed:
            notes.append(f"the run began with {', '.join(changed)}: its last digits may differ")
        return notes


def _from_the_beginning(folder: Path, cut_off: Sequence[Path]) -> Resume:
    why = "the run in it has no checkpoint yet" if is_run(folder) else "no run in it"
    notes = [f"nothing to go on with in {folder.name}/ ({why}): starts from the beginning"]
    for checkpoint in cut_off:
        aside = _aside(checkpoint).name
        notes.append(f"{checkpoint.name} was never completed and is set aside as {aside}")
    return Resume(str(folder), damaged=[str(path) for path in cut_off], notes=notes)


def refuse_resume_from_checkpoint(training: Mapping[str, Any]) -> None:
    """Refuses transformers' argument, which its Trainer does not read.

    Raises:
        ConfigurationError: It is given.
    """
    value = training.get("resume_from_checkpoint")
    if value is None or value is False:
        return
    raise ConfigurationError(
        "finetune looks for the checkpoint itself",
        place="argument resume_from_checkpoint",
        found=repr(value),
        expected='resume="auto", with output_dir= naming the folder of the interrupted run',
        fix="pass these two; a model to start from afresh is passed as the model",
    )


def read_fingerprint(folder: Path) -> tuple[dict[str, Any] | None, str | None]:
    """Reads the fingerprint of a run; gives None and why when it cannot be compared."""
    value, fault = read_json(folder / FINGERPRINT)
    if fault is not None:
        return None, fault
    parts = ("settings", "division", "length", "data", "model")
    if not isinstance(value, dict) or not all(isinstance(value.get(part), dict) for part in parts):
        return None, f"{FINGERPRINT} is not that of a run"
    if not isinstance(value["length"].get("total_steps"), int):
        return None, f"{FINGERPRINT} names no number of steps"
    if value.get("version") != VERSION:
        return None, f"{FINGERPRINT} is of version {value.get('version')!r}, not {VERSION}"
    return value, None


def set_aside(damaged: Sequence[str]) -> None:
    """Renames damaged checkpoints, so that none of them passes for the newest one again."""
    for name in damaged:
        checkpoint = Path(name)
        checkpoint.rename(_aside(checkpoint))


def _aside(checkpoint: Path) -> Path:
    names = [
        f"damaged-{checkpoint.name}",
        *(f"damaged-{n}-{checkpoint.name}" for n in range(2, 99)),
    ]
    free = (checkpoint.with_name(name) for name in names)
    return next(path for path in free if not path.exists())


# -- refusals ------------------------------------------------------------------------------------


def _refusal(folder: Path, different: Sequence[Difference]) -> dict[str, str]:
    return {
        "problem": "the interrupted run was another one",
        "place": str(folder),
        "found": "; ".join(f"{one.name}: {one.found}" for one in different),
        "expected": "; ".join(f"{one.name}: {one.expected}" for one in different),
        "fix": "pass what is expected to go on with that run, or resume=False and another "
        "output_dir= for a new one",
    }


def _unknown(folder: Path, fault: str) -> ConfigurationError:
    return ConfigurationError(
        "the folder has checkpoints, but nothing that says which run made them",
        place=str(folder),
        found=fault,
        expected=f"{FINGERPRINT}, which fastft writes before the first step",
        fix="start a new run in another folder; a checkpoint can be its model",
    )


def _finished(folder: Path, found: str) -> ConfigurationError:
    return ConfigurationError(
        "the run in the folder is finished, there is nothing to go on with",
        place=f"argument output_dir={str(folder)!r}",
        found=found,
        expected="an interrupted run",
        fix="name another folder; to train longer, pass this one as the model",
    )


def _too_short(folder: Path, done: int, length: Mapping[str, Any]) -> ConfigurationError:
    return ConfigurationError(
        "the run has already done more steps than are asked for",
        place=f"argument {length['argument']}",
        found=f"{length['value']} ({length['total_steps']:,} steps), {done:,} steps done",
        expected=f"at least {done:,} steps",
        fix=f"raise {length['argument']}, or name another folder for a shorter run",
    )


def _all_damaged(folder: Path, faults: Mapping[Path, str]) -> ConfigurationError:
    return ConfigurationError(
        "no checkpoint of the run can be gone on from",
        place=str(folder),
        found="; ".join(f"{checkpoint.name}: {why}" for checkpoint, why in faults.items()),
        expected="a checkpoint with all its files",
        fix="restore one, or start a new run with resume=False and another output_dir=",
    )


def _parts(error: ConfigurationError) -> dict[str, str]:
    names = ("problem", "place", "found", "expected", "fix")
    return {name: getattr(error, name) for name in names if getattr(error, name)}
