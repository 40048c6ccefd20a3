"""Text classification in a few lines: python examples/text_classification.py MODEL"""

import sys
from pathlib import Path

import fastft

data = Path(__file__).parent / "data" / "banking77"
result = fastft.finetune(sys.argv[1], data, num_train_epochs=1, learning_rate=2e-4)
print(result.metrics["eval_accuracy"])
print(result.predict(["I want to cancel the transfer that I just made."]))
