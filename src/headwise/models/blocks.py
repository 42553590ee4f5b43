"""The transformer block with routed attention, and the stack of blocks that a refiner iterates.

Legend: B batch, L length, H heads, D width, F feed-forward width, S and C context positions and width.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from headwise.models.feed_forward import Activation, feed_forward_of
from headwise.models.norms import Norm, NormPlacement, norm_of
from headwise.reasoning.trace import StackOutput
from headwise.routing.attention import LayerMemory, RoutedAttention
from headwise.routing.gates import Gates
from headwise.routing.layout import Mask
from headwise.routing.routers import Router
from headwise.routing.skipping import macs


class Block(nn.Module):
    """Attention and a feed-forward layer, without the latter where F = 0.

        pre:   x <- x + attention(norm(x), gates);     x <- x + feed_forward(norm(x))
        post:  x <- norm(x + attention(x, gates));     x <- norm(x + feed_forward(x))

    The router reads what the attention reads. With post that is x as the block before has normed it; in front of the
    first block, the embedding or its sum with the state, nothing has.

    With gates of 1, a layer norm and GELU or ReLU this is `torch.nn.TransformerEncoderLayer(norm_first=...)`.

    Args:
        attention: the routed attention.
        router: or None, where every gate is 1.
        ffn: F.
        dropout: after attention and after the feed-forward layer; default 0.
        norm: layer (default), rms or rms_unscaled.
        norm_placement: pre (default) or post.
        activation: gelu (default), relu or swiglu.
        bias: of the norms and the feed-forward layer; default true. The attention comes with or without its own.
    """

    role = "backbone"

    def __init__(
        self,
        attention: RoutedAttention,
        router: Router | None,
        ffn: int,
        dropout: float = 0.0,
        norm: Norm = "layer",
        norm_placement: NormPlacement = "pre",
        activation: Activation = "gelu",
        bias: bool = True,
    ) -> None:
        super().__init__()
        width = attention.width
        self.attention, self.router = attention, router
        self.attention_norm = norm_of(norm, width, bias)
        self.ffn_norm = norm_of(norm, width, bias) if ffn else None
        self.ffn = feed_forward_of(activation, width, ffn, bias) if ffn else None
        self.norm_placement: NormPlacement = norm_placement
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        mask: Mask,
        context: Tensor | None = None,
        memory: LayerMemory | None = None,
        forced: Tensor | None = None,
    ) -> tuple[Tensor, Gates | None, LayerMemory, dict[str, Tensor]]:
        """One block.

        Args:
            x: [B, L, D].
            mask: which tokens are real, and where attention may look.
            context: [B, S, C] of the controller, or None.
            memory: what an earlier step left to use again, or None.
            forced: gates [B, L|1, H] from outside in place of the router's, or None.

        Returns:
            [B, L, D], the gates (None without a router), the layer's memory, routing losses.
        """
        read = self.read(x)
        gates, losses = None, {}
        if self.router is not None:
            computed = self.router(read, context, mask.padding) if forced is None else (Gates.fixed(forced), {})
            gates, losses = computed
        weight = forced if gates is None else gates.weight
        attended, memory = self.attention(read, weight, mask.attention, memory)
        return self.rest(x, attended), gates, memory, losses

    def read(self, x: Tensor) -> Tensor:
        """What router and attention read of the block's input, [B, L, D] to the same."""
        out: Tensor = self.attention_norm(x) if self.norm_placement == "pre" else x
        return out

    def rest(self, x: Tensor, attended: Tensor) -> Tensor:
        """The block's output, of its input and what the attention made of it, [B, L, D] each."""
        x = x + self.dropout(attended)
        return self.feed_forward(x if self.norm_placement == "pre" else self.attention_norm(x))

    def feed_forward(self, x: Tensor) -> Tensor:
        """The second half of the block, [B, L, D] to the same."""
        if self.ffn is None or self.ffn_norm is None:
            return x
        out: Tensor
        if self.norm_placement == "pre":
            out = x + self.dropout(self.ffn(self.ffn_norm(x)))
        else:
            out = self.ffn_norm(x + self.dropout(self.ffn(x)))
        return out

    def macs(self, length: int, positions: int, reuse: str = "none") -> float:
        """Multiply-accumulates for an example of L tokens with every head on.

        Args:
            length: L.
            positions: S, of the context.
            reuse: what the layer has left from an earlier step, as in `RefinementConfig`.
        """
        attention = self.attention
        attended = macs(attention.shape, length, length if reuse == "keys_values" else None)
        if reuse == "heads":
            gated = 0 if attention.output_gate is None else attention.output_gate.weight.numel()
            attended = length * (attention.output.in_features * attention.width + gated)
        routed = 0 if self.router is None else self.router.macs(length, positions)
        linear = [] if self.ffn is None else [part for part in self.ffn.modules() if isinstance(part, nn.Linear)]
        return attended + length * sum(part.weight.numel() for part in linear) + routed


class BlockStack(nn.Module):
    """Blocks in sequence; what `Refiner` applies at every step.

    Attributes:
        checkpointing: keep for the backward pass the inputs of the blocks alone, and compute the rest there once more,
            with the same random numbers: less memory for a third more products. Off at the start.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        super().__init__()
        self.blocks, self.checkpointing = nn.ModuleList(blocks), False

    def forward(
        self,
        hidden: Tensor,
        mask: Mask,
        context: Tensor | None = None,
        memory: list[LayerMemory] | None = None,
        gates: Sequence[Tensor] | None = None,
    ) -> StackOutput:
        """Arguments as in `Block.forward`, memory and forced gates one per layer."""
        used: list[Gates] = []
        memories: list[LayerMemory] = []
        collected: dict[str, list[Tensor]] = {}
        again = self.checkpointing and torch.is_grad_enabled()
        for i, block in enumerate(self.blocks):
            run = partial(checkpoint, block, use_reentrant=False) if again else block
            hidden, layer_gates, layer_memory, losses = run(
                hidden, mask, context, memory[i] if memory else None, gates[i] if gates is not None else None
            )
            memories.append(layer_memory)
            if layer_gates is not None:
                used.append(layer_gates)
            for name, value in losses.items():
                collected.setdefault(name, []).append(value)
        mean = {name: sum(values[1:], values[0]) / len(values) for name, values in collected.items()}
        return StackOutput(hidden, used, memories, mean)
