"""A Llama of a few thousand parameters with random weights, made on the spot: for tests, laws and first tries.

Its tokens are bytes. It has learned nothing, so that what is measured of it says that something runs, no more.
"""

from typing import Any

import torch

from headwise.models.sizes import ModelConfig

SHAPE = ModelConfig(width=16, heads=4, ffn=32, depth=2, kv_heads=2)
CONTEXT = 256
"""Most tokens that it reads."""


def load() -> tuple[Any, Any]:
    """Model and tokenizer; the same weights at each call. transformers is to be there."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=256,
        hidden_size=SHAPE.width,
        intermediate_size=SHAPE.ffn,
        num_hidden_layers=SHAPE.depth,
        num_attention_heads=SHAPE.heads,
        num_key_value_heads=SHAPE.kv_heads,
        max_position_embeddings=CONTEXT,
        initializer_range=0.3,  # so that its layers say something
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = LlamaForCausalLM(config)
    return model.eval(), _bytes()


def _bytes() -> Any:
    """A token for each of the 256 bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer: Any = PreTrainedTokenizerFast
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    built = Tokenizer(models.BPE({byte: number for number, byte in enumerate(alphabet)}, []))
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    built.decoder = decoders.ByteLevel()
    return tokenizer(tokenizer_object=built)
