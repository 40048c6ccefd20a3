"""Whether DDP has to look for weights without a gradient, in every step.

transformers lets it look for every model, which walks the graph of each step and warns on each rank
that there was nothing to find. A classifier of the families below uses every weight in every step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Families whose sequence classifiers leave no weight without a gradient; a test computes it.
ALL_USED = (
    "albert",
    "bert",
    "camembert",
    "deberta-v2",
    "distilbert",
    "electra",
    "gpt2",
    "llama",
    "modernbert",
    "mpnet",
    "qwen2",
    "roberta",
    "xlm-roberta",
)


def uses_every_weight(model: PreTrainedModel) -> bool:
    """Whether each weight surely gets a gradient in each step.

    A class that the user wrote may hold more than it uses, so only those of transformers count.
    """
    kind = type(model)
    is_stock = kind.__module__.startswith("transformers.models.")
    is_classifier = kind.__name__.endswith("ForSequenceClassification")
    return is_stock and is_classifier and model.config.model_type in ALL_USED
