"""Loads a configuration, a tokenizer and a model, and says plainly when one cannot be had.

Nothing here runs code from a model's repository (`trust_remote_code=False`) and nothing reads
pickled weights (`use_safetensors=True`). Weights are held in float32, whatever the checkpoint
stores: AdamW loses small updates in half precision.

A damaged file makes transformers, tokenizers and safetensors raise whatever their inside happens to
meet, so every exception of theirs is caught here and kept as the cause.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers import PreTrainedTokenizerBase

from fastft.data.tokenizer import Tokenizer
from fastft.errors import ConfigurationError, TokenizerError
from fastft.modeling.locate import first_line, missing_files
from fastft.modeling.quiet import quiet_transformers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import PreTrainedConfig, PreTrainedModel

# The weights of which `from_pretrained` reads one; listed in the message when none is there.
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")

# Their classification head reads the last position, so the padding has to stand on the left; their
# positions are relative, so that does no harm.
PAD_ON_THE_LEFT = ("xlnet",)


@dataclass(frozen=True)
class LoadedModel:
    """A model and where its weights came from.

    Attributes:
        model: The model, in float32, on the CPU.
        new_weights: Names of the parameters that the checkpoint did not hold and that are
            initialised at random.
        unused_weights: Names in the checkpoint that the model has no place for.
    """

    model: PreTrainedModel
    new_weights: tuple[str, ...]
    unused_weights: tuple[str, ...]


def load_config(name: str) -> PreTrainedConfig:
    """Reads the configuration of a model.

    Args:
        name: A folder, or the name of a model on the hub.

    Raises:
        ModelNotFoundError: Neither the folder nor the cache nor the hub has it.
        ConfigurationError: The architecture is unknown, needs code from the repository, or the file
            is damaged.
    """
    with missing_files(name, ("config.json",), ("config.json",)):
        try:
            return transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
        except OSError:
            raise
        except Exception as error:
            raise ConfigurationError(
                "the installed transformers cannot use the configuration of this model",
                place=name,
                found=first_line(error),
                expected="an architecture of transformers; code from a repository is never run",
                fix="repair config.json, update transformers, or build the model yourself and pass "
                "the object with tokenizer=",
            ) from error


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Loads the tokenizer that belongs to a model.

    Args:
        name: A folder, or the name of a model on the hub.

    Raises:
        ModelNotFoundError: No tokenizer file was found.
        TokenizerError: The files are there but cannot be read.
    """
    with missing_files(name, (*TOKENIZER_FILES, "config.json"), TOKENIZER_FILES):
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        except OSError:
            raise
        except Exception as error:
            raise _broken_tokenizer(name, first_line(error)) from error
    # Where no vocabulary file is found, transformers builds a tokenizer that knows no word.
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise _broken_tokenizer(name, "no vocabulary: special tokens alone")
    _check_max_length(tokenizer)
    return tokenizer


def _broken_tokenizer(name: str, found: str) -> TokenizerError:
    return TokenizerError(
        "the tokenizer cannot be loaded",
        place=name,
        found=found,
        expected="a tokenizer.json, or the vocabulary files of a known tokenizer class",
        fix="save a fast tokenizer beside the model (tokenizer.save_pretrained(folder)) "
        "or pass tokenizer=",
    )


def _check_max_length(tokenizer: PreTrainedTokenizerBase) -> None:
    if isinstance(tokenizer.model_max_length, int | float):
        return
    raise TokenizerError(
        "the tokenizer knows no length",
        place=f"model_max_length of {type(tokenizer).__name__}",
        found=repr(tokenizer.model_max_length),
        expected="a number",
        fix="correct tokenizer_config.json, or set tokenizer.model_max_length",
    )


