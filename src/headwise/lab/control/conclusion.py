"""Whether routing matters, in a sentence: what the pairs of a comparison say of routers, once the controls are heard.

A routed arm's gain over the reference is credited to its router only where it beats the controls too: a fixed or random
choice of heads that gains as much shows that no choosing was needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from headwise.lab.comparison.headlines import QUICK
from headwise.lab.formatting import (
    format_confidence,
    format_decimal,
    format_difference,
    format_metric,
    format_p,
    format_quantity,
    join_words,
)
from headwise.lab.power import POWER
from headwise.lab.records import number
from headwise.lab.statistics import CONFIDENCE, MINIMUM_SEEDS
from headwise.models.arm import Arm
from headwise.schema import build

Plain = Mapping[str, Any]
Outcome = Literal["matters", "does not matter", "too few seeds", "nothing learned", "no verdict"]
SETTLED = {"no difference", "equivalent", "identical", "no room", "worse"}
"""Kinds of a verdict that rule out a gain that matters."""
LEADS: dict[Outcome, str] = {
    "matters": "Routing matters here",
    "does not matter": "Routing does not matter here",
    "too few seeds": "Too few seeds to say",
    "nothing learned": "Nothing was learned here",
    "no verdict": "No verdict",
}
SEEN, NOT_SEEN = "This lab sees routing", "This lab does not see routing where it is known to help"


@dataclass(frozen=True)
class Conclusion:
    """An outcome for programs and a sentence for people."""

    outcome: Outcome
    sentence: str


class Evidence:
    """The arms of a comparison by what they are, and the pairs among them as seen from either side.

    Attributes:
        reference: the first arm, without a router.
        routed: arms with a router that learns.
        controls: arms that choose nothing, but for the reference.
        oracle: the arm with the right heads opened, or None.
    """

    def __init__(self, comparison: Plain) -> None:
        self.arms: Mapping[str, Plain] = comparison["arms"]
        self.pairs: Sequence[Plain] = comparison["pairs"]
        self.higher: bool = comparison["higher_is_better"]
        self.share = list(comparison.get("metric_range") or ()) == [0, 1]
        routers = {label: build(Arm, arm["arm"], f"arms.{label}.arm").router for label, arm in self.arms.items()}
        self.reference, *others = self.arms
        self.routed = [label for label in others if routers[label].learned]
        self.controls = [label for label in others if self.arms[label].get("control")]
        self.oracle = next((label for label in others if routers[label].follows_route), None)

    @property
    def deciding(self) -> list[Plain]:
        """The pairs that the conclusion rests on: of routed arms with the reference and with the controls."""
        others = [self.reference, *self.controls]
        return [self.pair(label, other) for other in others for label in self.routed]

    def pair(self, a: str, b: str) -> Plain:
        """The pair of two arms, in either order."""
        return next(pair for pair in self.pairs if {pair["a"], pair["b"]} == {a, b})

    def kind(self, a: str, b: str) -> str:
        """What was decided of a pair, as seen from `a`."""
        pair = self.pair(a, b)
        turned = {"better": "worse", "worse": "better"} if pair["a"] == b else {}
        return turned.get(pair["kind"], str(pair["kind"]))

    def ahead(self, a: str, b: str) -> float:
        """How much better `a` is than `b`, whatever the direction of the metric; 0 where that is not known."""
        pair = self.pair(a, b)
        return (number(pair["difference"]) or 0.0) * self._sign(pair, a)

    def interval(self, a: str, b: str) -> tuple[float, float] | None:
        pair = self.pair(a, b)
        if pair["interval"] is None:
            return None
        low, high = sorted(self._sign(pair, a) * end for end in pair["interval"])
        return low, high

    def beats_controls(self, arm: str) -> bool:
        return all(self.kind(arm, control) == "better" for control in self.controls)

    def sharing(self, arm: str) -> list[str]:
        """The controls to which a gain of `arm` belongs as much: they gain, too, or are ahead of it."""
        level = [control for control in self.controls if self.kind(arm, control) != "better"]
        return [one for one in level if self.kind(one, self.reference) == "better" or self.ahead(one, arm) >= 0]

    def amount(self, x: float, signed: bool = True, unit: bool = True) -> str:
        """A difference: of shares in points, else in units of the metric."""
        if self.share:
            return format_decimal(100 * x, 1, signed) + (" points" if unit else "")
        return format_difference(x, signed)

    def level(self, x: float | None) -> str:
        """A value of the metric: shares in per cent."""
        return f"{format_decimal(100 * x, 1)} %" if self.share and x is not None else format_metric(x)

    def _sign(self, pair: Plain, a: str) -> int:
        return (1 if pair["a"] == a else -1) * (1 if self.higher else -1)


def conclude(comparison: Plain, known: bool) -> Conclusion:
    """What a comparison of the arms of a control says of routing.

    Args:
        comparison: the content of its comparison.json.
        known: whether it is of the setting in which routing is known to help.
    """
    if comparison.get("quick"):
        return Conclusion("no verdict", QUICK)
    outcome, reason = _judge(Evidence(comparison), comparison["task"])
    lead = LEADS[outcome]
    if known and outcome != "no verdict":
        lead = SEEN if outcome == "matters" else NOT_SEEN
    return Conclusion(outcome, f"{lead}: {reason}.")


def _judge(found: Evidence, task: str) -> tuple[Outcome, str]:
    reference = found.reference
    kinds = {label: found.kind(label, reference) for label in found.routed}
    gained = [label for label, kind in kinds.items() if kind == "better"]
    credited = [label for label in gained if found.beats_controls(label)]
    if credited:
        return "matters", _credited(found, credited, task)
    if gained:
        return _not_credited(found, gained, kinds)
    seeds = min(int(found.pair(label, reference)["n"]) for label in found.routed)
    if seeds < MINIMUM_SEEDS:
        return (
            "no verdict",
            f"a test takes {MINIMUM_SEEDS} seeds with a result, here {'is' if seeds == 1 else 'are'} {seeds}",
        )
    if all(kind == "at the floor" for kind in kinds.values()):
        return "nothing learned", f"neither {reference} nor {join_words(found.routed)} rises above the floor"
    if all(kind in SETTLED for kind in kinds.values()):
        return "does not matter", f"{_none_ahead(found, kinds)}{_power(found, '; {} would have been seen')}"
    return (
        "too few seeds",
        f"{_none_ahead(found, kinds)}{_power(found, ', and {} would have been seen, no smaller one')}",
    )


def _credited(found: Evidence, arms: Sequence[str], task: str) -> str:
    first, *others = arms
    reference = found.reference
    text = f"{first} is {found.amount(found.ahead(first, reference))} ahead of {reference} on {task}"
    text += f" ({_evidence(found, first, reference)})"
    if others:
        also = [f"{label} ({found.amount(found.ahead(label, reference), unit=False)})" for label in others]
        text += f", and so {'is' if len(also) == 1 else 'are'} {join_words(also)}"
    if found.oracle is not None:
        reached = found.level(number(found.arms[found.oracle]["mean"]))
        text += f"; with the right heads opened for it ({found.oracle}) {reached}"
    return text


def _not_credited(found: Evidence, gained: Sequence[str], kinds: Mapping[str, str]) -> tuple[Outcome, str]:
    """A gain that the controls have as well, or may have."""
    best = max(gained, key=lambda label: found.ahead(label, found.reference))
    text = f"{best} is {found.amount(found.ahead(best, found.reference))} ahead of {found.reference}"
    shared = found.sharing(best)
    if not shared:
        level = [control for control in found.controls if found.kind(best, control) != "better"]
        which = "which chooses" if len(level) == 1 else "which choose"
        return "too few seeds", f"{text}, but not shown to be ahead of {join_words(level)}, {which} nothing"
    reach = [f"{control} ({found.amount(found.ahead(control, found.reference))})" for control in shared]
    text += f", but so {'is' if len(shared) == 1 else 'are'} {join_words(reach)}, without choosing; the gain is not "
    text += "credited to the router"
    settled = all(found.sharing(label) if label in gained else kind in SETTLED for label, kind in kinds.items())
    return ("does not matter" if settled else "too few seeds"), text


def _none_ahead(found: Evidence, kinds: Mapping[str, str]) -> str:
    worse = [label for label, kind in kinds.items() if kind == "worse"]
    if all(kind == "no room" for kind in kinds.values()):
        return f"{found.reference} reaches the ceiling without a router"
    if not worse:
        return f"no routed arm is shown to differ from {found.reference}"
    behind = [f"{label} ({found.amount(found.ahead(label, found.reference))})" for label in worse]
    return f"no routed arm is ahead of {found.reference}, and {join_words(behind)} behind it"


def _power(found: Evidence, text: str) -> str:
    """How large a difference so many seeds would have shown, put into `text`; nothing where that is not known."""
    pairs = [found.pair(label, found.reference) for label in found.routed]
    known = [x for pair in pairs if (x := number(pair["smallest_detectable"]))]
    if not known:
        return ""
    difference = f"a difference of {found.amount(max(known), signed=False)}"
    seeds = format_quantity(min(int(pair["n"]) for pair in pairs), "seed")
    return f"{text.format(difference)} (power {POWER}, {seeds})"


def _evidence(found: Evidence, a: str, b: str) -> str:
    pair, interval = found.pair(a, b), found.interval(a, b)
    said = []
    if interval is not None:
        low, high = (found.amount(end, unit=False) for end in interval)
        said.append(f"{format_confidence(number(pair.get('confidence')) or CONFIDENCE)} interval {low} to {high}")
    p = format_p(pair["p_paired"] if pair["p_holm"] is None else pair["p_holm"])
    said.append(f"p {p}" if p.startswith("<") else f"p = {p}")
    return ", ".join(said)


def curve_sentence(found: Evidence, curve: Sequence[Plain]) -> str | None:
    """What a wider FFN does to the lead of the routed arm; None without a curve or a result of it."""
    known = [point for point in curve if number(point["pair"]["difference"]) is not None]
    if not known:
        return None
    sign = 1 if found.higher else -1
    a, b = known[0]["pair"]["a"], known[0]["pair"]["b"]
    leads = [f"{found.amount(sign * point['pair']['difference'])} at {point['ffn']}" for point in known]
    text = f"By FFN width {a} is ahead of {b} by {join_words(leads)}"
    ahead = [point["ffn"] for point in known if point["pair"]["kind"] == "better"]
    level = [point for point in known if point["pair"]["kind"] != "better"]
    if ahead and not level:
        return f"{text}: no FFN of these widths does the router's job."
    if ahead and min(point["ffn"] for point in level) > max(ahead):
        job = ", the FFN does the router's job" if all(point["pair"]["kind"] in SETTLED for point in level) else ""
        return f"{text}: from {min(point['ffn'] for point in level)} on no lead is shown{job}."
    return f"{text}."
