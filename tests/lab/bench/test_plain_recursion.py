"""What TRM's speed is measured against is TRM: the same weights give the same answer."""

import torch

from headwise.lab.bench.plain_recursion import PlainRecursion
from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.sizes import ModelConfig
from headwise.reasoning.initial_states import FixedState
from headwise.reasoning.recursion import TwoStreams
from headwise.reasoning.refinement import RefinementConfig


def test_it_gives_our_answer() -> None:
    block = {"norm": "rms_unscaled", "norm_placement": "post", "activation": "swiglu", "bias": False, "rotary": True}
    shape = ModelConfig(width=16, heads=2, ffn=24, depth=2, **block)
    loop = RefinementConfig(9, "last", recursion=TwoStreams(3), initial_state=FixedState())
    ours, plain = Backbone(shape, Arm(refinement=loop)), PlainRecursion(shape, n=2, T=3)
    with torch.no_grad():
        for layer, block in zip(plain.layers, ours.refiner.stack.blocks, strict=True):
            layer.qkv.weight.copy_(block.attention.projection)
            layer.out.weight.copy_(block.attention.output.weight)
            layer.gate_up.weight.copy_(block.ffn.gate_up.weight)
            layer.down.weight.copy_(block.ffn.down.weight)
        for name, vector in zip(("y_0", "z_0"), ours.refiner.initial_state.vectors, strict=True):
            getattr(plain, name).copy_(vector)
    x = torch.randn(3, 5, 16)
    torch.testing.assert_close(ours(x).states[-1], plain(x), rtol=0, atol=1e-5)
