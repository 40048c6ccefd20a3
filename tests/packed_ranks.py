"""Run under torchrun by test_packed_training.py: packed and padded runs on two gloo ranks."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from tests.packed_trainers import Padded, trainer, weights


def main(folder: Path) -> None:
    report = {}
    for name in ("gpt2", "bert"):
        # Two steps and a half of an epoch: the last is filled with batches that count for nothing.
        training = {"num_train_epochs": 2, "max_steps": -1, "gradient_accumulation_steps": 2}
        packed = trainer(name, folder, training=training)
        padded = trainer(name, folder, Padded, training=training, padding_free=False)
        for one in (packed, padded):
            one.train()
        difference = max(
            float((mine - theirs).abs().max())
            for mine, theirs in zip(weights(packed), weights(padded), strict=True)
        )
        report[name] = {
            "rows": packed.rows,
            "padded_rows": padded.rows,
            "losses": packed.losses,
            "padded_losses": padded.losses,
            "difference": difference,
        }
    rank = int(os.environ["RANK"])
    (folder / f"rank{rank}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
