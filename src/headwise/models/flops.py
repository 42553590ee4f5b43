"""Analytic floating-point operations of a backbone: 2 per multiply-accumulate of every matrix product.

Convention: forward pass only; norms, activations, softmax and element-wise products are left out, as in torch's
counter. A causal model counts the scores it needs, (L + 1) / 2 of L keys per query on average, which is what a kernel
that skips the masked half executes. (torch's counter reports 0 for scaled dot-product attention on CPU unless the MATH
backend is forced, and then counts the full square.) Every head counts, whatever the gates: what an attention layer
really computes where it skips heads is in `RoutedAttention.plan(gates, x).macs`, of the gates at hand.

Each module counts its own multiply-accumulates (`macs`); here they are added up.
"""

import math
from typing import Any

from headwise.models.backbone import Backbone
from headwise.models.blocks import Block
from headwise.reasoning.halting import Judge


def flops_per_example(backbone: Any, length: int, steps: float | None = None) -> float:
    """Forward FLOPs of one example of `length` tokens.

    Args:
        backbone: may live on the meta device; what is no `Backbone` counts its own.
        length: of the example.
        steps: refinement steps taken on average; default all of them, in all segments.
    """
    if not isinstance(backbone, Backbone):
        return float(backbone.flops_per_example(length))
    loop = backbone.arm.refinement
    steps = float(loop.steps_in_all) if steps is None else steps
    begun = math.ceil(steps / loop.steps)  # segments, whose first step has nothing to use again
    controller, halting = backbone.refiner.controller, backbone.refiner.halting
    positions = length if controller is not None and controller.per_position else 1
    cycle, stacks, macs = loop.recursion.cycle, backbone.refiner.stacks, 0.0
    for step in range(1, cycle + 1):  # each cycle applies the same stacks in the same order
        blocks = [block for block in stacks[loop.recursion.stack(step)].modules() if isinstance(block, Block)]
        macs += begun / cycle * sum(block.macs(length, positions) for block in blocks)
        macs += (steps - begun) / cycle * sum(block.macs(length, positions, loop.reuse) for block in blocks)
    if controller is not None:
        macs += positions * controller.macs(steps, begun)
    if halting is not None:
        macs += steps / (loop.steps if isinstance(halting, Judge) else cycle) * halting.macs(length)
    return 2 * macs


def training_flops_per_example(backbone: Any, length: int) -> float:
    """FLOPs of an update for one example: the forward pass of a segment, and the backward pass, twice as many, of its
    steps that have a gradient."""
    if not isinstance(backbone, Backbone):
        return 3 * flops_per_example(backbone, length)
    loop, controller = backbone.arm.refinement, backbone.refiner.controller
    trained = loop.steps - loop.first_with_gradient(controller.slow_period if controller else None) + 1
    return flops_per_example(backbone, length, loop.steps) * (1 + 2 * trained / loop.steps)
