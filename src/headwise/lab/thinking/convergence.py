"""Does it converge, does it wander, does it overthink: a run followed over its steps.

Legend: A updates of the answer, N examples.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwise.lab.formatting import format_percent, format_short
from headwise.lab.thinking.measure import Followed

STILL = 0.01  # mean residual below which nothing moves any more: a hundredth of the state's length
SETTLING = 0.7  # of the residual where training ended: below this share at the end it is still falling
FEW = 0.005  # share of examples that is not worth a warning


def summary(seen: Followed, right: float, trained: int) -> dict[str, Any]:
    """What thinking.json says of a run that was followed over its steps.

    Args:
        seen: the run.
        right: value of the primary metric with which an example is right.
        trained: steps that it was trained with.

    Returns:
        For each update lists of A numbers: step; residual (mean); right, overthought, changed (shares of examples;
        the last of those whose answer is not that of the update before, null where there is none before); and the
        sentences.
    """
    is_right = np.abs(seen.value - right) < 1e-6  # [A, N]
    before = np.logical_or.accumulate(is_right, 0)
    found: dict[str, Any] = {
        "trained": trained,
        "step": seen.numbers,
        "residual": seen.residual.mean(1).tolist(),
        "right": is_right.mean(1).tolist(),
        "overthought": (before & ~is_right).mean(1).tolist(),
        "changed": None if seen.answer is None else _changed(seen.answer),
    }
    return found | {"sentences": sentences(found)}


def _changed(answer: NDArray[np.int64]) -> list[float | None]:
    return [None, *(answer[1:] != answer[:-1]).mean(1).tolist()]


def sentences(found: dict[str, Any]) -> list[str]:
    """Each question with what the numbers say, in a sentence."""
    steps, trained = found["step"], found["trained"]
    last, then = len(steps) - 1, max(np.searchsorted(steps, trained, side="right") - 1, 0)
    said = [_converges(found, int(then), last)]
    right, over = found["right"], found["overthought"]
    best = int(np.argmax(right))
    said.append(
        f"Right are {format_percent(right[then])} after {steps[then]} steps"
        + (f", {format_percent(right[last])} after {steps[last]}" if last != then else "")
        + (
            f"; most were right after {steps[best]}, {format_percent(right[best])}."
            if right[best] > max(right[then], right[last])
            else "."
        )
    )
    ever = right[last] + over[last]
    if over[last] <= FEW:
        said.append(f"It does not overthink: {format_percent(over[last])} were right earlier and are wrong at the end.")
    else:
        said.append(
            f"It overthinks: {format_percent(over[last])} were right at an earlier step and are wrong at the end; who "
            f"knew when to stop would have {format_percent(ever)} right."
        )
    return said


def _converges(found: dict[str, Any], then: int, last: int) -> str:
    steps, moved = found["step"], found["residual"]
    ends = f"the last step moves the state by {_of_length(moved[last])} of its length"
    if last != then:
        ends += f", step {steps[then]} moved it by {_of_length(moved[then])}"
    changed = found["changed"] and found["changed"][last]
    answers = "" if changed is None else f"; {format_percent(changed)} of the answers still change there"
    if moved[last] < STILL:
        verdict = "It converges"
    elif last != then and moved[last] < SETTLING * moved[then]:
        verdict = "It is still settling"
    else:
        verdict = "It wanders"
    return f"{verdict}: {ends}{answers}."


def _of_length(moved: float) -> str:
    return format_percent(moved) if np.isfinite(moved) else format_short(None)
