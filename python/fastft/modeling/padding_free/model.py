"""`padding_free`: a model whose layers see no padding, by hooks and the public attention setter."""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedModel

from fastft.errors import ConfigurationError
from fastft.modeling.padding_free.attention import NAME, STOCK
from fastft.modeling.padding_free.comparison import TO_COMPARE, difference, tolerance
from fastft.modeling.padding_free.families import bodies, family
from fastft.modeling.padding_free.hooks import BodyHook, EnterHook, HeadHook, LeaveHook
from fastft.modeling.padding_free.record import Record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from torch import nn
    from torch.utils.hooks import RemovableHandle

_ATTRIBUTE = "_fastft_padding_free"
"""Where a model keeps its hooks. A deep copy of the model has its own."""

HEADS = (
    *("ForSequenceClassification", "ForTokenClassification", "ForMultipleChoice"),
    *("ForMaskedLM", "ForPreTraining", "ForNextSentencePrediction", "ForQuestionAnswering"),
    *("LMHeadModel", "ForCausalLM", "ForConditionalGeneration", "EncoderModel", "Model"),
)
"""How classes of transformers end whose heads read no padding, or are looked at (`HeadHook`)."""


@dataclass
class _Attached:
    """The hooks of a model.

    Attributes:
        handles: What takes them off.
        record: What they did.
    """

    handles: list[RemovableHandle]
    record: Record


