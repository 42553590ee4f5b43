"""torch's attention, encoder layer and encoder as headwise's attention, block and backbone, and back.

    torch.nn.MultiheadAttention        <->  RoutedAttention
    torch.nn.TransformerEncoderLayer   <->  Block
    torch.nn.TransformerEncoder        <->  Backbone of one refinement step

Weights are copied, not shared. What one side cannot say is refused by name; nothing is dropped on the way.

Legend: H heads, E head width, D = H·E width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import TypeVar, overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headwise.errors import InputError
from headwise.models.arm import Arm, check
from headwise.models.backbone import Backbone
from headwise.models.blocks import Block
from headwise.models.counterparts import (
    activation_of,
    check_attention,
    check_encoder,
    check_layer,
    has_biases,
    refusal,
    shape_of,
    unknown,
)
from headwise.models.feed_forward import PLAIN as PLAIN_ACTIVATIONS
from headwise.models.norms import NormPlacement
from headwise.models.refusals import TaskFacts
from headwise.models.sizes import ModelConfig
from headwise.routing.attention import RoutedAttention
from headwise.routing.fixed_routers import Static
from headwise.routing.routers import Learned, Router

PLAIN = Arm()
M = TypeVar("M", bound=nn.Module)


@overload
def from_torch(module: nn.MultiheadAttention, arm: Arm = PLAIN, causal: bool = False) -> RoutedAttention: ...
@overload
def from_torch(module: nn.TransformerEncoderLayer, arm: Arm = PLAIN, causal: bool = False) -> Block: ...
@overload
def from_torch(module: nn.TransformerEncoder, arm: Arm = PLAIN, causal: bool = False) -> Backbone: ...
def from_torch(module: nn.Module, arm: Arm = PLAIN, causal: bool = False) -> RoutedAttention | Block | Backbone:
    """headwise's module with the weights, dropout, dtype, device and mode of torch's.

    With gates of 1 it computes what torch's does, given the same masks: headwise's are True where a query may look,
    torch's bool masks where it may not. So it does at the start under a learned router whose gate switches no head off
    at a tie (soft, sigmoid, relu, top_p with a fallback). A query that may look nowhere gets zeros in place of NaN.

    Whatever `batch_first` was, headwise takes [B, L, D]. A module without biases (`bias=False`) stays without; one that
    lacks those of its attention alone has them at zero and frozen. A bias of keys shifts all scores of a query alike,
    so headwise has none; it is kept for `to_torch` in a buffer `key_bias`, which is not saved with the weights.

    Args:
        module: torch's; a layer with GELU or ReLU; an encoder's layers of one shape, with a LayerNorm behind the last
            where they norm first (`norm_first=True`), with none where they norm last.
        arm: what routes it; default: nothing. An attention has no router of its own and takes gates from outside, so of
            its arm only `output_gate` and `composition_rank` are used. A block takes the router, its gate and balance
            too, and the router reads the context of the arm's controller; that and the rest of the arm are the
            business of the model around it. A backbone takes all.
        causal: position i sees only j <= i, in place of the causal mask that torch's module is called with.

    Raises:
        InputError: a setting that headwise does not have, an arm that does not fit (see `headwise.check`), or
            parameters of more than one dtype or device.
    """
    if isinstance(module, nn.MultiheadAttention):
        check_attention(module)
        return fill_attention(_bare(module, arm, causal), module).train(module.training)
    if isinstance(module, nn.TransformerEncoderLayer):
        check_layer(module)
        (block,) = _blocks(_backbone(module, [module], arm, causal))
        return fill_block(block, module).train(module.training)
    if isinstance(module, nn.TransformerEncoder):
        layers = check_encoder(module)
        backbone = _backbone(module, layers, arm, causal)
        for block, layer in zip(_blocks(backbone), layers, strict=True):
            fill_block(block, layer)
        if module.norm is not None:
            backbone.norm = deepcopy(module.norm)
        return backbone.train(module.training)
    raise unknown(module, "torch.nn.MultiheadAttention, TransformerEncoderLayer or TransformerEncoder")


@overload
def to_torch(module: RoutedAttention, batch_first: bool = True, causal: bool = False) -> nn.MultiheadAttention: ...
@overload
def to_torch(module: Block, batch_first: bool = True, causal: bool = False) -> nn.TransformerEncoderLayer: ...
@overload
def to_torch(module: Backbone, batch_first: bool = True, causal: bool = False) -> nn.TransformerEncoder: ...
def to_torch(module: nn.Module, batch_first: bool = True, causal: bool = False) -> nn.Module:
    """torch's module with the weights, dropout, dtype, device and mode of headwise's: the inverse of `from_torch`.

    Gates that do not depend on the input (of a static router, of a learned one per layer, or of one whose weights are
    still zero) are multiplied into the output projection, as they are at evaluation. Others have no place in torch's
    modules. `to_torch(block.attention)` takes the attention alone, as it is with gates of 1.

    Args:
        module: plain heads (mask_concat, a key/value head for each, no output gate, no composition, no rotary
            positions); a block of layer norms with a feed-forward layer of GELU or ReLU; a backbone of one refinement
            step without controller or halting.
        batch_first: torch's module takes [B, L, D]; default yes, as headwise does.
        causal: has to say what the module is. torch's has no such setting: whoever calls what was causal must give it
            the causal mask.

    Raises:
        InputError: a setting that torch's module does not have, a router whose gates depend on the input, `causal` is
            not what the module is, or parameters of more than one dtype or device.
    """
    if isinstance(module, RoutedAttention):
        return _attention(module, batch_first, causal).train(module.training)
    if isinstance(module, Block):
        return _layer(module, batch_first, causal).train(module.training)
    if isinstance(module, Backbone):
        check_backbone(module)
        layers = [_layer(block, batch_first, causal) for block in _blocks(module)]
        # Nested tensors are for layers that norm last; asked for with others, torch warns.
        encoder = nn.TransformerEncoder(layers[0], len(layers), enable_nested_tensor=False)
        encoder.layers = nn.ModuleList(layers)
        encoder.norm = deepcopy(module.norm) if isinstance(module.norm, nn.LayerNorm) else None
        return encoder.train(module.training)
    raise unknown(module, "headwise.RoutedAttention, Backbone, or one of its blocks")


def fill_attention(attention: RoutedAttention, source: nn.MultiheadAttention) -> RoutedAttention:
    """`attention` with the weights and dropout of `source`."""
    attention.dropout, bias = source.dropout, source.in_proj_bias
    query_bias, key_bias, value_bias = (None,) * 3 if bias is None else bias.detach().chunk(3)
    trained = bias is not None and bias.requires_grad
    _copy(attention.projection, source.in_proj_weight, source.in_proj_weight.requires_grad)
    attention.register_buffer("key_bias", None if key_bias is None else key_bias.clone(), persistent=False)
    _copy(attention.output.weight, source.out_proj.weight, source.out_proj.weight.requires_grad)
    bias = source.out_proj.bias
    own = (attention.query_bias, query_bias), (attention.value_bias, value_bias), (attention.output.bias, bias)
    for target, values in own:
        if target is not None:
            frozen = values is None or not (trained if target is not attention.output.bias else values.requires_grad)
            _copy(target, values, not frozen)
    return attention


def fill_block(block: Block, source: nn.TransformerEncoderLayer) -> Block:
    """`block` with the weights and dropout of `source`."""
    fill_attention(block.attention, source.self_attn)
    block.dropout = deepcopy(source.dropout1)
    # torch's layer drops behind the activation, too. Names of weights stay those of any block.
    activation = PLAIN_ACTIVATIONS[activation_of(source)]()
    middle = nn.Sequential(activation, deepcopy(source.dropout)) if source.dropout.p else activation
    block.ffn = nn.Sequential(deepcopy(source.linear1), middle, deepcopy(source.linear2))
    block.attention_norm, block.ffn_norm = deepcopy(source.norm1), deepcopy(source.norm2)
    return block


def constant_gates(router: Router | None) -> Tensor | None:
    """Gates [H] that a router gives at evaluation whatever it reads.

    Raises:
        InputError: they depend on what it reads.
    """
    if router is None:
        return None
    if type(router) is Static:
        return router.chosen
    if type(router) is Learned and not any(p.any() for p in router.parameters() if p.dim() > 1):
        (logits,) = (p.detach() for p in router.parameters() if p.dim() == 1)  # the constant, or the bias
        gates = router.gate(logits.view(1, 1, -1), router.temperature, None, False, router.ranking_bias)
        return gates.weight[0, 0]
    raise InputError(
        f"router={type(router).__name__}: its gates depend on the input, and torch's layer has none; choose no router, "
        "a static one or one per layer, or convert block.attention, which is the attention with gates of 1"
    )


def check_backbone(module: Backbone) -> None:
    """Refuse what an encoder of torch cannot say."""
    refiner, model = module.refiner, module.model
    if refiner.config.steps_in_all > 1:
        raise refusal(f"arm.refinement.steps={refiner.config.steps_in_all}", "an encoder of torch passes once", "1")
    if not refiner.config.initial_state.embeds:
        raise refusal("arm.refinement.initial_state", "an encoder of torch starts from its input", "embedding")
    if refiner.controller is not None or refiner.halting is not None:
        raise refusal("arm.controller or arm.halting", "an encoder of torch has neither", "none and fixed")
    if model.n_structural or model.relative:
        raise refusal("structural_heads or relative", "an encoder of torch has neither", "0")


def _attention(module: RoutedAttention, batch_first: bool, causal: bool) -> nn.MultiheadAttention:
    shape = module.shape
    if shape.combination != "mask_concat":
        raise refusal(f"combine={shape.combination}", "torch's heads have output rows of their own", "mask_concat")
    if shape.kv_heads != shape.heads:
        raise refusal(f"kv_heads={shape.kv_heads}", "torch's heads share no keys and values", f"{shape.heads}")
    if shape.output_gate:
        raise refusal("output_gate=elementwise", "torch's attention has no gates", "none")
    if shape.rank:
        raise refusal(f"composition_rank={shape.rank}", "torch's heads attend by themselves", "0")
    if shape.rotary is not None:
        raise refusal("rotary=true", "torch's attention knows no positions", "false")
    if shape.causal != causal:
        raise InputError(
            f"causal={causal}, but the module has causal={shape.causal}: torch's has no such setting; say "
            f"to_torch(..., causal={shape.causal})" + (" and give it the causal mask" if shape.causal else "")
        )
    key_bias = getattr(module, "key_bias", None)
    own = [part for part in (module.query_bias, module.value_bias, module.output.bias) if part is not None]
    biased = key_bias is not None or any(part.requires_grad or bool(part.any()) for part in own)
    with _quietly():
        out = nn.MultiheadAttention(shape.width, shape.heads, module.dropout, biased, batch_first=batch_first)
    _like(module, out)
    _copy(out.in_proj_weight, module.projection, module.projection.requires_grad)
    _copy(out.out_proj.weight, module.output.weight, module.output.weight.requires_grad)
    if own and biased:
        queries, values, last = own
        keys = torch.zeros_like(queries) if key_bias is None else key_bias
        _copy(out.in_proj_bias, torch.cat([queries, keys, values]), queries.requires_grad or values.requires_grad)
        _copy(out.out_proj.bias, last, last.requires_grad)
    return out


def _layer(block: Block, batch_first: bool, causal: bool) -> nn.TransformerEncoderLayer:
    if block.ffn is None or block.ffn_norm is None:
        raise refusal("ffn=0", "torch's layer has a feed-forward half", "at least 1")
    if not isinstance(block.ffn, nn.Sequential):
        raise refusal("activation=swiglu", "torch's layer has one input matrix", "gelu or relu")
    if not (isinstance(block.attention_norm, nn.LayerNorm) and isinstance(block.ffn_norm, nn.LayerNorm)):
        kind = "rms" if list(block.attention_norm.parameters()) else "rms_unscaled"
        raise refusal(f"norm={kind}", "torch's layer has layer norms", "layer")
    attention, gates = _attention(block.attention, batch_first, causal), constant_gates(block.router)
    if gates is not None:
        with torch.no_grad():  # a column for each channel of the heads
            attention.out_proj.weight.mul_(gates.repeat_interleave(attention.head_dim))
    first, middle, second = block.ffn
    activation, *dropout = middle if isinstance(middle, nn.Sequential) else [middle]
    with _quietly():
        out = nn.TransformerEncoderLayer(
            attention.embed_dim,
            attention.num_heads,
            1,
            0.0,
            F.relu if isinstance(activation, nn.ReLU) else F.gelu,
            batch_first=batch_first,
            norm_first=block.norm_placement == "pre",
        )
    _like(block, out)
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    out.self_attn, out.linear1, out.linear2 = attention, deepcopy(first), deepcopy(second)
    out.norm1, out.norm2 = deepcopy(block.attention_norm), deepcopy(block.ffn_norm)
    out.dropout1, out.dropout2 = deepcopy(block.dropout), deepcopy(block.dropout)
    for part in dropout:
        assert isinstance(part, nn.Dropout)
        out.dropout = deepcopy(part)
    return out


def _bare(module: nn.MultiheadAttention, arm: Arm, causal: bool) -> RoutedAttention:
    """An attention in the shape of torch's, not yet with its weights."""
    if arm != Arm(output_gate=arm.output_gate, composition_rank=arm.composition_rank):
        raise InputError(
            "arm: of an attention's only output_gate and composition_rank are used; convert its layer, or build a "
            "router beside it: arm.router.build(arm.gate, width, heads)"
        )
    shape = {"width": module.embed_dim, "heads": module.num_heads, "composition_rank": arm.composition_rank}
    with _quietly():
        bare = RoutedAttention(**shape, causal=causal, output_gate=arm.output_gate, bias=has_biases(module))
    return _like(module, bare)


