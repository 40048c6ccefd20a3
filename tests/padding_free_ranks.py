"""Run under torchrun by test_padding_free_ranks.py: padding-free models on two gloo ranks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import fastft
from fastft.modeling.padding_free.model import explain_padding
from tests import padding_free_models as zoo

LENGTHS = [[17, 3, 9, 2], [6, 6, 6, 6]]
"""Rows of each rank: the first has padding, the second none, so that it stays as it is."""


def gradients(model: Any, wrapped: Any, head: str) -> dict[str, Any]:
    """Runs a step, and gives the gradients and what became of the padding."""
    rank = dist.get_rank()
    wrapped(**zoo.batch(LENGTHS[rank], head, seed=rank)).loss.backward()
    found = {
        name: (one.grad.full_tensor() if hasattr(one.grad, "full_tensor") else one.grad).tolist()
        for name, one in model.named_parameters()
        if one.grad is not None
    }
    return {"gradients": found, "text": explain_padding(model)}


def ddp(family: str, head: str) -> dict[str, Any]:
    model = zoo.model(family, head)
    fastft.padding_free(model)
    return gradients(model, DistributedDataParallel(model), head)


def fsdp(family: str, head: str, *, before: bool) -> dict[str, Any]:
    """FSDP2, which makes classes of its own, before or after the hooks."""
    model = zoo.model(family, head)
    if before:
        fastft.padding_free(model)
    layers = model.bert.encoder.layer if family == "bert" else model.model.layers
    for layer in layers:
        fully_shard(layer)
    fully_shard(model)
    if not before:
        fastft.padding_free(model)
    return gradients(model, model, head)


def main(folder: Path) -> None:
    dist.init_process_group("gloo")
    results = {
        "ddp-bert": ddp("bert", "sequence"),
        "ddp-llama": ddp("llama", "causal"),
        "fsdp-bert": fsdp("bert", "sequence", before=False),
        "fsdp-llama": fsdp("llama", "causal", before=True),
    }
    (folder / f"rank{dist.get_rank()}.json").write_text(json.dumps(results))
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
