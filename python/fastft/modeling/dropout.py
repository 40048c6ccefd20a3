"""Dropout by one argument: every probability of the model's configuration set at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastft.errors import ConfigurationError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# How the families of transformers call their probabilities.
NAMES = (
    "activation_dropout",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_pdrop",
    "classifier_dropout",
    "classifier_dropout_prob",
    "dropout",
    "dropout_rate",
    "embd_pdrop",
    "embedding_dropout",
    "hidden_dropout_prob",
    "mlp_dropout",
    "qa_dropout",
    "resid_pdrop",
    "seq_classif_dropout",
    "summary_first_dropout",
)


def dropout_overrides(config: PreTrainedConfig, dropout: Any, *, is_object: bool) -> dict[str, Any]:
    """Gives the values of a configuration that set dropout everywhere.

    Args:
        config: The configuration of the model.
        dropout: The probability, or None to leave the model as it is.
        is_object: Whether the model is built already, so that a configuration comes too late.

    Raises:
        ConfigurationError: It is no probability, or the model has no dropout that could be set.
    """
    if dropout is None:
        return {}
    is_number = isinstance(dropout, int | float) and not isinstance(dropout, bool)
    if not is_number or not 0 <= dropout < 1:
        raise _error(repr(dropout), "a number from 0 up to, not including, 1", "pass dropout=0.1")
    if is_object:
        raise _error(
            "a model that is built already",
            "the name or folder of a model",
            "pass the name, or set dropout in the configuration that you build the model from",
        )
    found = {name: float(dropout) for name in NAMES if hasattr(config, name)}
    if not found:
        kind = type(config).__name__
        raise _error(f"{kind}: no probability", "a model with dropout", "remove dropout")
    return found


def _error(found: str, expected: str, fix: str) -> ConfigurationError:
    return ConfigurationError(
        "dropout cannot be set", place="argument dropout", found=found, expected=expected, fix=fix
    )
