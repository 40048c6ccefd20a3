"""Run under torchrun by test_frozen_ranks.py: kept states on two processes on gloo."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.frozen_trainers import reference, trainer


def main(folder: Path) -> None:
    """Trains each way, and writes the losses and evaluations of this rank."""
    found: dict[str, Any] = {}
    for name, train in (("bert", "head"), ("bert", "last:1"), ("t5", "last:1")):
        for choice in ("memory", "disk", "off"):
            make = reference if choice == "off" else trainer
            options: dict[str, Any] = {} if choice == "off" else {"cache": choice}
            one = make(
                folder, name, train, evaluates=True, eval_strategy="epoch", rows=42, **options
            )
            one.train()
            losses = [entry["loss"] for entry in one.state.log_history if "loss" in entry]
            evaluations = [
                entry["eval_loss"] for entry in one.state.log_history if "eval_loss" in entry
            ]
            found[f"{name} {train} {choice}"] = {
                "losses": losses,
                "evaluations": evaluations,
                "carried": all(one.carried),
                "note": one.explain_frozen(),
            }
    rank = os.environ["RANK"]
    (folder / f"rank{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
