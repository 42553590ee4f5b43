"""TRM and HRM in the published shape, against the equations in plain torch: blocks, recursion, read-out states."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from headwise.models.backbone import Backbone
from headwise.models.blocks import Block, BlockStack
from headwise.models.sizes import ModelConfig
from headwise.training.configuration import load_arms

from .plain_recursion import hrm, trm

LENGTH, WIDTH, HEADS, FFN = 9, 512, 8, 1536
PUBLISHED = {
    "norm": "rms_unscaled",
    "norm_placement": "post",
    "activation": "swiglu",
    "bias": False,
    "rotary": True,
    "init": "truncated_normal",
}


def rms(x: Tensor) -> Tensor:
    return x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt()


def rotary(x: Tensor) -> Tensor:
    """[B, L, H, E], a pair of channels (i, i + E/2) turned by position · 10000^(-2i/E), as complex numbers."""
    half = x.shape[-1] // 2
    speed = 10000.0 ** (-torch.arange(half, dtype=x.dtype) / half)
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(
        torch.ones(x.shape[1], 1, half, dtype=x.dtype), torch.arange(x.shape[1], dtype=x.dtype)[:, None, None] * speed
    )
    return torch.cat([turned.real, turned.imag], -1)


def layer(block: Block) -> Callable[[Tensor], Tensor]:
    """x <- RMSNorm(x + attention(x)); x <- RMSNorm(x + SwiGLU(x)), with a block's weights and nothing else of it."""
    projection, output = block.attention.projection, block.attention.output.weight
    gate_up, down = block.ffn.gate_up.weight, block.ffn.down.weight

    def forward(x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (HEADS, -1)) for part in (x @ projection.T).chunk(3, -1))
        scores = torch.einsum("blhe,bmhe->bhlm", rotary(q), rotary(k)) / (WIDTH // HEADS) ** 0.5
        heads = torch.einsum("bhlm,bmhe->blhe", scores.softmax(-1), v)
        x = rms(x + heads.flatten(2) @ output.T)
        gate, up = (x @ gate_up.T).chunk(2, -1)
        return rms(x + (F.silu(gate) * up) @ down.T)

    return forward


def net(stack: BlockStack) -> Callable[[Tensor], Tensor]:
    layers = [layer(block) for block in stack.blocks]

    def forward(x: Tensor) -> Tensor:
        for each in layers:
            x = each(x)
        return x

    return forward


@pytest.mark.parametrize(("name", "depth"), [("trm", 2), ("hrm_original", 4)])
def test_the_shipped_arm_in_the_published_shape_is_the_published_model(name: str, depth: int) -> None:
    ((_, run),) = load_arms([name])
    torch.manual_seed(0)
    backbone = Backbone(ModelConfig(width=WIDTH, heads=HEADS, ffn=FFN, depth=depth, **PUBLISHED), run.arm).double()
    x = torch.randn(1, LENGTH, WIDTH, dtype=torch.float64) * WIDTH**0.5 / 50  # an embedding, scaled by sqrt(D)
    nets = [net(stack) for stack in backbone.refiner.stacks]
    y, z = (vector.expand_as(x) for vector in backbone.refiner.initial_state.vectors)
    y, z = trm(*nets, x, y, z, n=6, T=3) if name == "trm" else hrm(*nets, x, y, z, N=2, T=2)
    trace = backbone(x)
    torch.testing.assert_close(trace.states[-1], y, rtol=0, atol=1e-9)
    torch.testing.assert_close(trace.carry.latent, z, rtol=0, atol=1e-9)
    assert sum(p.numel() for p in backbone.parameters()) == len(nets) * depth * (4 * WIDTH**2 + 3 * WIDTH * FFN)
