"""Reading a sequence bit by bit: a causal backbone with a memory, so that each token is computed once.

A new token looks at the keys and values of those before it, kept per refinement step and layer; its gates, head
outputs and controller state are its own. The hrm controllers read the mean of the prefix, for which a running sum is
kept. `reread` is the plain twin: the whole sequence through the backbone.

Legend: B batch, L new tokens, N tokens before them, D width, R refinement steps.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headwise.models.backbone import Backbone
from headwise.models.blocks import Block
from headwise.reasoning.controllers import Controller
from headwise.reasoning.state import ControllerState
from headwise.routing.attention import LayerMemory


@dataclass(frozen=True)
class Past:
    """What a backbone keeps of the N tokens that it has read.

    Attributes:
        length: N.
        memory: keys and values [B, H, N, E] per refinement step and layer; where the steps of a segment share those of
            its first, only its.
        sums: per step the sum over tokens of the hidden state that the controller reads, [B, 1, D]; empty where none
            reads a mean.
    """

    length: int
    memory: list[list[LayerMemory]]
    sums: list[Tensor]

    def rows(self, index: Tensor) -> "Past":
        """The past of the examples in `index`."""
        memory = [[layer.rows(index) for layer in step] for step in self.memory]
        return Past(self.length, memory, [total[index] for total in self.sums])


def extend(backbone: Backbone, x: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
    """Read `x` after `past`.

    Args:
        backbone: causal, in evaluation mode, with any arm that `check` lets a causal model have.
        x: [B, L, D], the embeddings of the next tokens; no padding.
        past: of the tokens before; None at the beginning.

    Returns:
        The new tokens' states for the read-out, [B, L, D], and the past with them in it.

    Raises:
        ValueError: the backbone is not causal, or in training mode, where dropout would make twins differ.
    """
    refiner, loop, recursion = backbone.refiner, backbone.refiner.config, backbone.refiner.config.recursion
    if not backbone.causal or backbone.training or refiner.halting is not None or refiner.noise.deviation:
        raise ValueError("extend: needs a causal backbone in evaluation mode, without halting and without noise")
    stacks = [[block for block in stack.modules() if isinstance(block, Block)] for stack in refiner.stacks]
    answer, latent = _begun(backbone, x, past.length if past else 0)
    state, layers = None, list[LayerMemory]()
    memory: list[list[LayerMemory]] = []  # of the steps that computed their own
    sums: list[Tensor] = []
    for t in range(loop.steps_in_all):
        begins = t % loop.steps == 0
        context = None
        if refiner.controller is not None:
            seen = _Seen(past.length if past else 0, past.sums[t] if past and past.sums else None)
            heads = None if begins else layers[-1].heads
            context, state, total = _steer(refiner.controller, answer, state, heads, seen)
            sums += [] if total is None else [total]
        added = recursion.injects or (loop.injection == "input" and (t > 0 or not loop.initial_state.embeds))
        hidden = recursion.read(t + 1, answer, latent, x if added else None)
        first = begins or loop.reuse == "none"  # else the step uses what the segment's first one computed
        used = []
        for i, block in enumerate(stacks[recursion.stack(t + 1)]):
            read = block.read(hidden)
            gates = None if block.router is None else block.router(read, context, None)[0].weight
            if first:
                layer = block.attention.keys_values(read, past.memory[len(memory)][i] if past else None)
            else:
                layer = layers[i] if loop.reuse == "heads" else replace(layers[i], heads=None)
            attended, layer = block.attention(read, gates, None, layer)
            hidden = block.rest(hidden, attended)
            used.append(layer)
        answer, latent = recursion.written(t + 1, hidden, answer, latent)
        layers = used
        if first:
            memory.append([replace(layer, heads=None) for layer in layers])
    length = x.shape[1] + (past.length if past else 0)
    return backbone.norm(answer), Past(length, memory, sums)


def reread(backbone: Backbone, x: Tensor) -> Tensor:
    """The plain twin of `extend`: the states [B, L, D] of a whole sequence, nothing kept."""
    states: Tensor = backbone(x).states[-1]
    return states


def _begun(backbone: Backbone, x: Tensor, length: int) -> tuple[Tensor, Tensor | None]:
    """The initial answer, and the latent where there is one, of tokens after so many."""
    keys = torch.zeros(len(x), dtype=torch.int64, device=x.device)  # as of a layout without keys
    places = torch.arange(length, length + x.shape[1], device=x.device)[None]
    answer, *latent = backbone.refiner.initial_state(x, keys, places)
    return answer, latent[0] if latent else None


@dataclass(frozen=True)
class _Seen:
    """How many tokens were read before, and the sum of their hidden states [B, 1, D]."""

    length: int
    total: Tensor | None


def _steer(
    controller: Controller, hidden: Tensor, state: ControllerState | None, heads: Tensor | None, seen: _Seen
) -> tuple[Tensor, ControllerState | None, Tensor | None]:
    """The controller's context [B, L, C] for new tokens, its state, and the sum over all tokens up to the last one."""
    if not controller.reads_prefix:
        context, state, _ = controller(hidden, None, state, heads)
        return context, state, None
    total = hidden.cumsum(1) if seen.total is None else hidden.cumsum(1) + seen.total
    count = torch.arange(1, hidden.shape[1] + 1, device=hidden.device, dtype=hidden.dtype) + seen.length
    mean = total / count[:, None]  # [B, L, D], of the prefix
    # Each position becomes an example of one token, whose prefix has itself for its mean.
    context, state, _ = controller(mean.flatten(0, 1).unsqueeze(1), None, state)
    return context.view(*hidden.shape[:2], -1), state, total[:, -1:]
