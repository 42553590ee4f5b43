"""The mask of a pass for queries that are taken out of their order: what each may see, and between which keys.

Legend: B batch, L query length, M key length, E head width, n queries of one head.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass
class Visible:
    """A mask as numbers to add to scores; layers hand in the same one, which is prepared once.

    Attributes:
        given: the mask as it was last handed in, None for a causal one.
        added: [B|1, L, M], 0 where a query may look.
        first, last: the first key that each query sees, and the last + 1, as B|1 lists of L numbers.
    """

    given: Tensor | None = None
    added: Tensor | None = None
    first: list[list[int]] | None = None
    last: list[list[int]] | None = None

    def of(self, mask: Tensor | None, batch: int, length: int, keys: Tensor) -> "Visible":
        """Prepared for the mask [B|1, 1, L, M] of a pass, bool or added to scores, or None for a causal one."""
        known, dtype = self.added, keys.dtype
        same = known is not None and known.shape[1:] == (length, keys.shape[2]) and known.dtype == dtype
        if same and known is not None and known.device == keys.device and mask is self.given:
            return self
        self.given = mask
        places = torch.arange(keys.shape[2], device=keys.device)
        if mask is None:
            sees = places[:length, None] >= places  # the queries are the first tokens
            sees = sees.unsqueeze(0)
        else:
            part = mask[:, 0, :, : keys.shape[2]]
            sees = part if part.dtype == torch.bool else part > torch.finfo(part.dtype).min / 2
        if mask is None or mask.dtype == torch.bool:
            self.added = torch.zeros(sees.shape, dtype=dtype, device=keys.device).masked_fill_(~sees, -torch.inf)
        else:
            self.added = mask[:, 0, :, : keys.shape[2]].to(dtype)
        self.last = ((places + 1) * sees).amax(-1).clamp_min(1).tolist()
        seen = torch.where(sees, places, keys.shape[2])
        # padding sees nothing; its stretch of keys is the first one
        self.first = torch.where(sees.any(-1), seen.amin(-1), 0).tolist()
        return self

    def attend(
        self, queries: Tensor, places: Tensor | None, example: int, memory: tuple[Tensor, Tensor], scale: float, tile: int
    ) -> list[Tensor]:
        """Outputs, tile by tile, of a head's queries [n, E] at places [n] of the L tokens (None: all, in order).

        Args:
            queries: of one head and example.
            places: of the queries, rising.
            example: its number in the batch.
            memory: keys and values [M, E].
            scale: of the scores.
            tile: queries that share a stretch of keys.
        """
        assert self.added is not None
        assert self.first is not None
        assert self.last is not None
        row = example if len(self.last) > 1 else 0
        added, first, last = self.added[row], self.first[row], self.last[row]
        numbers = range(len(queries)) if places is None else places.tolist()
        out = []
        for start in range(0, len(queries), tile):
            own = numbers[start : start + tile]
            low, high = min(first[n] for n in own), max(last[n] for n in own)
            rows = added[own[0] : own[-1] + 1] if places is None else added.index_select(0, places[start : start + tile])
            found = F.scaled_dot_product_attention(
                queries[None, None, start : start + tile],
                memory[0][None, None, low:high],
                memory[1][None, None, low:high],
                attn_mask=rows[None, None, :, low:high],
                scale=scale,
            )
            out.append(found[0, 0])
        return out
