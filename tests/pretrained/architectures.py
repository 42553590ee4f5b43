"""Tiny randomly initialised models of every architecture that headwise is tested on, and what each is given."""

from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GROUPED = SMALL | {"num_key_value_heads": 2}
GPT = {"vocab_size": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
SEQ2SEQ = {"vocab_size": 64, "d_model": 32, "pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 1}
MLA = {
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 12,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "moe_intermediate_size": 16,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
}
# name -> (kind, class of the model, class of its configuration, settings)
ARCHITECTURES: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "llama": ("causal", "LlamaForCausalLM", "LlamaConfig", GROUPED),
    "mistral": ("causal", "MistralForCausalLM", "MistralConfig", GROUPED | {"sliding_window": 4}),
    "qwen2": ("causal", "Qwen2ForCausalLM", "Qwen2Config", GROUPED),
    "qwen3": ("causal", "Qwen3ForCausalLM", "Qwen3Config", GROUPED | {"head_dim": 12}),
    "gemma2": ("causal", "Gemma2ForCausalLM", "Gemma2Config", GROUPED | {"head_dim": 8, "sliding_window": 4}),
    "gemma3": ("causal", "Gemma3ForCausalLM", "Gemma3TextConfig", GROUPED | {"head_dim": 8, "sliding_window": 4}),
    "smollm3": ("causal", "SmolLM3ForCausalLM", "SmolLM3Config", GROUPED),
    "gpt2": ("causal", "GPT2LMHeadModel", "GPT2Config", GPT | {"n_embd": 32, "n_layer": 2, "n_head": 4}),
    "gpt_neox": ("causal", "GPTNeoXForCausalLM", "GPTNeoXConfig", SMALL),
    "phi": ("causal", "PhiForCausalLM", "PhiConfig", SMALL),
    "phi3": ("causal", "Phi3ForCausalLM", "Phi3Config", GROUPED),
    "falcon": (
        "causal",
        "FalconForCausalLM",
        "FalconConfig",
        GPT | {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    ),
    "bloom": ("causal", "BloomForCausalLM", "BloomConfig", GPT | {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "opt": (
        "causal",
        "OPTForCausalLM",
        "OPTConfig",
        {k: v for k, v in SMALL.items() if k != "intermediate_size"} | {"ffn_dim": 48, "word_embed_proj_dim": 32},
    ),
    "deepseek_v3": ("causal", "DeepseekV3ForCausalLM", "DeepseekV3Config", SMALL | MLA | {"num_key_value_heads": 4}),
    "gpt_oss": (
        "causal",
        "GptOssForCausalLM",
        "GptOssConfig",
        GROUPED | {"head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 4},
    ),
    "bert": ("encoder", "BertModel", "BertConfig", SMALL),
    "roberta": ("encoder", "RobertaModel", "RobertaConfig", SMALL),
    "minilm": ("encoder", "BertModel", "BertConfig", SMALL | {"hidden_size": 24, "num_attention_heads": 6}),
    "vit": (
        "vision",
        "ViTModel",
        "ViTConfig",
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "image_size": 16,
            "patch_size": 8,
        },
    ),
    "t5": (
        "seq2seq",
        "T5ForConditionalGeneration",
        "T5Config",
        SEQ2SEQ | {"d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
    ),
    "bart": (
        "seq2seq",
        "BartForConditionalGeneration",
        "BartConfig",
        SEQ2SEQ
        | {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
        | {"encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 64, "bos_token_id": 1}
        | {"forced_eos_token_id": None},
    ),
}
CAUSAL = [name for name, (kind, *_) in ARCHITECTURES.items() if kind == "causal"]
FOUR = version("transformers").startswith("4.") if find_spec("transformers") else False
"""Whether transformers is of the older of the two major versions that are understood."""
SITES = {"t5": 6, "bart": 6}  # self-attention twice and cross-attention; elsewhere one for each of two layers


def tiny(name: str, **settings: Any) -> nn.Module:
    """A model in evaluation mode; the same weights at each call."""
    import transformers

    _, model, config, own = ARCHITECTURES[name]
    torch.manual_seed(0)
    built: Callable[[Any], nn.Module] = getattr(transformers, model)
    made = built(getattr(transformers, config)(**own | settings)).eval()
    if hasattr(made, "set_experts_implementation"):
        made.set_experts_implementation("eager")  # the grouped product has no float64
    return made


def inputs(name: str, length: int = 10, padded: bool = False) -> dict[str, torch.Tensor]:
    """Two examples, the second with three tokens of padding on the left where asked for."""
    kind, generator = ARCHITECTURES[name][0], torch.Generator().manual_seed(1)
    if kind == "vision":
        return {"pixel_values": torch.randn(2, 3, 16, 16, generator=generator)}
    tokens = torch.randint(3, 64, (2, length), generator=generator)
    given = {"input_ids": tokens}
    if padded:
        mask = torch.ones_like(tokens)
        mask[1, :3] = 0
        given = {"input_ids": tokens * mask, "attention_mask": mask}
    if kind == "seq2seq":
        given["decoder_input_ids"] = torch.randint(3, 64, (2, 6), generator=generator)
    return given


def output(model: nn.Module, name: str, given: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits, or the last hidden states."""
    found = model(**given)
    return found.logits if hasattr(found, "logits") else found.last_hidden_state
