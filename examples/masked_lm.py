"""Masked language modelling in a few lines: python examples/masked_lm.py MODEL, an encoder"""

import sys
from pathlib import Path

import fastft

data = Path(__file__).parent / "data" / "pride_and_prejudice"
result = fastft.finetune(sys.argv[1], data, "masked-lm", max_length=64, num_train_epochs=1)
print(result.metrics["eval_perplexity"])
mask = result.tokenizer.mask_token
print(result.predict([f"A single man must be in want of a {mask}."]))
