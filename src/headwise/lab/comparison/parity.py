"""Arms of equal size: one with a controller gets a narrower or shallower stack, so that size is not what is compared.

The first arm is the reference and keeps its shape. Counted are the parameters of backbone and controller (roles of the
`Backbone` module): embedder and read-out belong to the task. Counts are exact, from the module built without memory on
the meta device.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

import torch

from headwise.errors import InputError
from headwise.lab.formatting import format_count, format_magnitude
from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.flops import flops_per_example
from headwise.models.roles import parameters_by_role
from headwise.models.sizes import ModelConfig

Mode = Literal["parameters", "width", "depth", "flops", "none"]
MODES: tuple[Mode, ...] = get_args(Mode)
TOLERANCE = 0.01
# Beyond a factor of eight from the proportions asked for, a feed-forward layer is a different model.
MOST_DISTORTED = math.log(8)


@dataclass(frozen=True)
class Size:
    """What one forward pass is made of: parameters of backbone + controller, and FLOPs of one example."""

    parameters: int
    flops: float


@dataclass(frozen=True)
class Sized:
    """One arm of a comparison with the shape it got; the ratios are to the first arm."""

    label: str
    arm: Arm
    model: ModelConfig
    size: Size
    parameter_ratio: float
    flops_ratio: float


@dataclass(frozen=True)
class Parity:
    """All arms with their shapes, and on what they agree within `TOLERANCE`."""

    mode: Mode
    length: int
    arms: tuple[Sized, ...]
    matched: tuple[Literal["parameters", "flops"], ...]

    def to_plain(self) -> dict[str, Any]:
        """For comparison.json."""
        return {"mode": self.mode, "length": self.length, "tolerance": TOLERANCE, "matched": list(self.matched)}


def measure(model: ModelConfig, arm: Arm, length: int, causal: bool = False) -> Size:
    """Count parameters and FLOPs of an arm at this shape on sequences of `length` tokens."""
    with torch.device("meta"):
        backbone = Backbone(model, arm, causal)
    by_role = parameters_by_role(backbone)
    counted = (parameter for role in ("backbone", "controller") for _, parameter in by_role.get(role, []))
    return Size(sum(parameter.numel() for parameter in counted), flops_per_example(backbone, length))


Measure = Callable[[ModelConfig, Arm, int], Size]
"""Shape, arm and length -> what one forward pass of a stack is made of that the task brings along, in its own shape."""


def match(
    arms: Sequence[tuple[str, Arm, ModelConfig]],
    length: int,
    mode: Mode = "parameters",
    causal: bool = False,
    own: Measure | None = None,
) -> Parity:
    """Give every arm the size of the first one.

    Args:
        arms: label, arm and the shape asked for. The depth, the heads and the proportion of FFN width to width are the
            arm's own, so a deeper plain transformer stays deeper.
        length: tokens of an example, for the FLOPs.
        mode: `parameters` (default; `width` is another word for it): width in steps that keep the head width even, and
            FFN width as the fine knob; `depth`: the number of blocks instead of the width; `flops`: as `parameters`,
            but for equal FLOPs; `none`: leave the shapes as they are. Without a feed-forward layer (`model.ffn=0`)
            there is no fine knob, and the width alone, in steps of the heads, or the depth has to do.
        causal: whether the task is causal (its attention costs half).
        own: of a task that brings its stack along; the model is then the same for all arms, whatever the mode.

    Raises:
        InputError: an arm cannot be brought within 1 %, or `none` and the arms agree in neither, with the numbers.
    """
    if mode not in MODES:
        raise InputError(f"parity={mode}: unknown; choose one of {', '.join(MODES)}")
    mode = "parameters" if mode == "width" else mode
    if own is not None:
        return replace(as_they_are(arms, length, causal, own), mode=mode)
    _, first_arm, first_model = arms[0]
    reference = measure(first_model, first_arm, length, causal)
    shapes = [first_model]
    for label, arm, model in arms[1:]:
        shapes.append(model if mode == "none" else _Search(label, arm, model, length, causal, mode).find(reference))
    shaped = [(label, arm, shape) for (label, arm, _), shape in zip(arms, shapes, strict=True)]
    found = replace(as_they_are(shaped, length, causal), mode=mode)
    if not found.matched:
        raise InputError(_refusal(found.arms))
    return found


def as_they_are(
    arms: Sequence[tuple[str, Arm, ModelConfig]], length: int, causal: bool = False, own: Measure | None = None
) -> Parity:
    """Arms in the shapes that they have, and on what they agree, which may be nothing; arguments as of `match`."""
    measured = own or partial(measure, causal=causal)
    sizes = [measured(model, arm, length) for _, arm, model in arms]
    sized = tuple(
        Sized(label, arm, model, size, size.parameters / sizes[0].parameters, size.flops / sizes[0].flops)
        for (label, arm, model), size in zip(arms, sizes, strict=True)
    )
    same_parameters = all(abs(one.parameter_ratio - 1) <= TOLERANCE for one in sized)
    same_flops = all(abs(one.flops_ratio - 1) <= TOLERANCE for one in sized)
    matched: tuple[Literal["parameters", "flops"], ...] = ("parameters",) if same_parameters else ()
    return Parity("none", length, sized, (*matched, "flops") if same_flops else matched)


@dataclass(frozen=True)
class _Search:
    """Looks for the shape of one arm that costs what the reference costs and has nearly the proportions asked for."""

    label: str
    arm: Arm
    model: ModelConfig
    length: int
    causal: bool
    mode: Mode

    def find(self, reference: Size) -> ModelConfig:
        target = self.cost_of(reference)
        candidates = list(self.depths() if self.mode == "depth" else self.widths(target))
        solved = [shape for candidate in candidates if (shape := self.with_ffn(candidate, target)) is not None]
        fitting = [shape for shape in solved if abs(self.cost(shape) / target - 1) <= TOLERANCE]
        if not fitting:
            raise InputError(self.refusal(reference))
        return min(fitting, key=self.distortion)

    def cost_of(self, size: Size) -> float:
        return size.flops if self.mode == "flops" else size.parameters

    def cost(self, shape: ModelConfig) -> float:
        return self.cost_of(measure(shape, self.arm, self.length, self.causal))

    def distortion(self, shape: ModelConfig) -> float:
        """How far the FFN is from its share of the width, or without one the width from what was asked for; the number
        of blocks counts too where it is the knob."""
        if not self.model.ffn:
            ffn = abs(math.log(shape.width / self.model.width))
        else:
            ffn = abs(math.log((shape.ffn / shape.width) / (self.model.ffn / self.model.width)))
        return ffn + abs(math.log(shape.depth / self.model.depth))

    def with_ffn(self, shape: ModelConfig, target: float) -> ModelConfig | None:
        """The FFN width that comes nearest to the target: parameters and FLOPs both grow linearly with it."""
        if not shape.ffn:
            return shape
        base = self.cost(replace(shape, ffn=1))
        slope = self.cost(replace(shape, ffn=2)) - base
        ffn = 1 + round((target - base) / slope)
        if ffn < 1:
            return None
        solved = replace(shape, ffn=ffn)
        return solved if self.distortion(solved) <= MOST_DISTORTED else None

    def depths(self) -> Iterator[ModelConfig]:
        return (replace(self.model, depth=depth) for depth in range(1, 2 * self.model.depth + 1))

    def widths(self, target: float) -> list[ModelConfig]:
        """The width asked for and those around the one that costs the target at the proportions asked for."""
        # Keeps the head width even, as fast kernels want it, unless there is nothing finer; rotary positions need it.
        step = (2 if self.model.ffn or self.model.rotary else 1) * self.model.heads

        def too_large(multiple: int) -> bool:
            return self.cost(self.proportional(multiple * step)) > target

        multiple = first_true(too_large)
        near = {max(1, multiple + offset) * step for offset in (-2, -1, 0, 1)}
        return [self.proportional(width) for width in sorted(near | {self.model.width})]

    def proportional(self, width: int) -> ModelConfig:
        ffn = max(1, round(width * self.model.ffn / self.model.width)) if self.model.ffn else 0
        return replace(self.model, width=width, ffn=ffn)

    def refusal(self, reference: Size) -> str:
        own = measure(self.model, self.arm, self.length, self.causal)
        what = "FLOPs" if self.mode == "flops" else "parameters"
        knob = "number of blocks" if self.mode == "depth" else "width"
        fine, remedy = " and FFN width", ""
        if not self.model.ffn:
            fine, remedy = f" alone (model.ffn=0 leaves no finer knob than steps of {self.model.heads})", "model.ffn, "
        return (
            f"parity={self.mode}: arm {self.label} cannot be brought within 1 % of the first arm's "
            f"{format_count(self.cost_of(reference))} {what} by its {knob}{fine} (as configured it has "
            f"{format_count(self.cost_of(own))}); change {remedy}arm.controller.width, model.width, model.heads or "
            "parity="
        )


def first_true(holds: Callable[[int], bool]) -> int:
    """The smallest n >= 1 at which a condition that never turns false again holds."""
    high = 1
    while not holds(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _refusal(sized: Sequence[Sized]) -> str:
    numbers = "; ".join(
        f"{one.label} {format_count(one.size.parameters)} parameters ({one.parameter_ratio:.2f}x), "
        f"{format_magnitude(one.size.flops)}FLOPs ({one.flops_ratio:.2f}x)"
        for one in sized
    )
    return (
        f"parity=none: the arms agree neither in parameters nor in FLOPs ({numbers}), so a difference would not "
        "speak of routing; choose parity=parameters, depth or flops"
    )