def _backbone(source: nn.Module, layers: list[nn.TransformerEncoderLayer], arm: Arm, causal: bool) -> Backbone:
    """A backbone in the shape of the layers, not yet with their weights."""
    width, heads, ffn, first, activation, bias = shape_of(layers[0])
    placement: NormPlacement = "pre" if first else "post"
    model = ModelConfig(
        width,
        heads,
        ffn,
        len(layers),
        layers[0].dropout1.p,
        norm_placement=placement,
        activation=activation,
        bias=bias,
    )
    if arm.combine != "mask_concat":
        raise refusal(f"arm.combine={arm.combine}", "torch's heads have output rows of their own", "mask_concat")
    check(arm, TaskFacts(causal=causal), model)
    with _quietly():
        return _like(source, Backbone(model, arm, causal))


def _blocks(backbone: Backbone) -> list[Block]:
    return [module for module in backbone.modules() if isinstance(module, Block)]


def _like(source: nn.Module, result: M) -> M:
    """`result` on the device and in the dtype of `source`, which has one of each."""
    places = {(parameter.device, parameter.dtype) for parameter in source.parameters()}
    if len(places) > 1:
        raise refusal("parameters of several dtypes or devices", "", "one dtype and one device")
    ((device, dtype),) = places
    return result.to(device, dtype)


def _copy(target: Tensor, source: Tensor | None, trained: bool) -> None:
    """Write the values of `source` into `target`; None is zeros."""
    with torch.no_grad():
        _ = target.zero_() if source is None else target.copy_(source)
    target.requires_grad_(trained)


@contextmanager
def _quietly() -> Iterator[None]:
    """Build modules on the CPU, and leave the generator of the caller's random numbers as it was."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        yield
