"""Gates inside a pretrained attention layer, without touching its code: one hook reads the layer's input and makes the
gates, one multiplies the head outputs on their way into the output projection.

    g_i = gate(router(x_i))          o_i <- [g_i1·o_i1 ; ... ; g_iH·o_iH]

The module becomes a child of the attention layer, so that no name of the model changes: its weights are further keys.

Legend: B batch, L length, H heads, E width of a head's output, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from headwise.pretrained.sites import Site, layer_input
from headwise.routing.ablation import GatesFromOutside
from headwise.routing.balance import head_loads
from headwise.routing.gates import Gates
from headwise.routing.routers import Router

CHILD = "headwise"
"""Name of the module inside each attention layer; its weights are `<layer>.headwise.router...`."""


@dataclass
class Pass:
    """What the layers of one model share about the forward pass that is running or was the last.

    Attributes:
        masks: by whether a layer belongs to the decoder of an encoder-decoder: bool [B, L] of real tokens, or None.
        gates: of each layer that has run, detached.
        padding: bool [B, L] of real tokens, or None, of each layer whose own router made the gates.
        loads: [H] of each layer, share of real tokens that used each head; at evaluation only once asked for (`load`).
        losses: routing losses of each layer, by name, unweighted, with gradient.
        forced: gates from outside, by the number of the layer; a layer that is not there makes its own.
    """

    masks: dict[bool, Tensor | None] = field(default_factory=dict)
    gates: dict[int, Gates] = field(default_factory=dict)
    padding: dict[int, Tensor | None] = field(default_factory=dict)
    loads: dict[int, Tensor] = field(default_factory=dict)
    losses: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    forced: dict[int, Tensor] = field(default_factory=dict)

    def begin(self, masks: dict[bool, Tensor | None]) -> None:
        """Forget the pass before, for one with these masks; what is forced stays."""
        self.masks = masks
        self.gates, self.padding, self.loads, self.losses = {}, {}, {}, {}

    def load(self, number: int) -> Tensor:
        """[H], share of real tokens that used each head of a layer."""
        if number not in self.loads:
            self.loads[number] = head_loads(self.gates[number], self.padding[number])
        return self.loads[number]


class GatedHeads(GatesFromOutside):
    """The router of one attention layer, and the two hooks.

    Args:
        site: the layer.
        number: of the layer among the sites.
        router: from the layer's input [B, L, D] to gates [B, L|1, H]; None where every gate is 1 unless forced.
        shared: what the layers of a model share.
        decoder: whether the layer belongs to the decoder of an encoder-decoder.
        kept: of the router's heads, the numbers of those that the layer still has; None: all.
    """

    role = "controller"
    kept: Tensor | None

    def __init__(
        self,
        site: Site,
        number: int,
        router: Router | None,
        shared: Pass,
        decoder: bool,
        kept: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.router = router
        self.name, self.number, self.heads, self.head_width = site.name, number, site.heads, site.head_width
        self.shared, self.decoder = shared, decoder
        self.weight: Tensor | None = None  # lives from one hook to the next
        self.handles: list[Any] = []
        self.keep_only(kept)

    def keep_only(self, kept: Sequence[int] | None) -> None:
        """Leave only these of the router's heads to the layer; None: all. Not among its weights: a setting."""
        self.register_buffer("kept", None if kept is None else torch.tensor(kept), persistent=False)

    def attach(self, site: Site) -> None:
        """Become part of the layer."""
        site.attention.add_module(CHILD, self)
        self.handles = [
            site.attention.register_forward_pre_hook(self.read, with_kwargs=True),
            site.projection.register_forward_pre_hook(self.scale),
        ]

    def detach_from(self, site: Site) -> None:
        """Leave the layer as it was."""
        for handle in self.handles:
            handle.remove()
        delattr(site.attention, CHILD)

    def read(self, attention: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Make the gates of this pass from the layer's input: the first argument, or `hidden_states`."""
        self.weight = None  # what a pass that failed has left
        x = layer_input(args, kwargs)
        shared, forced = self.shared, self.shared.forced.get(self.number)
        if forced is not None:
            gates = Gates.fixed(forced.to(x.device, x.dtype).expand(x.shape[0], -1, -1))
        elif self.router is not None:
            mask = self.mask(x)
            gates, losses = self._routed(x, mask)
            # a second run under gradient checkpointing replaces what the first has left
            shared.losses[self.number], shared.padding[self.number] = losses, mask
            if self.training:  # at once, as it may be a sum over processes; decoding would spend its time on it
                shared.loads[self.number] = head_loads(gates, mask)
        elif self.change is not None:
            gates = Gates.fixed(x.new_ones(x.shape[0], 1, self.heads))
        else:
            return
        shared.gates[self.number] = gates.detach() if torch.is_grad_enabled() else gates
        self.weight = gates.weight if self.change is None else self.change(gates.weight, x.shape[1])

    def scale(self, projection: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Multiply the head outputs [..., H·E] by the gates."""
        weight, self.weight = self.weight, None
        if weight is None:
            return None
        outputs: Tensor = args[0]
        heads = outputs.reshape(*outputs.shape[:-1], self.heads, self.head_width)  # [B, L, H, E]
        if heads.dim() != 4:  # some layers hand over [B·L, H·E]
            weight = weight.expand(-1, heads.shape[0] // weight.shape[0], -1).flatten(0, 1)
        return (heads * weight.to(outputs.dtype).unsqueeze(-1)).flatten(-2), *args[1:]

    def _routed(self, x: Tensor, mask: Tensor | None) -> tuple[Gates, dict[str, Tensor]]:
        """The router computes in its own precision, which is float32 also in a model in bf16."""
        assert self.router is not None
        weights = chain(self.router.parameters(), self.router.buffers())
        own = next((p for p in weights if p.is_floating_point()), x)
        if torch.is_autocast_enabled(x.device.type):
            with torch.autocast(x.device.type, enabled=False):
                gates, losses = self.router(x.to(own.dtype), None, mask)
        else:  # at one token entering the block is what costs
            gates, losses = self.router(x.to(own.dtype), None, mask)
        return (gates if self.kept is None else _of(gates, self.kept)), losses

    def mask(self, x: Tensor) -> Tensor | None:
        """The mask of the tokens that the layer is given; with a cache these are the last of all tokens."""
        mask = self.shared.masks.get(self.decoder)
        if mask is None or mask.shape[0] != x.shape[0] or mask.shape[1] < x.shape[1]:
            return None
        return mask[:, -x.shape[1] :]


def _of(gates: Gates, kept: Tensor) -> Gates:
    """The gates of the heads that are left; `probs`, which may count fewer than all heads, stays as the router has it.

    A softmax over the heads runs over the removed ones, too, so that the others weigh what they weighed with them.
    """
    chosen = None if gates.chosen is None else gates.chosen[..., kept]
    return replace(gates, weight=gates.weight[..., kept], active=gates.active[..., kept], chosen=chosen)
