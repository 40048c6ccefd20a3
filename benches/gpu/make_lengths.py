"""Makes lengths.json: how many rows of the real sets have how many tokens of BERT.

python -m benches.gpu.make_lengths ../shared/data
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import transformers

import fastft

MOST = 512
TARGET = Path(__file__).with_name("lengths.json")


def texts(data: Path) -> dict[str, list[str]]:
    """The training texts of IMDB and of SST-2."""
    lines = (data / "classification/imdb/train.jsonl").read_text("utf-8").split("\n")
    with (data / "classification/sst2_glue/train.tsv").open(encoding="utf-8", newline="") as file:
        table = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return {
        "imdb": [json.loads(line)["text"] for line in lines if line.strip()],
        "sst2": [row[0] for row in table[1:]],
    }


def main(folder: str) -> None:
    data = Path(folder)
    hf = transformers.BertTokenizer.from_pretrained(data / "tokenizers/bert_uncased")
    found = {}
    for name, rows in texts(data).items():
        dataset = fastft.TokenDataset.from_texts(rows, hf, max_length=MOST)
        found[name] = np.bincount(dataset.lengths).tolist()
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(row)}" for name, row in found.items())
    TARGET.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
