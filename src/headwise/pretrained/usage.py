"""Which heads a pretrained model's routers use on a text, and what can be removed for never being used there.

That a head is never on holds for the text that was read: say what removing it costs on another.

Legend: H heads of a layer.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from headwise.pretrained.removal import By, widened
from headwise.pretrained.retrofit import Retrofitted
from headwise.pretrained.sites import Site


def used_heads(retrofitted: Retrofitted, batches: Iterable[Mapping[str, Tensor]]) -> list[Tensor]:
    """The heads that were on for at least one real token: bool [H] for each layer, for `Retrofitted.prune`.

    Args:
        retrofitted: a model with routers; it is run as at evaluation, without gradients.
        batches: what the model is called with.

    Raises:
        ValueError: the model has no routers, or there was no batch.
    """
    if not retrofitted.routers:
        raise ValueError("the arm has no routers, so that no head is ever off by itself; choose heads with keep=")
    model, training = retrofitted.model, retrofitted.model.training
    model.eval()
    seen: list[Tensor] | None = None
    try:
        with torch.no_grad():
            for batch in batches:
                model(**batch)
                loads = [load.cpu() > 0 for load in retrofitted.loads()]
                seen = loads if seen is None else [a | b for a, b in zip(seen, loads, strict=True)]
    finally:
        model.train(training)
    if seen is None:
        raise ValueError("no batch: nothing says which heads are used")
    return seen


def removable(used: Sequence[Tensor], sites: Sequence[Site], by: By = "groups") -> list[Tensor]:
    """What stays where heads that are not `used` go: bool [H] for each layer, at least one head.

    With `by="groups"` unused heads stay where key/value groups would else be left with unequal numbers of heads.
    """
    keep = []
    for mask, site in zip(used, sites, strict=True):
        if by == "groups":
            mask = widened(mask, site.groups)
        elif not mask.any():
            mask = torch.arange(len(mask)) == 0
        keep.append(mask)
    return keep
