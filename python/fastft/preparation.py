"""From files to tokens: reads the data, settles the task, cuts a validation set, tokenises.

With several processes the first one does this and the others receive the arrays, so every rank
trains on the same tokens and nothing is read twice.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.data.sources import ReadOptions, Source, Split, open_source
from fastft.data.token_dataset import TokenDataset
from fastft.errors import ConfigurationError, TokenizerError
from fastft.tasks.base import TaskData
from fastft.tasks.registry import choose_task, task_class, task_options
from fastft.tasks.supervision import lost_text, percent
from fastft.training.distributed import broadcast_arrays
from fastft.training.first_process import from_first_process
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

# The tasks that read plain text as documents, and the models that are made for them.
DOCUMENT_TASKS = ("causal-lm", "masked-lm")
LANGUAGE_MODELS = ("ForCausalLM", "LMHeadModel", "ForMaskedLM")


@dataclass(frozen=True)
class Prepared:
    """Data that is ready to train on.

    Attributes:
        task: The task, with its columns and labels.
        data: Tokens of "train" and, if there is one, "validation", and what they are scored on.
        description: One line that says how the data was read.
        notes: What the user should know about it.
    """

    task: Task
    data: dict[str, TaskData]
    description: str
    notes: tuple[str, ...]

    @property
    def datasets(self) -> dict[str, TokenDataset]:
        """The tokens of each split."""
        return {name: data.dataset for name, data in self.data.items()}


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

    def here() -> dict[str, Any]:
        nonlocal prepared
        prepared = _prepare_here(request, tokenizer, max_length, head, console)
        return _shared_state(prepared)

    shared = from_first_process(
        here, device, problem="the first process could not prepare the data"
    )
    data = {}
    for name in shared["splits"]:
        arrays = None if prepared is None else prepared.data[name].dataset.arrays()
        received = broadcast_arrays(arrays, device)
        data[name] = (
            TaskData(TokenDataset.from_arrays(received))
            if prepared is None
            else prepared.data[name]
        )
    return Prepared(
        task=task_class(shared["name"]).from_state(shared["task"]),
        data=data,
        description=shared["description"],
        notes=tuple(shared["notes"]),
    )


def _shared_state(prepared: Prepared) -> dict[str, Any]:
    return {
        "name": prepared.task.name,
        "task": prepared.task.state(),
        "splits": list(prepared.data),
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
    architecture = _architecture(request, head)
    options = {**request.all_options, "documents": _documents(request, architecture)}
    source = open_source(request.data, read_options(options))
    seed = int(request.training.get("seed", DEFAULTS["seed"]))
    name, reason = _task_name(request, source, head, architecture)
    task = task_class(name).from_source(
        source,
        {**options, **task_options(name, request.task_options)},
        head,
        head_is_fixed=request.model_name is None,
    )
    splits, notes = _train_and_validation(source, task, options, seed)
    data = {
        name: task_data(split, task, tokenizer, max_length, console)
        for name, split in splits.items()
    }
    task_notes = [note for part in data.values() for note in part.notes]
    cuts = (_truncation_note(name, part.dataset, max_length) for name, part in data.items())
    all_notes = (*reason, *source.notes, *notes, *task_notes, *(note for note in cuts if note))
    return Prepared(task, data, source.description, all_notes)


def _architecture(request: Request, head: PreTrainedConfig) -> str:
    """Gives the class of the model, as far as it is known before it is loaded."""
    if request.model_name is None:
        return type(request.model).__name__
    return str((getattr(head, "architectures", None) or [""])[0])


def _documents(request: Request, architecture: str) -> str | None:
    """Says what a document of plain text is; None where text files are lines with labels.

    A language model reads documents. Where no task is named, `corpus.txt` and `data/train.txt` can
    mean nothing else; `data/train/0.txt` stays a file of a label.
    """
    given, task = request.task_options.get("documents"), request.options["task"]
    if given is not None or task in DOCUMENT_TASKS:
        return given or "auto"
    if task != "auto" or not architecture.endswith(LANGUAGE_MODELS):
        return None
    if isinstance(request.data, list):
        return "auto" if request.data and isinstance(request.data[0], str) else None
    if not isinstance(request.data, str | Path):
        return None
    path = Path(request.data).expanduser()
    return "auto" if path.suffix == ".txt" or (path / "train.txt").is_file() else None


def _task_name(
    request: Request, source: Source, head: PreTrainedConfig, architecture: str
) -> tuple[str, tuple[str, ...]]:
    """Gives the name of the task, and a note on the reason where it was not given."""
    given = request.options["task"]
    if given != "auto":
        return given, ()
    name, reason = choose_task(
        source.splits["train"].table.column_names,
        request.options,
        architecture,
        encoder_decoder=bool(getattr(head, "is_encoder_decoder", False)),
    )
    return name, (f"task: {name}, because of {reason}; task= names another",)


def read_options(options: Mapping[str, Any]) -> ReadOptions:
    """Picks the options that concern reading."""
    source, target = options.get("source"), options.get("target")
    return ReadOptions(
        parallel=(source, target) if source and target else None,
        documents=options.get("documents"),
        layout=options["layout"],
        quoting=options["quoting"],
        encoding=options["encoding"],
        text_columns=tuple(
            options[name] for name in ("text", "pair", "source", "target") if options.get(name)
        ),
    )


def task_data(
    split: Split, task: Task, tokenizer: Tokenizer, max_length: int, console: Console
) -> TaskData:
    """Tokenises a split under a progress bar."""
    with console.progress(f"tokenize {split.name}", split.table.num_rows) as progress:
        return task.data(split, tokenizer, max_length, progress)


def _train_and_validation(
    source: Source, task: Task, options: Mapping[str, Any], seed: int
) -> tuple[dict[str, Split], list[str]]:
    """Gives the training split and the validation split, cut off when there is none."""
    train, wanted = source.splits["train"], _number_or_data(options["validation"])
    notes = []
    if "test" in source.splits:
        notes.append("the test split is left alone; result.evaluate(...) scores on it")
    if "validation" in source.splits and wanted != "auto":
        notes.append("the data's own validation split is left out, as validation= asks")
    if wanted is None or wanted is False:
        return {"train": train}, notes
    if not isinstance(wanted, str | Real) or _is_path(wanted):
        return {"train": train, "validation": _only_split(wanted, options)}, notes
    if wanted == "auto" and "validation" in source.splits:
        return {"train": train, "validation": source.splits["validation"]}, notes
    share = VALIDATION_SHARE if wanted == "auto" else _share(wanted)
    train, validation = task.hold_out(train, fraction=share, seed=seed)
    held_back = validation.table.num_rows
    rows = (
        f"{held_back:,} training rows were" if held_back > 1 else "a part of the training data was"
    )
    notes.append(f"validation: {rows} held back, {100 * share:g} % (seed {seed})")
    return {"train": train, "validation": validation}, notes


def _number_or_data(wanted: Any) -> Any:
    """Gives a share that was written as text as a number; no file is called 0.1."""
    if isinstance(wanted, str) and wanted.strip().lower() in ("none", "false", "no", "off"):
        raise ConfigurationError(
            "validation is a word, not data",
            place="argument validation",
            found=repr(wanted),
            expected='"auto", a share between 0 and 1, data, or None',
            fix="pass validation=None to train without a validation split",
        )
    try:
        return float(wanted) if isinstance(wanted, str) else wanted
    except ValueError:
        return wanted


def _is_path(wanted: Any) -> bool:
    return isinstance(wanted, str) and wanted != "auto"


def _only_split(data: Any, options: Mapping[str, Any]) -> Split:
    """Reads data given for validation alone; a single split is what is meant, whatever its name."""
    from dataclasses import replace

    source = open_source(data, read_options(options), require_train=False, argument="validation")
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
    return (
        f"{rows:,} of {len(dataset):,} {name} rows ({percent(share)}) were cut to {max_length} "
        f"tokens and lose {lost_text(dataset, dataset.num_tokens)}"
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
