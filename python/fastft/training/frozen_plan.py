"""What is kept of the frozen layers in one training: decided, checked, made.

All of it is decided in the first process, so that several never take different ways.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.data.token_dataset import TokenDataset
from fastft.modeling.frozen_prefix.border import CannotSkipError, find_border
from fastft.modeling.frozen_prefix.check import Comparison, first_line
from fastft.modeling.frozen_prefix.layout import Layout, layouts
from fastft.modeling.frozen_prefix.prefix import Prefix
from fastft.training.first_process import from_first_process
from fastft.training.frozen_settings import (
    MEMORY_SHARE,
    MIN_PASSES,
    free_memory,
    num_evaluations,
    num_training_passes,
    readable_bytes,
    reads_one_vector,
    why_not_by_arguments,
    why_not_by_collator,
)
from fastft.training.frozen_states import Filling, free_disk, states_in_memory, states_on_disk

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastft.console import Console
    from fastft.data.row_states import RowStates

PROBE_ROWS = 4
"""Rows of the batch that is run both ways."""


class FrozenPlan:
    """The frozen layers of a model in one training.

    Args:
        model: The model, as `PreTrainedModel`.
        arguments: The training arguments.
        choice: What `frozen_cache=` asks for.
        console: Where is said what is done.
        autocast: The precision that the model trains in.

    Attributes:
        kept: By the id of a dataset's identity: how its states were made, and the states.
        notes: What was decided, a line for each data set.
    """

    def __init__(
        self,
        model: Any,
        arguments: Any,
        choice: str,
        console: Console,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.model = model
        self.prefix: Prefix | None = None
        self.layout: Layout | None = None
        self.kept: dict[int, tuple[Filling, dict[str, RowStates]]] = {}
        self.notes: list[str] = []
        self._arguments = arguments
        self._choice = choice
        self._console = console
        self._autocast = autocast
        self._frozen = [one for one in model.parameters() if not one.requires_grad]
        self._weights: list[tuple[Any, ...]] | None = None

    def keep(self, dataset: Any, collator: Any, name: str, num_training_rows: int) -> bool:
        """Runs the frozen layers over a data set, where that can be done and pays.

        Args:
            dataset: The rows.
            collator: Makes their batches.
            name: "training", or the name of the evaluation set.
            num_training_rows: The rows of training.

        Returns:
            Whether its states are kept.
        """
        if isinstance(dataset, TokenDataset) and id(dataset.identity) in self.kept:
            return True
        is_training = name == "training"
        evaluations = num_evaluations(self._arguments, num_training_rows)
        if not is_training and self._choice == "auto" and evaluations < MIN_PASSES:
            return False
        try:
            self._keep(dataset, collator, name, num_training_rows)
        except CannotSkipError as reason:
            self._say(f"they run in every {name} step: {reason}")
            return False
        return True

    def is_current(self) -> bool:
        """Whether the frozen weights are still those that the states were made with."""
        if not self.kept:
            return False
        now = weights_now(self._frozen)
        if self._weights is None:
            # From the first batch on: until then accelerate may have written the same values anew.
            self._weights = now
        return now == self._weights and not any(one.requires_grad for one in self._frozen)

    def let_go(self) -> None:
        """Lets the states go: loaders that transformers keeps would hold them otherwise."""
        for _, states in self.kept.values():
            states.clear()
        self.kept.clear()

    def _say(self, note: str) -> None:
        self.notes.append(note)
        if self._frozen:
            self._console.detail(f"frozen layers: {note}")

    def _keep(self, dataset: Any, collator: Any, name: str, num_rows: int) -> None:
        self._refuse(dataset, collator, name, num_rows)
        if self.prefix is None:
            self.prefix = Prefix(self.model, find_border(self.model))
        filling = self._filling(dataset, collator)
        self.layout = filling.layout
        place, size = self._place(filling, name)
        self._say(
            f"{self.prefix.border.describe()} run once for each of {len(dataset):,} {name} rows; "
            f"{readable_bytes(size)} of hidden states are kept {place}"
        )
        self.kept[id(dataset.identity)] = (filling, self._states(filling, place, name))

    def _refuse(self, dataset: Any, collator: Any, name: str, num_rows: int) -> None:
        reason = why_not_by_arguments(self._arguments, self._choice)
        if reason is None and not isinstance(dataset, TokenDataset):
            reason = f"the data set is a {type(dataset).__name__}, not a TokenDataset"
        reason = reason or why_not_by_collator(collator)
        if reason is None and not len(dataset):
            reason = "there are no rows"
        if reason is None and self._choice == "auto":
            passes = num_training_passes(self._arguments, num_rows)
            if passes < MIN_PASSES:
                reason = "one pass over the rows does not pay for keeping their states"
        if reason is not None:
            raise CannotSkipError(reason)

    def _filling(self, dataset: TokenDataset, collator: Any) -> Filling:
        """Finds what of a row has to be kept, by comparing a small batch both ways."""
        assert self.prefix is not None
        known = [self.layout] if self.layout else layouts(self.model, one_vector=self._is_whole())
        filling = Filling(
            self.prefix, known[-1], dataset, collator, self._arguments.device, self._autocast
        )
        position = from_first_process(
            lambda: self._position(filling, known),
            self._arguments.device,
            problem="the first process could not compare the frozen layers",
        )
        layout = next((one for one in known if one.position == position), None)
        if layout is None:
            raise CannotSkipError(str(position))
        if self.layout is None:
            self.prefix.leave_out_dropout(filling.batch(probe_rows(dataset.lengths))[0])
        return replace(filling, layout=layout)

    def _is_whole(self) -> bool:
        """Whether all layers are frozen and nobody but the head looks at the tokens."""
        assert self.prefix is not None
        border = self.prefix.border
        is_whole = border.encoder is None and border.num_layers == border.num_all_layers
        return is_whole and reads_one_vector(self._arguments)

    @staticmethod
    def _position(filling: Filling, known: list[Layout]) -> str:
        """Gives the position of the first layout that trains the same, else the reason."""
        try:
            inputs, masks = filling.batch(probe_rows(filling.dataset.lengths))
            comparison = Comparison(filling.prefix, inputs, masks)
        except CannotSkipError as reason:
            return str(reason)
        except Exception as error:  # whatever a model does here, it may still train as it is
            return f"a small batch failed, {type(error).__name__}: {first_line(error)}"
        fault = None
        for layout in known:
            fault = comparison.fault(layout)
            if fault is None:
                return layout.position
        return str(fault)

    def _place(self, filling: Filling, name: str) -> tuple[str, int]:
        """Gives "in memory" or "on the disk", and the bytes that will be there."""
        config = filling.prefix.model.config.get_text_config()
        width = int(getattr(config, "hidden_size", 1024))
        size = 4 * width * sum(int(one.sum()) for one in filling.lengths().values())

        def choose() -> str:
            if self._choice == "memory":
                return "in memory"
            if self._choice == "auto" and size <= MEMORY_SHARE * free_memory():
                return "in memory"
            return "on the disk" if size < free_disk() else ""

        place = from_first_process(
            choose, filling.device, problem="the first process could not look at the disk"
        )
        if not place:
            raise CannotSkipError(
                f"the disk has {readable_bytes(free_disk())} free, and the states of the {name} "
                f"rows take {readable_bytes(size)}"
            )
        return place, size

    def _states(self, filling: Filling, place: str, name: str) -> dict[str, RowStates]:
        with self._console.progress(f"frozen layers, {name}", len(filling.dataset)) as progress:
            filling = replace(filling, progress=progress)
            if place == "in memory":
                return states_in_memory(filling)
            precision = f"{self._arguments.bf16} {self._arguments.fp16} {self.model.dtype}"
            return self._states_on_disk(filling, precision)

    @staticmethod
    def _states_on_disk(filling: Filling, precision: str) -> dict[str, RowStates]:
        """Maps the states; the first process makes them, and all go on without if it cannot."""

        def build() -> str:
            try:
                states_on_disk(filling, precision)
            except OSError as error:
                return f"the states cannot be kept: {error.strerror or error}"
            return ""

        reason = from_first_process(
            build, filling.device, problem="the first process could not run the frozen layers"
        )
        if reason:
            raise CannotSkipError(reason)
        return states_on_disk(filling, precision)


def probe_rows(lengths: NDArray[Any]) -> NDArray[np.int64]:
    """Picks a few of the shorter rows, of different lengths where there are such."""
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0] if lengths.any() else order
    places = np.unique(np.linspace(0, 0.5 * (len(order) - 1), PROBE_ROWS).round().astype(int))
    rows = order[places]
    if len(set(lengths[rows])) == 1:  # a longer one brings padding in
        rows = np.append(rows, order[-1])
    return np.unique(rows).astype(np.int64)


def weights_now(weights: list[Any]) -> list[tuple[Any, ...]]:
    """What changes when one of these weights is written to or replaced."""
    return [(one._version, one.data_ptr()) for one in weights]
