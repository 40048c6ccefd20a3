"""Question answering in a few lines: python examples/question_answering.py MODEL"""

import sys
from pathlib import Path

import fastft

data = Path(__file__).parent / "data" / "xquad"
result = fastft.finetune(sys.argv[1], data, num_train_epochs=1, learning_rate=2e-4)
print(result.metrics["eval_exact_match"], result.metrics["eval_f1"])
context = "The ferry to the island leaves at nine; on Sundays it leaves at noon."
print(result.predict([{"question": "When does it leave on Sundays?", "context": context}]))
