"""Decides, once for all processes, which interrupted run a job goes on with."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fastft.training.fingerprint import model_fingerprint, run_fingerprint
from fastft.training.first_process import from_first_process
from fastft.training.output import numbered_runs
from fastft.training.resume import Resume, Resumption

if TYPE_CHECKING:
    from fastft.job import Job


def decide_resume(job: Job) -> Resume:
    """Finds the run to go on with; a run on other processes divides the steps of the job anew.

    Raises:
        ConfigurationError: The run in the folder that was named is not the one that is asked for.
    """
    resume = _decision(job)
    if resume.accumulation is None:
        return resume
    asked = job.training
    job.divide_steps({**asked, "gradient_accumulation_steps": resume.accumulation})
    resume = _decision(job)
    if resume.checkpoint is None:  # it was another run in other respects too: a new one begins
        job.divide_steps(asked)
        from_first_process(
            lambda: _note_fingerprint(job), job.device, problem="the first process failed"
        )
    return resume


def _decision(job: Job) -> Resume:
    decision = from_first_process(
        lambda: _decided_here(job), job.device, problem="the first process could not resume the run"
    )
    return Resume(**decision)


def _decided_here(job: Job) -> dict[str, Any]:
    request = job.request
    fingerprint = _note_fingerprint(job)
    if request.options["resume"] is False:
        return asdict(Resume(str(job.output_dir)))
    resumption = Resumption.of(fingerprint, job.training_arguments)
    if request.options["output_dir"] is not None:
        return asdict(resumption.in_folder(job.output_dir))
    runs = numbered_runs(request.short_model, request.short_data)
    return asdict(resumption.among(runs, job.output_dir))


def _note_fingerprint(job: Job) -> dict[str, Any]:
    """Takes the fingerprint of the job, which the first process writes."""
    request, loaded = job.request, job.loaded
    job.fingerprint = run_fingerprint(
        request.all_options,
        job.plan,
        arguments=job.training_arguments,
        task=job.prepared.task,
        datasets=job.prepared.datasets,
        tokenizer=job.tokenizer.hf,
        model=model_fingerprint(loaded.model, request.model_name, loaded.new_weights),
    )
    return job.fingerprint
