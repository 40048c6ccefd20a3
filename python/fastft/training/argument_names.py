"""Old names of training arguments: what they are called today, and the nearest name of a typo.

transformers renames and removes arguments between versions; scripts and tutorials keep the old
names for years. A rule here applies only where the installed version does not know the old name
itself, so nothing is translated that still works.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastft.errors import ArgumentError, ConfigurationError, nearest
from fastft.training.argument_values import RULES, plain_value

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

# old name -> new name, the value unchanged
RENAMED = {
    "batch_size": "per_device_train_batch_size",
    "epochs": "num_train_epochs",
    "eval_batch_size": "per_device_eval_batch_size",
    "evaluation_strategy": "eval_strategy",
    "lr": "learning_rate",
    "no_cuda": "use_cpu",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "train_batch_size": "per_device_train_batch_size",
}

# old name -> why it does nothing any more
WITHOUT_EFFECT = {
    "fp16_backend": "torch chooses the backend of mixed precision",
    "fp16_opt_level": "it belonged to apex, which is gone",
    "half_precision_backend": "torch chooses the backend of mixed precision",
    "include_tokens_per_second": "pass include_num_input_tokens_seen=True instead",
    "jit_mode_eval": "torch.jit is no longer used in evaluation",
    "logging_dir": "set TENSORBOARD_LOGGING_DIR in the environment and report_to='tensorboard'",
    "overwrite_output_dir": "a finished run is never written over",
    "save_safetensors": "weights are always saved as safetensors",
    "tpu_num_cores": "the launcher decides the number of processes",
    "use_ipex": "torch holds these optimisations itself",
    "use_mps_device": "an Apple GPU is used when there is one",
}


def _ratio_to_steps(value: Any) -> tuple[str, Any]:
    is_share = RULES["learning_rate"].accepts(value) and value < 1
    if not is_share:
        raise ConfigurationError(
            "the warm-up ratio is a share of all steps",
            place="argument warmup_ratio",
            found=repr(value),
            expected="a number from 0 up to, not including, 1",
            fix="pass warmup_steps=<number> for a fixed number of steps",
        )
    return "warmup_steps", float(value)


def _by_length(value: Any) -> tuple[str, Any]:
    is_asked = _flag("group_by_length", value)
    return "train_sampling_strategy", "group_by_length" if is_asked else "random"


def _with_inputs(value: Any) -> tuple[str, Any]:
    is_asked = _flag("include_inputs_for_metrics", value)
    return "include_for_metrics", ["inputs"] if is_asked else []


def _flag(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ConfigurationError(
        f"{name} has a value of the wrong kind",
        place=f"argument {name}",
        found=repr(value),
        expected="True or False",
        fix=f"pass {name}=True, or leave it out",
    )


# old name -> the new name and value that it stands for
TRANSLATED: dict[str, Callable[[Any], tuple[str, Any]]] = {
    "group_by_length": _by_length,
    "include_inputs_for_metrics": _with_inputs,
    "warmup_ratio": _ratio_to_steps,
}


def modern_arguments(
    given: Mapping[str, Any], known: Collection[str]
) -> tuple[dict[str, Any], list[str]]:
    """Translates old argument names and refuses unknown ones; numpy numbers become Python's.

    Args:
        given: Names and values as the user wrote them.
        known: The names that the installed version takes.

    Returns:
        The arguments under today's names, and one note for every name that was changed.

    Raises:
        ArgumentError: A name is unknown, or an old name and its new one are both given.

    Example:
        >>> modern_arguments({"epochs": 2}, {"num_train_epochs"})
        ({'num_train_epochs': 2}, ['epochs is called num_train_epochs now'])
    """
    arguments: dict[str, Any] = {}
    notes: list[str] = []
    for name, value in given.items():
        new_name, new_value, note = _modern(name, plain_value(name, value), known)
        if note:
            notes.append(note)
        if new_name is None:
            continue
        if new_name in arguments or (new_name != name and new_name in given):
            raise ArgumentError(
                f"{new_name} is given twice",
                place=f"argument {name}",
                expected=f"{new_name} alone: {name} is its old name",
                fix=f"remove {name}",
            )
        arguments[new_name] = plain_value(new_name, new_value)
    return arguments, notes


def _modern(name: str, value: Any, known: Collection[str]) -> tuple[str | None, Any, str | None]:
    if name in known:
        return name, value, None
    if name in RENAMED:
        return RENAMED[name], value, f"{name} is called {RENAMED[name]} now"
    if name in TRANSLATED:
        new_name, new_value = TRANSLATED[name](value)
        return new_name, new_value, f"{name}={value!r} is written {new_name}={new_value!r} now"
    if name in WITHOUT_EFFECT:
        return None, None, f"{name} has no effect: {WITHOUT_EFFECT[name]}"
    close = nearest(name, [*known, *RENAMED, *TRANSLATED])
    raise ArgumentError(
        f"there is no argument {name!r}",
        place=f"argument {name}",
        expected="an argument of fastft or of transformers.TrainingArguments",
        fix=f"did you mean {' or '.join(close)}?" if close else "see `fastft train --help`",
    )
