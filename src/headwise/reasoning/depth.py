"""How many steps a user asks of a trained model, as a length of segments and a number of them."""

import math
from dataclasses import dataclass
from typing import Any

from headwise.errors import InputError
from headwise.reasoning.refinement import RefinementConfig
from headwise.schema import short


@dataclass(frozen=True)
class Depth:
    """So many steps in all.

    Attributes:
        label: as it was asked for, `4x` or `32`.
        steps: in all.
        each: of a segment.
        segments: of each example.
    """

    label: str
    steps: int
    each: int
    segments: int


def depth_of(value: Any, loop: RefinementConfig) -> Depth:
    """So many steps as a user asks for, `4x` those of all segments trained, or a number of them.

    One segment becomes longer or shorter; of several there are more or fewer, or only a part of the first.

    Raises:
        InputError: that is no number of whole cycles, or of whole segments.
    """
    trained, cycle = loop.steps_in_all, loop.recursion.cycle
    text = f"{value:g}" if isinstance(value, float) else str(value)
    try:
        times = float(text.removesuffix("x"))
    except ValueError:
        times = math.nan
    if isinstance(value, bool) or not 0 < times < math.inf:
        raise InputError(f"steps={short(value)}: choose a multiple of those trained, as 4x, or a number of steps")
    wanted = times * trained if text.endswith("x") else times
    steps = round(wanted)
    if abs(wanted - steps) > 1e-6 or steps % cycle or steps < 1:
        whole = f"whole cycles of {cycle} steps" if cycle > 1 else "whole steps"
        raise InputError(f"steps={text}: {wanted:g} steps ({trained} were trained in all); choose {whole}")
    if loop.segments == 1 or steps < loop.steps:
        return Depth(text, steps, steps, 1)
    if steps % loop.steps:
        raise InputError(f"steps={text}: {steps} steps; above a segment choose whole segments of {loop.steps} steps")
    return Depth(text, steps, loop.steps, steps // loop.steps)
