"""A small T5 from random weights learns German to English: does the whole path of seq2seq learn?

    python benches/learn_multi30k.py ../shared/data [STEPS]

Multi30k (research licence, so it is read where it lies), the rows of at most 9 English words; the
real T5 vocabulary. Printed beside BLEU and chrF: those of copying the source, and of the best of
the most frequent training sentences.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch
from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

import fastft
from fastft.tasks.text_metrics import score

MOST_WORDS = 9


def rows(folder: Path, split: str) -> dict[str, list[str]]:
    columns = []
    for language in ("de", "en"):
        with gzip.open(folder / f"{split}.{language}.gz", "rt", encoding="utf-8") as file:
            columns.append(file.read().split("\n")[:-1])
    short = [pair for pair in zip(*columns, strict=True) if len(pair[1].split()) <= MOST_WORDS]
    return {"de": [de for de, _ in short], "en": [en for _, en in short]}


def small_t5() -> T5ForConditionalGeneration:
    torch.manual_seed(0)
    sizes = {"d_model": 128, "d_kv": 32, "d_ff": 256, "num_layers": 2, "num_heads": 4}
    return T5ForConditionalGeneration(
        T5Config(vocab_size=32128, dropout_rate=0.0, decoder_start_token_id=0, **sizes)
    )


def baselines(train: list[str], data: dict[str, list[str]]) -> dict[str, tuple[float, float]]:
    def scores(texts: list[str]) -> tuple[float, float]:
        return score("bleu", texts, data["en"], "13a"), score("chrf", texts, data["en"], "13a")

    counts = Counter(train).most_common()
    frequent = [text for text, count in counts if count == counts[0][1]][:20]
    best = max(scores([text] * len(data["en"])) for text in frequent)
    return {"copy of the source": scores(data["de"]), "most frequent sentence": best}


def main(shared: Path, steps: int = 600) -> None:
    folder = shared / "translation" / "multi30k_de_en"
    train, validation = rows(folder, "train"), rows(folder, "val")
    print(f"{len(train['en']):,} and {len(validation['en']):,} rows")
    for name, figures in baselines(train["en"], validation).items():
        print("{}: BLEU {:.2f}, chrF {:.2f}".format(name, *figures))
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as output:
        result = fastft.finetune(
            small_t5(), {"train": train, "validation": validation}, "translation",
            tokenizer=T5Tokenizer.from_pretrained(shared / "tokenizers" / "t5"),
            source="de", target="en", output_dir=output, max_steps=steps, learning_rate=3e-3,
            per_device_train_batch_size=32, per_device_eval_batch_size=128, eval_strategy="no",
            save_strategy="no", logging_steps=50, use_cpu=True,
        )  # fmt: skip
    print(f"{steps} steps and the evaluation: {time.perf_counter() - began:.0f} s")
    print("fastft: BLEU {eval_bleu:.2f}, chrF {eval_chrf:.2f}".format(**result.metrics))
    for source, found in zip(
        validation["de"][:3], result.predict(validation["de"][:3]), strict=True
    ):
        print(f"  {source} -> {found['text']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
