"""Masked language modelling on plain text: hidden tokens are predicted from both sides.

Each block stands between the special tokens of the tokenizer, `[CLS] ... [SEP]`. Which tokens are
hidden is drawn anew in every epoch, and is the same in every evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from fastft.data.augmentation import AugmentingCollator, given_augmentation
from fastft.data.language_modeling_collator import DataCollatorForLanguageModeling
from fastft.errors import ConfigurationError, TokenizerError
from fastft.tasks.base import TaskData
from fastft.tasks.columns import text_column
from fastft.tasks.filled_masks import fill_masks
from fastft.tasks.language_model import LanguageModel, are_files, blocks_note
from fastft.tasks.text_blocks import Marks, block_dataset, masked_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from fastft.data.sources import Source, Split
    from fastft.data.tokenizer import Tokenizer
    from fastft.tasks.inference import Inference


@dataclass(frozen=True)
class MaskedLM(LanguageModel):
    """The hidden tokens of a text.

    Attributes:
        mlm_probability: The share of tokens that are predicted.
        augment: The share of training tokens that is left out, swapped or masked before tokens are
            hidden; what is hidden afterwards is predicted.
    """

    mlm_probability: float = 0.15
    augment: Mapping[str, float] | None = None

    name: ClassVar[str] = "masked-lm"
    auto_class: ClassVar[str] = "AutoModelForMaskedLM"
    options: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"documents": "auto", "join_documents": "auto", "mlm_probability": 0.15, "augment": None}
    )

    @classmethod
    def check_kind(cls, config: PreTrainedConfig) -> None:
        """Refuses a decoder, which sees one side of a hidden token only.

        Raises:
            ConfigurationError: The model is no encoder.
        """
        from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

        is_known = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
        is_decoder = bool(getattr(config, "is_decoder", False)) or config.is_encoder_decoder
        if is_known and not is_decoder:
            return
        raise ConfigurationError(
            "the model has no head that fills in hidden tokens from both sides",
            place="argument model",
            found=f"model type {config.model_type!r}",
            expected="an encoder: BERT, RoBERTa, ELECTRA, ModernBERT, ...",
            fix='pass task="causal-lm" to train a decoder on plain text, or name an encoder',
        )

    @classmethod
    def joins(cls, source: Source) -> bool:
        """Whole files are joined; lines, paragraphs and rows of a table stay apart."""
        return are_files(source)

    @classmethod
    def own_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Takes the share of hidden tokens, and what is done to the texts before.

        Raises:
            ConfigurationError: It is no share, or there is no such augmentation.
        """
        share = options["mlm_probability"]
        is_number = isinstance(share, int | float) and not isinstance(share, bool)
        if not is_number or not 0 < share <= 1:
            raise ConfigurationError(
                "mlm_probability is no share of the tokens",
                place="argument mlm_probability",
                found=repr(share),
                expected="a number above 0, at most 1",
                fix="pass mlm_probability=0.15, or leave it out",
            )
        return {"mlm_probability": float(share), "augment": given_augmentation(options)}

    def describe(self) -> str:
        """Says what is learnt and with which loss."""
        how = "documents joined and cut" if self.join_documents else "each document cut"
        return (
            f"masked-lm: {self.text!r}, {how} into blocks, {self.mlm_probability:.0%} of the "
            "tokens hidden\nloss: cross entropy of the hidden tokens, the mean over all of a step"
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
            TokenizerError: The tokenizer has no token that hides others.
            DataError: There is no text.
            ConfigurationError: `max_length` has no room for text.
        """
        _require_mask(tokenizer.hf)
        marks = Marks.of(tokenizer)
        if max_length <= len(marks):
            raise ConfigurationError(
                "max_length leaves no room for text",
                place="argument max_length",
                found=f"{max_length}, of which {len(marks)} are special tokens",
                expected=f"{len(marks) + 1} or more",
                fix='pass max_length="auto"',
            )
        documents, _, notes = self.documents(split, tokenizer, progress)
        blocks = masked_blocks(documents, marks, max_length, join=self.join_documents)
        counts = (len(documents.lengths), len(documents.ids), len(blocks.lengths))
        return TaskData(
            block_dataset(blocks, tokenizer.vocab_size),
            notes=(*notes, blocks_note(split, *counts)),
        )

    def collator(
        self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel | None, seed: int = 0
    ) -> Any:
        """Gives what pads blocks and hides tokens, by the seed of the run.

        Raises:
            TokenizerError: The tokenizer has no token that hides others.
        """
        _require_mask(tokenizer)
        masking = DataCollatorForLanguageModeling(
            tokenizer, mlm_probability=self.mlm_probability, seed=seed
        )
        if self.augment is None:
            return masking
        return AugmentingCollator(masking, self.augment, tokenizer, seed)

    def predict(self, split: Split, inference: Inference) -> list[dict[str, Any]]:
        """Fills the mask tokens of each text: `{"tokens": [...], "text": ...}`."""
        _require_mask(inference.tokenizer.hf)
        return fill_masks(text_column(split, self.text).to_pylist(), inference, split.place)


def _require_mask(hf: PreTrainedTokenizerBase) -> None:
    if hf.mask_token_id is None:
        raise TokenizerError(
            "the tokenizer has no token that hides others",
            place=type(hf).__name__,
            found="mask_token=None",
            expected="a mask_token, as the tokenizers of encoders have",
            fix='pass task="causal-lm", or the tokenizer of an encoder',
        )
