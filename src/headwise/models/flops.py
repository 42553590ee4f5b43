"""Analytic floating-point operations of a backbone: 2 per multiply-accumulate of every matrix product.

Convention: forward pass only; norms, activations, softmax and element-wise products are left out, as in torch's
counter. A causal model counts the scores it needs, (L + 1) / 2 of L keys per query on average, which is what a kernel
that skips the masked half executes. (torch's counter reports 0 for scaled dot-product attention on CPU unless the MATH
backend is forced, and then counts the full square.) Every head counts, whatever the gates: what an attention layer
really computes where it skips heads is in `RoutedAttention.plan(gates, x).macs`, of the gates at hand.

Legend: L length, H heads, D width, E head width, F feed-forward width, C controller width, S context positions.
"""

import math

from headwise.models.backbone import Backbone
from headwise.models.blocks import Block
from headwise.reasoning.controllers import HRM, Classical, Controller, HRMAct
from headwise.reasoning.halting import Halting, Ponder
from headwise.routing.routers import Learned, Random, Router
from headwise.routing.skipping import macs


def flops_per_example(backbone: Backbone, length: int, steps: float | None = None) -> float:
    """Forward FLOPs of one example of `length` tokens.

    Args:
        backbone: may live on the meta device.
        length: L.
        steps: refinement steps taken on average; default all of them, in all segments.
    """
    loop = backbone.arm.refinement
    steps = float(loop.steps_in_all) if steps is None else steps
    begun = math.ceil(steps / loop.steps)  # segments, whose first step has nothing to use again
    controller, halting = backbone.refiner.controller, backbone.refiner.halting
    positions = length if controller is not None and controller.per_position else 1
    blocks = [block for block in backbone.modules() if isinstance(block, Block)]
    first = sum(_block(block, length, positions, "none") for block in blocks)
    further = sum(_block(block, length, positions, loop.reuse) for block in blocks)
    return begun * first + (steps - begun) * further + _controller(controller, halting, positions, steps, begun)


def _block(block: Block, length: int, positions: int, reuse: str) -> float:
    attention = block.attention
    width, ffn = attention.width, block.ffn_width
    attended = macs(attention.shape, length, length if reuse == "keys_values" else None)
    if reuse == "heads":
        attended = length * attention.output.in_features * width
    return 2 * (attended + 2 * length * width * ffn + _router(block.router, length, positions))


def _router(router: Router | None, length: int, positions: int) -> float:
    """Multiply-accumulates of a router for the whole sequence, whose context has so many positions."""
    if isinstance(router, Random):
        return router.projection.numel() * (length if router.granularity == "token" else 1)
    if not isinstance(router, Learned) or router.granularity == "layer":
        return 0
    token = router.granularity == "token"
    of_input = 0 if router.of_input is None else router.of_input.weight.numel() * (length if token else 1)
    of_context = 0 if router.of_context is None else router.of_context.weight.numel() * (positions if token else 1)
    return of_input + of_context


def _controller(
    controller: Controller | None, halting: Halting | None, positions: int, steps: float, begun: int
) -> float:
    """FLOPs over all steps of so many segments."""
    count = 0.0  # multiply-accumulates for one position
    if isinstance(controller, Classical):
        count = steps * controller.first.weight.numel() + (steps - begun) * controller.feedback.weight.numel()
    if isinstance(controller, HRM):
        slow = controller.slow_cell.weight_ih.numel() + controller.slow_cell.weight_hh.numel()
        fast = controller.fast_cell.weight_ih.numel() + controller.fast_cell.weight_hh.numel()
        runs = steps if controller.slow_period is None else math.ceil(steps / controller.slow_period)
        count = steps * (controller.of_input.weight.numel() + fast) + runs * slow
        count += 0 if controller.of_slow is None else steps * controller.of_slow.weight.numel()
        if isinstance(controller, HRMAct):
            count += steps * controller.fire.weight.numel()
    stop = steps * halting.head.weight.numel() if isinstance(halting, Ponder) else 0
    return 2 * (positions * count + stop)
