"""Which of torch's modules have a counterpart here; the others are refused by name.

Legend: D width, H heads.
"""

from torch import nn
from torch.nn import functional as F

from headwise.errors import InputError
from headwise.models.feed_forward import Activation


def check_attention(module: nn.MultiheadAttention) -> None:
    """Refuse what a RoutedAttention cannot say."""
    _as_published(module, nn.MultiheadAttention, "forward")
    width = module.embed_dim
    for name in ("kdim", "vdim"):
        if getattr(module, name) != width:
            raise refusal(
                f"{name}={getattr(module, name)}", "queries, keys and values are made of one input", f"{name}={width}"
            )
    if module.bias_k is not None or module.bias_v is not None:
        raise refusal("add_bias_kv=True", "there is no learned key beside those of the input", "add_bias_kv=False")
    if module.add_zero_attn:
        raise refusal("add_zero_attn=True", "there is no key of zeros beside those of the input", "add_zero_attn=False")


def check_layer(module: nn.TransformerEncoderLayer) -> None:
    """Refuse what a Block cannot say."""
    _as_published(module, nn.TransformerEncoderLayer, "forward", "_sa_block", "_ff_block")
    check_attention(module.self_attn)
    activation_of(module)
    if module.dropout1.p != module.dropout2.p:
        halves = f"dropout1={module.dropout1.p:g}, dropout2={module.dropout2.p:g}"
        raise refusal(halves, "a block has one dropout for both halves", "the same probability for both")
    kinds = {nn.Linear: ("linear1", "linear2"), nn.LayerNorm: ("norm1", "norm2")}
    for kind, names in kinds.items():
        for name in names:
            if type(getattr(module, name)) is not kind:
                raise refusal(f"{name}={type(getattr(module, name)).__name__}", "", f"torch.nn.{kind.__name__}")


def activation_of(layer: nn.TransformerEncoderLayer) -> Activation:
    """What a block calls the activation of torch's layer."""
    activation: object = layer.activation  # a function or a module
    if activation is F.gelu or (isinstance(activation, nn.GELU) and activation.approximate == "none"):
        return "gelu"
    if activation is F.relu or isinstance(activation, nn.ReLU):
        return "relu"
    name = getattr(activation, "__name__", repr(activation))
    raise refusal(f"activation={name}", "a block has exact GELU or ReLU", 'activation="gelu" or "relu"')


def check_encoder(module: nn.TransformerEncoder) -> list[nn.TransformerEncoderLayer]:
    """Refuse what a Backbone cannot say; else the encoder's layers."""
    _as_published(module, nn.TransformerEncoder, "forward")
    layers = []
    for layer in module.layers:
        if not isinstance(layer, nn.TransformerEncoderLayer):
            raise unknown(layer, "torch.nn.TransformerEncoderLayer in an encoder")
        check_layer(layer)
        layers.append(layer)
    shapes = {shape_of(layer) for layer in layers}
    if len(shapes) != 1:
        raise refusal(f"layers of {len(shapes)} shapes", "a backbone's have one", "one shape, or convert the layers")
    first, kind = layers[0].norm_first, None if module.norm is None else type(module.norm).__name__
    if first and type(module.norm) is not nn.LayerNorm:
        why, norm = "a backbone of layers that norm first ends in a LayerNorm", "torch.nn.LayerNorm(width)"
        raise refusal(f"norm={kind}", why, f"norm={norm}, or convert the layers")
    if not first and module.norm is not None:
        why = "a backbone of layers that norm last (norm_first=False) ends with the last of them"
        raise refusal(f"norm={kind}", why, "norm=None, or convert the layers")
    return layers


def shape_of(layer: nn.TransformerEncoderLayer) -> tuple[int, int, int, bool, Activation, bool]:
    """D, H, the feed-forward width, whether it norms first, the activation, and whether it has biases."""
    attention, ffn = layer.self_attn, layer.linear1.out_features
    return attention.embed_dim, attention.num_heads, ffn, layer.norm_first, activation_of(layer), has_biases(layer)


def has_biases(module: nn.Module) -> bool:
    """Whether anything in it has a bias."""
    return any(name.endswith("bias") for name, _ in module.named_parameters())


def _as_published(module: nn.Module, kind: type[nn.Module], *methods: str) -> None:
    """Refuse a subclass that computes something else."""
    for name in methods:
        if getattr(type(module), name) is not getattr(kind, name):
            raise refusal(f"{type(module).__name__}.{name}", "it is not torch's own", f"torch.nn.{kind.__name__}")


def refusal(what: str, why: str, allowed: str) -> InputError:
    return InputError(f"{what}: {why + '; ' if why else ''}choose {allowed}")


def unknown(module: nn.Module, allowed: str) -> InputError:
    return InputError(f"{type(module).__name__}: no counterpart; choose {allowed}")
