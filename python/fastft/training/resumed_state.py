"""What the state of a checkpoint does not carry over by itself when a run is resumed.

transformers starts the sum of the losses at zero, counts the evaluations without improvement anew,
goes on with the `logging_steps`, `eval_steps` and `save_steps` of the checkpoint whatever the call
says, and forgets the best checkpoint when the folder was moved.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import EarlyStoppingCallback, TrainerCallback

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

# Where the sum of the losses stands among the `stateful_callbacks` of a checkpoint.
TRAIN_LOSS = "fastft_train_loss"


class ResumedStateCallback(TrainerCallback):  # type: ignore[misc]  # transformers carries no types
    """Puts the state of a checkpoint right once it has been read.

    Args:
        trainer: The Trainer that is resumed.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Runs after the state has been read, before the first step."""
        if not state.global_step:
            return
        state.compute_steps(args, state.max_steps)
        best = Path(args.output_dir) / f"checkpoint-{state.best_global_step}"
        if state.best_global_step is not None and best.is_dir():
            state.best_model_checkpoint = str(best)
        kept = _attributes(state, EarlyStoppingCallback.__name__)
        for callback in self._trainer.callback_handler.callbacks:
            if isinstance(callback, EarlyStoppingCallback):
                name = "early_stopping_patience_counter"
                setattr(callback, name, kept.get(name, getattr(callback, name)))


def _attributes(state: TrainerState, name: str) -> dict[str, Any]:
    """Gives what a checkpoint kept for a callback."""
    kept = state.stateful_callbacks.get(name)
    attributes = kept.get("attributes") if isinstance(kept, dict) else None
    return attributes if isinstance(attributes, dict) else {}


class TrainLossCallback(TrainerCallback):  # type: ignore[misc]  # transformers carries no types
    """Keeps the sum of the losses of all steps, from the first one of the run on.

    The sum goes into the `trainer_state.json` of each checkpoint, so it is there whenever the
    weights are. It is read from `_total_loss_scalar` and `_tr_loss` of the Trainer: what was
    logged, and what came since. On several ranks it is the mean over them, as in the log.

    Args:
        trainer: The Trainer whose losses are added up.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._earlier: float | None = 0.0
        self._noted: tuple[int, float] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the losses before the resume are known."""
        return self._earlier is not None and hasattr(self._trainer, "_tr_loss")

    def mean(self) -> float | None:
        """Gives the mean over all steps of the run; None when those of before are not known."""
        steps = self._trainer.state.global_step
        if not self.is_whole or self._earlier is None or not steps:
            return None
        if self._noted is not None and self._noted[0] == steps:
            return float(self._noted[1] / steps)
        # No step was left to do; what was logged here is all.
        return float((self._earlier + self._trainer._total_loss_scalar) / steps)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Takes up the sum of the checkpoint."""
        self._noted, self._earlier = None, 0.0
        if state.global_step:
            kept = _attributes(state, TRAIN_LOSS)
            is_of_this_step = kept.get("global_step") == state.global_step
            self._earlier = float(kept["loss_sum"]) if is_of_this_step else None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Notes the sum before a checkpoint and at the end of the run."""
        if control.should_save or control.should_training_stop:
            self._note(state)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Notes the sum before the checkpoint of an epoch."""
        if control.should_save or control.should_training_stop:
            self._note(state)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Notes the sum: an evaluation may decide on a checkpoint, or on the end of the run."""
        self._note(state)

    def _note(self, state: TrainerState) -> None:
        """Takes part in a gathering, so every rank comes here at the same step."""
        if not self.is_whole or self._earlier is None or not self._trainer.is_in_train:
            return
        since_log = self._trainer._tr_loss.detach()
        if self._trainer.args.world_size > 1:
            since_log = self._trainer.accelerator.gather(since_log).mean()
        total = self._earlier + float(self._trainer._total_loss_scalar) + float(since_log)
        self._noted = (state.global_step, total)
        attributes = {"loss_sum": total, "global_step": state.global_step}
        state.stateful_callbacks[TRAIN_LOSS] = {"args": {}, "attributes": attributes}
