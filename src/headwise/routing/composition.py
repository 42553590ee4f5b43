"""Head composition: a query's heads lend each other their attention (DCMHA, arXiv 2405.08553, in its cheap form).

With x_i the layer's normed input at query i, and A_ij in R^H the weights (after softmax) that its heads give to key j,

    A'_ij = C_i A_ij            C_i = I + W2_i^T W1_i + diag(d_i)                   [H, H]
    W1_i = rms(GELU(x_i U) V1)    W2_i = GELU(x_i U) V2    [R, H]      d_i = tanh(x_i G)    [H]

and head h attends to its values with A'_h. So head h may look where head g looks, as much as the query asks for.

A head that is off (gate 0) lends nothing: the columns of C_i that belong to it are those of I. So it need not be
computed, and the heads that are on are composed among themselves.

Differs from the paper: there the scores before softmax and the weights after it are composed, both by a static matrix
and by low-rank and diagonal ones of the query and of the key. Here it is the weights alone, by the matrices of the
query: one C_i for a query and nothing for a key, so that the cache of keys and values holds no more than it did. (The
static matrix is off in the authors' code, too, by default.) V2 and G start at zero, so that C_i = I and training
starts as plain attention. Attention weights are needed as numbers, so torch's fused kernel is not used.

Legend: B batch, L length, H heads, R rank, D width, K = 2·R·H hidden units.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class HeadComposition(nn.Module):
    """The matrices C of a layer.

    Args:
        width: D.
        heads: H, at least 2.
        rank: R, of what is lent; 2 in the authors' code, whatever H is.
    """

    def __init__(self, width: int, heads: int, rank: int) -> None:
        super().__init__()
        self.heads, self.rank = heads, rank
        hidden = 2 * rank * heads
        self.first = nn.Linear(width, hidden, bias=False)  # U
        self.second = nn.Linear(hidden, 2 * rank * heads, bias=False)  # V1 and V2
        self.own = nn.Linear(width, heads, bias=False)  # G
        with torch.no_grad():
            self.second.weight[rank * heads :].zero_()
            self.own.weight.zero_()

    def forward(self, x: Tensor, gates: Tensor | None = None) -> Tensor:
        """C [B, L, H, H], row h what head h takes of each, for x [B, L, D] and gates [B, L|1, H] (None: all are on)."""
        factors: Tensor = self.second(F.gelu(self.first(x)))
        lends, takes = factors.view(*x.shape[:2], 2, self.rank, self.heads).unbind(2)  # W1 and W2, [B, L, R, H]
        lent: Tensor = takes.mT @ F.rms_norm(lends, (self.heads,), eps=1e-6)  # [B, L, H, H]
        if gates is not None:
            itself = torch.eye(self.heads, dtype=torch.bool, device=x.device)
            lent = lent.masked_fill(~((gates.detach() != 0).unsqueeze(-2) | itself), 0)
        return lent + torch.diag_embed(1 + self.own(x).tanh())


def composition_macs(width: int, heads: int, rank: int) -> int:
    """Multiply-accumulates of C for one token; 0 at rank 0, where there is none."""
    hidden = 2 * rank * heads
    return width * (hidden + heads) + hidden**2 + rank * heads**2 if rank else 0
