"""The wider table of docs/fused_loss.md: every model there, loss and gradients as without us."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf

import fastft
from fastft.modeling.losses.fuse_head import fused_head
from tests.fused_models import _BART as B
from tests.fused_models import _DECODER as D
from tests.fused_models import _ENCODER as E
from tests.fused_models import _T5 as T5
from tests.fused_models import assert_same_gradients, batch, gradients

G = {"vocab_size": 101, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}
G |= {"n_ctx": 64, "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
G |= {"bos_token_id": 1, "eos_token_id": 2}
P = {**B, "pad_token_id": 0, "decoder_start_token_id": 0, "eos_token_id": 2, "bos_token_id": 1}

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "OlmoForCausalLM": D,
    "Olmo2ForCausalLM": D,
    "Phi3ForCausalLM": {**D},
    "Qwen3ForCausalLM": {**D, "head_dim": 16},
    "GemmaForCausalLM": {**D, "head_dim": 16},
    "Gemma3ForCausalLM": {**D, "head_dim": 16},
    "SmolLM3ForCausalLM": D,
    "StableLmForCausalLM": D,
    "Starcoder2ForCausalLM": {
        **D,
        "residual_dropout": 0.0,
        "embedding_dropout": 0.0,
        "attention_dropout": 0.0,
    },
    "FalconForCausalLM": {
        "vocab_size": 101,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
    },
    "GPTNeoXForCausalLM": {**D},
    "GPTNeoForCausalLM": {
        "vocab_size": 101,
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 2,
        "attention_types": [[["global"], 2]],
        "max_position_embeddings": 64,
        "resid_dropout": 0.0,
        "embed_dropout": 0.0,
        "attention_dropout": 0.0,
    },
    "OPTForCausalLM": {
        "vocab_size": 101,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "ffn_dim": 64,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "word_embed_proj_dim": 32,
        "dropout": 0.0,
        "pad_token_id": 0,
    },
    "BloomForCausalLM": {
        "vocab_size": 101,
        "hidden_size": 32,
        "n_layer": 2,
        "n_head": 2,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
    },
    "GPTJForCausalLM": {**G, "rotary_dim": 8},
    "CodeGenForCausalLM": {**G, "rotary_dim": 8, "n_head": 4},
    "GPTBigCodeForCausalLM": G,
    "MixtralForCausalLM": {**D, "num_local_experts": 2, "output_router_logits": True},
    "Qwen2MoeForCausalLM": {
        **D,
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
    },
    "Cohere2ForCausalLM": D,
    "HeliumForCausalLM": {**D, "head_dim": 16},
    "GlmForCausalLM": {**D, "head_dim": 16},
    "MambaForCausalLM": {
        "vocab_size": 101,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "state_size": 4,
        "pad_token_id": 0,
    },
    "MptForCausalLM": {
        "vocab_size": 101,
        "d_model": 32,
        "n_layers": 2,
        "n_heads": 2,
        "max_seq_len": 64,
    },
    "XGLMForCausalLM": {
        "vocab_size": 101,
        "d_model": 32,
        "ffn_dim": 64,
        "num_layers": 2,
        "attention_heads": 2,
        "max_position_embeddings": 64,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "pad_token_id": 0,
    },
    "AlbertForMaskedLM": {**E, "embedding_size": 16},
    "ElectraForMaskedLM": {**E, "embedding_size": 16},
    "DebertaV2ForMaskedLM": E,
    "DebertaForMaskedLM": E,
    "XLMRobertaForMaskedLM": E,
    "CamembertForMaskedLM": E,
    "MPNetForMaskedLM": E,
    "MobileBertForMaskedLM": {
        **E,
        "embedding_size": 16,
        "intra_bottleneck_size": 32,
        "true_hidden_size": 32,
    },
    "RoFormerForMaskedLM": {**E, "embedding_size": 32},
    "LongformerForMaskedLM": {**E, "attention_window": 4},
    "EsmForMaskedLM": {**E, "mask_token_id": 3},
    "FNetForMaskedLM": {k: v for k, v in E.items() if "attention" not in k},
    "BertLMHeadModel": {**E, "is_decoder": True},
    "BertForPreTraining": E,
    "RobertaForCausalLM": {**E, "is_decoder": True},
    "MT5ForConditionalGeneration": T5,
    "UMT5ForConditionalGeneration": T5,
    "LongT5ForConditionalGeneration": T5,
    "SwitchTransformersForConditionalGeneration": {**T5, "num_experts": 2},
    "MBartForConditionalGeneration": P,
    "PegasusForConditionalGeneration": P,
    "MarianMTModel": P,
    "M2M100ForConditionalGeneration": P,
    "BlenderbotForConditionalGeneration": P,
    "LEDForConditionalGeneration": {
        **P,
        "attention_window": 4,
        "max_encoder_position_embeddings": 64,
        "max_decoder_position_embeddings": 64,
    },
    "ProphetNetForConditionalGeneration": {
        "vocab_size": 101,
        "hidden_size": 32,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "num_encoder_layers": 1,
        "num_decoder_layers": 1,
        "num_encoder_attention_heads": 2,
        "num_decoder_attention_heads": 2,
        "dropout": 0.0,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        "decoder_start_token_id": 0,
    },
    "NemotronForCausalLM": D,
    "PersimmonForCausalLM": D,
    "GraniteMoeForCausalLM": {**D, "num_local_experts": 2, "num_experts_per_tok": 1},
    "ErnieForMaskedLM": E,
    "NomicBertForMaskedLM": E,
    "Qwen3MoeForCausalLM": {
        **D,
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": 16,
        "head_dim": 16,
    },
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what these models say of themselves is not ours
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_loss_and_gradients_are_equal(name: str, small_losses_in_rust: None) -> None:
    model_class = getattr(hf, name)
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(model_class(model_class.config_class(**CONFIGURATIONS[name])).train())
    plain, fused = models
    fastft.fuse_head(fused)
    inputs = batch()
    if name == "BertForPreTraining":
        inputs["next_sentence_label"] = torch.tensor([0, 1, 0])
    losses = []
    for model in models:
        torch.manual_seed(1)  # of routers with noise
        losses.append(model(**inputs).loss)
        losses[-1].backward()
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-6, atol=2e-6)
    assert_same_gradients(gradients(fused), gradients(plain))
    head = fused_head(fused)
    assert head is not None and not head.record.materialised
    assert head.record.fused == (name != "MobileBertForMaskedLM")
