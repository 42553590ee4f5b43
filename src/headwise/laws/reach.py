"""Laws 2 and 3: every trainable parameter gets a gradient and moves."""

from collections.abc import Iterator

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from headwise.laws.arms import SHAPE, perturbed
from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.sizes import ModelConfig
from headwise.routing.layout import Layout


def losses_of(backbone: Backbone, layout: Layout | None = None) -> Iterator[torch.Tensor]:
    """A task's loss on every supervised state, segment by segment: an example's updates. Routing losses are left out:
    they must not be what reaches a router. With the loss of halting by judgement, where there is one."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 6, backbone.model.width, generator=generator, dtype=torch.float64)
    carry = None
    for _ in range(backbone.arm.refinement.segments):
        trace = backbone(x, layout, carry)
        target = torch.randn(trace.states.shape, generator=generator, dtype=torch.float64)
        per_state = (trace.states - target).square().mean((2, 3))
        carry, loss = trace.carry.detach(), (trace.weights * per_state).sum(0).mean()
        if trace.halting is not None:  # what judges the answer learns from being right alone
            right = (torch.rand(3, generator=generator) < 0.5).to(loss.dtype)
            loss = loss + binary_cross_entropy_with_logits(trace.halting, right)
        yield loss


def unreached(backbone: Backbone, layout: Layout | None = None) -> list[str]:
    """Parameters whose gradient over a batch's updates is missing or below 1e-6 of the largest, in relation to their
    own size."""
    backbone.zero_grad()
    for loss in losses_of(backbone, layout):
        torch.autograd.backward(loss)
    norms = {
        name: 0.0 if p.grad is None else (p.grad.norm() / p.detach().norm()).item()
        for name, p in backbone.named_parameters()
    }
    return [name for name, norm in norms.items() if not norm > 1e-6 * max(norms.values())]


def unmoved(backbone: Backbone) -> list[str]:
    """Parameters that are where they were after the updates of one batch."""
    before = {name: p.detach().clone() for name, p in backbone.named_parameters()}
    optimiser = torch.optim.AdamW(backbone.parameters(), lr=1e-3, weight_decay=0, fused=True)
    for loss in losses_of(backbone):
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    return [name for name, p in backbone.named_parameters() if torch.equal(p, before[name])]


def gradient_reach(arm: Arm, causal: bool = False, shape: ModelConfig = SHAPE) -> list[str]:
    """Parameters without a gradient."""
    return [f"no gradient reaches {name}" for name in unreached(perturbed(arm, causal, shape=shape))]


def update_reach(arm: Arm, causal: bool = False, shape: ModelConfig = SHAPE) -> list[str]:
    """Parameters that an update does not move."""
    return [f"an update does not move {name}" for name in unmoved(perturbed(arm, causal, shape=shape))]


def never_reached(arm: Arm, causal: bool) -> set[str]:
    """Parameters out of reach at five random points: at a single one a saturated unit may hide one by chance."""
    shape = ModelConfig(width=8, heads=4, ffn=4, depth=1)
    missing: set[str] = set()
    for seed in range(5):
        torch.manual_seed(seed)
        backbone = Backbone(shape, arm, causal).double()
        with torch.no_grad():
            for parameter in backbone.parameters():
                parameter.add_(0.5 * torch.randn_like(parameter))
        found = set(unreached(backbone))
        missing = missing & found if seed else found
        if not missing:
            break
    return missing
