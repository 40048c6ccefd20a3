"""The run itself: train, evaluate, save, say what came out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers import EarlyStoppingCallback

from fastft._fastft import __version__
from fastft.finetuned import FinetunedModel, reading_options
from fastft.modeling.quiet import no_transformers_bars
from fastft.result import FinetuneResult
from fastft.training.batching import BATCHING_OPTIONS
from fastft.training.distributed import is_main
from fastft.training.fingerprint import FINGERPRINT, fingerprint_text
from fastft.training.output import MANIFEST, RUN_FILE, short_path, write_text
from fastft.training.plan import describe_plan
from fastft.training.progress import ProgressCallback, TimingCallback
from fastft.training.resume import set_aside
from fastft.training.resumed_state import ResumedStateCallback, TrainLossCallback
from fastft.training.run_file import run_file_text
from fastft.training.task_trainer import task_trainer

if TYPE_CHECKING:
    from fastft.job import Job
    from fastft.training.trainer import Trainer

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
        _begin(job, run_text)
    trainer, progress = _trainer(job)
    checkpoint = job.resume.checkpoint
    if checkpoint is not None:
        job.console.detail(f"goes on from {short_path(Path(checkpoint))}")
    try:
        output = trainer.train(resume_from_checkpoint=checkpoint)
    finally:
        progress.close()
    train_loss = _whole_train_loss(job, trainer, output.training_loss)
    metrics = {"train_loss": train_loss, **_final_evaluation(job, trainer)}
    result = _result(job, trainer, metrics, run_text)
    if is_main():
        result.save(job.output_dir)
    return result


def _begin(job: Job, run_text: str) -> None:
    """Writes what a resume needs, at the start already: a run may be killed at any time."""
    set_aside(job.resume.damaged)
    # A finished run that is made longer is an interrupted one until it ends again.
    (job.output_dir / MANIFEST).unlink(missing_ok=True)
    write_text(job.output_dir / FINGERPRINT, fingerprint_text(job.fingerprint or {}))
    write_text(job.output_dir / RUN_FILE, run_text)


def _whole_train_loss(job: Job, trainer: Trainer, since_resume: float) -> float:
    """Gives the mean over all steps of the run, those before a resume included."""
    (losses,) = (
        callback
        for callback in trainer.callback_handler.callbacks
        if isinstance(callback, TrainLossCallback)
    )
    mean = losses.mean()
    if mean is None:
        if job.resume.checkpoint is not None:
            job.console.note(
                "train_loss is the mean of the steps since the resume: the checkpoint does not "
                "hold the sum of those before"
            )
        return since_resume
    for entry in trainer.state.log_history[-1:]:
        if "train_loss" in entry:
            entry["train_loss"] = mean
    return mean


def _trainer(job: Job) -> tuple[Trainer, ProgressCallback]:
    progress = ProgressCallback(job.console)
    callbacks: list[Any] = [progress, TimingCallback(job.timing)]
    if job.request.options["early_stopping"] is not None:
        callbacks.append(EarlyStoppingCallback(job.request.options["early_stopping"]))
    trainer = task_trainer(
        job.prepared.task,
        job.loaded.model,
        job.tokenizer.hf,
        job.training_arguments,
        job.prepared.data,
        callbacks=callbacks,
        timing=job.timing,
        fuse_head=job.request.options["fuse_head"],
        padding_free=job.request.options["padding_free"],
        sparse_embedding=job.request.options["sparse_embedding"],
        frozen_cache=job.request.options["frozen_cache"],
        console=job.console,
        **{name: job.request.options[name] for name in BATCHING_OPTIONS},
    )
    if trainer.explain_head().startswith("head: fused"):
        job.console.detail("the loss runs without logits")
    if trainer.batching != "packed":  # of packed rows the job has spoken
        job.console.detail(trainer.explain_padding().partition("\n")[0])
    if trainer.explain_embedding().startswith("embedding: the touched"):
        job.console.detail("AdamW steps the rows of the embedding that it moves")
    trainer.add_callback(TrainLossCallback(trainer))
    trainer.add_callback(ResumedStateCallback(trainer))
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
    # A secret (`hub_token`) is passed again, or stands in the environment; no file holds it.
    call = {name: value for name, value in call.items() if not name.endswith("_token")}
    return run_file_text(call, versions)


def _result(job: Job, trainer: Trainer, metrics: dict[str, float], run_text: str) -> FinetuneResult:
    finetuned = FinetunedModel(
        model=job.loaded.model,
        tokenizer=job.tokenizer,
        task=job.prepared.task,
        max_length=job.max_length,
        options=reading_options(job.request.all_options, job.prepared.task),
    )
    return FinetuneResult(
        finetuned=finetuned,
        metrics=metrics,
        history=list(trainer.state.log_history),
        plan=job.plan,
        timing=job.timing.summary(),
        output_dir=job.output_dir,
        trainer=trainer,
        report=getattr(trainer.compute_metrics, "report", {}),
        run_text=run_text,
    )


def _say_result(job: Job, result: FinetuneResult) -> None:
    shown = {name: value for name, value in result.metrics.items() if not name.endswith(UNSHOWN)}
    job.console.detail("  ".join(f"{name} {value:.4f}" for name, value in shown.items()))
    timing = {name: value for name, value in result.timing.items() if value is not None}
    job.console.detail("  ".join(f"{name} {value:g}" for name, value in timing.items()))
    job.console.line(f"saved {short_path(job.output_dir)}")
