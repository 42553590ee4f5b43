"""Axes along which a trained model leaves what it was trained on. Those of a task change its examples; those that every
model has change its steps, heads and gates.

A task declares its own (`headwise.tasks.base.Task.shifts`). Each axis has a neutral value, at which nothing is changed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from headwise.errors import InputError
from headwise.schema import short, suggestion
from headwise.tasks.base import Shift
from headwise.training.config import RunConfig

Choice = Sequence[str] | Mapping[str, Any] | None
"""Names of axes; or names with the values to measure, null for those that the axis has; or None, all axes."""


@dataclass(frozen=True)
class Axis:
    """One axis with the values that are measured.

    Attributes:
        name: as it is typed.
        about: what changes along it.
        neutral: the value of what was trained.
        values: the others.
        shift: how the test examples change; None where something else does.
        of: what changes.
    """

    name: str
    about: str
    neutral: Any
    values: tuple[Any, ...]
    shift: Shift | None = None
    of: Literal["examples", "model", "training"] = "model"

    @property
    def points(self) -> list[Any]:
        """All values in their order, the neutral one among them; first where values are no numbers."""
        every = [self.neutral, *self.values]
        return sorted(every) if all(is_number(value) for value in every) else every


@dataclass(frozen=True)
class ModelAxis:
    """An axis that every model has.

    Attributes:
        about: what changes along it.
        neutral: of models with so many heads.
        values: measured by default, with so many heads.
        refusal: what is wrong with a value, or nothing.
    """

    about: str
    neutral: Callable[[int], float]
    values: Callable[[int], Sequence[float]]
    refusal: Callable[[Any], str]


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _positive(value: Any) -> str:
    return "" if is_number(value) and 0 < value < math.inf else "choose a number above 0"


def _heads(value: Any) -> str:
    return "" if isinstance(value, int) and not isinstance(value, bool) and value >= 1 else "choose 1 or more heads"


def _deviation(value: Any) -> str:
    return "" if is_number(value) and 0 <= value < math.inf else "choose a standard deviation of 0 or more"


def _counts(heads: int) -> list[int]:
    """All numbers of heads up to eight, above that powers of two."""
    return list(range(1, heads + 1)) if heads <= 8 else [2**n for n in range(heads.bit_length())]


MODEL_AXES = {
    "steps": ModelAxis(
        "refinement steps, as a multiple of those trained", lambda heads: 1, lambda heads: (0.5, 1, 2, 4, 8), _positive
    ),
    "heads": ModelAxis(
        "heads left on in each layer, those that carry most on the validation examples first",
        lambda heads: heads,
        _counts,
        _heads,
    ),
    "random_heads": ModelAxis("heads left on in each layer, drawn at random", lambda heads: heads, _counts, _heads),
    "noise": ModelAxis(
        "standard deviation of noise on the gates, where a gate of 1 is plain attention",
        lambda heads: 0,
        lambda heads: (0.1, 0.25, 0.5, 1),
        _deviation,
    ),
}


def choose(config: RunConfig, heads: int, choice: Choice) -> list[Axis]:
    """The axes that are wanted.

    Args:
        config: of one of the runs, which have the same task.
        heads: the most that a run has.
        choice: of the user.

    Raises:
        InputError: an axis that there is not, or without values, or a value that means nothing on it.
    """
    there = axes_of(config, heads)
    if choice is None:
        return [axis for axis in there.values() if axis.values]
    wanted: dict[str, Any] = dict(choice) if isinstance(choice, Mapping) else dict.fromkeys(choice)
    if not wanted:
        raise InputError(f"axes=[]: name at least one of {', '.join(there)}")
    return [_with_values(there, name, values) for name, values in wanted.items()]


def axes_of(config: RunConfig, heads: int) -> dict[str, Axis]:
    """All axes by name, those whose values are the user's to name among them."""
    of_models = _of_models(heads)
    if config.entry.task.brings_stack:  # layers that were trained once are applied once
        of_models.pop("steps")
    return {**_of_task(config), **of_models}


def _of_task(config: RunConfig) -> dict[str, Axis]:
    shifts = config.entry.task.shifts(config.task)
    return {
        name: Axis(name, shift.about, shift.trained, _without(shift.trained, shift.values), shift, "examples")
        for name, shift in shifts.items()
    }


def _of_models(heads: int) -> dict[str, Axis]:
    return {
        name: Axis(name, axis.about, axis.neutral(heads), _without(axis.neutral(heads), axis.values(heads)))
        for name, axis in MODEL_AXES.items()
    }


def _with_values(there: Mapping[str, Axis], name: str, values: Any) -> Axis:
    if name not in there:
        raise InputError(f"axes: {short(name)}: unknown; there are: {', '.join(there)}{suggestion(name, there)}")
    axis = there[name]
    if values is not None:
        given = values if isinstance(values, list) else [values]
        axis = replace(axis, values=_without(axis.neutral, given))
        for value in given:
            _check(axis, value)
        if not given:
            raise InputError(f"axes.{name}=[]: name at least one value")
    elif not axis.values:
        raise InputError(f"axes: {name} ({axis.about}): name its values, 'axes={{{name}: [first,second]}}'")
    return axis


def _check(axis: Axis, value: Any) -> None:
    where = f"axes.{axis.name}={short(value)}"
    if axis.shift is None:
        if said := MODEL_AXES[axis.name].refusal(value):
            raise InputError(f"{where}: {said}")
        return
    like = next(iter(axis.shift.values), axis.neutral)
    if is_number(value) != is_number(like):
        raise InputError(f"{where}: expected {'a number' if is_number(like) else 'no number'}, as {short(like)}")
    settings_of(axis, value)


def settings_of(axis: Axis, value: Any) -> dict[str, Any]:
    """The keys of the task that are set for a value of one of its axes.

    Raises:
        InputError: the value means nothing there.
    """
    assert axis.shift is not None
    try:
        return dict(axis.shift.settings(value))
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise InputError(f"axes.{axis.name}={short(value)}: {short(error)}") from None


def label(value: Any) -> str:
    """A value as it is shown."""
    if isinstance(value, list):
        return " to ".join(label(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _without(neutral: Any, values: Sequence[Any]) -> tuple[Any, ...]:
    kept: list[Any] = []
    for value in values:
        if value != neutral and value not in kept:
            kept.append(value)
    return tuple(kept)
