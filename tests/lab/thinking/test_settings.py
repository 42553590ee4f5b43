"""How many steps are asked for, and what cannot be asked."""

from typing import Any

import pytest

from headwise.errors import InputError
from headwise.reasoning.depth import Depth, depth_of
from headwise.reasoning.recursion import TwoStreams
from headwise.reasoning.refinement import RefinementConfig

LOOP = RefinementConfig(steps=4, injection="input")
TRM = RefinementConfig(steps=6, segments=4, recursion=TwoStreams(period=3))


@pytest.mark.parametrize(
    ("loop", "value", "expected"),
    [
        (LOOP, "1x", Depth("1x", 4, 4, 1)),
        (LOOP, "0.5x", Depth("0.5x", 2, 2, 1)),
        (LOOP, 7, Depth("7", 7, 7, 1)),
        (LOOP, "1.75x", Depth("1.75x", 7, 7, 1)),
        (TRM, "1x", Depth("1x", 24, 6, 4)),
        (TRM, "4x", Depth("4x", 96, 6, 16)),
        (TRM, 12, Depth("12", 12, 6, 2)),
        (TRM, 3, Depth("3", 3, 3, 1)),  # the first cycle
    ],
)
def test_more_steps_make_one_segment_longer_or_several_segments_more(
    loop: RefinementConfig, value: Any, expected: Depth
) -> None:
    assert depth_of(value, loop) == expected


@pytest.mark.parametrize(
    ("loop", "value", "said"),
    [
        (LOOP, "0.3x", "steps=0.3x: 1.2 steps (4 were trained in all); choose whole steps"),
        (TRM, "0.3x", "steps=0.3x: 7.2 steps (24 were trained in all); choose whole cycles of 3 steps"),
        (TRM, 8, "choose whole cycles of 3 steps"),
        (TRM, 9, "steps=9: 9 steps; above a segment choose whole segments of 6 steps"),
        (LOOP, 0, "choose a multiple of those trained, as 4x, or a number of steps"),
        (LOOP, "infx", "choose a multiple"),
        (LOOP, "many", "choose a multiple"),
        (LOOP, True, "choose a multiple"),
        (LOOP, None, "choose a multiple"),
    ],
)
def test_what_is_no_number_of_whole_cycles_or_segments_is_refused(
    loop: RefinementConfig, value: Any, said: str
) -> None:
    with pytest.raises(InputError, match=r"^steps=") as caught:
        depth_of(value, loop)
    assert said in str(caught.value)
