"""What routers start from, if not from zero: how much each head adds to its layer's output on the text trained on.

Legend: N blocks, L tokens in a block, H heads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from headwise.pretrained.retrofit import Retrofitted
from headwise.pretrained.warm_start import SMALLEST, observe, warm_start
from headwise.routing.fixed_routers import Static
from headwise.routing.gates import largest
from headwise.routing.routers import Learned

TOKENS = 8192
"""So many are read at most; a linear router of SmolLM2-135M is known from 7,168."""


def begin(retrofitted: Retrofitted, start: str, blocks: Tensor) -> None:
    """Fill the routers in. One per token is fitted by ridge regression (`ridge`); one per layer, and a fixed choice,
    take the heads with the largest mean logarithm of what they add. A random router stays as it is.

    Args:
        retrofitted: the model.
        start: `ridge` or `importance`; of a router per token the latter is its constant.
        blocks: [N, L] tokens.

    Raises:
        ValueError: a gate that `ridge` cannot start, or too few blocks.
    """
    router, batches = retrofitted.routers[0], list(torch.split(blocks[: max(-(-TOKENS // blocks.shape[1]), 4)], 1))
    if isinstance(router, Learned) and router.granularity == "token" and start == "ridge":
        kept = getattr(router.gate, "k", None)
        if kept is None:
            raise ValueError("the gate has no k; choose gate unit, and task.keep")
        warm_start(retrofitted, batches, keep=kept)
    elif isinstance(router, Learned | Static):
        _choose(retrofitted, batches)


@torch.no_grad()
def _choose(retrofitted: Retrofitted, batches: list[Tensor]) -> None:
    """Give every layer its heads with the largest means; constants so that 0 parts what is on from what is off."""
    sums: dict[int, Tensor] = {}
    for batch in batches:
        for layer, (_, norms) in observe(retrofitted, {"input_ids": batch}).items():
            sums[layer] = sums.get(layer, torch.zeros(norms.shape[1])) + (norms + SMALLEST).log().mean(0).cpu()
    for layer, router in enumerate(retrofitted.routers):
        means = sums[layer] / len(batches)
        if isinstance(router, Static):
            router.chosen.copy_(largest(means, int(router.chosen.sum())))
        elif isinstance(router, Learned):
            kept = getattr(router.gate, "k", None) or router.heads
            ranked = torch.cat([means.sort(descending=True).values, means.min()[None] - 1])
            logits = means - (ranked[kept - 1] + ranked[kept]) / 2
            constant = router.constant if router.granularity == "layer" else getattr(router.of_input, "bias", None)
            if constant is None or constant.shape != logits.shape:
                raise ValueError("a gate that takes more than the head logits has no such start; choose gate unit")
            constant.copy_(logits)
