"""Training a classifier of BERT's shape on a GPU, beside the stock Trainer.

Weights are random and there is no dropout, so that the losses of the same batches can be held
against each other. Ours trains without padding; the stock Trainer runs SDPA over padded batches, in
random order and grouped by length. Whole runs are timed, the making of both Trainers included.
Launches a step, and the share of the time in which the GPU idles, come from a profile apart.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import transformers
from benches.gpu import rows_of_tokens
from benches.gpu.device import activity

import fastft
from fastft.bench.made import word_tokenizer
from fastft.bench.row import Case, Row, Variant, demand
from fastft.bench.rows.training import curve

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benches.gpu.device import Device

    from fastft.bench.row import Context

PROFILED = (3, 8)
"""The steps between which a profile is taken."""
ASKED = {"transformers, default": 1.0, "transformers, group_by_length": 1.0}


@dataclass(frozen=True)
class Job:
    """A set, in batches of so many rows, for so many steps."""

    name: str
    title: str
    longest: int
    batch: int
    steps: int


JOBS = (
    Job("imdb", "BERT base, IMDB at 512, batch 32, bf16", 512, 32, 40),
    Job("sst2", "BERT base, SST-2, batch 32, bf16", 512, 32, 120),
)


def rows(device: Device) -> list[Row]:
    """A row for each set."""
    return [
        Row(f"train/gpu/{job.name}", device.pick("tiny: ", "") + job.title,
            partial(_cases, device=device, job=job), clock="wall", threads=None, asked=ASKED,
            repetitions=device.pick((1, 1), (2, 3)), seconds=(0, 0))
        for job in JOBS
    ]  # fmt: skip


def config(device: Device) -> Any:
    """The shape of BERT base without dropout."""
    small = {
        "vocab_size": 500, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 64,
    }  # fmt: skip
    return transformers.BertConfig(
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=2,
        attn_implementation="sdpa", **device.pick(small, {}),
    )  # fmt: skip


@dataclass
class Trained:
    """What every run of a job begins with."""

    device: Device
    batch: int
    config: Any
    dataset: Any
    listed: list[dict[str, Any]]
    tokenizer: Any

    def model(self) -> Any:
        """The model, with the same random weights each time."""
        torch.manual_seed(0)
        return transformers.AutoModelForSequenceClassification.from_config(self.config)

    def trainer(self, model: Any, folder: str, steps: int, *, own: bool, **options: Any) -> Any:
        """A Trainer, ours or the stock one."""
        home = fastft if own else transformers
        arguments = home.TrainingArguments(
            output_dir=folder, per_device_train_batch_size=self.batch, max_steps=steps,
            learning_rate=2e-5, logging_steps=1, save_strategy="no", report_to="none", seed=42,
            disable_tqdm=True, bf16=self.device.is_gpu, use_cpu=not self.device.is_gpu, **options,
        )  # fmt: skip
        collator = home.DataCollatorWithPadding(self.tokenizer)
        made = home.Trainer(
            model=model, args=arguments, data_collator=collator,
            train_dataset=self.dataset if own else self.listed,
            **({"padding_free": True} if own else {}),
        )  # fmt: skip
        made.remove_callback(transformers.PrinterCallback)
        return made

    def run(self, model: Any, steps: int, *, callback: Any = None, **options: Any) -> Any:
        """Trains; gives the Trainer, which knows its losses."""
        with tempfile.TemporaryDirectory() as folder:
            made = self.trainer(model, folder, steps, **options)
            if callback is not None:
                made.add_callback(callback)
            made.train()
        return made


def trained(device: Device, job: Job) -> Trained:
    """The rows of a job as ours and as a list, the tokenizer that pads them, the shape."""
    shape = config(device)
    longest, batch = device.pick((48, 4), (job.longest, job.batch))
    number = batch * device.pick(10, job.steps)
    dataset = rows_of_tokens.dataset(job.name, number, shape.vocab_size, longest)
    listed = rows_of_tokens.listed(dataset)
    return Trained(device, batch, shape, dataset, listed, word_tokenizer())


def check_losses(job: Trained, steps: int) -> str:
    """Demands the losses of the stock Trainer, within what bf16 rounds."""
    found, expected = (curve(job.run(job.model(), steps, own=own)) for own in (True, False))
    demand(len(found) == len(expected) == steps, f"{len(found)} and {len(expected)} steps")
    worst = max(abs(a[1] - b[1]) / b[1] for a, b in zip(found, expected, strict=True))
    allowed = 2e-2 if job.device.is_gpu else 1e-4
    demand(worst <= allowed, f"losses lie {worst:.1e} apart: {found}, {expected}")
    return f"losses of {steps} steps within {worst:.0e} of the stock Trainer"


class Profile(transformers.TrainerCallback):
    """Profiles the steps of `PROFILED`."""

    def __init__(self, device: Device) -> None:
        self.device = device
        kinds = torch.profiler.ProfilerActivity
        self.profile = torch.profiler.profile(
            activities=[kinds.CUDA if device.is_gpu else kinds.CPU]
        )

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == PROFILED[0]:
            self.device.wait()
            self.profile.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == PROFILED[1]:
            self.device.wait()
            self.profile.stop()


def profiled(job: Trained, **options: Any) -> dict[str, Any]:
    """Launches a step and the share of idle time; a CPU has neither."""
    callback = Profile(job.device)
    job.run(job.model(), PROFILED[1], callback=callback, **options)
    found = activity(callback.profile, PROFILED[1] - PROFILED[0])
    return found if job.device.is_gpu else {}


def _cases(context: Context, *, device: Device, job: Job) -> Iterable[Case]:
    ready = trained(device, job)
    steps = device.pick(PROFILED[1], job.steps)

    def variant(name: str, *, own: bool, **options: Any) -> Variant:
        def run(model: Any) -> Any:
            return ready.run(model, steps, own=own, **options)

        def note(made: Any) -> dict[str, Any]:
            more = {"padding": made.explain_padding()} if own else {}
            once = partial(run, ready.model())
            return {
                "curve": curve(made),
                **more,
                **device.peak(once),
                **profiled(ready, own=own, **options),
            }

        return Variant(name, run, "ours" if own else "peer", lambda: (ready.model(),), note)

    grouped = {"train_sampling_strategy": "group_by_length"}
    yield Case(
        [
            variant("fastft", own=True),
            variant("transformers, default", own=False),
            variant("transformers, group_by_length", own=False, **grouped),
        ],
        partial(check_losses, ready, device.pick(3, 10)),
        steps * ready.batch,
        "rows",
    )
