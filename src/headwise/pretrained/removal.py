"""Heads removed from a pretrained model for good: the rows and columns of its weights are cut, and it is smaller.

Where G key/value heads serve H query heads, query heads i·S .. (i+1)·S - 1, S = H/G, share key/value head i, and a
layer can have no other arrangement. So what goes is a key/value head with all its query heads, or as many query heads
from each that stays. Any other choice (`by="heads"`) needs copies of key/value heads: weights shrink and the cache may
grow.

Legend: H query heads, G key/value heads (groups), S = H/G query heads in a group, E width of a head.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from headwise.pretrained.gating import GatedHeads
from headwise.pretrained.projections import Projections, is_conv1d, projections
from headwise.pretrained.pruned_configuration import GROUP_COUNTS, WIDTHS_OF_ALL, counted, tell_configuration
from headwise.pretrained.sites import COUNTS, Site, find_sites

By = Literal["groups", "heads"]
Keep = Sequence[Tensor | Sequence[bool] | None]


def prune(model: nn.Module, keep: Keep, by: By = "groups") -> list[Site]:
    """Remove heads from `model`, which is changed in place and computes what it computed with their gates at 0.

    Everything is checked before anything is changed. An optimiser that was made before holds weights that are no longer
    in the model. Where all layers are left with the same numbers, and the model's configuration can say so, it does.

    Args:
        model: a transformer without routers (with them: `Retrofitted.prune`).
        keep: for each attention layer, in the order of `find_sites`, bool [H], true for heads that stay; None: all.
        by: groups (default): refuse what leaves unequal groups of query heads. heads: copy key/value heads until any
            choice fits.

    Returns:
        The attention layers as they are now.

    Raises:
        ValueError: a layer from which heads cannot be removed, a choice of another shape, one that leaves a layer
            without heads, or with `by="groups"` one that splits groups unevenly.
    """
    if any(isinstance(module, GatedHeads) for module in model.modules()):
        raise ValueError(
            f"{type(model).__name__} has routers, which must lose what its layers lose; call Retrofitted.prune"
        )
    return remove_heads(model, keep, by)


def remove_heads(model: nn.Module, keep: Keep, by: By) -> list[Site]:
    """`prune`, whatever reads the heads of the model."""
    if by not in ("groups", "heads"):
        raise ValueError(f"by={by}: choose groups or heads")
    sites = find_sites(model)
    for site, mask, names, heads, groups in _planned(model, sites, masks(sites, keep), by):
        if not mask.all():
            _cut(site, names, heads, groups)
    sites = find_sites(model)
    tell_configuration(model, sites)
    return sites


def masks(sites: Sequence[Site], keep: Keep) -> list[Tensor]:
    """The choice of heads as one bool [H] for each layer.

    Raises:
        ValueError: not one for each layer, another number of heads, no booleans, or no head left in a layer.
    """
    if len(keep) != len(sites):
        raise ValueError(f"keep: of {len(keep)} layers; the model has {len(sites)} attention layers")
    found = []
    for site, given in zip(sites, keep, strict=True):
        mask = torch.ones(site.heads, dtype=torch.bool) if given is None else torch.as_tensor(given).cpu()
        if mask.dtype != torch.bool or tuple(mask.shape) != (site.heads,):
            raise ValueError(
                f"keep of {site.name}: {mask.dtype} {list(mask.shape)}; the layer has {site.heads} heads now: "
                f"choose bool [{site.heads}]"
            )
        if not mask.any():
            raise ValueError(
                f"keep of {site.name}: no head is left; a layer keeps at least one "
                f"{'key/value group' if site.groups < site.heads else 'head'}"
            )
        found.append(mask)
    return found


def widened(mask: Tensor, groups: int) -> Tensor:
    """The smallest choice that has every head of `mask` [H] and can be had without copies of key/value heads.

    Groups without a head go; in each other group as many heads stay as in the fullest. No head at all becomes the first
    group. Beside heads of `mask` the first ones of a group stay.
    """
    by_group = mask.view(groups, -1).clone()
    if not mask.any():
        by_group[0] = True
    counts = by_group.sum(1)
    for number in range(groups):
        if counts[number]:
            missing = (~by_group[number]).nonzero().flatten()[: int(counts.max() - counts[number])]
            by_group[number, missing] = True
    return by_group.flatten()


def _planned(
    model: nn.Module, sites: Sequence[Site], chosen: Sequence[Tensor], by: By
) -> list[tuple[Site, Tensor, Projections, Tensor, Tensor]]:
    """For each layer its choice, its maps, and the query and key/value heads it will have, by their old numbers."""
    plans = []
    for site, mask in zip(sites, chosen, strict=True):
        heads = mask.nonzero().flatten()
        if mask.all():
            # nothing is cut, so what could not be cut does not matter
            plans.append((site, mask, Projections("", "", "", ""), heads, torch.arange(site.groups)))
            continue
        names = projections(model, site)
        counts = [count for count in mask.view(site.groups, -1).sum(1).tolist() if count]
        if by == "groups" and len(set(counts)) > 1:
            raise ValueError(
                f"keep of {site.name}: its key/value groups keep {', '.join(map(str, counts))} query heads, and must "
                'keep as many each, or none; choose so (`widened`), or by="heads", which copies key/value heads'
            )
        sharing = math.gcd(*counts)
        # kept heads in their order; each run of `sharing` of them lies in one group
        groups = heads[::sharing] // (site.heads // site.groups)
        plans.append((site, mask, names, heads, groups))
    return plans


@torch.no_grad()
def _cut(site: Site, names: Projections, heads: Tensor, groups: Tensor) -> None:
    """Leave the layer the query heads `heads` and key/value heads `groups`; one may come more than once."""
    queries, shared = _channels(heads, site.head_width), _channels(groups, site.head_width)
    layer = site.attention
    if names.fused:
        wide = site.heads * site.head_width
        _select(layer.get_submodule(names.queries), torch.cat([queries + part * wide for part in range(3)]), True)
    else:
        for name, channels in ((names.queries, queries), (names.keys, shared), (names.values, shared)):
            _select(layer.get_submodule(name), channels, True)
    _select(layer.get_submodule(names.output), queries, False)
    counts = dict.fromkeys(COUNTS, len(heads)) | dict.fromkeys(GROUP_COUNTS, len(groups))
    counts |= dict.fromkeys(WIDTHS_OF_ALL, len(queries)) | {"num_key_value_groups": len(heads) // len(groups)}
    # The configuration that a layer holds is the model's: a copy of its own would not hear of another implementation
    for _, part, name in counted(layer):
        setattr(part, name, counts[name])


def _channels(heads: Tensor, width: int) -> Tensor:
    return (heads[:, None] * width + torch.arange(width)).flatten()


def _select(module: Any, channels: Tensor, outputs: bool) -> None:
    """Keep these outputs, or inputs, of a linear map; the module stays the same object, and so do its hooks."""
    dim = int(outputs == is_conv1d(module))
    channels = channels.to(module.weight.device)
    module.weight = nn.Parameter(module.weight.index_select(dim, channels), module.weight.requires_grad)
    if outputs and module.bias is not None:
        module.bias = nn.Parameter(module.bias.index_select(0, channels), module.bias.requires_grad)
    for name in ("out_features", "nf") if outputs else ("in_features", "nx"):
        if hasattr(module, name):
            setattr(module, name, len(channels))
