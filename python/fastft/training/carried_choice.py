"""The product that makes the logits, carried over from a run to the process that resumes it.

It was chosen by the clock (`modeling/losses/logits_product.py`); chosen anew it could be another,
and the losses of the resumed run would differ in their last bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from fastft.modeling.losses.logits_product import choice, keep_choice

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

CHOICE = "fastft_logits_product"
"""Where the choice stands among the `stateful_callbacks` of a checkpoint."""
FASTER = "core_is_faster"


class CarriedChoiceCallback(TrainerCallback):  # type: ignore[misc]  # transformers carries no types
    """Writes the choice into each checkpoint, and takes it from the one that is resumed."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Takes up the choice of the checkpoint."""
        kept = state.stateful_callbacks.get(CHOICE)
        attributes = kept.get("attributes") if isinstance(kept, dict) else None
        is_faster = attributes.get(FASTER) if isinstance(attributes, dict) else None
        if state.global_step and isinstance(is_faster, bool):
            keep_choice(is_faster)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Notes it, before a checkpoint can be written."""
        is_faster = choice()
        if is_faster is not None:
            state.stateful_callbacks[CHOICE] = {"args": {}, "attributes": {FASTER: is_faster}}
