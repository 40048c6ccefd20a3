"""A small GPT-2 from nothing on tinyshakespeare: does the loss on held-out text fall below 6.0?

    python benches/learn_tinyshakespeare.py ../shared/data

4 layers, 256 wide, the real vocabulary of 50,257 tokens, blocks of 64 tokens, batches of 8; the
last 2 % of the text are held out. A model that knows nothing has a loss of ln 50257 = 10.8.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

import fastft

STEPS = 600


def main() -> None:
    data = Path(sys.argv[1])
    text = (data / "text/tinyshakespeare/input.txt").read_text("utf-8")
    cut = text.index("\n\n", int(len(text) * 0.98))
    tokenizer = GPT2Tokenizer.from_pretrained(data / "tokenizers/gpt2")
    torch.manual_seed(0)
    config = GPT2Config(n_positions=64, n_embd=256, n_layer=4, n_head=4)
    config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = 0.0
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "train.txt").write_text(text[:cut], "utf-8")
        (Path(folder) / "test.txt").write_text(text[cut:], "utf-8")
        start = time.perf_counter()
        result = fastft.finetune(
            GPT2LMHeadModel(config),
            folder,
            task="causal-lm",
            tokenizer=tokenizer,
            max_length=64,
            max_steps=STEPS,
            learning_rate=3e-3,
            lr_scheduler_type="cosine",
            warmup_steps=STEPS // 10,
            per_device_train_batch_size=8,
            output_dir=Path(folder) / "run",
            save_strategy="no",
        )
        print(f"{result.metrics['eval_loss']:.3f} after {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
