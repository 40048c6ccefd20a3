"""From files to tokens: reads the data, settles the task, cuts a validation set, tokenises.

With several processes the first one does this and the others receive the arrays, so every rank
trains on the same tokens and nothing is read twice.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastft.data.sources import ReadOptions, Source, Split, open_source
from fastft.data.splits import cut_validation
from fastft.data.token_dataset import TokenDataset
from fastft.errors import ConfigurationError, Error, TokenizerError
from fastft.tasks.registry import task_class
from fastft.training.distributed import broadcast_arrays, broadcast_json, is_main
from fastft.training.plan import DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

    from fastft.console import Console
    from fastft.data.tokenizer import Tokenizer
    from fastft.request import Request
    from fastft.tasks.base import Task

# The share of the training rows that `validation="auto"` holds back when the data has no split.
VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class Prepared:
    """Data that is ready to train on.

    Attributes:
        task: The task, with its columns and labels.
        datasets: Tokens of "train" and, if there is one, "validation".
        description: One line that says how the data was read.
        notes: What the user should know about it.
    """

    task: Task
    datasets: dict[str, TokenDataset]
    description: str
    notes: tuple[str, ...]


def prepare(
    request: Request,
    tokenizer: Tokenizer,
    max_length: int,
    head: PreTrainedConfig,
    device: torch.device,
    console: Console,
) -> Prepared:
    """Prepares the data in the first process and hands it to the others.

    Args:
        request: The job.
        tokenizer: The tokenizer.
        max_length: Rows are cut to this many tokens.
        head: The configuration of the model.
        device: The device of this process.
        console: Where the bars are drawn.

    Raises:
        Error: The data cannot be used; the first process says why, the others that it stopped.
    """
    prepared: Prepared | None = None
    failure: Error | None = None
    if is_main():
        try:
            prepared = _prepare_here(request, tokenizer, max_length, head, console)
        except Error as error:
            failure = error
    shared = broadcast_json(_shared_state(prepared, failure), device)
    if failure is not None:
        raise failure
    if shared["failure"] is not None:
        raise Error("the first process could not prepare the data", found=shared["failure"])
    datasets = {}
    for name in shared["datasets"]:
        arrays = None if prepared is None else prepared.datasets[name].arrays()
        received = broadcast_arrays(arrays, device)
        datasets[name] = (
            TokenDataset.from_arrays(received) if prepared is None else prepared.datasets[name]
        )
    return Prepared(
        task=task_class(request.options["task"]).from_state(shared["task"]),
        datasets=datasets,
        description=shared["description"],
        notes=tuple(shared["notes"]),
    )


def _shared_state(prepared: Prepared | None, failure: Error | None) -> dict[str, Any]:
    if prepared is None:
        return {"failure": failure.problem if failure else None}
    return {
        "failure": None,
        "task": prepared.task.state(),
        "datasets": list(prepared.datasets),
        "description": prepared.description,
        "notes": list(prepared.notes),
    }


def _prepare_here(
    request: Request,
    tokenizer: Tokenizer,
    max_length: int,
    head: PreTrainedConfig,
    console: Console,
) -> Prepared:
    options = request.options
    source = open_source(request.data, read_options(options))
    seed = int(request.training.get("seed", DEFAULTS["seed"]))
    task = task_class(options["task"]).from_source(
        source, options, head, head_is_fixed=request.model_name is None
    )
    splits, notes = _train_and_validation(source, task, options, seed)
    datasets = {
        name: tokenize(split, task, tokenizer, max_length, console)
        for name, split in splits.items()
    }
    cuts = (_truncation_note(name, data, max_length) for name, data in datasets.items())
    all_notes = (*source.notes, *notes, *(note for note in cuts if note))
    return Prepared(task, datasets, source.description, all_notes)


def read_options(options: Mapping[str, Any]) -> ReadOptions:
    """Picks the options that concern reading."""
    return ReadOptions(
        layout=options["layout"],
        quoting=options["quoting"],
        encoding=options["encoding"],
        text_columns=tuple(name for name in (options["text"], options["pair"]) if name),
    )


def tokenize(
    split: Split, task: Task, tokenizer: Tokenizer, max_length: int, console: Console
) -> TokenDataset:
    """Tokenises a split under a progress bar."""
    with console.progress(f"tokenize {split.name}", split.table.num_rows) as progress:
        return task.dataset(split, tokenizer, max_length, progress)


def _train_and_validation(
    source: Source, task: Task, options: Mapping[str, Any], seed: int
) -> tuple[dict[str, Split], list[str]]:
    """Gives the training split and the validation split, cut off when there is none."""
    train, wanted = source.splits["train"], options["validation"]
    notes = []
    if "test" in source.splits:
        notes.append("the test split is left alone; result.evaluate(...) scores on it")
    if "validation" in source.splits and wanted != "auto":
        notes.append("the data's own validation split is left out, as validation= asks")
    if wanted is None or wanted is False:
        return {"train": train}, notes
    if not isinstance(wanted, str | float | int) or _is_path(wanted):
        return {"train": train, "validation": _only_split(wanted, options)}, notes
    if wanted == "auto" and "validation" in source.splits:
        return {"train": train, "validation": source.splits["validation"]}, notes
    share = VALIDATION_SHARE if wanted == "auto" else _share(wanted)
    train, validation = cut_validation(
        train,
        *task.strata(train),
        fraction=share,
        seed=seed,
    )
    notes.append(
        f"validation: {validation.table.num_rows:,} training rows were held back, "
        f"{100 * share:g} % of each label (seed {seed})"
    )
    return {"train": train, "validation": validation}, notes


def _is_path(wanted: Any) -> bool:
    return isinstance(wanted, str) and wanted != "auto"


def _only_split(data: Any, options: Mapping[str, Any]) -> Split:
    """Reads data given for validation alone; a single split is what is meant, whatever its name."""
    from dataclasses import replace

    source = open_source(data, read_options(options), require_train=False)
    name = "validation" if "validation" in source.splits else next(iter(source.splits))
    return replace(source.splits[name], name="validation")


def _share(value: Any) -> float:
    if isinstance(value, bool) or not 0 < value < 1:
        raise ConfigurationError(
            "the validation share is out of range",
            place="argument validation",
            found=repr(value),
            expected="a share between 0 and 1, data, or None",
            fix="pass validation=0.1 for a tenth",
        )
    return float(value)


def _truncation_note(name: str, dataset: TokenDataset, max_length: int) -> str | None:
    rows = dataset.num_truncated_rows
    if not rows:
        return None
    share = 100 * rows / len(dataset)
    lost = 100 * dataset.num_truncated_tokens / (dataset.num_tokens + dataset.num_truncated_tokens)
    return (
        f"{rows:,} of {len(dataset):,} {name} rows ({share:.2g} %) were cut to {max_length} tokens "
        f"and lose {dataset.num_truncated_tokens:,} tokens ({lost:.2g} % of all)"
    )


def ready_tokenizer(hf: PreTrainedTokenizerBase) -> tuple[PreTrainedTokenizerBase, str | None]:
    """Gives a tokenizer that can pad, the user's own one unchanged.

    Returns:
        The tokenizer, and a note when a pad token had to be chosen.

    Raises:
        TokenizerError: It has no special token that could pad.
    """
    if hf.pad_token_id is not None:
        return hf, None
    for name in ("eos_token", "bos_token", "sep_token", "unk_token"):
        token = getattr(hf, name, None)
        if token is not None:
            padded = copy.deepcopy(hf)
            padded.pad_token = token
            return padded, f"the tokenizer has no pad token: {token!r} ({name}) pads"
    raise TokenizerError(
        "the tokenizer has no pad token, and no other special token that could pad",
        place=type(hf).__name__,
        expected="pad_token, eos_token, bos_token, sep_token or unk_token",
        fix="set tokenizer.pad_token to a token of its vocabulary and pass tokenizer=",
    )
