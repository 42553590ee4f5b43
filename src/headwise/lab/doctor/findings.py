"""What the doctor says: findings, and the rules that make them.

A rule is a short function of one kind of evidence with a row of the troubleshooting guide: symptom, diagnosis, remedy
and the command that shows it. It yields where it saw its defect, and on what evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

Confidence = Literal["sure", "likely", "possible"]
"""Sure: shown directly. Likely: a sound model seldom looks so. Possible: sound models look so, too; worth a look."""

CONFIDENCES: tuple[Confidence, ...] = get_args(Confidence)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        what: the name of the rule.
        where: role, layer, parameter, split, arm or run.
        evidence: the numbers that say so.
        remedy: what to do.
        command: what shows it.
    """

    what: str
    where: str
    evidence: str
    confidence: Confidence
    remedy: str
    command: str

    @property
    def alarming(self) -> bool:
        """Whether it is more than worth a look."""
        return self.confidence != "possible"


@dataclass(frozen=True)
class Seen:
    """What a rule yields: where, on what evidence, how surely."""

    where: str
    evidence: str
    confidence: Confidence = "likely"


@dataclass(frozen=True)
class Rule:
    """One row of the troubleshooting guide, and the function that finds it.

    Attributes:
        name: of the defect, as findings say it.
        symptom: what someone stuck sees.
        diagnosis: what it comes from, and how the rule knows.
        remedy: what to do.
        command: what shows it; {target} is what is examined.
        look: evidence to what is seen of the defect.
    """

    name: str
    symptom: str
    diagnosis: str
    remedy: str
    command: str
    look: Callable[[Any], Iterable[Seen]]

    def findings(self, evidence: Any, target: str) -> Iterator[Finding]:
        """The rule's findings in `evidence`."""
        for seen in self.look(evidence):
            command = self.command.format(target=target)
            yield Finding(self.name, seen.where, seen.evidence, seen.confidence, self.remedy, command)


@dataclass
class Rules:
    """The rules about one kind of evidence, in the order in which someone stuck would go.

    Args:
        about: the kind, in a few words.
    """

    about: str
    rules: list[Rule] = field(default_factory=list)

    def __call__(
        self, name: str, *, symptom: str, diagnosis: str, remedy: str, command: str
    ) -> Callable[[Callable[[Any], Iterable[Seen]]], Callable[[Any], Iterable[Seen]]]:
        """Register the decorated function as a rule."""

        def registered(look: Callable[[Any], Iterable[Seen]]) -> Callable[[Any], Iterable[Seen]]:
            self.rules.append(Rule(name, symptom, diagnosis, remedy, command, look))
            return look

        return registered


@dataclass(frozen=True)
class Diagnosis:
    """What an examination came to.

    Attributes:
        target: what was examined.
        findings: the surest first.
        unexamined: what could not be looked at -> why.
    """

    target: str
    findings: Sequence[Finding] = ()
    unexamined: dict[str, str] = field(default_factory=dict)

    @property
    def alarming(self) -> bool:
        """Whether a finding is more than worth a look."""
        return any(finding.alarming for finding in self.findings)

    def __add__(self, other: Diagnosis) -> Diagnosis:
        ordered = sorted([*self.findings, *other.findings], key=lambda each: CONFIDENCES.index(each.confidence))
        return Diagnosis(self.target, ordered, self.unexamined | other.unexamined)

    def within(self, place: str) -> Diagnosis:
        """The same, of a part of what is examined."""
        placed = [replace(each, where=f"{place}: {each.where}" if each.where else place) for each in self.findings]
        return replace(self, findings=placed, unexamined={f"{place}: {k}": v for k, v in self.unexamined.items()})


def apply(rules: Rules, evidence: Any, target: str) -> Diagnosis:
    """What the rules find in the evidence; a rule that a broken model makes fail is noted, the others go on."""
    diagnosis = Diagnosis(target)
    for rule in rules.rules:
        try:
            found = Diagnosis(target, list(rule.findings(evidence, target)))
        except Exception as error:  # whatever a model of someone else raises
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            found = Diagnosis(target, [], {rule.name: reason[:200]})
        diagnosis = diagnosis + found
    return diagnosis


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first few names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
