"""Chat in a few lines: python examples/chat.py MODEL, a decoder; its own template is not needed."""

import sys
from pathlib import Path

import fastft

data = Path(__file__).parent / "data" / "gsm8k"
columns = {"prompt": "question", "completion": "answer"}
result = fastft.finetune(
    sys.argv[1], data, "chat", **columns, chat_template="alpaca", num_train_epochs=1
)
print(result.metrics["eval_perplexity"])
print(result.predict(["Ann has 3 apples and buys 4. How many has she?"], max_new_tokens=32))
