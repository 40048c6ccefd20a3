"""Causal language modelling on plain text: every token is predicted from those before it.

A document ends with the end-of-text token, which is learnt like any other; where the tokenizer
begins a text with a token (Llama's `<s>`), a document begins with it. GPT-2 has none: there the end
of one document is what the next one starts from.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from fastft.data.language_modeling_collator import DataCollatorForLanguageModeling
from fastft.errors import ConfigurationError, DataError
from fastft.tasks.base import TaskData
from fastft.tasks.columns import text_column
from fastft.tasks.continuations import continue_texts
from fastft.tasks.language_model import LanguageModel, blocks_note
from fastft.tasks.supervision import supervision_notes
from fastft.tasks.text_blocks import Marks, block_dataset, causal_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from fastft.data.sources import Source, Split
    from fastft.data.tokenizer import Tokenizer
    from fastft.tasks.inference import Inference


@dataclass(frozen=True)
class CausalLM(LanguageModel):
    """The next token of a text."""

    name: ClassVar[str] = "causal-lm"
    auto_class: ClassVar[str] = "AutoModelForCausalLM"
    options: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"documents": "auto", "join_documents": True}
    )
    why_not_options: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"augment": "the model would learn to write the changed texts"}
    )

    @classmethod
    def check_kind(cls, config: PreTrainedConfig) -> None:
        """Refuses an encoder: it would see the token that it predicts.

        Raises:
            ConfigurationError: The model is no decoder.
        """
        from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

        is_known = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        if is_known and getattr(config, "is_decoder", None) is not False:
            return
        raise ConfigurationError(
            "the model sees a whole text at once, so it cannot learn to continue one",
            place="argument model",
            found=f"model type {config.model_type!r}"
            + (" with is_decoder=False" if is_known else ""),
            expected="a decoder: GPT-2, Llama, Qwen, ...",
            fix='pass task="masked-lm" to train it on plain text, or name a decoder',
        )

    @classmethod
    def joins(cls, source: Source) -> bool:
        """Documents are joined, whatever they are."""
        return True

    def describe(self) -> str:
        """Says what is learnt and with which loss."""
        how = "documents joined and cut" if self.join_documents else "each document cut"
        return (
            f"causal-lm: {self.text!r}, {how} into blocks\n"
            "loss: cross entropy of each next token, the mean over all of a step"
        )

    def data(
        self,
        split: Split,
        tokenizer: Tokenizer,
        max_length: int,
        progress: Callable[[int], None] | None = None,
    ) -> TaskData:
        """Turns documents into blocks of at most `max_length` tokens; none is lost.

        Raises:
            ConfigurationError: `max_length` leaves nothing to predict.
            DataError: There is no text, or more than one document in a hundred is a lone token.
        """
        _check_length(max_length)
        documents, rows, notes = self.documents(split, tokenizer, progress)
        marks = Marks.of(tokenizer).ending(tokenizer.hf.eos_token_id)
        blocks = causal_blocks(documents, marks, max_length, join=self.join_documents)
        if blocks.lengths.max() < 2:
            raise _nothing_to_predict(split, self.text)
        counts = (len(documents.lengths), len(blocks.ids), len(blocks.lengths))
        notes += (blocks_note(split, *counts), *_end_note(split, tokenizer))
        notes += supervision_notes(
            split,
            rows[self._lone_tokens(documents.lengths + len(marks))],
            problem="the text is a single token, so that there is nothing to predict",
            expected="two tokens at least",
            fix="drop these rows, or pass join_documents=True",
        )
        return TaskData(block_dataset(blocks, tokenizer.vocab_size), notes=notes)

    def _lone_tokens(self, lengths: np.ndarray) -> np.ndarray:
        """Says which documents are a token on their own, marks included: nothing is predicted."""
        is_lone: np.ndarray = (lengths == 1) & (not self.join_documents)
        return is_lone

    def collator(
        self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel | None, seed: int = 0
    ) -> DataCollatorForLanguageModeling:
        """Gives what pads blocks and takes the tokens as labels; padding is known by length."""
        return DataCollatorForLanguageModeling(tokenizer, mlm=False)

    def predict(self, split: Split, inference: Inference) -> list[dict[str, Any]]:
        """Continues each text: `{"text": ...}`, the new text alone."""
        texts = text_column(split, self.text).to_pylist()
        return [{"text": text} for text in continue_texts(texts, inference, split.place)]


def _check_length(max_length: int) -> None:
    if max_length < 2:
        raise ConfigurationError(
            "a block of one token has no next token to predict",
            place="argument max_length",
            found=str(max_length),
            expected="2 or more",
            fix='pass max_length="auto"',
        )


def _nothing_to_predict(split: Split, column: str) -> DataError:
    return DataError(
        "there is one token in all, so that there is nothing to predict",
        place=split.place(0, column),
        expected="two tokens at least",
        fix="add text",
    )


def _end_note(split: Split, tokenizer: Tokenizer) -> tuple[str, ...]:
    if tokenizer.hf.eos_token_id is not None or split.name != "train":
        return ()
    return (
        "the tokenizer has no eos_token: documents follow each other without it, and the model "
        "does not learn where a text ends",
    )
