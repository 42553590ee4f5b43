"""The page of claims: what each says, what it takes to believe it, and what its test said."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from headwise.lab.formatting import format_duration, format_quantity
from headwise.lab.report import captions
from headwise.lab.report.page_tables import source_facts

Plain = Mapping[str, Any]
SEVERAL = {"holds": "hold", "does not hold": "do not hold", "no verdict": "without a verdict"}
STYLES = {"holds": "better", "does not hold": "worse"}
"""Badges of the template by outcome; all others are open."""


@dataclass(frozen=True)
class Evidence:
    """What one rule of a claim found."""

    verdict: str
    style: str
    text: str


@dataclass(frozen=True)
class ShownClaim:
    """A claim as the template shows it."""

    name: str
    title: str
    source: str
    says: str
    needed: str
    finding: str
    verdict: str
    style: str
    evidence: Sequence[Evidence]
    commands: str
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ClaimsPage:
    """Everything that claims.html.j2 shows."""

    title: str
    headline: str
    banner: str
    claims: Sequence[ShownClaim]
    version: str = field(default_factory=lambda: metadata.version("headwise"))


def claims_page(result: Plain) -> ClaimsPage:
    """The page for the content of claims.json."""
    claims = [_shown(claim) for claim in result["claims"]]
    counted = Counter(claim.verdict for claim in claims)
    headline = ", ".join(f"{count} {SEVERAL.get(o, o) if count > 1 else o}" for o, count in counted.most_common())
    whole = f"{format_quantity(len(claims), 'claim')}: {headline}"
    return ClaimsPage("The book of claims", whole, captions.QUICK if result["quick"] else "", claims)


def _shown(claim: Plain) -> ShownClaim:
    verdict = claim["verdict"] or {"outcome": "not tested", "evidence": [], "commands": []}
    commands = verdict["commands"] or [{"command": f"headwise {one['run']}"} for one in claim["commands"].values()]
    facts = [("takes", f"about {claim['minutes']:g} minutes on two cores")]
    if claim["verdict"]:
        facts += [
            ("tested", verdict["date"]),
            ("on", verdict["machine"]),
            ("took", format_duration(verdict["seconds"])),
        ]
        facts += source_facts([verdict["headwise"]])
    return ShownClaim(
        **{key: claim[key] for key in ("name", "title", "source", "says", "needed", "finding")},
        verdict=verdict["outcome"],
        style=STYLES.get(verdict["outcome"], "open"),
        evidence=[
            Evidence(one["outcome"], STYLES.get(one["outcome"], "open"), one["text"]) for one in verdict["evidence"]
        ],
        commands="\n".join(one["command"] for one in commands),
        facts=facts,
    )