class PaddingFreeModel:
    """What `padding_free` gives: the end of a `with` block makes the model as it was.

    Attributes:
        model: The model.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    def explain(self) -> str:
        """Says what the model did so far."""
        return explain_padding(self.model)

    def __enter__(self) -> PreTrainedModel:
        return self.model

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        restore_padding(self.model)


def padding_free(model: nn.Module, batch: Mapping[str, Any] | None = None) -> PaddingFreeModel:
    """Lets the layers of a model compute the real tokens of each batch only.

    The batches stay as they are, and so do embeddings, heads and losses: what enters the layers is
    packed, what leaves them is put back, with zeros at padded positions. Losses, gradients and the
    outputs at real positions are those of the padded model. A batch for which that could not hold
    runs padded, and `explain()` says why.

    Args:
        model: A model of transformers, or one that peft has wrapped; changed in place.
        batch: Arguments of the model, to be run both ways first.

    Returns:
        A handle with `explain()`; as a context manager it restores the model at the end.

    Raises:
        ConfigurationError: The model cannot run padding-free, or gave something else for `batch`.

    Example:
        >>> fastft.padding_free(model)                             # doctest: +SKIP
        >>> model(**batch).loss.backward()                         # doctest: +SKIP
    """
    reason = why_padded(model, known_head=batch is None)
    if reason is not None:
        raise _refusal(model, reason)
    whole = _whole(model)
    take_padding_out(whole)
    if batch is not None:
        _compare(whole, batch)
    return PaddingFreeModel(whole)


def _compare(model: PreTrainedModel, batch: Mapping[str, Any]) -> None:
    """Runs a batch both ways; a model that gives something else is as it was, and refused."""
    record = getattr(model, _ATTRIBUTE).record
    counted = copy.deepcopy(record)
    worst = difference(model, batch)
    arrives = TO_COMPARE in record.padded
    vars(record).update(vars(counted))
    if not arrives:
        restore_padding(model)
        raise _refusal(model, "its head does not hand keyword arguments on to its body")
    if not worst <= tolerance(model):
        restore_padding(model)
        raise _refusal(model, f"outputs differ by {worst:.1e} of the largest")


def _refusal(model: nn.Module, reason: str) -> ConfigurationError:
    return ConfigurationError(
        "this model cannot run without padding",
        place=type(model).__name__,
        found=reason,
        expected="a model of a family that docs/padding_free.md names, with sdpa attention",
        fix="train it padded (padding_free=False), or with batching='bucketed'",
    )


def _whole(model: Any) -> PreTrainedModel:
    """Finds the model of transformers in what may be wrapped by peft, or by torch for ranks."""
    found = next((one for one in model.modules() if isinstance(one, PreTrainedModel)), None)
    if found is None:
        raise ConfigurationError(
            "this is no model of transformers",
            place="fastft.padding_free",
            found=type(model).__name__,
            expected="a transformers.PreTrainedModel, as it is or wrapped",
        )
    return found


def take_padding_out(model: nn.Module) -> None:
    """Gives a model the hooks, whatever its head is; `padding_free` looks first.

    Args:
        model: The model, or what peft made of it; one that has them stays as it is.
    """
    whole = _whole(model)
    if hasattr(whole, _ATTRIBUTE):
        return
    record, handles = Record(), []
    for body, kind in list(bodies(whole)):
        enters, leaves = kind.ends(body)
        handles += [
            body.register_forward_pre_hook(BodyHook(kind, record), with_kwargs=True),
            enters.register_forward_pre_hook(EnterHook(kind.has_bias), with_kwargs=True),
            leaves.register_forward_hook(LeaveHook(), with_kwargs=True),
        ]
    if family(whole) is None:
        handles.append(whole.register_forward_pre_hook(HeadHook(whole), with_kwargs=True))
    whole.set_attn_implementation(NAME)
    setattr(whole, _ATTRIBUTE, _Attached(handles, record))


def restore_padding(model: nn.Module) -> None:
    """Makes a padding-free model as it was; any other model stays as it is.

    Args:
        model: The model.
    """
    whole = _whole(model)
    attached: _Attached | None = getattr(whole, _ATTRIBUTE, None)
    if attached is None:
        return
    for handle in attached.handles:
        handle.remove()
    delattr(whole, _ATTRIBUTE)
    if whole.config._attn_implementation == NAME:
        whole.set_attn_implementation(STOCK)


def is_padding_free(model: nn.Module) -> bool:
    """Whether a model has the hooks.

    Args:
        model: The model.
    """
    return hasattr(_whole(model), _ATTRIBUTE)


def why_padded(model: nn.Module, *, known_head: bool = True) -> str | None:
    """Says why a model cannot run padding-free; None when it can.

    Args:
        model: The model.
        known_head: Whether only heads count that are known to read no padding.
    """
    whole = _whole(model)
    found = list(bodies(whole))
    if not found:
        return f"{type(whole).__name__} is of no family that is known"
    implementation = whole.config._attn_implementation
    if implementation not in (STOCK, NAME):
        return f"its attention is {implementation!r}"
    if any(kind.has_bias for _, kind in found) and not _takes_position_bias():
        return "this version of transformers keeps the position bias of T5 to itself"
    if not _takes_keywords(whole):
        return f"its head, {type(whole).__name__}, takes no further keyword arguments"
    is_own = any(
        kind.__module__.startswith("transformers.") and kind.__name__.endswith(HEADS)
        for kind in (type(whole), *type(whole).__mro__[: _num_made(whole)])
    )
    return None if is_own or not known_head else f"its head, {type(whole).__name__}, is not known"


def _takes_keywords(model: nn.Module) -> bool:
    """Whether a head takes arguments that it does not know, and may so hand them on."""
    parameters = inspect.signature(type(model).forward).parameters.values()
    return any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)


def _num_made(model: nn.Module) -> int:
    """Counts the classes before a class of transformers that FSDP2 made and that change nothing."""
    made = 0
    for kind in type(model).__mro__:
        if not kind.__name__.startswith("FSDP"):
            break
        made += 1
    return made + 1


def _takes_position_bias() -> bool:
    from transformers.integrations import sdpa_attention

    return hasattr(sdpa_attention, "create_position_bias_mask")


def explain_padding(model: nn.Module) -> str:
    """Says whether a model runs padding-free, and what it did so far.

    Args:
        model: The model.

    Example:
        >>> print(explain_padding(model))                          # doctest: +SKIP
        padding: removed inside the model
          batches without padding: 40
          tokens: 8,480 of 25,312 (66% was padding)
    """
    attached: _Attached | None = getattr(_whole(model), _ATTRIBUTE, None)
    if attached is None:
        return f"padding: computed, {why_padded(model) or 'padding_free(model) was not called'}"
    return "\n".join(
        ["padding: removed inside the model", *(f"  {one}" for one in attached.record.lines())]
    )
