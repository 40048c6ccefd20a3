"""Run under torchrun by test_fuse_head_ranks.py: a fused head under DDP and FSDP, on gloo."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.nn.parallel import DistributedDataParallel

import fastft
from fastft.modeling.losses.fuse_head import fused_head
from fastft.modeling.losses.fused_head import FusedHead
from tests.fused_models import batch, build, gradients
from tests.fused_trainers import lm_trainer

ROWS = 8


def parts(accumulation: int) -> list[dict[str, torch.Tensor]]:
    """The micro-batches of this rank: every rank takes in turn what one process takes at once."""
    whole, rank = batch(rows=ROWS), dist.get_rank()
    size = ROWS // (2 * accumulation)
    starts = [(2 * step + rank) * size for step in range(accumulation)]
    return [{name: one[at : at + size] for name, one in whole.items()} for at in starts]


def num_labels(model: Any) -> torch.Tensor:
    """The labels of the whole batch."""
    labels = batch(rows=ROWS)["labels"]
    is_encoder = "MaskedLM" in type(model).__name__
    return (labels if is_encoder else labels[:, 1:]).ne(-100).sum()


def step(model: Any, wrapped: Any, accumulation: int) -> float:
    """Runs the micro-batches of a step; gives this rank's share of the loss."""
    total = 0.0
    batches = parts(accumulation)
    for number, inputs in enumerate(batches):
        is_last = number == len(batches) - 1
        waits = contextlib.nullcontext() if is_last else _no_sync(wrapped)
        with waits, fastft.supervised(inputs):
            loss = wrapped(**inputs, num_items_in_batch=num_labels(model)).loss
            # The mean over ranks is taken of gradients.
            (loss * dist.get_world_size()).backward()
        total += loss.item()
    return total


def _no_sync(wrapped: Any) -> Any:
    if isinstance(wrapped, DistributedDataParallel):
        return wrapped.no_sync()
    wrapped.set_requires_gradient_sync(False)
    return _sync_again(wrapped)


@contextlib.contextmanager
def _sync_again(wrapped: Any) -> Any:
    yield
    wrapped.set_requires_gradient_sync(True)


def report(model: Any, loss: float) -> dict[str, Any]:
    """Loss over all ranks, gradients, and what the head did."""
    total = torch.tensor(loss)
    dist.all_reduce(total)
    found = {
        name: (one.full_tensor() if hasattr(one, "full_tensor") else one).tolist()
        for name, one in gradients(model).items()
    }
    # FSDP1 may have wrapped it.
    (head,) = (one for one in model.modules() if isinstance(one, FusedHead))
    counts = {
        "fused": head.record.fused,
        "made": head.record.materialised,
        "plain": head.record.plain,
    }
    return {"loss": total.item(), "gradients": found, **counts}


def ddp(name: str, accumulation: int, find_unused: bool) -> dict[str, Any]:
    model = build(name)
    fastft.fuse_head(model)
    wrapped = DistributedDataParallel(model, find_unused_parameters=find_unused)
    return report(model, step(model, wrapped, accumulation))


def ddp_loss_outside(find_unused: bool) -> dict[str, Any]:
    """The loss is taken of the outputs of DDP, which copies them where it looks for unused."""
    model = build("llama")
    fastft.fuse_head(model)
    wrapped = DistributedDataParallel(model, find_unused_parameters=find_unused)
    inputs = parts(1)[0]
    labels = inputs.pop("labels")[:, 1:].reshape(-1)
    logits = wrapped(**inputs).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), labels, reduction="sum"
    )
    loss = loss / num_labels(model)
    (loss * dist.get_world_size()).backward()
    return report(model, loss.item())


def fsdp(name: str, accumulation: int, own_group: bool) -> dict[str, Any]:
    model = build(name)
    fastft.fuse_head(model)
    for layer in model.model.layers:
        fully_shard(layer)
    if own_group:
        fully_shard(model.lm_head)
    fully_shard(model)
    result = report(model, step(model, model, accumulation))
    state = model.state_dict()
    result["keys"] = list(state)
    return result


