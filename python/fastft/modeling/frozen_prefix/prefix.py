"""The frozen prefix of a model: run it, and run the model without it.

Run alone, it takes no dropout and keeps no graph. The layers above it and the head let everything
through meanwhile, so nothing but the prefix is computed.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fastft.modeling.frozen_prefix.border import Border, CannotSkipError
from fastft.modeling.frozen_prefix.stand_ins import (
    ENCODER_STATES,
    STATES,
    Place,
    Skipped,
    SkippedEncoder,
    stand_in_for,
    swapped,
)
from fastft.modeling.padding_free.comparison import evaluating

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

# Batches hold these beside what a body takes.
NOT_FOR_THE_BODY = ("labels", "label", "label_ids", "start_positions", "end_positions")


class Prefix:
    """The prefix of a model.

    Args:
        model: The model.
        border: Where the prefix ends.

    Attributes:
        names: The arguments that carry its states: `frozen_states`, `frozen_encoder_states`.

    Raises:
        CannotSkipError: A layer cannot be stood in for.
    """

    def __init__(self, model: Any, border: Border) -> None:
        self.model = model
        self.border = border
        self.names = tuple(
            name
            for name, is_there in ((ENCODER_STATES, border.encoder), (STATES, border.num_layers))
            if is_there
        )
        self._layers = list(model.get_submodule(border.stack))
        if any("forward" in vars(layer) for layer in self._layers):
            raise CannotSkipError("its layers are spread over devices")
        self._skipped = [*self._below(), *self._encoder()]
        self._above = [*self._upper(), *self._head()]

    def skipped(self) -> AbstractContextManager[None]:
        """Lets the model take the kept states in place of the prefix while the block runs."""
        return swapped(self._skipped)

    def run(self, inputs: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Runs the prefix on a batch: the one place where this is done.

        Args:
            inputs: A padded batch on the device of the model; labels in it are not looked at.

        Returns:
            The states by the argument that carries them, (B, T, H) each, padding included.

        Raises:
            CannotSkipError: The layers do not run one after the other, or give something else.
        """
        body = self.model.base_model
        given = {name: inputs[name] for name in inputs if name not in NOT_FOR_THE_BODY}
        alone = swapped(self._above)
        with torch.inference_mode(), evaluating(self.model), alone, self._watched() as seen:
            body(**given)
        return {name: self._only(seen[name]).clone() for name in self.names}

    def leave_out_dropout(self, inputs: Mapping[str, Any]) -> None:
        """Finds the dropout under the layers, and leaves it out with them from now on."""
        order: list[nn.Module] = []
        dropouts = {name: one for name, one in self.model.named_modules() if _is_dropout(one)}
        watched = [*dropouts.values(), self._layers[-1]]
        hooks = [one.register_forward_hook(lambda m, *_: order.append(m)) for one in watched]
        try:
            self.run_whole(inputs)
        finally:
            for hook in hooks:
                hook.remove()
        at_end = max(number for number, one in enumerate(order) if not _is_dropout(one))
        # Under the layers is what runs before them and never again; they are skipped whole.
        inside = {id(one) for layer in self._layers for one in layer.modules()}
        inside |= {id(one) for one in self._encoder_modules()}
        before = {id(one) for one in order[:at_end]} - {id(one) for one in order[at_end + 1 :]}
        self._skipped += [
            Place.find(self.model, name, Skipped.of(one))
            for name, one in dropouts.items()
            if id(one) in before - inside
        ]

    def run_whole(self, inputs: Mapping[str, Any]) -> Any:
        """Runs the whole model without a graph and without dropout."""
        with torch.no_grad(), evaluating(self.model):
            return self.model(**inputs)

    def _below(self) -> list[Place]:
        number, stack = self.border.num_layers, self.border.stack
        return [
            Place.find(
                self.model, f"{stack}.{index}", stand_in_for(layer, is_border=index == number - 1)
            )
            for index, layer in enumerate(self._layers[:number])
        ]

    def _upper(self) -> list[Place]:
        number, stack = self.border.num_layers, self.border.stack
        return [
            Place.find(self.model, f"{stack}.{index}", stand_in_for(layer, is_border=False))
            for index, layer in enumerate(self._layers)
            if index >= number
        ]

    def _encoder(self) -> list[Place]:
        if self.border.encoder is None:
            return []
        encoder = self.model.get_submodule(self.border.encoder)
        return [Place.find(self.model, self.border.encoder, SkippedEncoder.of(encoder))]

    def _encoder_modules(self) -> list[nn.Module]:
        name = self.border.encoder
        return [] if name is None else list(self.model.get_submodule(name).modules())

    def _head(self) -> list[Place]:
        """The output layer, where it cannot be left out because the body is the whole model."""
        head = self.model.get_output_embeddings()
        if self.model.base_model is not self.model or head is None:
            return []
        name = next(name for name, module in self.model.named_modules() if module is head)
        return [Place.find(self.model, name, Skipped.of(head))]

    @contextmanager
    def _watched(self) -> Iterator[dict[str, list[Any]]]:
        """Notes what comes out of the last layer, which lets through what the border gave."""
        seen: dict[str, list[Any]] = {STATES: [], ENCODER_STATES: []}

        def note(name: str) -> Any:
            return lambda module, args, output: seen[name].append(_first(output))

        hooks = [self._layers[-1].register_forward_hook(note(STATES))]
        if self.border.encoder is not None:
            encoder = self.model.get_submodule(self.border.encoder)
            hooks.append(encoder.register_forward_hook(note(ENCODER_STATES)))
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()

    @staticmethod
    def _only(outputs: list[Any]) -> torch.Tensor:
        if len(outputs) != 1:
            raise CannotSkipError(f"a layer runs {len(outputs)} times in one pass")
        states = outputs[0]
        if not isinstance(states, torch.Tensor) or states.dim() != 3:
            raise CannotSkipError("its layers give something else than hidden states (B, T, H)")
        return states


def _first(output: Any) -> Any:
    """The hidden states in what a layer or an encoder gave."""
    return output if isinstance(output, torch.Tensor) else output[0]


def _is_dropout(module: nn.Module) -> bool:
    return type(module) is nn.Dropout
