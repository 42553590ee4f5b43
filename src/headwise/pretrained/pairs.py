"""The pairs of token and head that are on in a pass of many tokens, and their attention.

The queries of a key/value group are taken block by block of 64 tokens, whatever heads they are of: a block's queries
read the same keys, so that one call computes them. Causal attention in one call for all tokens computes more scores
that nothing sees.

Legend: B batch, L query length, M key length, H heads, G key/value heads, E head width, P pairs, N blocks.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from headwise.pretrained.head_sets import stretches

BLOCK = 64
"""Tokens whose queries share a stretch of keys; 128 costs the same, 256 more (measured at 512 tokens)."""
OFTEN = 0.7
"""Share of tokens from which on a head is projected for all of them: gathering costs about a tenth of a projection,
and small products are slower than large ones."""


@dataclass(frozen=True)
class Pairs:
    """Pairs that are on, in the order group, example, block, head, token.

    Attributes:
        tokens: [P], of B·L tokens.
        rows: [P], places in their example, of L.
        places: [P], of B·L·H pairs of token and head.
        counts: pairs of each group, example and block, as lists.
        often: stretches of neighbouring heads that at least the share OFTEN of the tokens use.
        seldom: the tokens of each other head that is used at all.
    """

    tokens: Tensor
    rows: Tensor
    places: Tensor
    counts: list[list[list[int]]]
    often: tuple[tuple[int, int], ...]
    seldom: dict[int, Tensor]

    @classmethod
    def of(cls, on: Tensor, groups: int) -> "Pairs":
        """Those of bool [B, L, H]."""
        batch, length, heads = on.shape
        blocks = -(-length // BLOCK)
        padded = F.pad(on, (0, 0, 0, blocks * BLOCK - length)).view(batch, blocks, BLOCK, groups, -1)
        arranged = padded.permute(3, 0, 1, 4, 2)  # [G, B, N, heads of each, tokens of a block]
        group, example, block, head, token = arranged.nonzero().unbind(1)
        rows = block * BLOCK + token
        tokens = example * length + rows
        flat = on.flatten(0, 1)
        shares = (flat.sum(0) / len(flat)).tolist()
        return cls(
            tokens=tokens,
            rows=rows,
            places=tokens * heads + group * (heads // groups) + head,
            counts=arranged.sum((3, 4)).tolist(),
            often=stretches([share >= OFTEN for share in shares]),
            seldom={h: flat[:, h].nonzero().flatten() for h, share in enumerate(shares) if 0 < share < OFTEN},
        )


@dataclass
class Visible:
    """A mask as numbers to add to scores; the layers of a pass hand in the same one, which is prepared once.

    Attributes:
        given: the mask as it was last handed in, None for a causal one.
        added: [B|1, L, M], 0 where a query may look.
        keys: for each example (or for all) and block the stretch of keys that its queries see.
    """

    given: Tensor | None = None
    added: Tensor | None = None
    keys: list[list[tuple[int, int]]] | None = None

    def of(self, mask: Tensor | None, length: int, keys: Tensor) -> "Visible":
        """Prepared for the mask [B|1, 1, L, M] of a pass, bool or added to scores, or None for a causal one."""
        (_, _, number, _), known = keys.shape, self.added
        like = (length, number, keys.dtype, keys.device)
        if known is not None and mask is self.given and (*known.shape[1:], known.dtype, known.device) == like:
            return self
        places = torch.arange(number, device=keys.device)
        if mask is None:
            sees = (places[:length, None] >= places).unsqueeze(0)  # [1, L, M]; the queries are the first tokens
        else:
            part = mask[:, 0, :, :number]
            sees = part if part.dtype == torch.bool else part > torch.finfo(part.dtype).min / 2
        if mask is None or mask.dtype == torch.bool:
            self.added = torch.zeros(sees.shape, dtype=keys.dtype, device=keys.device).masked_fill_(~sees, -torch.inf)
        else:
            self.added = mask[:, 0, :, :number].to(keys.dtype)
        last = ((places + 1) * sees).amax(-1)  # [B|1, L]
        first = torch.where(sees, places, number - 1).amin(-1)
        rest = -length % BLOCK
        low = F.pad(first, (0, rest), value=number - 1).view(len(sees), -1, BLOCK).amin(-1).tolist()
        high = F.pad(last, (0, rest)).view(len(sees), -1, BLOCK).amax(-1).tolist()
        # a block of padding sees nothing, and is given one key all the same
        self.keys = [[(a, max(b, a + 1)) for a, b in zip(*each, strict=True)] for each in zip(low, high, strict=True)]
        self.given = mask
        return self

    def attend(self, queries: Tensor, pairs: Pairs, keys: Tensor, values: Tensor, scale: float) -> Tensor:
        """Head outputs [P, E] of queries [P, E], over keys and values [B, G, M, E]."""
        assert self.added is not None
        assert self.keys is not None
        out, start = [], 0
        for group, of_group in enumerate(pairs.counts):
            for example, of_example in enumerate(of_group):
                own = example if len(self.keys) > 1 else 0
                for block, count in enumerate(of_example):
                    if not count:
                        continue
                    (low, high), part = self.keys[own][block], slice(start, start + count)
                    start += count
                    found = F.scaled_dot_product_attention(
                        queries[None, None, part],
                        keys[example : example + 1, group : group + 1, low:high],
                        values[example : example + 1, group : group + 1, low:high],
                        attn_mask=self.added[own, :, low:high].index_select(0, pairs.rows[part])[None, None],
                        scale=scale,
                    )
                    out.append(found[0, 0])
        return torch.cat(out) if out else queries