def fsdp1(name: str, own_unit: bool) -> dict[str, Any]:
    """The older wrapper, which flattens parameters and may take them back after each forward."""
    model = build(name)
    fastft.fuse_head(model)
    units = {type(model.model.layers[0])} | ({FusedHead} if own_unit else set())
    wrapped = FullyShardedDataParallel(
        model,
        auto_wrap_policy=ModuleWrapPolicy(units),
        device_id=torch.device("cpu"),
        use_orig_params=True,
    )
    loss = step_of_fsdp1(model, wrapped)
    with FullyShardedDataParallel.summon_full_params(wrapped, with_grads=True):
        found = report(model, loss)
    found["gradients"] = {
        key.replace("_fsdp_wrapped_module.", ""): one for key, one in found["gradients"].items()
    }
    return found


def step_of_fsdp1(model: Any, wrapped: Any) -> float:
    """One undivided step; FSDP1 takes the mean of gradients over the ranks itself."""
    labels = num_labels(model)
    loss = wrapped(**parts(1)[0], num_items_in_batch=labels).loss
    (loss * dist.get_world_size()).backward()
    return float(loss)


def fsdp_loss_outside() -> dict[str, Any]:
    """One group for all, whose only hook is on the logits."""
    model = build("llama")
    fastft.fuse_head(model)
    fully_shard(model)
    inputs = parts(1)[0]
    labels = inputs.pop("labels")[:, 1:].reshape(-1)
    logits = model(**inputs).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), labels, reduction="sum"
    )
    loss = loss / num_labels(model)
    (loss * dist.get_world_size()).backward()
    return report(model, loss.item())


def fsdp_around_the_head() -> dict[str, Any]:
    """A group that takes the weight back between head and loss: nothing but an error is right."""
    model = build("bert-untied")
    fastft.fuse_head(model)
    fully_shard(model.cls)
    fully_shard(model)
    try:
        model(**parts(1)[0])
    except fastft.ConfigurationError as error:
        return {"error": str(error)}
    return {"error": ""}


def trainer(folder: Path) -> dict[str, Any]:
    """A Trainer of its own settings, which lets DDP look for unused parameters."""
    made = lm_trainer(folder, 2, per_device_train_batch_size=2, gradient_accumulation_steps=2)
    made.train()
    head = fused_head(made.accelerator.unwrap_model(made.model))
    assert head is not None
    return {
        "losses": made.losses,
        "evaluation": made.evaluate()["eval_loss"],
        "fused": head.record.fused,
        "made": head.record.materialised,
        "plain": head.record.plain,
    }


def main(folder: Path) -> None:
    dist.init_process_group("gloo")
    runs = {
        **{f"ddp-{n}": ddp("llama", n, False) for n in (1, 2, 4)},
        "ddp-tied": ddp("gpt2", 2, False),
        "ddp-capped": ddp("gemma2", 2, False),
        "ddp-unused": ddp("llama", 2, True),
        "ddp-outside": ddp_loss_outside(False),
        "ddp-outside-unused": ddp_loss_outside(True),
        "fsdp-1": fsdp("llama", 1, False),
        "fsdp-2": fsdp("llama", 2, False),
        "fsdp-tied": fsdp("llama-tied", 2, False),
        "fsdp1": fsdp1("llama", False),
        "fsdp1-own": fsdp1("llama", True),
        "fsdp-own": fsdp("llama", 2, True),
        "fsdp-outside": fsdp_loss_outside(),
        "trainer": trainer(folder),
        "fsdp-parent": fsdp_around_the_head(),
    }
    (folder / f"rank{os.environ['RANK']}.json").write_text(json.dumps(runs))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    dist.destroy_process_group()
