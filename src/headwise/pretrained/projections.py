"""The maps of a pretrained attention layer that have rows or columns of single heads, and the layers where none have.

Legend: H query heads, G key/value heads, E width of a head.
"""

from dataclasses import dataclass

import torch
from torch import nn

from headwise.pretrained.gating import CHILD
from headwise.pretrained.sites import Site, input_width

SEPARATE = (
    ("q_proj", "k_proj", "v_proj"),
    ("self.query", "self.key", "self.value"),  # BERT
    ("attention.query", "attention.key", "attention.value"),  # ViT in transformers 4
    ("query", "key", "value"),
)
"""Names of the maps to queries, keys and values, in the order in which they are tried."""
FUSED = ("query_key_value", "qkv_proj", "Wqkv", "qkv", "in_proj", "W_pack", "att_proj")
LATENT = ("kv_a_proj_with_mqa", "kv_b_proj", "q_a_proj", "kv_a_layernorm")
NORMS = ("q_norm", "k_norm", "q_layernorm", "k_layernorm")
"""Norms of queries and keys, which may stay where each head is normed by itself."""


@dataclass(frozen=True)
class Projections:
    """The maps of one layer.

    Attributes:
        queries, keys, values: names of maps to [H·E] and [G·E], relative to the layer; where all three are the same
            one, it is GPT-2's, to [3·H·E].
        output: name of the map from [H·E].
    """

    queries: str
    keys: str
    values: str
    output: str

    @property
    def fused(self) -> bool:
        return self.queries == self.keys

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.queries, self.keys, self.values, self.output)))


def projections(model: nn.Module, site: Site) -> Projections:
    """The maps of a layer from which heads can be removed.

    Raises:
        ValueError: they cannot; one line with the reason.
    """
    reason = _refusal(model, site)
    if reason:
        raise ValueError(f"{site.name} ({type(site.attention).__name__}): heads cannot be removed: {reason}")
    found = _names(site)
    assert found is not None
    return found


def output_width(module: nn.Module) -> int:
    """Output features of nn.Linear, or of GPT-2's Conv1D."""
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    return weight.shape[1 if is_conv1d(module) else 0]


def is_conv1d(module: nn.Module) -> bool:
    """Whether it is GPT-2's linear map, whose weight is [inputs, outputs]."""
    return type(module).__name__ == "Conv1D"


def _names(site: Site) -> Projections | None:
    for names in SEPARATE:
        if all(_child(site, name) is not None for name in names):
            return Projections(*names, site.projection_name)
    if (fused := _child(site, "c_attn")) is not None and is_conv1d(fused) and _child(site, "q_attn") is None:
        return Projections("c_attn", "c_attn", "c_attn", site.projection_name)
    return None


def _child(site: Site, name: str) -> nn.Module | None:
    try:
        return site.attention.get_submodule(name)
    except AttributeError:
        return None


def _refusal(model: nn.Module, site: Site) -> str | None:
    """Why no head of the layer can be removed; None if one can."""
    attention, config = site.attention, getattr(model, "config", None)
    if any(_child(site, name) is not None for name in LATENT):
        return "its keys and values are compressed for all heads together (MLA)"
    if hasattr(attention, "has_relative_attention_bias") or hasattr(attention, "relative_attention"):
        return "all layers share a position bias with a row for each head (T5)"
    if hasattr(attention, "sinks"):
        return "it has attention sinks, a number for each head outside of the projections (gpt-oss)"
    if getattr(config, "alibi", False):
        return "its position bias depends on the number of heads (ALiBi)"
    if getattr(attention, "is_kv_shared_layer", False) or getattr(config, "num_kv_shared_layers", 0):
        return "layers take keys and values from each other"
    fused = next((name for name in FUSED if _child(site, name) is not None), None)
    if fused is not None:
        return f"queries, keys and values are one fused projection ({fused})"
    names = _names(site)
    if names is None:
        looked = "; ".join(", ".join(each) for each in SEPARATE)
        return f"it has no separate maps to queries, keys and values that are known here ({looked}; c_attn)"
    return _of_weights(model, site, names)


def _of_weights(model: nn.Module, site: Site, names: Projections) -> str | None:
    for name in names.names:
        module = site.attention.get_submodule(name)
        if type(module) is not nn.Linear and not is_conv1d(module):
            return f"{name} is of the class {type(module).__name__}, not a plain linear map: quantised, or an adapter"
        if type(module.weight.data) is not torch.Tensor or not module.weight.is_floating_point():  # type: ignore[operator]
            return f"the weights of {name} are quantised"
    if getattr(getattr(model, "config", None), "quantization_config", None) is not None:
        return "the weights of the model are quantised; load it without"
    uses: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        uses.setdefault(id(parameter), []).append(name)
    for name in names.names:
        for parameter in site.attention.get_submodule(name).parameters():
            if len(uses[id(parameter)]) > 1:
                return f"the weights of {name} are tied ({', '.join(uses[id(parameter)][:2])})"
    own = tuple(f"{name}." for name in (*names.names, CHILD, *(("output",) if "output." in names.output else ())))
    for name, parameter in site.attention.named_parameters():
        if name.startswith(own):
            continue
        if name.rpartition(".")[0] not in NORMS or parameter.numel() != site.head_width:
            return f"{name} {list(parameter.shape)} belongs to all heads together"
    wide, narrow = site.heads * site.head_width, site.groups * site.head_width
    expected = (
        {names.queries: 3 * wide} if names.fused else {names.queries: wide, names.keys: narrow, names.values: narrow}
    )
    for name, width in expected.items():
        if (found := output_width(site.attention.get_submodule(name))) != width:
            return f"{name} has {found} outputs, and {site.heads} heads over {site.groups} key/value heads have {width}"
    assert input_width(site.projection) == wide
    return None
