"""A Trainer whose model computes real tokens only: the argument `padding_free=`."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from fastft.errors import ConfigurationError
from fastft.modeling.drawn_dropout import draw_dropout, restore_dropout
from fastft.modeling.padding_free.comparison import few_rows
from fastft.modeling.padding_free.decision import has_padding, is_bidirectional, is_packed
from fastft.modeling.padding_free.model import (
    explain_padding,
    is_padding_free,
    padding_free,
    restore_padding,
    take_padding_out,
    why_padded,
)
from fastft.training.choices import check_choices

if TYPE_CHECKING:
    import torch

    # The mixin stands before a stock Trainer and uses what is there.
    _StockTrainer = Any
else:
    _StockTrainer = object


class PaddingFreeMixin(_StockTrainer):  # type: ignore[misc]  # transformers carries no types
    """Takes the padding out of the model while it trains, evaluates or predicts.

    A few rows of the first batch with padding run both ways, without dropout: a model whose outputs
    differ stays padded. On a CPU dropout layers draw four values at a time, with or without padding
    in a batch: else a run that is gone on with would draw other numbers. Behind `train`, `evaluate`
    and `predict` the model is as it was.

    Args:
        *args: Arguments of the stock class.
        padding_free: "auto" takes the padding out where that is known to be exact, and on a CPU;
            True insists, on a GPU too, False does not.
        **kwargs: Arguments of the stock class.
    """

    def __init__(self, *args: Any, padding_free: bool | str = "auto", **kwargs: Any) -> None:
        check_choices({"padding_free": padding_free})
        self.padding_free = padding_free
        self._why_padded: str | None = None
        self._padding_explained: str | None = None
        self._was_compared = False
        self._depth = 0
        super().__init__(*args, **kwargs)
        self._why_padded = self._reason_for_padding()
        self._draws_dropout = self._why_padded is None and self.args.device.type == "cpu"
        if self._why_padded is not None and padding_free is True:
            raise ConfigurationError(
                "the padding cannot be taken out",
                place="argument padding_free",
                found=self._why_padded,
                expected="a model and settings that run on real tokens alone",
                fix='pass padding_free="auto", or leave it out',
            )

    def _reason_for_padding(self) -> str | None:
        if self.padding_free is False:
            return "padding_free=False"
        if self.args.torch_compile:
            return "under torch.compile the batches stay padded"
        if self.args.n_gpu > 1:
            return "torch.nn.DataParallel copies the model for each batch"
        if self.is_deepspeed_enabled or self._is_fsdp1():
            return "the model is wrapped by DeepSpeed or FSDP1"
        if self.padding_free == "auto" and self.args.device.type != "cpu":
            return f'"auto" takes it out on a CPU only, and this is {self.args.device.type}'
        return why_padded(self.model, known_head=False)

    def _is_fsdp1(self) -> bool:
        plugin = getattr(self.accelerator.state, "fsdp_plugin", None)
        return bool(self.is_fsdp_enabled) and getattr(plugin, "fsdp_version", 1) == 1

    def explain_padding(self) -> str:
        """Says whether padding is taken out, or why not, and of how many tokens it was so far."""
        if self._why_padded is not None:
            return f"padding: computed, {self._why_padded}"
        model = self.accelerator.unwrap_model(self.model)
        if is_padding_free(model):
            return explain_padding(model)
        return self._padding_explained or "padding: removed inside the model"

    # -- while it runs -------------------------------------------------------------------------

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Trains, and leaves the model as it was."""
        with _Outermost(self):
            return super().train(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluates, and leaves the model as it was."""
        with _Outermost(self):
            return super().evaluate(*args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Predicts, and leaves the model as it was."""
        with _Outermost(self):
            return super().predict(*args, **kwargs)

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Runs forward and backward on the real tokens of a batch."""
        if self._draws_dropout:
            draw_dropout(self.accelerator.unwrap_model(model))
        self._take_padding_out(model, inputs)
        loss: torch.Tensor = super().training_step(model, inputs, *args, **kwargs)
        return loss

    def prediction_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Predicts the real tokens of a batch."""
        self._take_padding_out(model, inputs)
        return super().prediction_step(model, inputs, *args, **kwargs)

    def _take_padding_out(self, model: Any, inputs: Any) -> None:
        whole = self.accelerator.unwrap_model(model)
        if is_packed(inputs):
            self._keep_rows_apart(whole)
            return
        if self._why_padded is not None:
            return
        if self._was_compared:
            take_padding_out(whole)
            return
        batch = self._prepare_inputs(inputs)
        if not has_padding(batch):
            return
        try:
            padding_free(whole, few_rows(batch))
        except ConfigurationError as error:
            self._why_padded = str(error.found)
            warnings.warn(f"the model stays padded: {error.found}", stacklevel=2)
        self._was_compared = True

    def _keep_rows_apart(self, model: Any) -> None:
        """Sees to it that rows which a collator has packed do not attend to each other."""
        if not is_bidirectional(model):
            return  # transformers finds the rows of causal models itself
        reason = why_padded(model, known_head=False)
        if reason is None:
            take_padding_out(model)
            return
        raise ConfigurationError(
            "packed rows would attend to each other",
            place="argument data_collator",
            found=f"position_ids that begin anew, and a model without causal attention; {reason}",
            expected="one row in each row of the batch",
            fix="use DataCollatorWithPadding",
        )

    def _put_padding_back(self) -> None:
        model = self.accelerator.unwrap_model(self.model)
        restore_dropout(model)
        if is_padding_free(model):
            self._padding_explained = explain_padding(model)
            restore_padding(model)


class _Outermost:
    """The outermost of nested calls of a Trainer: behind it the model is as it was."""

    def __init__(self, trainer: PaddingFreeMixin) -> None:
        self.trainer = trainer

    def __enter__(self) -> None:
        self.trainer._depth += 1

    def __exit__(self, *_: object) -> None:
        self.trainer._depth -= 1
        if self.trainer._depth == 0:
            self.trainer._put_padding_back()
