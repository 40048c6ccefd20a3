"""Text to text with an encoder and a decoder: translation, summarization, anything T5 can do."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from fastft.data.augmentation import AugmentingCollator, given_augmentation
from fastft.data.diagnose import row_places
from fastft.data.seq2seq_collator import DataCollatorForSeq2Seq
from fastft.data.splits import cut_validation
from fastft.data.token_dataset import TokenDataset
from fastft.tasks import seq2seq_checks as checks
from fastft.tasks.base import Task, TaskData
from fastft.tasks.columns import require_tokens
from fastft.tasks.generation import (
    Reference,
    check_decoder,
    decoder_positions,
    generate,
    generation_length,
    settle_generation,
    texts_of_tokens,
)
from fastft.tasks.languages import frame_of_targets, source_tokenizer, target_tokenizer
from fastft.tasks.target_texts import encode_targets
from fastft.tasks.text_metrics import bleu_tokenizer, score, signature
from fastft.tasks.text_pairs import find_pair, is_blank, prefixed, take, texts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa
    from transformers import (
        EvalPrediction,
        PreTrainedConfig,
        PreTrainedModel,
        PreTrainedTokenizerBase,
    )

    from fastft.data.ragged_column import RaggedColumn
    from fastft.data.sources import Source, Split
    from fastft.data.tokenizer import Tokenizer
    from fastft.errors import Error
    from fastft.tasks.inference import Inference

# A target longer than this is cut unless the user asks for more; sources have the same rule.
MAX_TARGET_LENGTH = 512


@dataclass(frozen=True)
class Seq2Seq(Task):
    """One text in, one text out.

    Attributes:
        source: The column of the texts that go in.
        target: The column of the texts that come out.
        prefix: What stands before every source, `"translate German to English: "` for example.
        max_target_length: Targets are cut to this many tokens.
        source_lang: The language code of the sources, for tokenizers that have such codes.
        target_lang: The language code of the targets.
        max_positions: Positions of the decoder, None for no limit.
        vocab_size: The number of token embeddings of the model, None where it is not known.
        known_prefixes: The prefixes that the checkpoint was trained with, where none was given.
        blank_rows: For each split that has them: how many rows lack a text, and the first place.
        augment: The share of source tokens that is left out, swapped or masked in training; the
            prefix and the targets stay.
        count_truncated_tokens: Whether it is counted how many tokens long texts lose; else how
            many characters. It belongs to a run, not to what is saved.
    """

    source: str
    target: str
    prefix: str = ""
    max_target_length: int = MAX_TARGET_LENGTH
    source_lang: str | None = None
    target_lang: str | None = None
    max_positions: int | None = None
    vocab_size: int | None = None
    known_prefixes: tuple[str, ...] = ()
    blank_rows: tuple[tuple[int, str], ...] = ()
    augment: Mapping[str, float] | None = None
    count_truncated_tokens: bool = False

    name: ClassVar[str] = "seq2seq"
    auto_class: ClassVar[str] = "AutoModelForSeq2SeqLM"
    metric_names: ClassVar[tuple[str, ...]] = ("chrf", "rougeL", "exact_match")
    generates: ClassVar[bool] = True
    drops_logits: ClassVar[bool] = True
    options: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "source": None,
            "target": None,
            "prefix": None,
            "max_target_length": "auto",
            "source_lang": None,
            "target_lang": None,
            "augment": None,
        }
    )

    @classmethod
    def from_source(
        cls,
        source: Source,
        options: Mapping[str, Any],
        head: PreTrainedConfig | None = None,
        *,
        head_is_fixed: bool = True,
    ) -> Seq2Seq:
        """Finds the columns of source and target.

        Args:
            source: The data.
            options: `source` and `target` (column names, recognised when None), `prefix`,
                `max_target_length`, `source_lang`, `target_lang` and `augment`.
            head: The configuration of the model, which says how far its decoder reaches.
            head_is_fixed: Has no meaning here: every checkpoint keeps its head.

        Raises:
            ColumnError: A column is not there.
            ConfigurationError: An option has a value that cannot work.
        """
        checks.check_options(options)
        columns = find_pair(source, options)
        given = options.get("prefix")
        positions = decoder_positions(head)
        return cls(
            *columns,
            prefix=given or "",
            max_target_length=checks.target_length(
                options.get("max_target_length", "auto"), positions, MAX_TARGET_LENGTH
            ),
            source_lang=options.get("source_lang"),
            target_lang=options.get("target_lang"),
            max_positions=positions,
            vocab_size=checks.vocab_size(head),
            known_prefixes=checks.prefixes_of(head) if given is None else (),
            blank_rows=checks.blank_rows(source, *columns),
            augment=given_augmentation(options),
            count_truncated_tokens=options.get("check") == "strict",
        )

    def describe(self) -> str:
        """Says what is learnt, with which loss, and how texts are scored."""
        prefix = f", prefix {self.prefix!r}" if self.prefix else ""
        return (
            f"{self.name}: {self.source!r} -> {self.target!r}{prefix}\n"
            "loss: cross entropy, the mean over all target tokens of a step, the end of each "
            "text included\n"
            f"scores: {signature(self.metric_names, self._bleu_tokenizer)}"
        )

    def warnings(self) -> list[Error]:
        """Names rows without text, and a prefix that the checkpoint expects."""
        return checks.warnings(self.known_prefixes, self.blank_rows)

    def training_defaults(self, data: Mapping[str, TaskData]) -> dict[str, Any]:
        """Has an evaluation generate, and lets it write as much as the longest target needs."""
        labels = [cast("RaggedColumn", part.dataset.columns["labels"]) for part in data.values()]
        longest = max(int(column.lengths.max(initial=1)) for column in labels)
        length = generation_length(longest, self.max_positions)
        return {"predict_with_generate": True, "generation_max_length": length}

    def check_arguments(self, arguments: Mapping[str, Any]) -> None:
        """Refuses to generate nothing, too much, or by a configuration that is not there."""
        checks.check_generation_length(arguments, self.max_positions)
        checks.check_generation_config(arguments.get("generation_config"))

    @property
    def input_columns(self) -> tuple[str, ...]:
        """The source."""
        return (self.source,)

    def hold_out(self, split: Split, *, fraction: float, seed: int) -> tuple[Split, Split]:
        """Holds back a share of the rows; rows of the same source stay on one side."""
        texts = texts_of(split, self.source, "source")
        same = np.zeros(len(texts), np.int64)
        return cut_validation(split, same, texts, fraction=fraction, seed=seed)

    def data(
        self,
        split: Split,
        tokenizer: Tokenizer,
        max_length: int,
        progress: Callable[[int], None] | None = None,
    ) -> TaskData:
        """Turns sources into tokens and targets into labels; rows blank on one side are left out.

        Raises:
            DataError: A text is missing, or no row has both texts.
            ConfigurationError: A length has no room, or a language is not the tokenizer's.
        """
        checks.check_prefix(self.prefix, tokenizer, max_length)
        sources, targets = self._texts(split)
        kept = ~(is_blank(sources) | is_blank(targets))
        checks.require_rows(kept, split)
        left_out = checks.blank_note(split, ~kept)
        split = take(split, kept)
        sources, targets = self._texts(split)
        with row_places(split.place):
            encoded = encode_targets(
                targets,
                target_tokenizer(tokenizer, self.target_lang),
                self.max_target_length,
                count_truncated_tokens=self.count_truncated_tokens,
            )
            dataset = TokenDataset.from_texts(
                prefixed(sources, self.prefix),
                source_tokenizer(tokenizer, self.source_lang),
                max_length=max_length,
                count_truncated_tokens=self.count_truncated_tokens,
                columns={"labels": encoded.labels},
                progress=progress,
            )
        require_tokens(dataset, split, self.source)
        checks.check_labels(encoded, self.vocab_size)
        texts = targets.to_pylist()
        notes = checks.target_notes(split.name, encoded, self.max_target_length)
        rouge = checks.rouge_note(self.metric_names, split.name, texts)
        notes = [note for note in (left_out, *notes, rouge) if note]
        return TaskData(dataset, Reference(texts, tokenizer.hf), tuple(notes))

    def _texts(self, split: Split) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
        return texts_of(split, self.source, "source"), texts_of(split, self.target, "target")

    @property
    def _bleu_tokenizer(self) -> str:
        return bleu_tokenizer(self.target_lang or self.target)

    def collator(
        self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel | None, seed: int = 0
    ) -> Any:
        """Gives what pads sources and labels, and makes the inputs of the decoder.

        Raises:
            ConfigurationError: The model does not say with which token its decoder starts.
        """
        if model is not None:
            check_decoder(model)
        padding = DataCollatorForSeq2Seq(tokenizer, model=model)
        if self.augment is None:
            return padding
        prefix = tokenizer(self.prefix.rstrip(), add_special_tokens=False)["input_ids"]
        return AugmentingCollator(
            padding, self.augment, tokenizer, seed, apart=("labels",), num_kept=len(prefix)
        )

    def prepare_model(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        arguments: Mapping[str, Any],
    ) -> None:
        """Tells the model how long and in which language it generates; saved with it.

        Args:
            model: The model.
            tokenizer: Its tokenizer.
            arguments: The training arguments of the run.
        """
        settle_generation(model, arguments, *frame_of_targets(tokenizer, self.target_lang))

    def preprocess_logits(self, logits: Any, labels: Any) -> Any:
        """Keeps generated tokens (B, T); of logits (B, T, V), for which no metric asks, nothing."""
        first = logits[0] if isinstance(logits, tuple) else logits
        return first[:, :0].argmax(dim=-1) if first.is_floating_point() else first

    def compute_metrics(self, prediction: EvalPrediction, reference: Reference) -> dict[str, float]:
        """Scores generated tokens (B, T) against the whole target texts.

        Without `predict_with_generate` nothing was generated, and the loss stands alone.
        """
        tokens = prediction.predictions
        if isinstance(tokens, tuple) or tokens.dtype.kind == "f" or not tokens.shape[-1]:
            return {}
        # On several processes the last rows are repeated to fill a batch.
        texts = texts_of_tokens(tokens[: len(reference.texts)], reference.tokenizer)
        return {
            name: score(name, texts, reference.texts, self._bleu_tokenizer)
            for name in self.metric_names
        }

    def predict(self, split: Split, inference: Inference) -> list[dict[str, Any]]:
        """Writes the target of each row: `{"text": ...}`."""
        dataset = TokenDataset.from_texts(
            prefixed(texts_of(split, self.source, "source"), self.prefix),
            source_tokenizer(inference.tokenizer, self.source_lang),
            max_length=inference.max_length,
        )
        longest = self.max_target_length - 1
        return [{"text": text} for text in generate(inference, dataset, longest)]

    def state(self) -> dict[str, Any]:
        """Gives columns and settings as JSON."""
        state = asdict(self)
        del state["count_truncated_tokens"]
        return state

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Seq2Seq:
        """Builds the task from what `state` gave."""
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in state.items() if name in known}
        values["known_prefixes"] = tuple(values.get("known_prefixes", ()))
        values["blank_rows"] = tuple(map(tuple, values.get("blank_rows", ())))
        return cls(**values)


@dataclass(frozen=True)
class Translation(Seq2Seq):
    """Seq2seq that is scored by BLEU and chrF, both of sacreBLEU."""

    name: ClassVar[str] = "translation"
    metric_names: ClassVar[tuple[str, ...]] = ("bleu", "chrf")


@dataclass(frozen=True)
class Summarization(Seq2Seq):
    """Seq2seq that is scored by ROUGE-1, ROUGE-2 and ROUGE-L."""

    name: ClassVar[str] = "summarization"
    metric_names: ClassVar[tuple[str, ...]] = ("rouge1", "rouge2", "rougeL")
