"""How long a model on a GPU waits for its batches: an epoch with each loader, and with none.

The work of a batch is a forward pass of a small encoder. The limit does the same work on batches
that lie on the device already, so what a loader takes beyond it is its stall.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import transformers
from benches.gpu import rows_of_tokens
from benches.gpu.training import config

import fastft
from fastft.bench.made import word_tokenizer
from fastft.bench.row import Case, Row, Variant, absent, demand, limit, ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from benches.gpu.device import Device

    from fastft.bench.row import Context

BATCH, NUM_ROWS, LAYERS = 32, 4096, 2


def rows(device: Device) -> list[Row]:
    """A row for each set."""
    return [
        Row(f"batches/gpu/stall/{name}", device.pick("tiny: ", "") + f"{title}: an epoch of "
            f"{NUM_ROWS:,} rows into {LAYERS} layers of BERT base",
            partial(_cases, device=device, name=name), clock="wall", threads=None,
            asked={"no loader": 1.05}, repetitions=device.pick((1, 1), (3, 7)), seconds=(0, 0))
        for name, title in (("sst2", "SST-2"), ("imdb", "IMDB"))
    ]  # fmt: skip


def encoder(device: Device) -> Any:
    """A small encoder in half precision where the device has it."""
    torch.manual_seed(0)
    shape = config(device)
    shape.num_hidden_layers = LAYERS
    dtype = torch.bfloat16 if device.is_gpu else torch.float32
    return transformers.AutoModel.from_config(shape, dtype=dtype).to(device.name).eval()


def epoch(model: Any, batches: Any, device: Device) -> torch.Tensor:
    """The sum of what the model gives for all batches; read at the end only."""
    total = torch.zeros((), device=device.name)
    with torch.inference_mode():
        for batch in batches:
            ids, mask = (
                batch[name].to(device.name, non_blocking=True)
                for name in ("input_ids", "attention_mask")
            )
            total = total + model(input_ids=ids, attention_mask=mask)[0].float().sum()
    return total


def _cases(context: Context, *, device: Device, name: str) -> Iterable[Case]:
    model = encoder(device)
    number, batch, longest = device.pick((24, 4, 48), (NUM_ROWS, BATCH, 512))
    data = rows_of_tokens.dataset(name, number, model.config.vocab_size, longest)
    listed, tokenizer = rows_of_tokens.listed(data), word_tokenizer()
    collate, stock = (home.DataCollatorWithPadding(tokenizer) for home in (fastft, transformers))
    pin = {"pin_memory": device.is_gpu}

    def of_ours(**options: Any) -> Any:
        return fastft.DataLoader(data, batch, collate_fn=collate, **pin, **options)

    def of_torch(**options: Any) -> Any:
        return torch.utils.data.DataLoader(listed, batch, collate_fn=stock, **pin, **options)

    there = [{key: one.to(device.name) for key, one in each.items()} for each in of_torch()]

    def check() -> str:
        for loader in (of_ours(), of_ours(num_workers=2)):
            for found, expected in zip(loader, there, strict=True):
                for key in expected:
                    demand(torch.equal(found[key].to(device.name), expected[key]), f"{key} differs")
        return "all batches of an epoch equal"

    def run(loader: Any) -> Callable[[], torch.Tensor]:
        return partial(epoch, model, loader, device)

    case = Case(
        [
            ours(run(of_ours())),
            ours(run(of_ours(num_workers=2)), "fastft, 2 threads"),
            Variant("torch, 0 workers", run(of_torch())),
            Variant("torch, 2 workers", run(of_torch(num_workers=2, persistent_workers=True))),
            limit("no loader", run(there)),
        ],
        check,
        number,
        "rows",
    )
    reason = absent("torchdata")
    if reason is not None:
        case.absent["StatefulDataLoader"] = reason
    else:
        from torchdata.stateful_dataloader import StatefulDataLoader

        stateful = StatefulDataLoader(listed, batch, collate_fn=stock, **pin)
        case.variants.insert(-1, Variant("StatefulDataLoader", run(stateful)))
    yield case
