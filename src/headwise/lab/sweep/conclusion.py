"""A sweep in a sentence. The best of many settings looks better than it is, as its luck was chosen with it; so what is
said of it are fresh seeds, and by how much its lead shrank on them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from headwise.lab.comparison.headlines import QUICK
from headwise.lab.formatting import (
    format_confidence,
    format_difference,
    format_interval_of_difference,
    format_percent,
    format_quantity,
    join_words,
)
from headwise.lab.records import number

Plain = Mapping[str, Any]
DECIDED = ("better", "worse", "equivalent")
NAMED = 4
"""Settings that a sentence names; more stand in the table of pairs."""


def concluded(result: Plain, best: str | None, confirmation: Plain | None) -> dict[str, Any]:
    """What sweep.json says of the best setting: `best`, `confirmation`, `leads`, `headline` and `lead`.

    Args:
        result: of the search.
        best: label of the setting with the best validation mean.
        confirmation: content of the comparison.json of the base with it, on fresh seeds.
    """
    kept = None
    if confirmation is not None:
        (pair,) = confirmation["pairs"]
        arms = {
            label: {key: arm[key] for key in ("values", "mean", "interval", "failures")}
            for label, arm in confirmation["arms"].items()
        }
        kept = {"seeds": confirmation["seeds"], "arms": arms, "pair": pair, "headline": confirmation["headline"]}
    leads = leads_of(result, best, kept)
    own = {"best": best, "confirmation": kept, "leads": leads}
    return own | {"headline": headline(result, best, kept), "lead": notes(result, best, kept, leads)}


def leads_of(result: Plain, best: str | None, confirmation: Plain | None) -> dict[str, float | None]:
    """By how much the best setting is ahead of the base: on the validation examples, by which it was chosen; on the
    test examples with the same seeds; and with fresh ones. Positive is better, whatever the metric."""
    base, sign = result["base"], 1 if result["higher_is_better"] else -1
    if best is None or best == base:
        return dict.fromkeys(("validation", "search", "confirmed"))
    ours, theirs = result["arms"][best], result["arms"][base]
    pair = next((pair for pair in result["pairs"] if pair["a"] == best), None)
    known = {
        "validation": _difference(ours["validation_mean"], theirs["validation_mean"]),
        "search": None if pair is None else number(pair["difference"]),
        "confirmed": None if confirmation is None else number(confirmation["pair"]["difference"]),
    }
    return {name: None if value is None else sign * value for name, value in known.items()}


def headline(result: Plain, best: str | None, confirmation: Plain | None) -> str:
    """What may be said of the best setting."""
    tested = [label for label, arm in result["arms"].items() if arm["tested"]]
    base, count = result["base"], format_quantity(len(tested), "setting")
    if result["quick"]:
        return QUICK
    if len(tested) == 1 and len(result["arms"]) > 1:
        return "No verdict between settings: each has test examples of its own"
    if best is None:
        return "Nothing to choose from: no setting has a result with every seed"
    if best == base:
        return f"The base{f', {base},' if base != 'base' else ''} is the best of {count} on validation"
    if confirmation is None:
        return f"{best} is the best of {count} on validation; without fresh seeds (confirm=) that is no verdict"
    pair, seeds = confirmation["pair"], format_quantity(len(confirmation["seeds"]), "fresh seed")
    where = f"on {seeds}, after it was the best of {count} on validation"
    if pair["kind"] in ("better", "worse"):
        difference = number(pair["difference"]) or 0.0
        ends = sorted(abs(end) if difference * end > 0 else -abs(end) for end in pair["interval"])
        by = format_difference(abs(difference))
        interval = format_interval_of_difference(ends, signed=False)
        sure = f"{interval} with {format_confidence(pair['confidence'])} confidence"
        return f"{best} is {pair['kind']} than {base} by {by} ({sure}) {where}"
    if pair["kind"] == "equivalent":
        return f"{best} is equivalent to {base} {where}"
    return f"{best} is not shown to be better than {base} {where}: {pair['kind']}"


def notes(result: Plain, best: str | None, confirmation: Plain | None, leads: Plain) -> list[str]:
    """How much the lead shrank, what the search alone shows, and what it could not compare."""
    if result["quick"]:
        return []
    said = []
    promised, confirmed = leads["validation"], leads["confirmed"]
    if promised is not None and confirmed is not None:
        change = "it did not shrink"
        if 0 < confirmed < promised:
            change = f"it shrank by {format_percent(1 - confirmed / promised)}"
        elif confirmed <= 0:
            change = "it is gone"
        shown = {name: format_difference(number(value), signed=True) for name, value in leads.items()}
        said.append(
            f"It was chosen for a lead of {shown['validation']} on validation. On test examples the lead is "
            f"{shown['search']} with the same seeds and {shown['confirmed']} with fresh ones: {change}."
        )
    if result["pairs"]:
        said.append(f"The search by itself, against {result['base']}: {_counted(result['pairs'])}.")
    if result["given_up"]:
        said.append(
            f"Given up on validation before their last seed: {format_quantity(len(result['given_up']), 'setting')}."
        )
    if apart := [label for label, arm in result["arms"].items() if not arm["tested"]]:
        said.append(
            f"Not compared, as they have validation and test examples of their own: {', '.join(apart)}. Their scores "
            "stand between their own floor and ceiling."
        )
    return said


def _counted(pairs: Sequence[Plain]) -> str:
    """How many settings got which verdict, with the names of few of which something was decided."""
    groups: dict[str, list[str]] = {}
    for pair in pairs:
        groups.setdefault(pair["kind"], []).append(pair["a"])
    named = [kind for kind, labels in groups.items() if kind in DECIDED and len(labels) <= NAMED]
    return "; ".join(
        f"{kind}: {len(labels)}{f' ({join_words(labels)})' if kind in named else ''}" for kind, labels in groups.items()
    )


def _difference(a: Any, b: Any) -> float | None:
    return None if a is None or b is None else a - b
