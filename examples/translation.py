"""Translation in a few lines: python examples/translation.py MODEL, a T5 or another one like it."""

import sys
from pathlib import Path

import fastft

data = Path(__file__).parent / "data" / "tanaka"
languages = {"source": "en", "target": "ja", "prefix": "translate English to Japanese: "}
result = fastft.finetune(sys.argv[1], data, "translation", **languages, num_train_epochs=1)
print(result.metrics["eval_bleu"], result.metrics["eval_chrf"])
print(result.predict(["I like dogs."], num_beams=4))
