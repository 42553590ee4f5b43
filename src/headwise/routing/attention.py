"""Multi-head attention whose head outputs are weighted by gates before the output projection.

Legend: B batch, L query length, M key length, H heads, G key/value heads, E head width, D = H·E width.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headwise.routing.composition import HeadComposition
from headwise.routing.output_gates import OutputGate
from headwise.routing.projections import Combination, Projections, Shape
from headwise.routing.rotary import rotate_from
from headwise.routing.scaled_dot_product import attend
from headwise.routing.skipping import Plan, Skipping, choose
from headwise.routing.tiles import attend_pairs
from headwise.routing.whole_heads import attend_whole_heads

OutputGating = Literal["none", "elementwise"]


@dataclass(frozen=True)
class LayerMemory:
    """What a layer may use again: over refinement steps within a forward pass, or over tokens in generation.

    Attributes:
        keys, values: [B, G, M, E], a key turned by its own position where positions are rotary; M = 0 where heads
            were skipped with their keys and values, and nothing is left.
        heads: [B, L, H, E] head outputs before the gates; None in generation, where each token has its own, and where
            heads were skipped.
    """

    keys: Tensor
    values: Tensor
    heads: Tensor | None = None

    def rows(self, index: Tensor) -> "LayerMemory":
        """The memory of the examples in `index`."""
        return LayerMemory(self.keys[index], self.values[index], None if self.heads is None else self.heads[index])


class RoutedAttention(nn.Module):
    """Attention in three steps: keys and values, head outputs, gated combination.

        heads_h = softmax(q_h k_h^T / sqrt(E)) v_h
        mask_concat:  y = W_o [g_1 heads_1 ; ... ; g_H heads_H] + b_o
        mixture:      y = W_o mean_h(g_h heads_h) + b_o            (W_o: E -> D; pointer-over-heads' weighted sum)

    Gates weigh head outputs, not output channels, and gates of 1 give plain multi-head attention. Keys have no bias: it
    would shift all scores of a query alike, and softmax would hide it from the gradient (rotary positions would show
    it, but have none either).

    With fewer key/value heads than heads (grouped queries, arXiv 2305.13245) heads g·H/G ... (g+1)·H/G - 1 share the
    keys and values of group g.

    Head outputs may have a gate for every channel beside (`headwise.routing.output_gates`), and heads may lend each
    other their attention (`headwise.routing.composition`).

    Heads whose gate is exactly 0 need not be computed (`headwise.routing.skipping` says how, and when it pays).

    Args:
        width: D.
        heads: H; must divide D.
        combine: "mask_concat" (default; keeps each head's own output rows) or "mixture".
        dropout: probability of dropping an attention weight in training; default 0.
        causal: position i sees only j <= i.
        kv_heads: G; must divide H. Default None: H, plain multi-head attention.
        skipping: auto (default): heads that are off are left out where that is faster and changes no gradient;
            always: left out wherever one is off, and a gate that is off gets no gradient; never: all computed.
        output_gate: "none" (default) or "elementwise": a gate for every channel of every head.
        composition_rank: R at which heads are composed; default 0: each attends by itself.
        bias: queries, values and output have one; default true. Without, so have norms and the feed-forward layer of
            a block none, but output gates and composition never have any.
        rotary: base of rotary positions (`headwise.routing.rotary`), published 10000; needs an even head width. Default
            None: attention knows no positions.

    Raises:
        ValueError: heads does not divide width, kv_heads not heads, a composition_rank above heads or of a single head,
            rotary positions of an odd head width, or an unknown combination, output gate or way of skipping.
    """

    role = "backbone"

    def __init__(
        self,
        width: int,
        heads: int,
        combine: Combination = "mask_concat",
        dropout: float = 0.0,
        causal: bool = False,
        kv_heads: int | None = None,
        skipping: Skipping = "auto",
        output_gate: OutputGating = "none",
        composition_rank: int = 0,
        bias: bool = True,
        rotary: float | None = None,
    ) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"heads={heads} does not divide width={width}; choose a divisor")
        if combine not in ("mask_concat", "mixture"):
            raise ValueError(f"combine={combine!r}; choose mask_concat or mixture")
        kv_heads = heads if kv_heads is None else kv_heads
        if kv_heads < 1 or heads % kv_heads:
            raise ValueError(f"kv_heads={kv_heads} does not divide heads={heads}; choose a divisor")
        if skipping not in get_args(Skipping):
            raise ValueError(f"skipping={skipping!r}; choose auto, never or always")
        if output_gate not in get_args(OutputGating):
            raise ValueError(f"output_gate={output_gate!r}; choose none or elementwise")
        if composition_rank and not 0 < composition_rank <= heads > 1:
            raise ValueError(f"composition_rank={composition_rank} with {heads} heads; choose 1..heads, of two or more")
        if rotary is not None and width // heads % 2:
            raise ValueError(
                f"rotary={rotary:g} with heads of {width // heads} channels; choose an even number, or None"
            )
        gated = output_gate == "elementwise"
        self.shape = Shape(width, heads, kv_heads, combine, causal, gated, composition_rank, rotary)
        self.dropout, self.skipping = dropout, skipping
        shared = kv_heads * self.shape.head_width
        self.projection = nn.Parameter(torch.empty(width + 2 * shared, width))  # rows: query, key, value
        self.query_bias = nn.Parameter(torch.zeros(width)) if bias else None
        self.value_bias = nn.Parameter(torch.zeros(shared)) if bias else None
        self.output_gate = OutputGate(heads, width) if self.shape.output_gate else None
        self.composition = HeadComposition(width, heads, composition_rank) if composition_rank else None
        self.output = nn.Linear(width if combine == "mask_concat" else self.shape.head_width, width, bias)
        # Xavier for one [3·D, D] matrix, so that the number of key/value heads does not change how the rest starts.
        bound = math.sqrt(3) * math.sqrt(2 / (4 * width))
        nn.init.uniform_(self.projection, -bound, bound)
        if bias:
            nn.init.zeros_(self.output.bias)

    @property
    def width(self) -> int:
        """D."""
        return self.shape.width

    def forward(
        self, x: Tensor, gates: Tensor | None = None, mask: Tensor | None = None, memory: LayerMemory | None = None
    ) -> tuple[Tensor, LayerMemory]:
        """Attend with whatever `memory` holds; what it does not hold is computed.

        Args:
            x: [B, L, D].
            gates: [B, L|1, H] head weights; None is all ones.
            mask: broadcastable to [B, H, L, M]: bool, True where a query may look, or float, added to the scores; None
                is everywhere.
            memory: None computes all; keys and values alone compute fresh queries; head outputs only recombine.

        Returns:
            [B, L, D] and the memory, complete with head outputs unless heads were skipped.
        """
        # A graph knows no gates: compiled, `auto` is dense.
        looks = self.skipping == "always" or (self.skipping == "auto" and not torch.compiler.is_compiling())
        if gates is not None and looks and (memory is None or memory.heads is None):
            plan = self.plan(gates, x, memory)
            if plan.kind == "sequence" and memory is None:
                nothing = x.new_empty(x.shape[0], self.shape.kv_heads, 0, self.shape.head_width)
                out = attend_whole_heads(self.projections(), x, gates, mask, self._mixing(x, gates))
                return out, LayerMemory(nothing, nothing)
            if plan.kind == "token":
                memory = self.keys_values(x) if memory is None else memory
                return attend_pairs(self.projections(), x, gates, mask, (memory.keys, memory.values)), memory
        if memory is None:
            memory = self._fused(x, mask, gates)
        elif memory.heads is None:
            memory = replace(memory, heads=self.heads(x, memory, mask, gates))
        assert memory.heads is not None
        heads = memory.heads if self.output_gate is None else memory.heads * self.output_gate(x)
        return self.combine(heads, gates), memory

    def keys_values(self, x: Tensor, past: LayerMemory | None = None) -> LayerMemory:
        """Keys and values [B, G, M, E] of `x` [B, L, D], appended to those of `past`."""
        bias = self.bias()
        bias = None if bias is None else bias[self.width :]
        keys, values = F.linear(x, self.projection[self.width :], bias).chunk(2, -1)
        start = 0 if past is None else past.keys.shape[2]
        keys, values = self.split(keys, start), self.split(values)
        if past is not None:
            keys, values = torch.cat([past.keys, keys], 2), torch.cat([past.values, values], 2)
        return LayerMemory(keys, values)

    def heads(self, x: Tensor, memory: LayerMemory, mask: Tensor | None = None, gates: Tensor | None = None) -> Tensor:
        """Head outputs [B, L, H, E] of the queries of `x` [B, L, D] over the keys and values in `memory`.

        They are not gated yet; but where heads are composed, those whose gate is 0 lend nothing to the others.
        """
        queries = F.linear(x, self.projection[: self.width], self.query_bias)
        queries = self.split(queries, memory.keys.shape[2] - x.shape[1])
        return self.attend(queries, memory.keys, memory.values, mask, self._mixing(x, gates))

    def looks(
        self, x: Tensor, gates: Tensor | None = None, mask: Tensor | None = None, memory: LayerMemory | None = None
    ) -> Tensor:
        """Where each head of each token looks: the attention weights [B, L, H, M], which `forward` never has.

        They are what heads bring back of values that are unit vectors. Arguments as of `forward`; what a layer takes
        over from an earlier step as head outputs has no weights at this one.
        """
        if memory is None or not memory.keys.shape[2]:
            memory = self.keys_values(x)
        reach = memory.keys.shape[2]
        units = torch.eye(reach, dtype=x.dtype, device=x.device).expand(*memory.keys.shape[:2], -1, -1)
        return self.heads(x, LayerMemory(memory.keys, units), mask, gates).transpose(1, 2)

    def plan(self, gates: Tensor, x: Tensor, memory: LayerMemory | None = None) -> Plan:
        """What `forward` would compute for these arguments, and how many heads that executes."""
        return choose(self.shape, self.skipping, gates, x, None if memory is None else memory.keys.shape[2])

    def combine(self, heads: Tensor, gates: Tensor | None) -> Tensor:
        """[B, L, H, E] and gates [B, L|1, H] (None: ones) to [B, L, D]."""
        if gates is not None and gates.shape[1] == 1:
            # A factor for each channel, in the order of memory: an example's is one row for all of its tokens.
            channels = gates.to(heads.dtype).repeat_interleave(self.shape.head_width, -1)  # [B, 1, H·E]
            heads = (heads.flatten(2) * channels).view_as(heads)
        elif gates is not None:
            heads = heads * gates.unsqueeze(-1).to(heads.dtype)
        merged = heads.flatten(2) if self.shape.combination == "mask_concat" else heads.mean(2)
        out: Tensor = self.output(merged)
        return out

    def _mixing(self, x: Tensor, gates: Tensor | None) -> Tensor | None:
        """What each head takes of the attention of each, [B, L, H, H]; None where each attends by itself."""
        return None if self.composition is None else self.composition(x, gates)

    def _fused(self, x: Tensor, mask: Tensor | None, gates: Tensor | None) -> LayerMemory:
        """`keys_values` and `heads` with one matrix product for queries, keys and values."""
        shared = self.shape.kv_heads * self.shape.head_width
        projected = F.linear(x, self.projection, self.bias())
        if self.shape.rotary is None:
            queries, keys, values = map(self.split, torch.split(projected, [self.width, shared, shared], -1))
        else:
            turned, values = torch.split(projected, [self.width + shared, shared], -1)
            queries, keys = torch.split(self.split(turned, 0), [self.shape.heads, self.shape.kv_heads], 1)
            values = self.split(values)
        return LayerMemory(keys, values, self.attend(queries, keys, values, mask, self._mixing(x, gates)))

    def bias(self) -> Tensor | None:
        """The bias of the fused projection, if it has one; keys have none."""
        if self.query_bias is None or self.value_bias is None:
            return None
        return torch.cat([self.query_bias, torch.zeros_like(self.value_bias), self.value_bias])

    def projections(self) -> Projections:
        """The weights of the layer for one pass."""
        dropout = self.dropout if self.training else 0.0
        gate = None if self.output_gate is None else self.output_gate.weight
        return Projections(
            self.shape, self.projection, self.bias(), self.output.weight, self.output.bias, dropout, gate
        )

    def attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, mixing: Tensor | None = None
    ) -> Tensor:
        """Head outputs [B, L, H, E] of queries [B, H, L, E] over keys and values [B, G, M, E]."""
        dropout = self.dropout if self.training else 0.0
        return attend(queries, keys, values, mask, self.shape.causal, dropout, mixing)

    def split(self, x: Tensor, start: int | None = None) -> Tensor:
        """[B, L, h·E] to [B, h, L, E] of any h heads; rotary positions turn them, from `start`, if it is given."""
        heads = x.view(*x.shape[:2], -1, self.shape.head_width)
        return (heads if start is None else rotate_from(heads, self.shape.rotary, start)).transpose(1, 2)
