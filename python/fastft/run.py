"""The run itself: train, evaluate, save, say what came out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers import EarlyStoppingCallback, PrinterCallback

from fastft._fastft import __version__
from fastft.data.collator import DataCollatorWithPadding
from fastft.modeling.load import no_transformers_bars
from fastft.result import FinetuneResult
from fastft.training.distributed import is_main
from fastft.training.output import RUN_FILE, write_text
from fastft.training.plan import describe_plan
from fastft.training.progress import ProgressCallback, TimingCallback
from fastft.training.run_file import run_file_text
from fastft.training.trainer import Trainer

if TYPE_CHECKING:
    from fastft.job import Job

# Figures of transformers that are about speed, or that only it reads.
UNSHOWN = ("_runtime", "_per_second", "_preparation_time")


def train(job: Job) -> FinetuneResult:
    """Step 4 of a run: trains, evaluates, saves.

    Args:
        job: A prepared job.

    Returns:
        The result; only the first process has written it.

    Raises:
        NonFiniteLossError: The loss became NaN or infinite.
    """
    job.console.step(4, f"train: {job.plan['total_steps']:,} steps")
    job.console.detail(describe_plan(job.plan))
    with no_transformers_bars():
        result = _train(job)
    _say_result(job, result)
    return result


def _train(job: Job) -> FinetuneResult:
    run_text = _run_text(job)
    if is_main():
        # At the start already: a run that is killed can be run again, too.
        write_text(job.output_dir / RUN_FILE, run_text)
    trainer, progress = _trainer(job)
    checkpoint = None if job.checkpoint is None else str(job.checkpoint)
    if checkpoint is not None:
        job.console.detail(f"goes on from {checkpoint}")
    try:
        output = trainer.train(resume_from_checkpoint=checkpoint)
    finally:
        progress.close()
    metrics = {"train_loss": output.training_loss, **_final_evaluation(job, trainer)}
    result = _result(job, trainer, metrics, run_text)
    if is_main():
        result.save(job.output_dir)
    return result


def _trainer(job: Job) -> tuple[Trainer, ProgressCallback]:
    datasets = job.prepared.datasets
    progress = ProgressCallback(job.console)
    callbacks: list[Any] = [progress, TimingCallback(job.timing)]
    if job.request.options["early_stopping"] is not None:
        callbacks.append(EarlyStoppingCallback(job.request.options["early_stopping"]))
    trainer = Trainer(
        model=job.loaded.model,
        args=job.training_arguments,
        data_collator=DataCollatorWithPadding(job.tokenizer.hf),
        train_dataset=datasets["train"],
        eval_dataset=datasets.get("validation"),
        processing_class=job.tokenizer.hf,
        compute_metrics=job.prepared.task.compute_metrics,
        callbacks=callbacks,
        timing=job.timing,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer, progress


def _final_evaluation(job: Job, trainer: Trainer) -> dict[str, float]:
    """Takes the evaluation of the last step, or makes it when there was none."""
    if "validation" not in job.prepared.datasets:
        return {}
    metrics = _last_evaluation(trainer) or trainer.evaluate()
    return {name: value for name, value in metrics.items() if name.startswith("eval_")}


def _last_evaluation(trainer: Trainer) -> dict[str, float] | None:
    """Finds the evaluation of the weights as they are: none when the best ones were loaded back."""
    if trainer.args.load_best_model_at_end:
        return None
    last = trainer.state.global_step
    logged = (entry for entry in reversed(trainer.state.log_history) if "eval_loss" in entry)
    return next((entry for entry in logged if entry["step"] == last), None)


def _run_text(job: Job) -> str:
    versions = {
        "fastft": __version__,
        "transformers": transformers.__version__,
        "torch": torch.__version__,
    }
    call = {**job.request.call(), "max_length": job.max_length, **job.arguments}
    return run_file_text(call, versions)


def _result(job: Job, trainer: Trainer, metrics: dict[str, float], run_text: str) -> FinetuneResult:
    return FinetuneResult(
        model=job.loaded.model,
        tokenizer=job.tokenizer.hf,
        metrics=metrics,
        history=list(trainer.state.log_history),
        plan=job.plan,
        timing=job.timing.summary(),
        output_dir=job.output_dir,
        trainer=trainer,
        task=job.prepared.task,
        run_text=run_text,
        _encoder=job.tokenizer,
        _options=job.request.options,
    )


def _say_result(job: Job, result: FinetuneResult) -> None:
    shown = {name: value for name, value in result.metrics.items() if not name.endswith(UNSHOWN)}
    job.console.detail("  ".join(f"{name} {value:.4f}" for name, value in shown.items()))
    timing = {name: value for name, value in result.timing.items() if value is not None}
    job.console.detail("  ".join(f"{name} {value:g}" for name, value in timing.items()))
    job.console.line(f"saved {job.output_dir}")
