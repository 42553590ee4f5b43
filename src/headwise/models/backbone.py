"""The backbone: a stack of routed blocks, refined under a controller, with a final norm if the blocks norm first.

Legend: B batch, L length, H heads, D width, K supervised steps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import Tensor, nn

from headwise.models.arm import Arm
from headwise.models.blocks import Block, BlockStack
from headwise.models.initialisation import draw_truncated_normal
from headwise.models.norms import norm_of
from headwise.models.sizes import ModelConfig
from headwise.reasoning.refinement import PathNoise
from headwise.reasoning.refiner import Refiner
from headwise.reasoning.trace import Carry, Trace
from headwise.routing.attention import RoutedAttention
from headwise.routing.layout import Layout, RelativeBias, gates_of_route, heads_along, mask_of
from headwise.routing.routers import Router


class RoutedStack(nn.Module):
    """What training asks of a stack whatever it is made of: its routers, and what is set of all of them.

    Attributes:
        model: the shape.
        arm: what it follows.
    """

    model: ModelConfig
    arm: Arm

    def __init__(self, model: ModelConfig, arm: Arm) -> None:
        super().__init__()
        self.model, self.arm, self._reports_entropy = model, arm, False

    def routers(self) -> Iterator[Router]:
        """The routers of the layers, first to last."""
        return (module for module in self.modules() if isinstance(module, Router))

    @property
    def reports_entropy(self) -> bool:
        """Whether the trace of a training pass has the loss "entropy"; the objective asks where it has a weight."""
        return self._reports_entropy

    @reports_entropy.setter
    def reports_entropy(self, on: bool) -> None:
        if on != self._reports_entropy:
            self._reports_entropy = on
            for router in self.routers():
                router.reports_entropy = on

    @property
    def temperature(self) -> float | None:
        """The temperature of the head logits, None without a router."""
        return next((router.temperature.item() for router in self.routers()), None)

    def first_layer(self, step: int) -> int:
        """The place, among all layers, of the first one that refinement step `step` (from 1) applies."""
        return 0

    def set_temperature(self, value: float) -> None:
        """Set the temperature of every router; schedules call this between updates."""
        if not value > 0:
            raise ValueError(f"temperature={value}: choose a number above 0")
        for router in self.routers():
            router.temperature.fill_(value)


class Backbone(RoutedStack):
    """Everything between a task's embedding and its read-out.

    Args:
        model: the shape.
        arm: routing, controller, halting and refinement (`headwise.models.arm.check` says which fit together).
        causal: position i sees only j <= i.

    Raises:
        ValueError: the shape does not fit the arm (more heads asked for than there are), or a causal model is to have
            structural heads, a relative bias, or a router or halting that looks at the whole sequence.
    """

    role = "backbone"

    def __init__(self, model: ModelConfig, arm: Arm, causal: bool = False) -> None:
        super().__init__(model, arm)
        if causal and (model.n_structural or model.relative):
            raise ValueError("structural_heads and relative are for models that are not causal; use 0")
        if causal and (arm.router.granularity == "sequence" or arm.halting.halts):
            raise ValueError("a causal model must not look at the whole sequence: use granularity=token, halting=fixed")
        self.causal = causal
        controller = arm.controller.build(model.width, model.heads, causal)
        context = controller.context_width if controller is not None else 0
        stacks = [
            BlockStack([self._block(layer, context) for layer in range(first, first + model.depth)])
            for first in range(0, model.depth * arm.refinement.recursion.stacks, model.depth)
        ]
        halting = arm.halting.build(context, model.width)
        self.refiner = Refiner(stacks, controller, halting, arm.refinement, model.width, arm.balance.steers)
        # A block that norms last leaves nothing to norm.
        last = model.norm_placement == "pre"
        self.norm = norm_of(model.norm, model.width, model.bias) if last else nn.Identity()
        self.relative = RelativeBias(model.heads, model.relative) if model.relative else None

    def _block(self, layer: int, context: int) -> Block:
        model, arm = self.model, self.arm
        # Where a later step or the controller reads keys, values or head outputs, all of them are needed.
        looped = arm.refinement.steps > 1
        read = looped and (arm.refinement.reuse != "none" or arm.controller.reads_heads)
        attention = RoutedAttention(
            model.width,
            model.heads,
            arm.combine,
            model.dropout,
            self.causal,
            model.kv_heads,
            "never" if read else model.skipping,
            arm.output_gate,
            arm.composition_rank,
            model.bias,
            model.rotary_base if model.rotary else None,
        )
        router = arm.router.build(arm.gate, model.width, model.heads, context, layer, arm.balance)
        if router is not None and not router.switches_off:
            attention.skipping = "never"  # no gate is ever 0, and nobody need look
        block = Block(
            attention,
            router,
            model.ffn,
            model.dropout,
            model.norm,
            model.norm_placement,
            model.activation,
            model.bias,
        )
        if model.init == "truncated_normal":
            draw_truncated_normal(attention, block.ffn)
        return block

    def forward(
        self,
        x: Tensor,
        mask: Tensor | Layout | None = None,
        carry: Carry | None = None,
        gates: Sequence[Sequence[Tensor]] | None = None,
        record: bool = False,
    ) -> Trace:
        """As `Refiner.forward`; the trace's states are normed for the read-out, the carry is not.

        `mask` is a layout, or of one the padding alone (bool [B, L], True for real tokens), or None.

        Raises:
            ValueError: the layout does not have what structural heads or the relative bias need.
        """
        layout = mask if isinstance(mask, Layout) else Layout(mask)
        along = heads_along(self.model.structural_heads, tuple(layout.relations))
        if self.relative is not None and layout.positions is None:
            raise ValueError(f"relative={self.model.relative}: the layout has no positions")
        bias = None if self.relative is None else self.relative(layout.positions)
        attending = mask_of(layout, self.model.heads, along, bias, x)
        if gates is None and layout.route is not None and self.arm.router.follows_route:
            steps = gates_of_route(layout, along, self.model.heads, self.arm.refinement.steps_in_all, x)
            gates = [[step] * self.model.depth for step in steps]
        trace: Trace = self.refiner(x, attending, carry, gates, record)
        return replace(trace, states=self.norm(trace.states))

    def first_layer(self, step: int) -> int:
        return self.arm.refinement.recursion.stack(step) * self.model.depth

    def set_noise(self, deviation: float, every: int = 1) -> None:
        """Add normal noise to the path at evaluation, too, after every so many steps (PTRM: once a segment).

        What is drawn for an example is a function of its key in the layout.
        """
        if deviation < 0 or every < 1:
            raise ValueError(f"noise={deviation}, every={every}: choose 0 or more, after every step (1) or more")
        self.refiner.noise_at_evaluation = PathNoise(deviation, every)

    def set_steps(self, steps: int, segments: int | None = None) -> None:
        """Take so many refinement steps at evaluation, in each segment, in place of those trained; and so many
        segments, if they are to be others, too.

        How gradients and supervision were spread over the steps is forgotten: such a model is not to be trained.
        """
        if steps < 1:
            raise ValueError(f"steps={steps}: choose at least 1")
        loop = self.arm.refinement
        segments = loop.segments if segments is None else segments
        loop = replace(
            loop, steps=steps, segments=segments, gradient="full", window=1, supervision="last", supervised=None
        )
        self.arm = replace(self.arm, refinement=loop)
        self.refiner.config = loop
