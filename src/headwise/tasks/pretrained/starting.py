"""What routers start from, if not from zero: how much each head matters on the text trained on.

Legend: N blocks, L tokens in a block, H heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headwise.pretrained.fixed_choice import best_fixed_choice
from headwise.pretrained.retrofit import Retrofitted
from headwise.pretrained.warm_start import warm_start
from headwise.routing.fixed_routers import Static
from headwise.routing.routers import Learned
from headwise.tasks.pretrained.config import PretrainedConfig
from headwise.tasks.pretrained.language_model import digest
from headwise.tasks.pretrained.references import fingerprint

TOKENS = 8192
"""So many are read at most; a linear router of SmolLM2-135M is known from 7,168."""
_CHOSEN: dict[tuple[str, str, float, bool], list[Tensor]] = {}
"""The best fixed choices that this process has found, which take minutes: seeds and arms of a comparison share them."""


def calibrating(blocks: Tensor) -> list[Tensor]:
    """Some of the blocks [N, L], one at a time [1, L]: enough to choose heads from, and from all over the text, as a
    corpus goes from one kind of text to the next."""
    number = min(max(-(-TOKENS // blocks.shape[1]), 4), len(blocks))
    return list(torch.split(blocks[torch.linspace(0, len(blocks) - 1, number).round().long()], 1))


def begin(retrofitted: Retrofitted, language_model: nn.Module, config: PretrainedConfig, blocks: Tensor) -> None:
    """Fill the routers in. One per token is fitted by ridge regression (`ridge`); one per layer, and a fixed choice,
    get the best fixed choice (`headwise.pretrained.fixed_choice`). A random router stays as it is.

    Args:
        retrofitted: the model with the routers, within the language model.
        language_model: gives scores of tokens.
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
        on = int(router.chosen.sum()) if isinstance(router, Static) else getattr(router.gate, "k", None) or router.heads
        share, over_model = share or on / router.heads, share is not None
        asked = digest(config.model), fingerprint(torch.cat(batches)), share, over_model
        if asked not in _CHOSEN:
            _CHOSEN[asked] = best_fixed_choice(retrofitted, language_model, batches, share, over_model=over_model)
        levels = _CHOSEN[asked]
        for filled, own in zip(retrofitted.routers, levels, strict=True):
            assert isinstance(filled, Learned | Static)
            _fill(filled, own)


@torch.no_grad()
def _fill(router: Static | Learned, levels: Tensor) -> None:
    """Give a router the heads of positive level [H], and what it learns from a constant of these levels."""
    if isinstance(router, Static):
        router.chosen.copy_(levels > 0)
        return
    constant = router.constant if router.granularity == "layer" else getattr(router.of_input, "bias", None)
    if constant is None or constant.shape != levels.shape:
        raise ValueError("a gate that takes more than the head logits has no such start; choose gate unit")
    constant.copy_(levels)
