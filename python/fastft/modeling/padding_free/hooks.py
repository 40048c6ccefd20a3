"""The hooks that take the padding out of a batch before the layers, and put it back behind them.

Four kinds, all pure functions of what they are called with, so that a deep copy of the model, a
recomputation for gradient checkpointing, or two forwards before a backward find what they need:

- at the whole model (`HeadHook`): batches of which a head reads the padding stay padded; the rows
  of a T5 decoder are those of its labels;
- at a body (`BodyHook`): decides, and sends the `Layout` down through the keyword arguments;
- where the hidden states enter the layers (`EnterHook`), and where they leave (`LeaveHook`).
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastft.modeling.padding_free.attention import KEYWORD, Layout
from fastft.modeling.padding_free.decision import (
    is_dense,
    is_packed,
    is_seq2seq,
    pools_last,
    reason_of_call,
    reason_of_heads,
    row_lengths,
    row_starts,
)
from fastft.modeling.padding_free.rows import Rows

if TYPE_CHECKING:
    from torch import nn

    from fastft.modeling.padding_free.families import Family
    from fastft.modeling.padding_free.record import Record

    Call = tuple[tuple[Any, ...], dict[str, Any]]

BF16_MULTIPLE = 32
"""In bf16 on a CPU, packed tokens are filled up to a multiple of this."""


@lru_cache(maxsize=64)
def _names(forward: Any) -> tuple[str, ...]:
    """Names the arguments of a module's `forward` that may be given by place."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(inspect.signature(forward).parameters.values())[1:]
    return tuple(one.name for one in parameters if one.kind in kinds)


