"""A Trainer whose frozen layers run once for every row: the argument `frozen_cache=`.

Before the first step the frozen prefix of the model runs over the rows, without dropout, and what
it gives is kept. Batches, their order, labels and metrics stay as they are; each batch carries the
states of its rows, and while it runs stand-ins take the place of the frozen layers. Between two
steps the model is the ordinary one, so saving, loading and generation know nothing of it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers.trainer_utils import unwrap_peft_model

from fastft.console import Console
from fastft.data.batch_reference import BatchReference
from fastft.data.token_dataset import TokenDataset
from fastft.errors import ConfigurationError
from fastft.modeling.frozen_prefix.stand_ins import ENCODER_STATES, STATES
from fastft.training.choices import check_choices
from fastft.training.frozen_plan import FrozenPlan

if TYPE_CHECKING:
    from fastft.data.row_states import RowStates
    from fastft.training.frozen_states import Filling

    # The mixin stands before a stock Trainer and uses what is there.
    _StockTrainer = Any
else:
    _StockTrainer = object


@dataclass
class FrozenCollator:
    """Adds the kept states of its rows to every batch.

    Args:
        collator: What makes the batches.
        filling: How the states were made.
        states: The states, by the argument that carries them.
        is_current: Whether the weights are still those that the states were made with.
    """

    collator: Any
    filling: Filling
    states: dict[str, RowStates]
    is_current: Any

    def __call__(self, features: Any) -> Any:
        """Makes a batch; where the states do not belong to it, the ordinary one."""
        is_known = isinstance(features, BatchReference) and features.is_untouched
        rows = features.indices if is_known else None
        batch = self.collator(features)
        is_same = is_known and features.dataset.identity is self.filling.dataset.identity
        if rows is None or not is_same or not self.is_current():
            return batch
        masks = self.filling.masks(batch, rows)
        kept = {name: states.of(rows) for name, states in self.states.items()}
        return self.filling.layout.batch(batch, kept, masks)


class FrozenLayersMixin(_StockTrainer):  # type: ignore[misc]  # transformers carries no types
    """Runs the frozen layers once for every row of a `TokenDataset`.

    Args:
        *args: Arguments of the stock class.
        frozen_cache: "auto" keeps what the frozen layers give in memory, or on the disk where it is
            large, and nothing where that does not pay; "memory" and "disk" insist on a place;
            "off" runs them in every step, with their dropout.
        console: Where is said what is kept; nowhere when None.
        **kwargs: Arguments of the stock class.
    """

    def __init__(
        self,
        *args: Any,
        frozen_cache: str = "auto",
        console: Console | None = None,
        **kwargs: Any,
    ) -> None:
        check_choices({"frozen_cache": frozen_cache})
        self.frozen_cache = frozen_cache
        self._console = console or Console(quiet=True)
        self._frozen: FrozenPlan | None = None
        self._frozen_notes: list[str] = []
        super().__init__(*args, **kwargs)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Trains; the states are let go at the end."""
        self._frozen_notes = []
        try:
            return super().train(*args, **kwargs)
        finally:
            if self._frozen is not None:
                self._frozen.let_go()
            self._frozen = None

    def explain_frozen(self) -> str:
        """Says whether the frozen layers ran once in the last training, or why not."""
        if not self._frozen_notes:
            return "frozen layers: nothing was trained yet"
        return "\n".join(f"frozen layers: {note}" for note in self._frozen_notes)

    def _get_dataloader(
        self, dataset: Any, description: str, *args: Any, is_training: bool = False, **kwargs: Any
    ) -> Any:
        """Builds a loader; the one of a training is preceded by a run of the frozen layers."""
        if is_training and self.is_in_train:
            self._run_frozen_layers(dataset)
        return super()._get_dataloader(
            dataset, description, *args, is_training=is_training, **kwargs
        )

    def _run_frozen_layers(self, dataset: Any) -> None:
        """Makes the states of the training rows and of those of the evaluations."""
        plan = FrozenPlan(
            unwrap_peft_model(self.model),
            self.args,
            self.frozen_cache,
            self._console,
            autocast=self.accelerator.autocast,
        )
        self._frozen_notes = []
        num_rows = len(dataset) if hasattr(dataset, "__len__") else 0
        if plan.keep(dataset, self._collator_for(dataset, True), "training", num_rows):
            given = self.eval_dataset
            parts = given if isinstance(given, dict) else {"validation": given}
            generates = bool(getattr(self.args, "predict_with_generate", False))
            for name, part in parts.items():
                if isinstance(part, TokenDataset) and not generates:
                    plan.keep(part, self._collator_for(part, False), str(name), num_rows)
        self._frozen_notes = plan.notes
        self._frozen = plan if plan.kept else None

    def _collator_for(self, dataset: Any, is_training: bool) -> Any:
        return self._collator(is_training) if isinstance(dataset, TokenDataset) else None

    def _batch_collator(self, collator: Any, dataset: TokenDataset) -> Any:
        """Lets the batches of a data set carry its states, where there are any."""
        collator = super()._batch_collator(collator, dataset)
        if self._frozen is None or not self.is_in_train:
            return collator
        found = self._frozen.kept.get(id(dataset.identity))
        if found is None:
            return collator
        filling, states = found
        return FrozenCollator(collator, filling, states, self._frozen.is_current)

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Runs forward and backward, without the layers whose states the batch carries."""
        with self._without_frozen_layers(inputs):
            return super().training_step(model, inputs, *args, **kwargs)

    def prediction_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Predicts a batch, without the layers whose states it carries."""
        with self._without_frozen_layers(inputs):
            return super().prediction_step(model, inputs, *args, **kwargs)

    def _without_frozen_layers(self, inputs: Any) -> AbstractContextManager[Any]:
        if STATES not in inputs and ENCODER_STATES not in inputs:
            return nullcontext()
        if self._frozen is None or not self._frozen.is_current():
            raise ConfigurationError(
                "a frozen weight changed in the middle of an epoch, and the batch holds what the "
                "old one gave",
                place='frozen_cache="' + self.frozen_cache + '"',
                fix='pass frozen_cache="off" where layers are unfrozen step by step, or unfreeze '
                "them between epochs",
            )
        assert self._frozen.prefix is not None
        return self._frozen.prefix.skipped()
