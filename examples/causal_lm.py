"""Language modelling in a few lines: python examples/causal_lm.py MODEL, a decoder such as gpt2"""

import sys
from pathlib import Path

import fastft

data = Path(__file__).parent / "data" / "pride_and_prejudice"
result = fastft.finetune(sys.argv[1], data, "causal-lm", max_length=64, num_train_epochs=1)
print(result.metrics["eval_perplexity"])
print(result.predict(["It is a truth universally acknowledged, that"], max_new_tokens=20))
