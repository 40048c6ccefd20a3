"""Tokenizers of the kinds of GPT-2 and T5, trained on the texts at hand where the real are absent.

Pre-tokenizer and model are those of the originals, the vocabularies small; that of T5 does not
normalise.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from fastft.bench.row import SkippedRow

BPE_SIZE, UNIGRAM_SIZE = 8_000, 4_000


def trained(name: str, texts: tuple[str, ...]) -> Any:
    """A tokenizer of transformers, made anew around what was trained once.

    Raises:
        SkippedRow: There is none of this kind.
    """
    import tokenizers
    import transformers

    if name not in ("gpt2", "t5"):
        raise SkippedRow(f"the tokenizer {name} is only in the folder of --data")
    names = {"eos_token": "<|endoftext|>"} if name == "gpt2" else T5_NAMES
    backend = tokenizers.Tokenizer.from_str(_definition(name, texts))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **names)


T5_NAMES = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}


@cache
def _definition(name: str, texts: tuple[str, ...]) -> str:
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers

    texts = texts[: 10_000 if name == "gpt2" else 4_000]
    definition: str
    if name == "gpt2":
        bpe = tokenizers.Tokenizer(models.BPE())
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.decoder = decoders.ByteLevel()
        bpe.post_processor = processors.ByteLevel(trim_offsets=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        bpe.train_from_iterator(
            texts,
            trainers.BpeTrainer(
                vocab_size=BPE_SIZE, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"],
                show_progress=False,
            ),
        )  # fmt: skip
        definition = bpe.to_str()
        return definition
    unigram = tokenizers.Tokenizer(models.Unigram())
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.decoder = decoders.Metaspace()
    unigram.train_from_iterator(
        texts,
        trainers.UnigramTrainer(
            vocab_size=UNIGRAM_SIZE, special_tokens=["<pad>", "</s>", "<unk>"],
            unk_token="<unk>", show_progress=False,
        ),
    )  # fmt: skip
    unigram.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    definition = unigram.to_str()
    return definition