def _by_name(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Gives the arguments of a call by name."""
    return {**dict(zip(_names(type(module).forward), args, strict=False)), **kwargs}


def _is_traced() -> bool:
    """Whether the call is recorded for another compiler, where the padded way is taken."""
    is_exported: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return is_exported or torch.compiler.is_compiling()


def _no_mask(device: torch.device) -> torch.Tensor:
    """Gives what stands for the mask of a packed batch.

    It has the four axes that transformers takes for a finished mask, so nothing is made of it. And
    it is empty, so that attention which does not know of the packing fails, and never leaks.
    """
    return torch.empty((0, 0, 0, 0), dtype=torch.bool, device=device)


class HeadHook:
    """Looks at a batch before the whole model does: what its labels and its head need.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        self.is_seq2seq = is_seq2seq(model)
        self.pools_last = pools_last(model)

    def __call__(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Tells the bodies why a batch stays padded, or how long the decoder's rows are."""
        if _is_traced() or KEYWORD in kwargs:
            return None
        given = _by_name(model, args, kwargs)
        reason = reason_of_heads(
            model, given, is_seq2seq=self.is_seq2seq, pools_last=self.pools_last
        )
        if reason is not None:
            return args, {**kwargs, KEYWORD: reason}
        labels = given.get("labels")
        if self.is_seq2seq and isinstance(labels, torch.Tensor) and labels.dim() == 2:
            return args, {**kwargs, KEYWORD: _label_lengths(labels)}
        return None


def _label_lengths(labels: torch.Tensor) -> list[int]:
    """Counts the tokens of each row up to its last label; at least one."""
    counted = labels.detach().to("cpu") != -100
    places = torch.arange(1, labels.shape[1] + 1)
    lengths: list[int] = (counted * places).amax(1).clamp(min=1).tolist()
    return lengths


class BodyHook:
    """Decides on the batch that a body is called with, and sends the layout to its layers.

    Args:
        family: How the body is built.
        record: Counts.
    """

    def __init__(self, family: Family, record: Record) -> None:
        self.family = family
        self.record = record

    def __call__(
        self, body: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Call | None:
        """Is called before the forward of the body."""
        if _is_traced():
            return None
        given = _by_name(body, args, kwargs)
        told = given.pop(KEYWORD, None)
        found = self._layout(body, given, told)
        if isinstance(found, str):
            self.record.note_padded(found)
            return None if told is None else ((), given)
        self.record.note_packed(found.rows)
        return (), self._packed(body, given, found)

    def _layout(self, body: nn.Module, given: dict[str, Any], told: Any) -> Layout | str:
        reason = told if isinstance(told, str) else reason_of_call(body, self.family, given)
        if reason is not None:
            return reason
        tokens = given.get("input_ids")
        tokens = given.get("inputs_embeds") if tokens is None else tokens
        if not isinstance(tokens, torch.Tensor):
            return "there are no tokens"
        states = given.get("encoder_hidden_states")
        if states is None and is_packed(given):
            return _layout_of_packed(given["position_ids"])
        if states is None:
            return _own_layout(body, tokens, row_lengths(given.get("attention_mask")))
        if not self.family.has_bias:
            return "the layers also attend to an encoder"
        lengths = told if told is not None else row_lengths(given.get("attention_mask"))
        layout = _own_layout(body, tokens, lengths)
        if isinstance(layout, str):
            return layout
        return _with_keys(layout, states, given.get("encoder_attention_mask"))

    def _packed(self, body: nn.Module, given: dict[str, Any], layout: Layout) -> dict[str, Any]:
        """Gives the arguments with which the body runs on a packed batch."""
        rows = layout.rows
        changes: dict[str, Any] = {"attention_mask": _no_mask(rows.device), KEYWORD: layout}
        if self.family.rotates:
            changes["position_ids"] = _packed_positions(given.get("position_ids"), rows)
        if "use_cache" in _names(type(body).forward):
            changes["use_cache"] = False
        if layout.keys is not None:
            changes["encoder_hidden_states"] = layout.keys.take(given["encoder_hidden_states"])
            changes["encoder_attention_mask"] = _no_mask(rows.device)
        return {**given, **changes}


def _own_layout(body: nn.Module, tokens: torch.Tensor, lengths: list[int] | str) -> Layout | str:
    """Gives the layout of the rows that a body is called with, or why they stay padded."""
    if isinstance(lengths, str):
        return lengths
    num_rows, width = tokens.shape[:2]
    if len(lengths) != num_rows or max(lengths) > width:
        return "the attention mask has another shape than the tokens"
    if is_dense(lengths, width):
        return "there is hardly any padding"
    return Layout(Rows(lengths, width, tokens.device, multiple=_multiple(body, tokens.device)))


def _layout_of_packed(positions: torch.Tensor) -> Layout:
    """Gives the layout of rows that were packed before: each begins where positions begin anew."""
    num_packs, width = positions.shape
    starts = row_starts(positions)
    lengths = np.diff(starts, append=num_packs * width)
    return Layout(Rows(lengths, width, positions.device, starts=starts))


def _with_keys(layout: Layout, states: torch.Tensor, mask: Any) -> Layout | str:
    """Adds the rows of the encoder's states to the layout of a decoder."""
    num_rows, width = states.shape[:2]
    lengths = [width] * num_rows if mask is None else row_lengths(mask)
    if isinstance(lengths, str):
        return f"of the encoder, {lengths}"
    return Layout(layout.rows, Rows(lengths, width, states.device, order=layout.rows.order))


def _multiple(body: Any, device: torch.device) -> int:
    """Says to which multiple packed tokens are filled up; see docs/padding_free.md, bf16."""
    if device.type != "cpu":
        return 1
    is_cast = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if is_cast else body.dtype
    return BF16_MULTIPLE if dtype == torch.bfloat16 else 1


def _packed_positions(positions: torch.Tensor | None, rows: Rows) -> torch.Tensor:
    """Gives the position of each packed token in its row, int64 (1, size)."""
    if positions is None:
        positions = torch.arange(rows.width, device=rows.device).unsqueeze(0)
    return rows.take(positions.expand(rows.num_padded, -1))


class EnterHook:
    """Packs the hidden states where they enter the layers.

    Args:
        has_bias: Whether the first layer is a T5 block, which makes the position bias.
    """

    def __init__(self, has_bias: bool) -> None:
        self.has_bias = has_bias

    def __call__(
        self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Call | None:
        """Is called before the forward of the first layer, or of the stack."""
        layout = kwargs.get(KEYWORD)
        if not isinstance(layout, Layout):
            return None
        changes = {
            "hidden_states": layout.rows.take(_by_name(layer, args, kwargs)["hidden_states"])
        }
        if self.has_bias:
            changes |= _position_biases(layer, layout)
        # What was given by place stays there: reentrant checkpointing sees no other gradients.
        names = _names(type(layer).forward)
        known = [changes.pop(name, arg) for name, arg in zip(names, args, strict=False)]
        return (*known, *args[len(known) :]), {**kwargs, **changes}


def _position_biases(block: Any, layout: Layout) -> dict[str, torch.Tensor]:
    """Makes T5's position bias for the longest row, instead of for all tokens at once."""
    longest = int(layout.rows.lengths.max())
    attention = block.layer[0].SelfAttention
    biases = {"position_bias": attention.compute_bias(longest, longest, device=layout.rows.device)}
    if layout.keys is not None:  # cross attention has none; zeros of any size say so
        biases["encoder_decoder_position_bias"] = biases["position_bias"].new_zeros((1, 1, 1, 1))
    return biases


class LeaveHook:
    """Puts the hidden states back where the heads expect them, behind the last layer."""

    def __call__(
        self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        """Is called behind the forward of the last layer, or of the stack."""
        layout = kwargs.get(KEYWORD)
        if not isinstance(layout, Layout):
            return None
        if isinstance(output, torch.Tensor):
            return layout.rows.put(output)
        if isinstance(output, tuple):
            return (layout.rows.put(output[0]), *output[1:])
        output["last_hidden_state"] = layout.rows.put(output["last_hidden_state"])
        return output
