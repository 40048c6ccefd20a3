"""Whether training on kept states is the same training: compared once, before it is relied on.

One small batch runs both ways, without dropout: loss and every gradient must agree. So no list of
heads is needed: one that reads what is not there, or a trained weight inside the prefix, shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fastft.modeling.padding_free.comparison import evaluating

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastft.modeling.frozen_prefix.layout import Layout
    from fastft.modeling.frozen_prefix.prefix import Prefix

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-9}
"""The difference that is taken for rounding, of the largest gradient, by the type of the values."""
HALF = 0.03
"""The same in half precision."""


class Comparison:
    """One batch, run through the whole model and then again from kept states.

    Args:
        prefix: The prefix of the model.
        inputs: A padded batch with labels, on the device of the model.
        masks: bool (B, T): the real tokens, by the argument that carries the states.

    Raises:
        CannotSkipError: The prefix does not run as expected.
    """

    def __init__(
        self, prefix: Prefix, inputs: Mapping[str, Any], masks: Mapping[str, torch.Tensor]
    ) -> None:
        self._prefix = prefix
        self._inputs = dict(inputs)
        self._masks = masks
        self._states = prefix.run(inputs)
        self._expected = self._gradients(self._inputs)
        # A model that accelerate has wrapped once runs in half precision from then on.
        self._is_half = hasattr(prefix.model, "_original_forward")

    def fault(self, layout: Layout) -> str | None:
        """Says how training with this layout differs; None when it does not."""
        kept = {
            name: layout.kept(states, self._inputs, self._masks[name])
            for name, states in self._states.items()
        }
        batch = layout.batch(dict(self._inputs), kept, self._masks)
        try:
            with self._prefix.skipped():
                found = self._gradients(batch)
        except Exception as error:  # a head that asks for more than is there may fail in any way
            return f"without them the model fails, {type(error).__name__}: {first_line(error)}"
        return _difference(found, self._expected, HALF if self._is_half else None)

    def _gradients(self, inputs: Mapping[str, Any]) -> dict[str, torch.Tensor | None]:
        """Gives the loss and its gradient by every trained weight; nothing is left behind."""
        model = self._prefix.model
        trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
        with evaluating(model), torch.enable_grad():
            loss = model(**inputs).loss
            grads = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
        return {"loss": loss.detach(), **dict(zip(trained, grads, strict=True))}


def first_line(error: Exception) -> str:
    """The first line of what an error says."""
    return str(error).partition("\n")[0]


def _difference(
    found: Mapping[str, torch.Tensor | None],
    expected: Mapping[str, torch.Tensor | None],
    tolerance: float | None,
) -> str | None:
    """Names the first value that differs by more than rounding."""
    gradients = [one for name, one in expected.items() if one is not None and name != "loss"]
    largest = max((float(one.abs().max()) for one in gradients if one.numel()), default=0.0)
    for name, value in expected.items():
        other = found[name]
        if value is None and other is None:
            continue
        zero = torch.zeros(())
        first, second = (zero if one is None else one.float().cpu() for one in (value, other))
        allowed = tolerance or TOLERANCE.get((zero if value is None else value).dtype, HALF)
        scale = float(first.abs()) if name == "loss" else largest
        error = float((first - second).abs().max())
        if not error <= allowed * scale:  # NaN is a difference too
            what = name if name == "loss" else f"the gradient of {name}"
            return f"{what} would differ by {error / max(scale, 1e-30):.1g} of its size"
    return None
