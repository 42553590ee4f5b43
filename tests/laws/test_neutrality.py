"""Law 1: with gates of 1 the block is a plain pre-norm transformer layer."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.blocks import Block
from headwise.reasoning.halting import FixedHalting
from headwise.reasoning.refinement import RefinementConfig
from headwise.routing.gates import Gumbel, Sigmoid, Soft, TopK
from headwise.routing.mixtures import ReLU, SharedRouted, TopP
from headwise.routing.routers import LearnedRouter

from .arms import ARMS, SHAPE, fitted


def torch_layer(block: Block) -> nn.TransformerEncoderLayer:
    """torch's layer with the block's weights; `mixture` is plain attention whose heads share their output rows."""
    attention = block.attention
    layer = nn.TransformerEncoderLayer(
        SHAPE.width, SHAPE.heads, SHAPE.ffn, 0.0, "gelu", batch_first=True, norm_first=True, dtype=torch.float64
    )
    rows = attention.output.weight
    if attention.shape.combination == "mixture":
        rows = torch.cat([rows / SHAPE.heads] * SHAPE.heads, 1)
    pairs = [
        (layer.self_attn.in_proj_weight, attention.projection),
        (
            layer.self_attn.in_proj_bias,
            torch.cat([attention.query_bias, torch.randn(SHAPE.width).double(), attention.value_bias]),
        ),
        (layer.self_attn.out_proj.weight, rows),
        (layer.self_attn.out_proj.bias, attention.output.bias),
        (layer.linear1.weight, block.ffn[0].weight),
        (layer.linear1.bias, block.ffn[0].bias),
        (layer.linear2.weight, block.ffn[2].weight),
        (layer.linear2.bias, block.ffn[2].bias),
    ]
    for ours, theirs in ((block.attention_norm, layer.norm1), (block.ffn_norm, layer.norm2)):
        pairs += [(theirs.weight, ours.weight), (theirs.bias, ours.bias)]
    with torch.no_grad():
        for target, source in pairs:
            target.copy_(source)
    return layer


def plain_twin(backbone: Backbone, x: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
    layers = [torch_layer(block) for block in backbone.refiner.stack.blocks]
    loop, hidden = backbone.arm.refinement, x
    for t in range(loop.steps):
        hidden = hidden + x if t and loop.injection == "input" else hidden
        for layer in layers:
            hidden = layer(hidden, src_key_padding_mask=padding)
    return backbone.norm(hidden)


def random_backbone(arm: Arm) -> Backbone:
    """Everything random but the routers, which stay at zero."""
    backbone = Backbone(SHAPE, arm).double()
    routers = {id(p) for router in backbone.routers() for p in router.parameters()}
    with torch.no_grad():
        for parameter in backbone.parameters():
            if id(parameter) not in routers:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return backbone


def compare(backbone: Backbone, gates: list[list[torch.Tensor]] | None) -> None:
    x = torch.randn(3, 5, SHAPE.width, dtype=torch.float64)
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[1, 3:] = False
    with torch.no_grad():
        ours = backbone(x, mask, gates=gates).states[-1]
        torch.testing.assert_close(ours[mask], plain_twin(backbone, x, ~mask)[mask], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [name for name, arm in ARMS.items() if arm.refinement.reuse == "none"])
def test_forced_gates_of_one_are_the_plain_layer(name: str) -> None:
    torch.manual_seed(0)
    backbone = random_backbone(replace(fitted(ARMS[name]), halting=FixedHalting()))
    compare(backbone, [[torch.ones(3, 1, SHAPE.heads, dtype=torch.float64)] * SHAPE.depth])


def is_neutral_at_zero(arm: Arm) -> bool:
    learned = isinstance(arm.router, LearnedRouter) and arm.refinement.reuse == "none"
    return learned and (not arm.gate.selects or getattr(arm.gate, "fallback", None) is not None)


@pytest.mark.parametrize("name", [name for name, arm in ARMS.items() if is_neutral_at_zero(arm)])
def test_a_router_at_zero_is_the_plain_layer(name: str) -> None:
    torch.manual_seed(0)
    compare(random_backbone(replace(fitted(ARMS[name]), halting=FixedHalting())), None)


ALL_ON = [Soft(), TopK(4), TopK(4, renormalise=True), Gumbel(4), Sigmoid(), ReLU()]
ALL_ON += [SharedRouted(1, 3), SharedRouted(2, 2, training="soft"), TopP(1.0), TopP(1.0, shared=1), TopP(fallback=0.4)]


@pytest.mark.parametrize("gate", ALL_ON, ids=str)
@pytest.mark.parametrize("combine", ["mask_concat", "mixture"])
def test_every_gate_at_equal_logits_with_all_heads_is_plain_attention(gate: object, combine: str) -> None:
    torch.manual_seed(0)
    arm = Arm(LearnedRouter("token"), gate, combine, refinement=RefinementConfig())
    backbone = random_backbone(arm).eval()
    with torch.no_grad():
        for router in backbone.routers():
            router.of_input.bias.fill_(1.7 if gate.softmax else 0)  # sigmoid and ReLU gates are 1 at logit 0 alone
    compare(backbone, None)


def test_the_original_scale_of_gates_that_sum_to_one_is_caught() -> None:
    """Planted: weights that sum to 1 over heads shrink attention by 1/H."""
    torch.manual_seed(0)
    backbone = random_backbone(ARMS["baseline"])
    shrunk = torch.full((3, 1, SHAPE.heads), 1 / SHAPE.heads, dtype=torch.float64)
    with pytest.raises(AssertionError):
        compare(backbone, [[shrunk] * SHAPE.depth])
