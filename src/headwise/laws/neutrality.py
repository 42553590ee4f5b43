"""Law 1: with gates of 1 the block is a plain transformer layer."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from headwise.laws.arms import SHAPE, fitted
from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.blocks import Block
from headwise.models.sizes import ModelConfig
from headwise.reasoning.draws import places_of
from headwise.reasoning.halting import FixedHalting
from headwise.routing.composition import HeadComposition
from headwise.routing.layout import Layout
from headwise.routing.output_gates import OutputGate
from headwise.routing.routers import Router


def torch_layer(block: Block) -> nn.TransformerEncoderLayer:
    """torch's layer with the block's weights; `mixture` is plain attention whose heads share their output rows, and
    without a feed-forward layer that of the twin gives zeros."""
    attention, bias = block.attention, block.attention.bias()
    first, activation, second = (None,) * 3 if block.ffn is None else block.ffn.children()
    layer = nn.TransformerEncoderLayer(
        SHAPE.width,
        SHAPE.heads,
        SHAPE.ffn,
        0.0,
        "relu" if isinstance(activation, nn.ReLU) else "gelu",
        batch_first=True,
        norm_first=block.norm_placement == "pre",
        bias=bias is not None,
        dtype=torch.float64,
    )
    rows = attention.output.weight
    if attention.shape.combination == "mixture":
        rows = torch.cat([rows / SHAPE.heads] * SHAPE.heads, 1)
    with torch.no_grad():
        layer.self_attn.in_proj_weight.copy_(attention.projection)
        layer.self_attn.out_proj.weight.copy_(rows)
        if bias is not None:  # a bias of keys shifts all scores of a query alike
            layer.self_attn.in_proj_bias.copy_(bias)
            layer.self_attn.in_proj_bias[SHAPE.width : 2 * SHAPE.width].normal_()
            layer.self_attn.out_proj.bias.copy_(attention.output.bias)
    layer.norm1.load_state_dict(block.attention_norm.state_dict())
    for theirs, ours in ((layer.linear1, first), (layer.linear2, second), (layer.norm2, block.ffn_norm)):
        if ours is not None:
            theirs.load_state_dict(ours.state_dict())
        elif theirs is layer.linear2:
            for part in theirs.parameters():
                nn.init.zeros_(part)
    return layer


def plain_twin(backbone: Backbone, x: Tensor, padding: Tensor) -> Tensor:
    """What plain layers make of `x` over one segment."""
    loop, refiner = backbone.arm.refinement, backbone.refiner
    stacks = [[torch_layer(b) for b in stack.modules() if isinstance(b, Block)] for stack in refiner.stacks]
    keys = torch.zeros(len(x), dtype=torch.int64)
    answer, *latent = refiner.initial_state(x, keys, places_of(~padding, x))
    z = latent[0] if latent else None
    for t in range(1, loop.steps + 1):
        added = loop.reads_embedding and (t > 1 or z is not None or not loop.initial_state.embeds)
        hidden = loop.recursion.read(t, answer, z, x if added else None)
        for layer in stacks[loop.recursion.stack(t)]:
            hidden = layer(hidden, src_key_padding_mask=padding)
        answer, z = loop.recursion.written(t, hidden, answer, z)
    out: Tensor = backbone.norm(answer)
    return out


def random_backbone(arm: Arm, shape: ModelConfig = SHAPE) -> Backbone:
    """Everything random but what starts as if it were not there: routers, output gates, head composition."""
    backbone = Backbone(shape, arm).double()
    neutral = [module for module in backbone.modules() if isinstance(module, Router | OutputGate | HeadComposition)]
    kept = {id(p) for module in neutral for p in module.parameters()}
    with torch.no_grad():
        for parameter in backbone.parameters():
            if id(parameter) not in kept:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return backbone


def departure(backbone: Backbone, gates: list[list[Tensor]] | None) -> float:
    """How far the outputs are from those of the plain layers, padded on the right."""
    x = torch.randn(3, 5, SHAPE.width, dtype=torch.float64)
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[1, 3:] = False
    with torch.no_grad():
        keys = torch.zeros(3, dtype=torch.int64)
        ours = backbone(x, Layout(mask, keys=keys), gates=gates).states[-1]
        return float((ours[mask] - plain_twin(backbone, x, ~mask)[mask]).abs().max())


def neutrality(arm: Arm, shape: ModelConfig = SHAPE) -> list[str]:
    """Departures from plain attention with forced gates of 1, and with a router at its start if it starts there."""
    if arm.refinement.reuse != "none":  # each reuse has a plain definition of its own
        return []
    torch.manual_seed(0)
    quiet = replace(arm.refinement, noise=0.0)
    backbone = random_backbone(replace(fitted(arm), halting=FixedHalting(), refinement=quiet), shape)
    ones = [[torch.ones(3, 1, SHAPE.heads, dtype=torch.float64)] * SHAPE.depth]
    broken = [
        f"{far:.2g} away from the plain layer with gates of 1" for far in [departure(backbone, ones)] if far > 1e-6
    ]
    if is_neutral_at_start(arm):
        far = departure(backbone, None)
        broken += [f"{far:.2g} away from the plain layer at the start"] if far > 1e-6 else []
    return broken


def is_neutral_at_start(arm: Arm) -> bool:
    """Whether a router at its start opens all heads alike: it is learned, and the gate switches none off at a tie."""
    selects = arm.gate.selects and getattr(arm.gate, "fallback", None) is None
    return arm.router.learned and arm.refinement.reuse == "none" and not selects
