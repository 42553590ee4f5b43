"""What routers start from, if not from zero: how much each head adds to its layer's output on the text trained on.

Legend: N blocks, L tokens in a block, H heads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from headwise.pretrained.choices import calibrate, separating
from headwise.pretrained.retrofit import Retrofitted
from headwise.pretrained.warm_start import warm_start
from headwise.routing.fixed_routers import Static
from headwise.routing.routers import Learned
from headwise.tasks.pretrained.config import PretrainedConfig

TOKENS = 8192
"""So many are read at most; a linear router of SmolLM2-135M is known from 7,168."""


def calibrating(blocks: Tensor) -> list[Tensor]:
    """The first of some blocks [N, L], one at a time [1, L]: what is enough of them to choose heads from."""
    return list(torch.split(blocks[: max(-(-TOKENS // blocks.shape[1]), 4)], 1))


def begin(retrofitted: Retrofitted, config: PretrainedConfig, blocks: Tensor) -> None:
    """Fill the routers in. One per token is fitted by ridge regression (`ridge`); one per layer, and a fixed choice,
    take the heads with the largest mean logarithm of what they add, over the model as a share of what it is added to. A
    random router stays as it is.

    Args:
        retrofitted: the model.
        config: `start`, which of a router per token fills in its constant if it is `importance`; `keep` and `over`.
        blocks: [N, L] tokens.

    Raises:
        ValueError: a gate that `ridge` cannot start, or too few blocks.
    """
    router, batches = retrofitted.routers[0], calibrating(blocks)
    share = config.keep if config.over == "model" else None
    if isinstance(router, Learned) and router.granularity == "token" and config.start == "ridge":
        kept = getattr(router.gate, "k", None)
        if kept is None and share is None:
            raise ValueError("the gate has no k; choose gate unit, and task.keep")
        warm_start(retrofitted, batches, kept, share)
    elif isinstance(router, Learned | Static):
        _choose(retrofitted, batches, share)


@torch.no_grad()
def _choose(retrofitted: Retrofitted, batches: list[Tensor], share: float | None) -> None:
    """Give every layer its heads with the largest means, or `share` of all; 0 parts what is on from what is off."""
    levels = calibrate(retrofitted, batches).levels
    together = separating(torch.cat(levels), share) if share is not None else None
    for level, router in zip(levels, retrofitted.routers, strict=True):
        if isinstance(router, Static):
            kept = int(router.chosen.sum()) / router.heads
            router.chosen.copy_(level > (separating(level, kept) if together is None else together))
        elif isinstance(router, Learned):
            kept = (getattr(router.gate, "k", None) or router.heads) / router.heads
            logits = level - (separating(level, kept) if together is None else together)
            constant = router.constant if router.granularity == "layer" else getattr(router.of_input, "bias", None)
            if constant is None or constant.shape != logits.shape:
                raise ValueError("a gate that takes more than the head logits has no such start; choose gate unit")
            constant.copy_(logits)
