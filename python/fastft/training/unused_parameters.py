"""Whether DDP has to look for weights without a gradient, in every step.

transformers lets it look for every model, which walks the graph of each step and warns on each rank
that there was nothing to find. The models of the families below use every weight in every step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ENCODERS = (
    "albert",
    "bert",
    "camembert",
    "deberta-v2",
    "distilbert",
    "electra",
    "modernbert",
    "mpnet",
    "roberta",
    "xlm-roberta",
)
_DECODERS = ("gemma", "gemma2", "llama", "mistral", "olmo2", "phi3", "qwen2", "qwen3", "smollm3")

# Families whose models of a kind leave no weight without a gradient; a test computes it.
ALL_USED = {
    "ForSequenceClassification": (*_ENCODERS, "gpt2", "llama", "qwen2"),
    "ForQuestionAnswering": _ENCODERS,
    "ForMaskedLM": _ENCODERS,
    "ForCausalLM": _DECODERS,
    "LMHeadModel": ("gpt2",),
    "ForConditionalGeneration": ("bart", "mbart", "mt5", "pegasus", "t5"),
}


def uses_every_weight(model: PreTrainedModel) -> bool:
    """Whether each weight surely gets a gradient in each step.

    A class that the user wrote may hold more than it uses, so only those of transformers count;
    and a model that leaves out whole layers at random uses fewer in some steps.
    """
    name, config = type(model).__name__, model.config
    is_stock = type(model).__module__.startswith("transformers.models.")
    families = next((ALL_USED[kind] for kind in ALL_USED if name.endswith(kind)), ())
    drops = ("layerdrop", "encoder_layerdrop", "decoder_layerdrop")
    drops_layers = any(getattr(config, drop, 0) for drop in drops)
    return is_stock and config.model_type in families and not drops_layers
