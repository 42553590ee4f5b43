"""What the results of a claim's commands must show: rules by name, each with a verdict and its evidence in a sentence.

A difference is judged by its interval: all of it on the claim's side of the stated size shows the claim, all of it on
the other side shows that it does not hold, and what lies between leaves it open.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from typing import Any, Literal, Protocol

from headwise.errors import InputError
from headwise.lab.formatting import format_confidence, format_magnitude, format_metric
from headwise.lab.records import number
from headwise.lab.statistics import CONFIDENCE
from headwise.schema import short

Outcome = Literal["holds", "does not hold", "undecided"]
Plain = Mapping[str, Any]


@dataclass(frozen=True)
class Judged:
    """A verdict and what it rests on."""

    outcome: Outcome
    evidence: str


class Rule(Protocol):
    """What every rule offers; `reads` are the names of the commands whose results it looks at."""

    @property
    def reads(self) -> tuple[str, ...]: ...

    def judge(self, results: Mapping[str, Any]) -> Judged:
        """Judge the results of the commands, by name.

        Raises:
            InputError: what the rule looks at is not in them.
        """


@dataclass(frozen=True)
class Difference:
    """an arm is better than another by so much, in the primary metric

    Args:
        of: the command, a comparison, a control or a sweep.
        a, b: the arms' labels; the claim is that `a` is the better one.
        at_least: by so much, in units of the metric, or as a share of what `b` reaches with `relative`.
        relative: whether it is such a share.
    """

    of: str
    a: str
    b: str
    at_least: float
    relative: bool = False

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.of,)

    def judge(self, results: Mapping[str, Any]) -> Judged:
        comparison = _comparison(results[self.of], self.of)
        gain = _gain(comparison, self.of, self.a, self.b)
        reached = number(comparison["arms"][self.b]["mean"])
        if gain is None or reached is None:
            return Judged("undecided", f"{self.a} against {self.b}: too few seeds for an interval")
        wanted = self.at_least * abs(reached) if self.relative else self.at_least
        share = f"{self.at_least:.1%} of {format_metric(reached)} = " if self.relative else ""
        asked = f"asked for: {share}{format_metric(wanted)} or more"
        return Judged(gain.beside(wanted), f"{self.a} minus {self.b}: {gain}; {asked}")


@dataclass(frozen=True)
class Growth:
    """the lead of an arm over another grows from one comparison to the next

    Args:
        of: the commands, in the order in which it grows.
        a, b: the arms' labels.
        at_least: by so much in all, in units of the metric.
    """

    of: tuple[str, ...]
    a: str
    b: str
    at_least: float = 0.0

    def __post_init__(self) -> None:
        if len(self.of) < 2:
            raise ValueError(f"of={list(self.of)}: name two comparisons or more, between which the lead grows")

    @property
    def reads(self) -> tuple[str, ...]:
        return self.of

    def judge(self, results: Mapping[str, Any]) -> Judged:
        gains = [_gain(_comparison(results[name], name), name, self.a, self.b) for name in self.of]
        known = [gain for gain in gains if gain is not None]
        if len(known) < len(gains):
            return Judged("undecided", f"{self.a} against {self.b}: too few seeds for an interval")
        first, last = known[0], known[-1]
        half = hypot(first.half, last.half)  # of a difference of two that are independent
        growth = Gain(last.middle - first.middle, half, CONFIDENCE)
        leads = ", ".join(f"{name} {format_metric(gain.middle)}" for name, gain in zip(self.of, known, strict=True))
        said = f"lead of {self.a} over {self.b}: {leads}; it grows by {growth}"
        return Judged(growth.beside(self.at_least), f"{said}; asked for: {format_metric(self.at_least)} or more")


@dataclass(frozen=True)
class Measure:
    """a number of a result lies within bounds

    Args:
        of: the command.
        at: the way to it: keys, numbers of places in lists, and names of rows in lists of rows that have a name.
        over: the way to another number, by which it is divided, or none.
        at_least, at_most: the bounds; null for none.
        unit: for the sentence.
    """

    of: str
    at: tuple[str, ...]
    over: tuple[str, ...] = ()
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""

    def __post_init__(self) -> None:
        if self.at_least is None and self.at_most is None:
            raise ValueError("at_least and at_most are both missing: give one or both")

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.of,)

    def judge(self, results: Mapping[str, Any]) -> Judged:
        found = number(_at(results[self.of], self.at, self.of))
        whole = number(_at(results[self.of], self.over, self.of)) if self.over else 1.0
        if found is None or not whole:
            return Judged("undecided", f"{', '.join(self.at)}: not measured")
        found /= whole
        unit = f" {self.unit}".rstrip()
        asked = [f"{sign} {_plain(bound)}" for sign, bound in self._bounds.items() if bound is not None]
        holds = (self.at_least is None or found >= self.at_least) and (self.at_most is None or found <= self.at_most)
        what = ", ".join(self.at) + (f" over {', '.join(self.over)}" if self.over else "")
        said = f"{what}: {_plain(found)}{unit}; asked for: {' and '.join(asked)}{unit}"
        return Judged("holds" if holds else "does not hold", said)

    @property
    def _bounds(self) -> dict[str, float | None]:
        return {"at least": self.at_least, "at most": self.at_most}


@dataclass(frozen=True)
class KeepsLaws:
    """a part of a plugin keeps the laws

    Args:
        of: the command, a `check-laws`.
        part: its kind and name, `gate function mine`.
    """

    of: str
    part: str

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.of,)

    def judge(self, results: Mapping[str, Any]) -> Judged:
        broken = _at(results[self.of], (self.part,), self.of)
        if not broken:
            return Judged("holds", f"{self.part} keeps the laws")
        return Judged("does not hold", f"{self.part}: {'; '.join(broken)}")


RULES: dict[str, type] = {"difference": Difference, "growth": Growth, "measure": Measure, "keeps_laws": KeepsLaws}


def together(judged: Sequence[Judged]) -> Outcome:
    """The verdict of a claim from those of its rules: one that does not hold decides."""
    outcomes = {one.outcome for one in judged}
    if "does not hold" in outcomes:
        return "does not hold"
    return "undecided" if "undecided" in outcomes else "holds"


@dataclass(frozen=True)
class Gain:
    """How much better one arm is than another: the middle of the interval, half its width, and its confidence."""

    middle: float
    half: float
    confidence: float

    def beside(self, wanted: float) -> Outcome:
        """Whether all of it lies on one side of the wanted size."""
        if self.middle - self.half >= wanted:
            return "holds"
        return "does not hold" if self.middle + self.half < wanted else "undecided"

    def __str__(self) -> str:
        ends = f"{format_metric(self.middle - self.half)} to {format_metric(self.middle + self.half)}"
        return f"{format_metric(self.middle)} ({format_confidence(self.confidence)} interval {ends})"


def _comparison(result: Any, name: str) -> Plain:
    """The comparison in what a command returned: itself, or the arms of a control."""
    found = result.get("comparison", result) if isinstance(result, Mapping) else {}
    if not isinstance(found, Mapping) or not {"arms", "pairs"} <= found.keys():
        raise InputError(f"command {name}: its result is no comparison")
    return found


def _gain(comparison: Plain, name: str, a: str, b: str) -> Gain | None:
    """How much better `a` is than `b`; None without an interval."""
    for label in (a, b):
        if label not in comparison["arms"]:
            raise InputError(f"command {name}: no arm {short(label)}; there are {', '.join(comparison['arms'])}")
    pair = next(pair for pair in comparison["pairs"] if {pair["a"], pair["b"]} == {a, b})
    if pair["interval"] is None:
        return None
    low, high = pair["interval"]
    sign = (1 if pair["a"] == a else -1) * (1 if comparison["higher_is_better"] else -1)
    return Gain(sign * (low + high) / 2, (high - low) / 2, pair.get("confidence") or CONFIDENCE)


def _at(result: Any, way: Sequence[str], name: str) -> Any:
    for place, key in enumerate(way):
        if isinstance(result, list):
            rows = {str(row.get("name")): row for row in result if isinstance(row, Mapping)}
            result = rows or {str(index): item for index, item in enumerate(result)}
        if not isinstance(result, Mapping) or key not in result:
            there = ", ".join(map(str, result)) if isinstance(result, Mapping) else short(result)
            raise InputError(f"command {name}: its result has no {'.'.join(way[: place + 1])}; there: {short(there)}")
        result = result[key]
    return result


def _plain(value: float) -> str:
    return format_magnitude(value) if abs(value) >= 1000 else f"{value:.4g}"
