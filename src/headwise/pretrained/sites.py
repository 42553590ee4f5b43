"""Where the heads of a pretrained model are: its attention layers, found by structure, not by the model's name.

A site is a module whose class name ends in Attention and that owns an output projection, the linear map from the
concatenated head outputs to the layer's output. Its input is H·E wide, E the width of a head's output.

Legend: H heads, E width of a head's output, D width of the model.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

PROJECTIONS = ("o_proj", "out_proj", "c_proj", "dense", "o", "out_lin", "Wo", "output.dense")
"""Names of the output projection, relative to the attention layer, in the order in which they are tried."""
WIDTHS = ("v_head_dim", "head_dim", "attention_head_size", "key_value_proj_dim", "head_size")
"""Attributes with E; the first that an attention layer has counts, as that of the values differs from the others'."""
COUNTS = ("num_heads", "num_attention_heads", "n_heads", "n_head")
"""Attributes with H, where none of WIDTHS is there."""


@dataclass(frozen=True)
class Site:
    """One attention layer.

    Attributes:
        name: of the attention module in the model.
        attention: the module.
        projection_name: of its output projection, relative to it.
        projection: the output projection.
        heads: H.
        head_width: E.
        groups: key/value heads that the H query heads share; H where each has its own.
        width: D of the layer's input.
        sees_ahead: whether a token of it may know what follows: not in a decoder, its cross-attention included.
    """

    name: str
    attention: nn.Module
    projection_name: str
    projection: nn.Module
    heads: int
    head_width: int
    groups: int
    width: int
    sees_ahead: bool

    @property
    def intact(self) -> bool:
        """Whether the projection is still the one that was found; adapters put another in its place."""
        return self.attention.get_submodule(self.projection_name) is self.projection


def find_sites(model: nn.Module) -> list[Site]:
    """The attention layers of `model`, in the order of its modules.

    Raises:
        ValueError: there is none, or one is not understood; says what was looked for.
    """
    found: list[Site] = []
    for name, module in model.named_modules(remove_duplicate=True):
        if _is_attention(module):
            found.append(_site(model, name, module))
    if not found:
        seen = sorted({type(module).__name__ for module in model.modules() if "attn" in type(module).__name__.lower()})
        near = f" ({', '.join(seen)} {'is' if len(seen) == 1 else 'are'} not)" if seen else ""
        raise ValueError(
            f"{type(model).__name__}: found no attention layer: a module whose class name ends in Attention{near} with "
            f"an output projection named {', '.join(PROJECTIONS)}"
        )
    return found


def layer_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """What a layer is called with: its first argument, or `hidden_states`.

    Raises:
        ValueError: it is called in another way.
    """
    x = args[0] if args else kwargs.get("hidden_states")
    if not isinstance(x, Tensor):
        raise ValueError(f"a layer is called with {', '.join(kwargs) or 'nothing'}; looked for hidden_states")
    return x


def input_width(projection: nn.Module) -> int | None:
    """Input features of a linear map: of nn.Linear and its kin, and of GPT-2's Conv1D, whose weight is [in, out]."""
    known = getattr(projection, "in_features", None)
    if isinstance(known, int):
        return known
    weight = getattr(projection, "weight", None)
    return int(weight.shape[0]) if type(projection).__name__ == "Conv1D" and weight is not None else None


def _is_attention(module: nn.Module) -> bool:
    """By its class; a module that holds another with the same role is a shell around it (T5LayerSelfAttention)."""
    if not type(module).__name__.endswith("Attention"):
        return False
    if _projection(module) is not None:
        return True
    inner = [child for child in module.modules() if child is not module]
    return not any(type(child).__name__.endswith("Attention") for child in inner) and _has_scores(module)


def _has_scores(module: nn.Module) -> bool:
    """Whether it makes its own output, so that a projection is missing; BertSelfAttention leaves that to its parent."""
    return type(module).__name__ == "MultiheadAttention" or not hasattr(module, "query")


def _projection(module: nn.Module) -> tuple[str, nn.Module] | None:
    for name in PROJECTIONS:
        try:
            child = module.get_submodule(name)
        except AttributeError:
            continue
        if input_width(child) is not None:
            return name, child
    return None


def _site(model: nn.Module, name: str, attention: nn.Module) -> Site:
    where = f"{type(model).__name__}: {name} ({type(attention).__name__})"
    if isinstance(attention, nn.MultiheadAttention):
        raise ValueError(f"{where} computes its output without calling its projection, so that nothing can gate it")
    found = _projection(attention)
    if found is None:
        raise ValueError(f"{where} has no output projection named {', '.join(PROJECTIONS)}")
    projection_name, projection = found
    inputs = input_width(projection)
    assert inputs is not None
    # BERT's family keeps the settings of its heads in a part of the layer
    parts = [attention, *(child for child in attention.children() if type(child).__name__.endswith("Attention"))]
    head_width = _number(parts, WIDTHS)
    if head_width is None and (count := _number(parts, COUNTS)):
        head_width = inputs // count
    if not head_width or inputs % head_width:
        said = "nothing" if not head_width else f"{head_width}, which does not divide the projection's {inputs} inputs"
        raise ValueError(f"{where}: width of a head: {said}; looked for {', '.join((*WIDTHS, *COUNTS))}")
    heads = inputs // head_width
    sharing = _number(parts, ("num_key_value_groups",)) or 1
    groups = _number(parts, ("num_kv_heads", "num_key_value_heads")) or heads // sharing
    return Site(
        name=name,
        attention=attention,
        projection_name=projection_name,
        projection=projection,
        heads=heads,
        head_width=head_width,
        groups=min(groups, heads),
        width=_width(model, attention),
        sees_ahead=not _causal(model, name, parts),
    )


def _number(parts: list[nn.Module], names: tuple[str, ...]) -> int | None:
    for name in names:
        for part in parts:
            if isinstance(value := getattr(part, name, None), int) and not isinstance(value, bool):
                return value
    return None


def _width(model: nn.Module, attention: nn.Module) -> int:
    """D, from the first map of the layer: queries, or a fused projection."""
    for name in ("q_proj", "c_attn", "query_key_value", "qkv_proj", "q", "q_lin", "Wqkv", "q_a_proj", "self.query"):
        try:
            found = input_width(attention.get_submodule(name))
        except AttributeError:
            continue
        if found:
            return found
    for name in ("hidden_size", "d_model", "n_embd", "dim"):
        if isinstance(value := getattr(getattr(model, "config", None), name, None), int):
            return value
    raise ValueError(f"{type(model).__name__}: {type(attention).__name__} does not say how wide its input is")


def _causal(model: nn.Module, name: str, parts: list[nn.Module]) -> bool:
    """Whether its tokens must not know what follows. A decoder's cross-attention sees the whole source, so the role
    counts and not the mask; where a layer does not say, a model that generates is taken for causal."""
    config, steps = getattr(model, "config", None), name.split(".")
    if getattr(config, "is_encoder_decoder", False):
        return "decoder" in steps
    if getattr(config, "is_decoder", False):
        return True
    said = [value for part in parts if isinstance(value := getattr(part, "is_causal", None), bool)]
    if said:
        return any(said)
    generates = getattr(model, "can_generate", None)
    return bool(generates and generates())
