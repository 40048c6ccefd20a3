"""Shows training as it goes: a bar on a terminal, a line per evaluation everywhere."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import TrainerControl, TrainerState, TrainingArguments

    from fastft.console import Console
    from fastft.training.timing import Timing


class ProgressCallback(TrainerCallback):  # type: ignore[misc]
    """Draws a bar over the steps and prints each evaluation.

    Args:
        console: Where to print.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stack = contextlib.ExitStack()
        self._advance: Callable[[int], None] | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Starts the bar."""
        self._advance = self._stack.enter_context(self._console.progress("train", state.max_steps))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Moves the bar."""
        if self._advance is not None:
            self._advance(state.global_step)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Prints the metrics of an evaluation."""
        if metrics and self._advance is not None:
            shown = {
                name.removeprefix("eval_"): value
                for name, value in metrics.items()
                if name.startswith("eval_") and not name.endswith(_UNSHOWN)
            }
            text = "  ".join(f"{name} {value:.4f}" for name, value in shown.items())
            self._console.detail(f"epoch {state.epoch:.2f}  {text}")

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Takes the bar away."""
        self.close()

    def close(self) -> None:
        """Takes the bar away, also after an error."""
        self._advance = None
        self._stack.close()


_UNSHOWN = ("_runtime", "_per_second", "_model_preparation_time")


class TimingCallback(TrainerCallback):  # type: ignore[misc]
    """Hands the ends of steps to the stop-watches of a run.

    Args:
        timing: The stop-watches.
    """

    def __init__(self, timing: Timing) -> None:
        self._timing = timing

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Ends a step."""
        self._timing.step_ended()

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Adds the time of an evaluation."""
        seconds = (metrics or {}).get("eval_runtime")
        if seconds is not None:
            self._timing.evaluated(float(seconds))
