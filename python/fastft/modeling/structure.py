"""The shape of a model in a few lines: its blocks, how many parameters each has, what is trained.

Repeated blocks (a `ModuleList` of equal layers) take one line with a multiplier, so that a model
of 96 layers reads as easily as one of 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Block:
    """One line of the picture.

    Attributes:
        name: The module's path, with `x N` behind a list of N layers.
        num_parameters: How many parameters lie in it.
        num_trainable: How many of them require a gradient.
    """

    name: str
    num_parameters: int
    num_trainable: int


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """Counts the parameters of a module; a tied one counts once.

    Returns:
        Trainable and total number of parameters.
    """
    parameters = list(module.parameters())
    return (
        sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        sum(parameter.numel() for parameter in parameters),
    )


def model_blocks(model: nn.Module) -> list[Block]:
    """Lists the blocks of a model, in the order in which its modules are defined."""
    return list(_blocks(model, prefix="", depth=0))


def _blocks(module: nn.Module, prefix: str, depth: int) -> Iterator[Block]:
    for name, child in module.named_children():
        trainable, total = count_parameters(child)
        if total == 0:
            continue
        path = f"{prefix}{name}"
        if isinstance(child, nn.ModuleList):
            yield Block(f"{path} x {len(child)}", total, trainable)
        elif depth < 2 and _is_container(child):
            yield from _blocks(child, f"{path}.", depth + 1)
        else:
            yield Block(path, total, trainable)


def _is_container(module: nn.Module) -> bool:
    """Whether a module only holds others: no weights of its own, and a list of layers below."""
    has_own = any(True for _ in module.parameters(recurse=False))
    return not has_own and any(isinstance(inner, nn.ModuleList) for inner in module.modules())


def describe_model(model: nn.Module) -> str:
    """Draws the model: a line per block, then the totals.

    Example:
        >>> print(describe_model(nn.Sequential(nn.Linear(2, 3))))
        0  9
        trainable 9 of 9 parameters (100 %)
    """
    blocks = model_blocks(model)
    width = max((len(block.name) for block in blocks), default=0)
    digits = max((len(f"{block.num_parameters:,}") for block in blocks), default=0)
    lines = [
        f"{block.name:<{width}}  {block.num_parameters:>{digits},}{_frozen_mark(block)}"
        for block in blocks
    ]
    trainable, total = count_parameters(model)
    share = 100 * trainable / max(total, 1)
    return "\n".join([*lines, f"trainable {trainable:,} of {total:,} parameters ({share:.3g} %)"])


def _frozen_mark(block: Block) -> str:
    if block.num_trainable == block.num_parameters:
        return ""
    return "  frozen" if block.num_trainable == 0 else "  partly frozen"


def layer_lists(model: nn.Module) -> dict[str, nn.ModuleList]:
    """Finds the stacks of layers of a model, by name, in the order of the forward pass.

    A stack is the outermost list of two or more modules of one class; a model of one layer has a
    list of one.
    """
    found: dict[str, nn.ModuleList] = {}
    for name, module in model.named_modules():
        is_list = isinstance(module, nn.ModuleList) and len(module) > 0
        if not is_list or any(name.startswith(f"{outer}.") for outer in found):
            continue
        if len({type(layer) for layer in module}) == 1:
            found[name] = module
    return found
