"""Who may look at whom: what a task knows of its tokens, and the mask that attention takes, made of it once a pass.

A layout names relations between tokens (cells behind an open passage, the edges of a graph by their kind), and a
structural head sees along one of them, nothing else; the other heads look everywhere. So choosing a head means choosing
where to look. A token that a relation leads nowhere gets nothing from its heads: zeros, not itself. A learned bias may
tell tokens by how many rows and columns they are away, in place of knowing where each of them is, so that weights
trained on a small grid can be used on a larger one.

Legend: B batch, L length, H heads of which the first S are structural, T steps of a route, r radius.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Layout:
    """How the tokens of a batch lie to each other. What is None is not known, or there is nothing to say.

    Attributes:
        padding: bool [B, L], True for real tokens.
        relations: by name, in the order in which the task declares them, bool [B|1, L, L], True where token i (first)
            may look at token j with a structural head of the relation. A relation that lets a token look at itself has
            a True there.
        positions: int64 [L, 2], row and column of each token, the same in all examples.
        route: int64 [B, T], which relation, by its place among them, is to be followed at each refinement step, -1 for
            none; none after T steps. Where a task knows it (see `OracleRouter`).
        inputs: [T, B, 1|L, D], what is added to the hidden states before each of the first T refinement steps, beside
            what the refinement itself adds.
        keys: int64 [B], of which what is random about the refinement of each example is drawn
            (`headwise.reasoning.draws`), where something is.
    """

    padding: Tensor | None = None
    relations: Mapping[str, Tensor] = field(default_factory=dict)
    positions: Tensor | None = None
    route: Tensor | None = None
    inputs: Tensor | None = None
    keys: Tensor | None = None


@dataclass(frozen=True)
class Mask:
    """A layout as a forward pass uses it: at every refinement step, in every layer.

    Attributes:
        padding: bool [B, L], True for real tokens, or None: what routers, controllers and halting average over.
        attention: broadcastable to [B, H, L, L]: bool, True where a query may look, or float, added to the scores, -inf
            where it may not; None: everywhere.
        inputs: [T, B, 1|L, D], what a layout has for each step, or None.
        keys: int64 [B], of the examples, or None.
    """

    padding: Tensor | None = None
    attention: Tensor | None = None
    inputs: Tensor | None = None
    keys: Tensor | None = None

    def rows(self, index: Tensor) -> "Mask":
        """The mask of the examples in `index`."""
        padding, attention, inputs, keys = self.padding, self.attention, self.inputs, self.keys
        if attention is not None and attention.shape[0] > 1:  # else the same for all
            attention = attention[index]
        inputs = None if inputs is None else inputs[:, index]
        padding, keys = (None if part is None else part[index] for part in (padding, keys))
        return Mask(padding, attention, inputs, keys)


class RelativeBias(nn.Module):
    """What each head adds to the score of a query at (row, column) p and a key at q:

        b_h(p, q) = T_h[clip(q - p, -r, r)]

    As in T5 (arXiv 1910.10683), in two dimensions: learned, shared by all layers and steps, zero at the start. Differs
    from it: one entry for each offset up to r, instead of buckets that widen.

    Args:
        heads: H.
        radius: r, above which all offsets are alike. Below the side of the grids trained on every entry is trained, and
            larger grids ask for none that is not.
    """

    role = "backbone"

    def __init__(self, heads: int, radius: int) -> None:
        super().__init__()
        self.radius, side = radius, 2 * radius + 1
        self.table = nn.Parameter(torch.zeros(heads, side, side))

    def forward(self, positions: Tensor) -> Tensor:
        """Positions int64 [L, 2] to bias [1, H, L, L], query by key."""
        length, side = positions.shape[0], 2 * self.radius + 1  # `len` would be a constant of an exported graph
        offset = (positions[None, :] - positions[:, None]).clamp(-self.radius, self.radius) + self.radius  # [L, L, 2]
        entry = offset[..., 0] * side + offset[..., 1]
        return self.table.flatten(1).index_select(1, entry.flatten()).view(1, -1, length, length)


def heads_along(structural: int | Mapping[str, int], relations: Sequence[str]) -> tuple[str, ...]:
    """The relation of each structural head, first to last: the heads of the first relation come first.

    Args:
        structural: how many heads each relation has, or of how many heads, spread evenly, each has its share; the first
            relations have one more where they do not divide evenly.
        relations: in the order of the task.

    Raises:
        ValueError: a relation that there is not, or heads where there are no relations.
    """
    if isinstance(structural, int):
        if structural and not relations:
            raise ValueError(f"structural_heads={structural}: the layout has no relations")
        share, more = divmod(structural, max(len(relations), 1))
        structural = {name: share + (place < more) for place, name in enumerate(relations)}
    for name in structural:
        if name not in relations:
            there = f"choose of {', '.join(relations)}" if relations else "the layout has no relations"
            raise ValueError(f"structural_heads.{name}: no such relation; {there}")
    return tuple(name for name in relations for _ in range(structural.get(name, 0)))


def mask_of(layout: Layout, heads: int, along: Sequence[str], bias: Tensor | None, like: Tensor) -> Mask:
    """The mask of H heads.

    Args:
        layout: of the batch.
        heads: H.
        along: relations of the layout that the first S heads see along, as `heads_along` has them.
        bias: [1, H, L, L], added to the scores, or None.
        like: a tensor of the dtype and on the device of the scores.
    """
    attention = None if layout.padding is None else layout.padding[:, None, None, :]  # [B, 1, 1, L]
    if along:
        seen = [layout.relations[name] for name in along]
        most = max(relation.shape[0] for relation in seen)  # of B and 1
        near = torch.stack([relation.expand(most, -1, -1) for relation in seen], 1)  # [B|1, S, L, L]
        near = near if attention is None else near & attention
        B, S, L = near.shape[:3]
        far = near.new_ones(1) if attention is None else attention
        attention = torch.cat([near, far.expand(B, heads - S, L, L)], 1)  # [B|1, H, L, L]
    if bias is not None:
        attention = bias if attention is None else torch.where(attention, bias, -torch.inf)
    elif along:
        # Kernels take a bool mask by making it a float one, at every step and layer anew.
        assert attention is not None
        attention = torch.zeros_like(attention, dtype=like.dtype).masked_fill_(~attention, -torch.inf)
    return Mask(layout.padding, attention, layout.inputs, layout.keys)


def gates_of_route(layout: Layout, along: Sequence[str], heads: int, steps: int, like: Tensor) -> list[Tensor]:
    """Gates that follow the route of the layout, [B, 1, H] for each of so many steps.

    The heads of the relation that is to be followed have a gate of 1, the other structural heads 0, all of them where
    none is. Heads that see everything have a gate of 1 always: the route does not speak of them.

    Args:
        layout: has a route.
        along: as in `mask_of`.
        heads: H.
        steps: refinement steps, more or fewer than the route has.
        like: a tensor of the dtype and on the device of the gates.
    """
    assert layout.route is not None
    places = {name: place for place, name in enumerate(layout.relations)}
    of_head = torch.tensor([places[name] for name in along], dtype=torch.int64, device=like.device)  # [S]
    asked = F.pad(layout.route, (0, max(steps - layout.route.shape[1], 0)), value=-1)  # [B, T|steps]
    on = asked[..., None] == of_head  # [B, steps, S]
    gates = F.pad(on.to(like.dtype), (0, heads - len(along)), value=1.0)  # [B, steps, H]
    return [gates[:, t : t + 1] for t in range(steps)]
