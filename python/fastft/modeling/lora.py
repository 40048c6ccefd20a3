"""LoRA: small trained matrices beside frozen weights, by peft.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", https://arxiv.org/abs/2106.09685.
"""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.errors import ConfigurationError, ModelNotFoundError, nearest
from fastft.modeling.load import load_model

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from peft import PeftModel
    from transformers import PreTrainedModel

DEFAULTS: dict[str, Any] = {
    "r": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.05,
    "target_modules": "all-linear",
}

ADAPTER_CONFIG = "adapter_config.json"
# What a task sets in the configuration of a model.
OF_THE_HEAD = ("id2label", "label2id", "problem_type")


def check_lora(settings: Any, train: str) -> None:
    """Refuses settings of LoRA that peft does not know, or that nothing would read.

    Args:
        settings: The argument `lora=`: a dict of arguments of `peft.LoraConfig`, or None.
        train: The way to train.

    Raises:
        ConfigurationError: There is something wrong with them.
    """
    if settings is None:
        return
    if train != "lora":
        raise _error(f"lora= with train={train!r}", 'train="lora"', 'pass train="lora" with it')
    if not isinstance(settings, dict):
        raise _error(repr(settings), "a dict", 'pass lora={"r": 8}, for example')
    from peft import LoraConfig

    known = {field.name for field in dataclasses.fields(LoraConfig)}
    for name in settings:
        if name not in known:
            close = nearest(str(name), known)
            fix = f"did you mean {close[0]!r}?" if close else "see peft.LoraConfig"
            raise _error(repr(name), "arguments of peft.LoraConfig", fix)


def add_lora(
    model: PreTrainedModel, settings: Mapping[str, Any] | None, new_weights: Collection[str]
) -> PeftModel:
    """Puts adapters beside the linear layers of a model, and freezes what was there.

    New weights (the head of a classifier) are trained as they are and saved with the adapter; the
    output layer of a language model is not, unless `modules_to_save` names it.

    Args:
        model: The model; its linear layers are changed in place.
        settings: Arguments of `peft.LoraConfig`, over those of `DEFAULTS`.
        new_weights: Names of weights that are initialised at random.

    Raises:
        ConfigurationError: peft refuses the settings.
    """
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    # GPT-2's layers hold their weights the other way round.
    turned = any(isinstance(module, Conv1D) for module in model.modules())
    arguments = {**DEFAULTS, "fan_in_fan_out": turned, **(settings or {})}
    new_modules = sorted({name.rpartition(".")[0] for name in new_weights})
    saved = [*new_modules, *(arguments.pop("modules_to_save", None) or [])]
    try:
        config = LoraConfig(**arguments, modules_to_save=saved or None, task_type=_task_type(model))
        with _without_renames():
            return get_peft_model(model, config)
    except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
        text = str(error).strip().splitlines()
        raise _error(
            text[0] if text else repr(error),
            "settings that fit the model",
            "correct lora=, or leave it out: all linear layers get an adapter of rank 16",
        ) from error


def is_adapted(model: Any) -> bool:
    """Whether a model has an adapter beside its weights."""
    return hasattr(model, "peft_config") and hasattr(model, "merge_and_unload")


def merge_adapter(model: Any) -> PreTrainedModel:
    """Puts an adapter into the weights it stands beside.

    Raises:
        ConfigurationError: There is no adapter.
    """
    if not is_adapted(model):
        raise ConfigurationError(
            "there is no adapter to merge",
            place="merge()",
            found=type(model).__name__,
            expected='a model that was trained with train="lora"',
            fix="use the model as it is",
        )
    merged: PreTrainedModel = model.merge_and_unload()
    return merged


def save_adapter(model: Any, folder: Path) -> None:
    """Writes an adapter, and the configuration of the whole model with its labels."""
    base = model.get_base_model()
    for config in model.peft_config.values():
        # A relative folder would mean another one from elsewhere.
        name = config.base_model_name_or_path
        if name and Path(name).is_dir():
            config.base_model_name_or_path = str(Path(name).absolute())
    model.save_pretrained(folder)
    base.config.save_pretrained(folder)


def load_adapted(folder: Path, auto_class: str) -> Any:
    """Loads the model that an adapter stands beside, and the adapter.

    Args:
        folder: The folder that `save_adapter` wrote.
        auto_class: The name of a transformers Auto class.

    Returns:
        The model in evaluation mode; None when the folder holds no adapter.

    Raises:
        ModelNotFoundError: The weights that it stands beside are not there.
    """
    if not (folder / ADAPTER_CONFIG).is_file():
        return None
    import peft
    import transformers

    name = peft.PeftConfig.from_pretrained(str(folder)).base_model_name_or_path
    if not name:
        raise ModelNotFoundError(
            "the adapter does not say which model it stands beside",
            place=str(folder / ADAPTER_CONFIG),
            found="no base_model_name_or_path: the model was an object",
            expected="the name or folder of a model",
            fix="save the merged model instead: result.merge().save(folder)",
        )
    config = transformers.AutoConfig.from_pretrained(str(folder))
    values = {key: value for key, value in config.to_diff_dict().items() if key in OF_THE_HEAD}
    model = load_model(name, auto_class, {**values, "num_labels": config.num_labels}).model
    with _without_renames():
        return peft.PeftModel.from_pretrained(model, str(folder)).eval()


@contextlib.contextmanager
def _without_renames() -> Iterator[None]:
    """Leaves out what peft is told of names that transformers changed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        yield


def _task_type(model: PreTrainedModel) -> str | None:
    """Gives peft's name for the kind of model, which decides how it is called."""
    kinds = {
        "ForSequenceClassification": "SEQ_CLS",
        "ForQuestionAnswering": "QUESTION_ANS",
        "ForConditionalGeneration": "SEQ_2_SEQ_LM",
        "ForCausalLM": "CAUSAL_LM",
        "LMHeadModel": "CAUSAL_LM",
    }
    name = type(model).__name__
    return next((kind for ending, kind in kinds.items() if name.endswith(ending)), None)


def _error(found: str, expected: str, fix: str) -> ConfigurationError:
    return ConfigurationError(
        "LoRA cannot be set up", place="argument lora", found=found, expected=expected, fix=fix
    )
