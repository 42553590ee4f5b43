"""Small random models of many kinds, each in a folder as a download would leave it.

Each takes LIMIT positions, where its kind has a table of them, and is 16 wide.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

t: Any = pytest.importorskip("transformers", reason="the extra hf is not installed")

LIMIT = 64
TEXTS = ["the dog saw a cat .", "a cat chased the old dog near the house .", "world hello walker"] * 30

_SIZES = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 32}
_SMALL = {**_SIZES, "max_position_embeddings": LIMIT}
_BERT = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
_ROBERTA = {"unk_token": "<unk>", "pad_token": "<pad>", "cls_token": "<s>", "sep_token": "</s>"}
_MARKS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
_SEQ2SEQ = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": LIMIT,
    **_MARKS,
}

WORDPIECE: dict[str, Callable[[int], Any]] = {
    "bert": lambda v: t.BertConfig(vocab_size=v, **_SMALL),
    "bert_labels": lambda v: t.BertConfig(vocab_size=v, id2label={0: "A", 1: "B", 2: "C"}, **_SMALL),
    "bert_half": lambda v: t.BertConfig(vocab_size=v, dtype="float16", **_SMALL),
    "distilbert": lambda v: t.DistilBertConfig(
        vocab_size=v, dim=16, n_heads=2, n_layers=2, hidden_dim=32, max_position_embeddings=LIMIT
    ),
    "electra": lambda v: t.ElectraConfig(vocab_size=v, embedding_size=8, **_SMALL),
    "mpnet": lambda v: t.MPNetConfig(vocab_size=v, **_SMALL),
    "albert": lambda v: t.AlbertConfig(vocab_size=v, embedding_size=8, **_SMALL),
    "deberta": lambda v: t.DebertaConfig(vocab_size=v, relative_attention=True, pos_att_type=["c2p", "p2c"], **_SMALL),
    "deberta_v2": lambda v: t.DebertaV2Config(
        vocab_size=v, relative_attention=True, position_buckets=16, pos_att_type=["c2p", "p2c"], **_SMALL
    ),
    "squeezebert": lambda v: t.SqueezeBertConfig(
        vocab_size=v, embedding_size=16, q_groups=2, k_groups=2, v_groups=2, **_SMALL
    ),
    "megatron_bert": lambda v: t.MegatronBertConfig(vocab_size=v, **_SMALL),
    "rembert": lambda v: t.RemBertConfig(vocab_size=v, input_embedding_size=8, output_embedding_size=8, **_SMALL),
    "roformer": lambda v: t.RoFormerConfig(vocab_size=v, embedding_size=16, **_SMALL),
    "nystromformer": lambda v: t.NystromformerConfig(
        vocab_size=v, segment_means_seq_len=64, num_landmarks=64, **_SMALL
    ),
    "big_bird": lambda v: t.BigBirdConfig(vocab_size=v, **_SMALL),
    "xlnet": lambda v: t.XLNetConfig(vocab_size=v, d_model=16, n_layer=2, n_head=2, d_inner=32),
    "xlm": lambda v: t.XLMConfig(
        vocab_size=v, emb_dim=16, n_layers=2, n_heads=2, max_position_embeddings=LIMIT, pad_index=0
    ),
    "flaubert": lambda v: t.FlaubertConfig(
        vocab_size=v, emb_dim=16, n_layers=2, n_heads=2, max_position_embeddings=LIMIT, pad_index=0
    ),
    "convbert": lambda v: t.ConvBertConfig(vocab_size=v, embedding_size=16, conv_kernel_size=3, **_SMALL),
    "mobilebert": lambda v: t.MobileBertConfig(
        vocab_size=v, embedding_size=16, intra_bottleneck_size=16, true_hidden_size=16, **_SMALL
    ),
    "fnet": lambda v: t.FNetConfig(vocab_size=v, hidden_size=16, num_hidden_layers=2, intermediate_size=32),
}
BYTE_LEVEL: dict[str, Callable[[int], Any]] = {
    "roberta": lambda v: t.RobertaConfig(vocab_size=v, **_MARKS, **_SMALL),
    "roberta_prelayernorm": lambda v: t.RobertaPreLayerNormConfig(vocab_size=v, **_MARKS, **_SMALL),
    "camembert": lambda v: t.CamembertConfig(vocab_size=v, **_MARKS, **_SMALL),
    "xlm_roberta": lambda v: t.XLMRobertaConfig(vocab_size=v, **_MARKS, **_SMALL),
    "xlm_roberta_xl": lambda v: t.XLMRobertaXLConfig(vocab_size=v, **_MARKS, **_SMALL),
    "data2vec": lambda v: t.Data2VecTextConfig(vocab_size=v, **_MARKS, **_SMALL),
    "longformer": lambda v: t.LongformerConfig(vocab_size=v, attention_window=8, **_MARKS, **_SMALL),
    "xmod": lambda v: t.XmodConfig(vocab_size=v, default_language="en_XX", languages=["en_XX"], **_MARKS, **_SMALL),
    "ibert": lambda v: t.IBertConfig(vocab_size=v, **_MARKS, **_SMALL),
    "luke": lambda v: t.LukeConfig(vocab_size=v, entity_vocab_size=4, entity_emb_size=8, **_MARKS, **_SMALL),
    "modernbert": lambda v: t.ModernBertConfig(
        vocab_size=v, cls_token_id=0, sep_token_id=2, global_attn_every_n_layers=2, **_MARKS, **_SMALL
    ),
    "gpt2": lambda v: t.GPT2Config(vocab_size=v, n_positions=LIMIT, n_embd=16, n_layer=2, n_head=2, **_MARKS),
    "opt": lambda v: t.OPTConfig(
        vocab_size=v,
        hidden_size=16,
        word_embed_proj_dim=16,
        ffn_dim=32,
        num_attention_heads=2,
        num_hidden_layers=2,
        max_position_embeddings=LIMIT,
        **_MARKS,
    ),
    "llama": lambda v: t.LlamaConfig(vocab_size=v, **_MARKS, **_SMALL),
    "bart": lambda v: t.BartConfig(vocab_size=v, **_SEQ2SEQ),
    "mbart": lambda v: t.MBartConfig(vocab_size=v, **_SEQ2SEQ),
    "t5": lambda v: t.T5Config(vocab_size=v, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, pad_token_id=1),
}
KINDS = (*WORDPIECE, *BYTE_LEVEL)
REFUSED = ("convbert", "nystromformer", "fnet")
"""Padding behind a sentence reaches its words: through a convolution, landmarks, or for want of a mask."""


def save(kind: str, folder: Path) -> Path:
    """A model with its tokenizer; the folder."""
    tokenizer = wordpiece() if kind in WORDPIECE else byte_level()
    config = (WORDPIECE | BYTE_LEVEL)[kind](tokenizer.get_vocab_size())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        t.AutoModel.from_config(config).save_pretrained(folder)
    special = _BERT if kind in WORDPIECE else _ROBERTA
    t.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return folder


@cache
def wordpiece() -> Tokenizer:
    """BERT's kind."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=200, show_progress=False, special_tokens=special)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


@cache
def byte_level() -> Tokenizer:
    """RoBERTa's and GPT-2's kind, saved as those are."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        show_progress=False,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer
