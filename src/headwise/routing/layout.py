"""Who may look at whom: what a task knows of its tokens, and the mask that attention takes, made of it once a pass.

A structural head at a token looks only at the token's neighbours (cells behind an open passage, words joined in a
tree) and at the token itself; the other heads look everywhere. So choosing a head means choosing where to look. A
learned bias may tell tokens by how many rows and columns they are away, in place of knowing where each of them is, so
that weights trained on a small grid can be used on a larger one.

Legend: B batch, L length, H heads, r radius.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Layout:
    """How the tokens of a batch lie to each other. What is None is not known, or there is nothing to say.

    Attributes:
        padding: bool [B, L], True for real tokens.
        neighbours: bool [B, L, L], True where token i (first) may look at token j with a structural head; that a token
            may look at itself goes without saying.
        positions: int64 [L, 2], row and column of each token, the same in all examples.
    """

    padding: Tensor | None = None
    neighbours: Tensor | None = None
    positions: Tensor | None = None


@dataclass(frozen=True)
class Mask:
    """A layout as a forward pass uses it: at every refinement step, in every layer.

    Attributes:
        padding: bool [B, L], True for real tokens, or None: what routers, controllers and halting average over.
        attention: broadcastable to [B, H, L, L]: bool, True where a query may look, or float, added to the scores, -inf
            where it may not; None: everywhere.
    """

    padding: Tensor | None = None
    attention: Tensor | None = None

    def rows(self, index: Tensor) -> "Mask":
        """The mask of the examples in `index`."""
        padding, attention = self.padding, self.attention
        if attention is not None and attention.shape[0] > 1:  # else the same for all
            attention = attention[index]
        return Mask(None if padding is None else padding[index], attention)


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
        length, side = len(positions), 2 * self.radius + 1
        offset = (positions[None, :] - positions[:, None]).clamp(-self.radius, self.radius) + self.radius  # [L, L, 2]
        entry = offset[..., 0] * side + offset[..., 1]
        return self.table.flatten(1).index_select(1, entry.flatten()).view(1, -1, length, length)


def mask_of(layout: Layout, heads: int, structural: int, bias: Tensor | None, like: Tensor) -> Mask:
    """The mask of H heads of which the first `structural` see neighbours only.

    Args:
        layout: of the batch.
        heads: H.
        structural: 0..H; above 0 the layout has neighbours.
        bias: [1, H, L, L], added to the scores, or None.
        like: a tensor of the dtype and on the device of the scores.
    """
    attention = None if layout.padding is None else layout.padding[:, None, None, :]  # [B, 1, 1, L]
    if structural:
        assert layout.neighbours is not None
        near = layout.neighbours.unsqueeze(1)  # [B, 1, L, L]
        near = near if attention is None else near & attention
        near = near | torch.eye(near.shape[-1], dtype=torch.bool, device=near.device)  # a query without a key is NaN
        restricted = torch.arange(heads, device=near.device).view(-1, 1, 1) < structural  # [H, 1, 1]
        attention = near | ~restricted if attention is None else torch.where(restricted, near, attention)
    if bias is not None:
        attention = bias if attention is None else torch.where(attention, bias, -torch.inf)
    elif structural:
        # Kernels take a bool mask by making it a float one, at every step and layer anew.
        assert attention is not None
        attention = torch.zeros_like(attention, dtype=like.dtype).masked_fill_(~attention, -torch.inf)
    return Mask(layout.padding, attention)