def as_hf_tokenizer(given: Any) -> PreTrainedTokenizerBase:
    """Takes what was passed as a tokenizer: a name, a folder, or an object.

    Raises:
        ModelNotFoundError: A name or folder holds no tokenizer.
        TokenizerError: It is something else; a bare `tokenizers.Tokenizer` does not say which of
            its tokens pads, so it has to be wrapped by who knows.
    """
    if isinstance(given, str | Path):
        return load_tokenizer(str(Path(given).expanduser()) if str(given)[0] == "~" else str(given))
    if isinstance(given, Tokenizer):
        return given.hf
    if isinstance(given, PreTrainedTokenizerBase):
        _check_max_length(given)
        return given
    raw = type(given).__module__ == "tokenizers"
    raise TokenizerError(
        "this is no tokenizer of transformers",
        place="argument tokenizer",
        found=f"{type(given).__module__}.{type(given).__qualname__}",
        expected="a tokenizer of transformers, its name, or its folder",
        fix="wrap it: PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=..., "
        "unk_token=..., ...)"
        if raw
        else "pass tokenizer=AutoTokenizer.from_pretrained(...)",
    )


def pad_on_the_right(
    hf: PreTrainedTokenizerBase, config: PreTrainedConfig
) -> tuple[PreTrainedTokenizerBase, str | None]:
    """Gives a tokenizer that pads behind the text, the user's own one unchanged.

    Models count positions from the left edge of a batch: with padding there, the positions of a
    text, and so what the model says about it, would depend on the longest text beside it.

    Returns:
        The tokenizer, and a note when the side was changed.
    """
    if hf.padding_side == "right" or config.model_type in PAD_ON_THE_LEFT:
        return hf, None
    changed = copy.deepcopy(hf)
    changed.padding_side = "right"
    return changed, (
        "the tokenizer pads on the left; here it pads on the right, so that what is said about a "
        "text does not depend on the texts beside it"
    )


def load_model(name: str, auto_class: str, overrides: Mapping[str, Any]) -> LoadedModel:
    """Loads a model with the head of a task.

    Args:
        name: A folder, or the name of a model on the hub.
        auto_class: The name of a transformers Auto class.
        overrides: Configuration values that the task sets, for example `num_labels`.

    Raises:
        ModelNotFoundError: The weights were not found.
        ConfigurationError: The architecture has no head for this task, or weights and configuration
            do not belong together.
    """
    loader = getattr(transformers, auto_class)
    with missing_files(name, ("config.json",), WEIGHT_FILES), quiet_transformers():
        try:
            model, info = loader.from_pretrained(
                name,
                **overrides,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        except OSError:
            raise
        except Exception as error:
            raise ConfigurationError(
                f"{auto_class} cannot build this model",
                place=name,
                found=first_line(error),
                expected="an architecture with a head for the task, and undamaged files",
                fix="choose another model or another task=, or save the model again",
            ) from error
    mismatched = [str(key if isinstance(key, str) else key[0]) for key in info["mismatched_keys"]]
    loaded = LoadedModel(
        model=model,
        new_weights=tuple(sorted({*info["missing_keys"], *mismatched})),
        unused_weights=tuple(sorted(info["unexpected_keys"])),
    )
    _check_body(name, loaded, mismatched)
    return loaded


def _check_body(name: str, loaded: LoadedModel, mismatched: list[str]) -> None:
    """Refuses a body that is random: only a head may be of another size, or new."""
    model = loaded.model
    if model.base_model is model:
        return
    body = {id(parameter) for parameter in model.base_model.parameters()}
    sizes = {key: weight.numel() for key, weight in model.named_parameters() if id(weight) in body}
    misfits = [key for key in mismatched if key in sizes]
    new = sum(sizes.get(key, 0) for key in loaded.new_weights)
    if not misfits and 2 * new <= sum(sizes.values()):
        return
    names = misfits or [key for key in loaded.new_weights if key in sizes]
    raise ConfigurationError(
        "the weights do not belong to the configuration",
        place=name,
        found=f"{len(names)} weights of the body that are "
        f"{'of another size' if misfits else 'not in the file'}: {', '.join(names[:3])}",
        expected=f"the weights of a {type(model.base_model).__name__}; a head alone may be new",
        fix="put config.json and model.safetensors of the same model into the folder",
    )
