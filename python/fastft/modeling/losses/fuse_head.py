"""`fuse_head`: a model whose loss runs without logits, by nothing but a public setter.

The output embedding is swapped, through `set_output_embeddings`, for a `FusedHead` with the same
parameters: names in the state dict, weight tying, saving and generation are as before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from fastft.errors import ArgumentError, ConfigurationError, nearest
from fastft.modeling.losses.fused_head import FusedHead
from fastft.modeling.losses.linear_cross_entropy import OPTIONS, check_options

if TYPE_CHECKING:
    from types import TracebackType


class FusedModel:
    """What `fuse_head` gives: the end of a `with` block takes the fused head out again.

    Attributes:
        model: The model.
        head: Its fused head.
    """

    def __init__(self, model: nn.Module, head: FusedHead, *, is_new: bool = True) -> None:
        self.model = model
        self.head = head
        # What was fused before the block stays fused after it.
        self._is_new = is_new

    def explain(self) -> str:
        """Says what the head did so far."""
        return explain_head(self.model)

    def __enter__(self) -> nn.Module:
        return self.model

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_new:
            unfuse_head(self.model)


def fuse_head(model: nn.Module, **options: Any) -> FusedModel:
    """Lets the loss of a model run without logits, in training and in evaluations of the loss.

    The model is changed in place: its output embedding becomes a `FusedHead` with the same
    parameters. Whatever looks at the logits gets the true ones.

    Args:
        model: A model of transformers with an output embedding.
        **options: `chunk_tokens`, `accum_dtype`, `backend` of `fastft.linear_cross_entropy`.

    Returns:
        A handle with `explain()`; as a context manager it takes the head out at the end.

    Raises:
        ConfigurationError: The model has no head that can be fused; the text says why. Or an option
            has a value that cannot be meant.
        ArgumentError: An option is unknown.

    Example:
        >>> fastft.fuse_head(model)                                # doctest: +SKIP
        >>> model(**batch).loss.backward()                         # doctest: +SKIP
    """
    for name in options:
        if name not in OPTIONS:
            raise ArgumentError(
                "unknown option",
                place="fuse_head",
                found=name,
                expected=", ".join(OPTIONS),
                fix=" or ".join(nearest(name, OPTIONS)) or None,
            )
    check_options(**options)
    reason = why_not_fused(model)
    if reason is not None:
        raise ConfigurationError(
            "the head of this model cannot be fused",
            place=_name(model),
            found=reason,
            expected="an output embedding that is a plain torch.nn.Linear",
            fix="fuse first, then wrap; or train it as it is",
        )
    head = _output_embedding(model)
    is_new = not isinstance(head, FusedHead)
    if is_new:
        head = FusedHead.of(head, options)
        _swap(model, head)
    elif options:
        head.fused_options = options
    return FusedModel(model, head, is_new=is_new)


def unfuse_head(model: nn.Module) -> None:
    """Takes every fused head out of a model, one that peft has wrapped since too.

    Args:
        model: The model; one that has none stays as it is.

    Raises:
        ConfigurationError: Somebody made a class of his own of the head: FSDP2, which shards it in
            a group of its own, or a parametrization.
    """
    _check_module(model)
    for head in model.modules():
        if isinstance(head, FusedHead) and type(head) is not FusedHead:
            raise ConfigurationError(
                "a head that somebody has made another class of cannot be taken out",
                place=_name(model),
                found=type(head).__name__,
                fix="call unfuse_head before fully_shard, and before parametrizations are added",
            )
    if isinstance(_output_embedding(model), FusedHead):
        _swap(model, _output_embedding(model).to_linear())
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, FusedHead):
                setattr(parent, name, child.to_linear())


def _swap(model: Any, head: nn.Linear) -> None:
    """Puts another layer with the same parameters into the place of the output embedding.

    The setters of BERT and its kin also set the bias that stands beside the layer, which in a model
    without tied weights is another one: what a setter changed beside the layer is put back.
    """
    before = dict(model.named_parameters(remove_duplicate=False))
    model.set_output_embeddings(head)
    after = dict(model.named_parameters(remove_duplicate=False))
    for name, parameter in before.items():
        if after.get(name) is not parameter:
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, parameter)


def why_not_fused(model: nn.Module) -> str | None:
    """Says why the head of a model cannot be fused; None when it can, or is already.

    Args:
        model: The model.
    """
    if not isinstance(model, nn.Module):
        kind = "the class" if isinstance(model, type) else "of type"
        return f"it is no model but {kind} {_name(model)}"
    if not callable(getattr(model, "set_output_embeddings", None)):
        return "it has no set_output_embeddings"
    head = _output_embedding(model)
    if head is None:
        return "it has no output embedding"
    if isinstance(head, FusedHead):
        return None
    kind = f"{type(head).__module__}.{type(head).__name__}"
    if type(head).__module__.startswith("peft."):
        return f"peft has wrapped the head ({kind}): fuse first, then wrap"
    if type(head) is not nn.Linear:
        return f"the head is a {kind}"
    return _why_not_linear(head)


def _why_not_linear(head: nn.Linear) -> str | None:
    if "forward" in head.__dict__:
        return "another library has replaced the forward of the head"
    if "weight" not in head._parameters:
        return "the weight of the head is not a parameter of its own"
    if not head.weight.is_floating_point():
        return f"the weight of the head is {head.weight.dtype}"
    return None


def explain_head(model: nn.Module) -> str:
    """Says whether the loss of a model runs without logits, and what its head did so far.

    Args:
        model: The model.

    Example:
        >>> print(explain_head(model))                             # doctest: +SKIP
        head: fused
          losses without logits: 40
    """
    _check_module(model)
    heads = [one for one in model.modules() if isinstance(one, FusedHead)]
    if not heads:
        return f"head: not fused, {why_not_fused(model) or 'fuse_head(model) was not called'}"
    lines = ["head: fused"]
    outer = _output_embedding(model)
    if not isinstance(outer, FusedHead):
        lines = [f"head: fused, and wrapped by a {type(outer).__name__} since"]
    lines += [f"  {line}" for head in heads for line in head.record.lines()]
    return "\n".join(lines)


def fused_head(model: nn.Module) -> FusedHead | None:
    """Gives the fused head of a model, None when it has none.

    Args:
        model: The model.
    """
    head = _output_embedding(model)
    return head if isinstance(head, FusedHead) else None


def _check_module(model: Any) -> None:
    if not isinstance(model, nn.Module):
        raise ConfigurationError(
            "this is no model", place="model", found=_name(model), expected="a torch.nn.Module"
        )


def _name(model: Any) -> str:
    return model.__name__ if isinstance(model, type) else type(model).__name__


def _output_embedding(model: nn.Module) -> Any:
    getter = getattr(model, "get_output_embeddings", None)
    try:
        return getter() if callable(getter) else None
    except (AttributeError, NotImplementedError):
        return None
