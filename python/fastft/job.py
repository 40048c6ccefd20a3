"""A job: everything of a run that comes before its first step.

`prepare` does what can fail because of what the user passed: it reads the data, loads the model,
makes the plan, looks at the disk. It writes nothing. `fastft.run` then trains.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import accelerate
from transformers.trainer_utils import unwrap_peft_model

from fastft import checks
from fastft.data.tokenizer import Tokenizer
from fastft.errors import ConfigurationError
from fastft.model_preparation import prepare_model, show_model
from fastft.modeling.fit import model_object, model_warnings
from fastft.modeling.half_precision import safe_precision
from fastft.modeling.load import (
    LoadedModel,
    as_hf_tokenizer,
    load_config,
    pad_on_the_right,
)
from fastft.preparation import Prepared, prepare, ready_tokenizer
from fastft.resume_decision import decide_resume
from fastft.tasks.preview import preview
from fastft.training.arguments import TrainingArguments, build_arguments
from fastft.training.batching import (
    BATCHING_OPTIONS,
    check_batching,
    check_packable,
    training_sampler,
)
from fastft.training.best_model import check_metrics
from fastft.training.choices import check_choices
from fastft.training.first_process import from_first_process
from fastft.training.optimizer import check_optimizer
from fastft.training.output import (
    check_disk_space,
    check_writable,
    choose_output_dir,
)
from fastft.training.packed_training import check_rows_apart
from fastft.training.plan import (
    DEFAULTS,
    Sizes,
    check_batches,
    default_max_length,
    max_positions,
    num_ranks,
    resolve_arguments,
    total_steps,
)
from fastft.training.resume import Resume, refuse_resume_from_checkpoint
from fastft.training.timing import Timing
from fastft.training.unused_parameters import uses_every_weight

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
    training: dict[str, Any]
    arguments: dict[str, Any]
    training_arguments: TrainingArguments
    output_dir: Path
    resume: Resume

    def __init__(self, request: Request, console: Console, timing: Timing | None = None) -> None:
        self.request = request
        self.console = console
        self.timing = timing or Timing()
        self.warnings: list[str] = []
        # Known to the first process, which alone writes it.
        self.fingerprint: dict[str, Any] | None = None

    # -- before training ---------------------------------------------------------------------

    def prepare(self) -> None:
        """Does everything that comes before the first step; writes nothing.

        Raises:
            Error: The run cannot start as asked.
        """
        for note in self.request.notes:
            self.console.note(note)
        refuse_resume_from_checkpoint(self.request.training)
        check_batching(*(self.request.options[name] for name in BATCHING_OPTIONS))
        check_choices(self.request.options)
        self._start_device()
        self._choose_output_dir()
        self._load_tokenizer()
        self._settle_precision()
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

    def _choose_output_dir(self) -> None:
        request = self.request

        def choose() -> str:
            given, resume = request.options["output_dir"], request.options["resume"]
            names = request.short_model, request.short_data
            return str(choose_output_dir(given, *names, resume=resume))

        chosen = from_first_process(
            choose, self.device, problem="the first process could not choose a folder"
        )
        # Whole, so that a later change of the working directory does not move it.
        self.output_dir = Path(chosen).absolute()
        check_writable(self.output_dir)

    def _load_tokenizer(self) -> None:
        name, given = self.request.model_name, self.request.options["tokenizer"]
        self.config = load_config(name) if name else model_object(self.request.model).config
        given = name if given is None else given
        if given is None:
            raise ConfigurationError(
                "a model that is an object needs its tokenizer",
                place="argument tokenizer",
                found="None",
                expected="the tokenizer of the model, or its name",
                fix="pass tokenizer=AutoTokenizer.from_pretrained(...)",
            )
        hf, pad_note = ready_tokenizer(as_hf_tokenizer(given))
        hf, side_note = pad_on_the_right(hf, self.config)
        self._model_notes = [note for note in (pad_note, side_note) if note]
        self.tokenizer = Tokenizer.from_hf(hf)

    def _settle_precision(self) -> None:
        """Looks at bf16 and fp16; a T5 that is asked for fp16 gets another one."""
        training, model_type = self.request.training, getattr(self.config, "model_type", None)
        changes, note = safe_precision(training, model_type, self.device)
        self._model_notes += [note] if note else []
        self.training = {**training, **changes}
        checks.check_precision(self.training, self.device)

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
        hf = self.prepared.task.prepared_tokenizer(self.tokenizer.hf)
        if hf is not self.tokenizer.hf:
            self.tokenizer = Tokenizer.from_hf(hf)
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
        options, training = self.request.options, self.training
        datasets = self.prepared.datasets
        has_validation = "validation" in datasets
        checks.check_evaluation(training, options["early_stopping"], has_validation)
        task = self.prepared.task
        checks.check_generation(training, task)
        given = {**task.training_defaults(self.prepared.data), **training}
        num_batches = self._planned_batches({**DEFAULTS, **given})
        sizes = Sizes(len(datasets["train"]), has_validation, num_ranks(), num_batches)
        self.arguments = resolve_arguments(
            given,
            train=options["train"],
            model_type=self.config.model_type,
            device=self.device.type,
            sizes=sizes,
            early_stopping=options["early_stopping"],
        )
        task.check_arguments(self.arguments)
        self.plan = {
            "task": task.name,
            "train": options["train"],
            "max_length": self.max_length,
            "num_ranks": sizes.num_ranks,
            "total_steps": total_steps(self.arguments, sizes),
            **self.arguments,
        }

    def _planned_batches(self, arguments: dict[str, Any]) -> int | None:
        """Counts the batches of an epoch that are planned by length; None for random ones."""
        batching, max_tokens = (self.request.options[name] for name in BATCHING_OPTIONS)
        check_packable(batching, self.prepared.task)
        if batching == "random":
            return None
        dataset = self.prepared.datasets["train"]
        sampler = training_sampler(dataset, batching, max_tokens, arguments, num_ranks())
        self.console.detail(str(sampler.plan()).partition("\n")[0])
        return len(sampler)

    def _load_model(self) -> None:
        """Steps 1 to 3: load and show, define task and loss, initialise."""
        request, task, seed = self.request, self.prepared.task, self.arguments["seed"]
        self.loaded, notes = prepare_model(
            request, task, self.config, seed=seed, pad_token_id=self.tokenizer.pad_token_id
        )
        self._model_notes += notes
        model = unwrap_peft_model(self.loaded.model)
        task.prepare_model(model, self.tokenizer.hf, self.arguments)
        show_model(
            self.loaded,
            task,
            self.console,
            seed=seed,
            is_object=request.model_name is None,
            notes=self._model_notes,
        )
        self._show_examples()

    def _show_examples(self) -> None:
        """Shows two examples as the model sees them."""
        task, hf = self.prepared.task, self.tokenizer.hf
        collator = task.collator(hf, self.loaded.model)
        names = task.config_overrides().get("id2label")
        for line in preview(self.prepared.datasets["train"], collator, hf, names):
            self.console.detail(f"example: {line}")

    def _build_arguments(self) -> TrainingArguments:
        """Looks at the arguments as a whole before anything is written."""
        datasets, model, ranks = self.prepared.datasets, self.loaded.model, num_ranks()
        rows = {name: len(dataset) for name, dataset in datasets.items()}
        check_batches(self.arguments, rows, ranks)
        task = self.prepared.task
        direction = check_metrics(self.arguments, task.metric_names, task.lower_is_better)
        arguments = {**self.arguments, **direction}
        if ranks > 1 and uses_every_weight(unwrap_peft_model(model)):
            arguments.setdefault("ddp_find_unused_parameters", False)
        built = build_arguments(str(self.output_dir), arguments, generates=task.generates)
        check_optimizer(built, model, self.plan["total_steps"])
        return built

    def _check_run(self) -> None:
        model, arguments = self.loaded.model, self.arguments
        self.training_arguments = self._build_arguments()
        for name, dataset in self.prepared.datasets.items():
            checks.check_token_ids(dataset, model, name)
        if self.request.options["batching"] == "packed":
            train = self.prepared.datasets["train"]
            way = check_rows_apart(model, train, self.training_arguments)
            self.console.detail(f"rows: packed, kept apart by {way}")
        self._go_on(decide_resume(self))
        needed = checks.checkpoint_bytes(model, arguments, self.plan["total_steps"])
        check_disk_space(self.output_dir, needed)
        found = [
            *model_warnings(model),
            *checks.tokenizer_warnings(self.tokenizer.hf, self.config),
            *checks.schedule_warnings(arguments, self.plan["total_steps"]),
            *self.prepared.task.warnings(),
            *self.resume.warnings(),
        ]
        self.warnings = checks.raise_or_return(found, self.request.options["check"])
        for warning in self.warnings:
            self.console.warning(warning)

    def _go_on(self, resume: Resume) -> None:
        self.resume = resume
        for note in resume.notes:
            self.console.note(note)
        if resume.output_dir != str(self.output_dir):
            self.output_dir = Path(resume.output_dir)
            self.training_arguments = self._build_arguments()

    def divide_steps(self, training: dict[str, Any]) -> None:
        """Plans the run anew, with another number of micro-batches one after the other.

        Args:
            training: The training arguments in place of those that were given.
        """
        self.training = training
        self._make_plan()
        self.training_arguments = self._build_arguments()

    def report(self) -> checks.CheckReport:
        """Gives what was found, for `fastft.check`."""
        notes = (*self.prepared.notes, *self._model_notes)
        return checks.CheckReport(tuple(self.warnings), notes, self.plan)
