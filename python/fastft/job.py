"""A job: everything of a run that comes before its first step.

`prepare` does what can fail because of what the user passed: it reads the data, loads the model,
makes the plan, looks at the disk. It writes nothing. `fastft.run` then trains.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import accelerate
import transformers
from transformers import PreTrainedModel

from fastft import checks
from fastft.data.tokenizer import Tokenizer
from fastft.errors import ConfigurationError
from fastft.modeling.freeze import choose_trainable
from fastft.modeling.load import (
    LoadedModel,
    load_config,
    load_model,
    load_tokenizer,
)
from fastft.modeling.structure import count_parameters, describe_model
from fastft.preparation import Prepared, prepare, ready_tokenizer
from fastft.training.arguments import TrainingArguments
from fastft.training.distributed import broadcast_json, is_main
from fastft.training.output import (
    check_disk_space,
    check_writable,
    checkpoint_to_resume,
    choose_output_dir,
)
from fastft.training.plan import (
    Sizes,
    default_max_length,
    max_positions,
    num_ranks,
    resolve_arguments,
    total_steps,
)
from fastft.training.timing import Timing

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig

    from fastft.console import Console
    from fastft.request import Request


class Job:
    """A run.

    Args:
        request: What was asked for.
        console: Where the run says what it does.
        timing: Stop-watches that started when the run was asked for.
    """

    request: Request
    config: PreTrainedConfig
    tokenizer: Tokenizer
    prepared: Prepared
    loaded: LoadedModel
    plan: dict[str, Any]
    arguments: dict[str, Any]
    training_arguments: TrainingArguments
    output_dir: Path

    def __init__(self, request: Request, console: Console, timing: Timing | None = None) -> None:
        self.request = request
        self.console = console
        self.timing = timing or Timing()
        self.warnings: list[str] = []
        self.checkpoint: Path | None = None

    # -- before training ---------------------------------------------------------------------

    def prepare(self) -> None:
        """Does everything that comes before the first step; writes nothing.

        Raises:
            Error: The run cannot start as asked.
        """
        for note in self.request.notes:
            self.console.note(note)
        self._start_device()
        self._choose_output_dir()
        self._load_tokenizer()
        self._prepare_data()
        self._make_plan()
        self._load_model()
        self._check_run()

    def _start_device(self) -> None:
        """Joins the process group of torchrun, if there is one, and finds the device."""
        training = self.request.training
        seconds = int(training.get("ddp_timeout", 1800))
        state = accelerate.PartialState(
            cpu=bool(training.get("use_cpu", False)), timeout=timedelta(seconds=seconds)
        )
        self.device: torch.device = state.device
        checks.check_precision(training, self.device)

    def _choose_output_dir(self) -> None:
        chosen: str | None = None
        failure: ConfigurationError | None = None
        if is_main():
            request = self.request
            try:
                chosen = str(
                    choose_output_dir(
                        request.options["output_dir"],
                        request.short_model,
                        request.short_data,
                        resume=request.options["resume"],
                    )
                )
            except ConfigurationError as error:
                failure = error
        chosen = broadcast_json(chosen, self.device)
        if chosen is None:
            raise failure or ConfigurationError("the first process could not choose a folder")
        self.output_dir = Path(chosen)
        check_writable(self.output_dir)

    def _load_tokenizer(self) -> None:
        name, given = self.request.model_name, self.request.options["tokenizer"]
        self.config = load_config(name) if name else _model_object(self.request.model).config
        given = name if given is None else given
        if given is None:
            raise ConfigurationError(
                "a model that is an object needs its tokenizer",
                place="argument tokenizer",
                found="None",
                expected="the tokenizer of the model, or its name",
                fix="pass tokenizer=AutoTokenizer.from_pretrained(...)",
            )
        hf = load_tokenizer(str(given)) if isinstance(given, str | Path) else given
        hf, self._pad_note = ready_tokenizer(hf)
        self.tokenizer = Tokenizer.from_hf(hf)

    def _prepare_data(self) -> None:
        self.max_length = self._chosen_max_length()
        self.prepared = prepare(
            self.request,
            self.tokenizer,
            self.max_length,
            self.config,
            self.device,
            self.console,
        )
        sizes = {name: f"{len(data):,}" for name, data in self.prepared.datasets.items()}
        self.console.line("data  " + self.prepared.description)
        self.console.detail("  ".join(f"{name} {size} rows" for name, size in sizes.items()))
        for note in self.prepared.notes:
            self.console.note(note)
        self.console.detail(f"tokenizer: {self.tokenizer.explain()}")

    def _chosen_max_length(self) -> int:
        hf, options = self.tokenizer.hf, self.request.options
        max_length = options["max_length"]
        if max_length == "auto":
            max_length = default_max_length(self.config, hf)
        num_special = hf.num_special_tokens_to_add(pair=options["pair"] is not None)
        positions = max_positions(self.config, hf)
        return checks.check_max_length(max_length, positions, num_special)

    def _make_plan(self) -> None:
        options, training = self.request.options, self.request.training
        datasets = self.prepared.datasets
        sizes = Sizes(len(datasets["train"]), "validation" in datasets, num_ranks())
        checks.check_evaluation(training, options["early_stopping"], sizes.has_validation)
        self.arguments = resolve_arguments(
            training,
            train=options["train"],
            model_type=self.config.model_type,
            device=self.device.type,
            sizes=sizes,
        )
        if options["early_stopping"] is not None:
            self.arguments.setdefault("load_best_model_at_end", True)
        self.plan = {
            "task": self.prepared.task.name,
            "train": options["train"],
            "max_length": self.max_length,
            "num_ranks": sizes.num_ranks,
            "total_steps": total_steps(self.arguments, sizes),
            **self.arguments,
        }

    def _load_model(self) -> None:
        """Steps 1 to 3: load and show, define task and loss, initialise."""
        request, task = self.request, self.prepared.task
        # The random head depends on the seed alone, as in transformers' own scripts.
        transformers.set_seed(self.arguments["seed"])
        if request.model_name is None:
            self.loaded = LoadedModel(_model_object(request.model), (), ())
            _name_labels(self.loaded.model, task.config_overrides())
        else:
            self.loaded = load_model(request.model_name, task.auto_class, task.config_overrides())
        model = self.loaded.model
        if getattr(model.config, "pad_token_id", None) is None:
            model.config.pad_token_id = self.tokenizer.pad_token_id
        choose_trainable(model, request.options["train"], self.loaded.new_weights)
        self._show_model()

    def _show_model(self) -> None:
        model, console = self.loaded.model, self.console
        console.step(1, f"load the model: {type(model).__name__}")
        console.detail(describe_model(model))
        console.step(2, "define task and loss")
        console.detail(self.prepared.task.describe())
        console.step(3, "initialise")
        new, unused = self.loaded.new_weights, self.loaded.unused_weights
        console.detail(
            f"new weights, random from seed {self.arguments['seed']}: {', '.join(new) or 'none'}"
        )
        if self.request.model_name is not None and not new:
            console.note("the checkpoint has a head of this size, which is kept and trained on")
        if unused:
            console.detail(f"weights of the checkpoint that are left out: {_clip(unused)}")
        trainable, total = count_parameters(model)
        console.detail(
            f"frozen: {total - trainable:,} parameters" if trainable < total else "frozen: none"
        )
        if self._pad_note:
            console.note(self._pad_note)

    def _build_arguments(self) -> TrainingArguments:
        """Lets transformers look at its own arguments before anything is written."""
        try:
            return TrainingArguments(output_dir=str(self.output_dir), **self.arguments)
        except (ValueError, TypeError, KeyError, ImportError, OSError) as error:
            text = str(error).strip()
            raise ConfigurationError(
                "transformers refuses the training arguments",
                place="training arguments",
                found=text.splitlines()[0] if text else repr(error),
                expected="values that transformers.TrainingArguments takes",
                fix="correct the argument that the message names",
            ) from error

    def _check_run(self) -> None:
        model, arguments = self.loaded.model, self.arguments
        self.training_arguments = self._build_arguments()
        for name, dataset in self.prepared.datasets.items():
            checks.check_token_ids(dataset, model, name)
        if self.request.options["resume"] is not False:
            self.checkpoint = checkpoint_to_resume(self.output_dir, self.plan["total_steps"])
        needed = checks.checkpoint_bytes(model, arguments, self.plan["total_steps"])
        check_disk_space(self.output_dir, needed)
        found = [
            *checks.tokenizer_warnings(self.tokenizer.hf, self.config),
            *checks.schedule_warnings(arguments, self.plan["total_steps"]),
        ]
        self.warnings = checks.raise_or_return(found, self.request.options["check"])
        for warning in self.warnings:
            self.console.warning(warning)

    def report(self) -> checks.CheckReport:
        """Gives what was found, for `fastft.check`."""
        return checks.CheckReport(tuple(self.warnings), self.prepared.notes, self.plan)


def _model_object(model: Any) -> PreTrainedModel:
    if not isinstance(model, PreTrainedModel):
        raise ConfigurationError(
            "the model is neither a name nor a transformers model",
            place="argument model",
            found=f"{type(model).__module__}.{type(model).__qualname__}",
            expected="a hub name, a folder, or a PreTrainedModel",
            fix="pass the name, or load it with AutoModelForSequenceClassification",
        )
    return model


def _name_labels(model: PreTrainedModel, overrides: dict[str, Any]) -> None:
    """Gives a model that the user built the label names of the data."""
    model.config.id2label = overrides["id2label"]
    model.config.label2id = overrides["label2id"]
    if getattr(model.config, "problem_type", None) is None:
        model.config.problem_type = overrides["problem_type"]


def _clip(names: tuple[str, ...], limit: int = 4) -> str:
    more = f", … ({len(names)})" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
