"""The language model as the task uses it: what it predicts, what of it is trained, and what of it is saved.

What is not trained is not saved: a checkpoint, and the model of a finished run, hold the trained weights and the
buffers, the facts beside them the digest of the weights that the model came with. So a run of a model of 540 MB takes
as much as its routers, and cannot be read with other weights below.

Legend: B batch, L length, D width, V tokens.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwise.errors import InputError
from headwise.pretrained.opening import open_model
from headwise.tasks.pretrained.config import PretrainedConfig

ALPHA = 2
"""Scale of the adapters, lora_alpha over their rank."""
FROZEN = "headwise_frozen"
"""Attribute of a model with the names of what is not saved of it."""


@lru_cache(maxsize=2)
def opened(name: str) -> tuple[Any, Any]:
    """Model and tokenizer as they were published, read once in a process; neither is to be changed.

    Raises:
        InputError: as `headwise.pretrained.opening.open_model`.
    """
    model, tokenizer = open_model(name)
    if model.get_output_embeddings() is None:
        raise InputError(f"model={name}: {type(model).__name__} has no map from hidden states to tokens")
    return model, tokenizer


@lru_cache(maxsize=2)
def digest(name: str) -> str:
    """What identifies the weights of a model."""
    seen = hashlib.sha256()
    for key, tensor in sorted(opened(name)[0].state_dict().items()):
        seen.update(key.encode())
        seen.update(tensor.detach().contiguous().view(torch.uint8).numpy().data)
    return seen.hexdigest()[:32]


def built(config: PretrainedConfig, weights: str) -> Any:
    """A copy of the model, with adapters where they are asked for, of which nothing but `config.train` is trained.

    Args:
        config: of the task.
        weights: the digest that it must have.

    Raises:
        InputError: it has another; peft is not installed.
    """
    if digest(config.model) != weights:
        raise InputError(
            f"task.model={config.model}: its weights are not those that the run was trained on; give the model as it "
            "was"
        )
    model = copy.deepcopy(opened(config.model)[0])
    if torch.get_default_device().type == "meta":
        model = model.to("meta")
        model.tie_weights()  # which a move to this device parts
    model.role = "pretrained"
    model.requires_grad_(config.train == "all")
    if config.train == "lora":
        _adapt(model, config)
    # Of tied weights one is a parameter; the other is the same
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    every = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    setattr(model, FROZEN, frozenset(every - trained))
    model.register_state_dict_post_hook(_leave_out)
    model.register_load_state_dict_post_hook(_not_missing)
    return model


def hidden_states(model: Any, embedded: Tensor, padding: Tensor | None = None) -> Tensor:
    """From embedded tokens [B, L, D] to what the map to tokens reads [B, L, D]."""
    mask = None if padding is None else padding.long()
    found: Tensor = model.base_model(inputs_embeds=embedded, attention_mask=mask, use_cache=False).last_hidden_state
    return found


def scores(model: Any, hidden: Tensor) -> Tensor:
    """From those hidden states to scores of all tokens [B, L, V], capped where the model does so."""
    found: Tensor = model.get_output_embeddings()(hidden)
    cap = getattr(model.config, "final_logit_softcapping", None)
    return found if not cap else cap * (found / cap).tanh()


def logits_of(model: Any, tokens: Tensor) -> Tensor:
    """Scores [B, L, V] by the model's own way from tokens [B, L]."""
    found: Tensor = model(input_ids=tokens, use_cache=False).logits
    return found


def nats(logits: Tensor, tokens: Tensor) -> Tensor:
    """Cross-entropy of each token but the first: logits [B, L, V] and tokens [B, L] to [B, L-1]."""
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")


@torch.no_grad()
def check_ends(name: str, model: Any) -> None:
    """Refuse a model that reads or scores tokens in more steps than `hidden_states` and `scores`.

    Raises:
        InputError: its scores are others.
    """
    tokens = torch.arange(4, device=model.get_input_embeddings().weight.device)[None]
    try:
        ours = scores(model, hidden_states(model, model.get_input_embeddings()(tokens)))
        same = torch.allclose(ours, logits_of(model, tokens), rtol=1e-4, atol=1e-4)
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"model={name}: unknown architecture ({' '.join(str(error).split())[:120]})") from error
    if not same:
        raise InputError(
            f"model={name}: unknown architecture, {type(model).__name__} does more than embed tokens, transform and "
            "map hidden states to scores"
        )


def _adapt(model: nn.Module, config: PretrainedConfig) -> None:
    """Adapters in every linear map but that to tokens; before any router, which they would pass by."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise InputError(NO_PEFT) from None
    lora = LoraConfig(r=config.rank, lora_alpha=ALPHA * config.rank, target_modules="all-linear", task_type="CAUSAL_LM")
    inject_adapter_in_model(lora, model)


NO_PEFT = "task.train=lora: needs the package peft; pip install peft, or use task.train=routers"


def _leave_out(model: nn.Module, state: dict[str, Tensor], prefix: str, metadata: Any) -> None:
    for name in getattr(model, FROZEN):
        state.pop(prefix + name, None)


def _not_missing(model: nn.Module, keys: Any) -> None:
    frozen = getattr(model, FROZEN)
    keys.missing_keys[:] = [key for key in keys.missing_keys if not any(part in frozen for part in _ends(key))]


def _ends(key: str) -> Iterator[str]:
    """A dotted name without its first parts: all of it, from the second part on, and so forth."""
    while key:
        yield key
        key = key.partition(".")[2]
