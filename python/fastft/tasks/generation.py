"""Generated text: how long it may get, what the model has to know, tokens back to text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.data.collator import DataCollatorWithPadding
from fastft.data.dataloader import DataLoader
from fastft.errors import ArgumentError, ConfigurationError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from fastft.data.token_dataset import TokenDataset
    from fastft.tasks.inference import Inference

# What a prediction can be told beyond the model's own settings.
PREDICT_OPTIONS = ("num_beams", "max_new_tokens")

# Where transformers stops when nobody says how long a text may get.
STOCK_MAX_LENGTH = 20


@dataclass(frozen=True)
class Reference:
    """What generated texts are scored against.

    Attributes:
        texts: The target of every row, whole.
        tokenizer: Turns generated tokens into text.
    """

    texts: Sequence[str] = field(repr=False)
    tokenizer: PreTrainedTokenizerBase = field(repr=False)


def generation_length(longest_target: int, limit: int | None) -> int:
    """Gives how many tokens an evaluation may generate, the start token included.

    transformers stops after 20 where nobody says otherwise, which cuts most translations. A fifth
    above the longest target leaves room, and ends the texts of a model that does not stop.

    Args:
        longest_target: Tokens of the longest target.
        limit: The positions of the decoder, None for no limit.

    Example:
        >>> generation_length(50, None)
        71
    """
    length = longest_target + max(10, longest_target // 5) + 1
    return length if limit is None else min(length, limit)


def decoder_positions(config: PreTrainedConfig | None) -> int | None:
    """Gives how many positions the decoder of a model has, or None for no limit."""
    for holder in (config, getattr(config, "decoder", None)):
        for name in ("max_decoder_position_embeddings", "max_position_embeddings"):
            positions = getattr(holder, name, None)
            if isinstance(positions, int) and positions > 0:
                return positions
    return None  # T5 and its kin have relative positions


def texts_of_tokens(tokens: np.ndarray, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Turns token ids (B, T) into texts; -100, with which transformers joins batches, is padding.

    Decoding -100 is an OverflowError of the tokenizer, met by everybody who writes this by hand.
    """
    ids = np.where(tokens < 0, tokenizer.pad_token_id, tokens)
    return [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]


def generate(inference: Inference, dataset: TokenDataset, longest: int) -> Iterable[str]:
    """Yields what the model writes for each row, in order.

    Args:
        inference: The model; its `options` may hold `num_beams` and `max_new_tokens`, the model's
            own generation settings hold the rest.
        dataset: The sources.
        longest: How many tokens to write at most where neither options nor model say.

    Raises:
        ConfigurationError: An option has a value that cannot work.
        ArgumentError: An option is unknown.
    """
    options, hf = checked_options(inference.options), inference.tokenizer.hf
    settings = inference.model.generation_config
    if settings.max_new_tokens is None and settings.max_length in (None, STOCK_MAX_LENGTH):
        options.setdefault("max_new_tokens", longest)
    loader: DataLoader[Any] = DataLoader(
        dataset, batch_size=inference.batch_size, collate_fn=DataCollatorWithPadding(hf)
    )
    with inference.evaluating():
        for batch in loader:
            tokens = inference.model.generate(**batch.to(inference.model.device), **options)
            yield from texts_of_tokens(tokens.cpu().numpy(), hf)


def checked_options(options: Mapping[str, Any]) -> dict[str, int]:
    """Checks what a prediction is told; None leaves a setting as it is.

    Raises:
        ConfigurationError: A value is no whole number above 0.
        ArgumentError: A name is unknown.
    """
    for name, value in options.items():
        if name not in PREDICT_OPTIONS:
            close = nearest(name, PREDICT_OPTIONS, count=1)
            raise ArgumentError(
                f"there is no option {name!r} of predict",
                place=f"argument {name}",
                expected=" or ".join(PREDICT_OPTIONS),
                fix=f"did you mean {close[0]!r}?" if close else f"remove {name}",
            )
        is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        if value is not None and not is_count:
            raise ConfigurationError(
                f"{name} is no number of {'beams' if name == 'num_beams' else 'tokens'}",
                place=f"argument {name}",
                found=repr(value),
                expected="a whole number above 0",
                fix=f"pass {name}=4, or leave it out",
            )
    return {name: value for name, value in options.items() if value is not None}


def settle_generation(
    model: PreTrainedModel,
    arguments: Mapping[str, Any],
    first_token: int | None = None,
    start_token: int | None = None,
) -> None:
    """Puts into the model what its own `generate` needs to write what an evaluation wrote.

    These settings are saved with the model, so that plain transformers generates the same.

    Args:
        model: The model.
        arguments: The training arguments; `generation_max_length` and `generation_num_beams`.
        first_token: The language code with which every target begins, if any.
        start_token: From where the decoder starts when the model does not say.
    """
    settings, config = model.generation_config, model.config
    for name in ("decoder_start_token_id", "pad_token_id", "eos_token_id"):
        if getattr(settings, name, None) is None:
            setattr(settings, name, getattr(config, name, None))
    if settings.decoder_start_token_id is None:
        settings.decoder_start_token_id = start_token
    if first_token is not None:
        settings.forced_bos_token_id = first_token
    if arguments.get("generation_max_length"):
        # An older limit of the checkpoint would win over this one.
        settings.max_length, settings.max_new_tokens = arguments["generation_max_length"], None
    if arguments.get("generation_num_beams"):
        settings.num_beams = arguments["generation_num_beams"]


def check_decoder(model: PreTrainedModel) -> None:
    """Refuses a model that cannot make the inputs of its decoder from labels.

    Raises:
        ConfigurationError: `decoder_start_token_id` is missing.
    """
    import torch

    prepare = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    try:
        if prepare is not None:
            prepare(labels=torch.ones((1, 2), dtype=torch.int64))
    except (AttributeError, TypeError, ValueError) as error:
        pad = getattr(model.config, "pad_token_id", None)
        raise ConfigurationError(
            "the model does not say with which token its decoder starts",
            place="model.config.decoder_start_token_id",
            found=str(error).splitlines()[0][:120],
            expected="the id of a token; T5 starts with the token that pads",
            fix=f"set model.config.decoder_start_token_id = {0 if pad is None else pad}",
        ) from error
