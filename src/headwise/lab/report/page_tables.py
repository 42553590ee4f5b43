"""Tables and facts that several pages share: pairs of arms, routing, and how it was run."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from headwise.lab.formatting import (
    MINUS,
    MISSING,
    format_confidence,
    format_decimal,
    format_difference,
    format_duration,
    format_interval_of_difference,
    format_p,
    format_quantity,
    format_short,
)
from headwise.lab.records import number
from headwise.lab.report import captions
from headwise.lab.report.page import Row, Table, numbers
from headwise.lab.statistics import CONFIDENCE

Plain = Mapping[str, Any]
ROUTING_ROWS = {
    "heads": "spread of the gates over heads",
    "steps": "… over refinement steps",
    "inputs": "… over tokens and examples",
    "heads_active_mean": "heads active",
    "effective_heads_mean": "effective heads",
    "top1_share": "share of the strongest head",
    "shared_weight": "share of the shared heads",
    "herfindahl": "Herfindahl index",
    "dead_heads": "dead heads",
    "entropy_mean": "entropy before selection / maximum",
    "refinement_steps_mean": "refinement steps taken",
    "slow_updates": "updates of the slow module",
    "temperature": "temperature",
}
ROUTING_KEYS = (*ROUTING_ROWS, "shared_heads")
"""What a page makes use of, among the routing diagnostics."""


def pair_table(pairs: Sequence[tuple[str, Plain]]) -> Table:
    """The statistics of pairs of arms, each with what its name begins with."""
    titles = ["pair", "difference", "interval", "of", "p paired", "p Holm", "p Welch", "g", "can show", "over examples"]
    more = {"p_equivalent": "p equivalent", "p_examples": "p McNemar"}
    shown = [key for key in more if any(pair.get(key) is not None for _, pair in pairs)]
    rows = [
        Row(
            [
                f"{prefix}{pair['a']} {MINUS} {pair['b']}",
                format_difference(number(pair["difference"]), signed=True),
                format_interval_of_difference(pair["interval"]),
                format_confidence(number(pair.get("confidence")) or CONFIDENCE),
                format_p(pair["p_paired"]),
                format_p(pair["p_holm"]),
                format_p(pair["p_welch"]),
                MISSING if pair["hedges_g"] is None else format_decimal(pair["hedges_g"], 2, signed=True),
                format_difference(number(pair["smallest_detectable"])),
                format_interval_of_difference(pair["interval_examples"]),
                *(format_p(number(pair.get(key))) for key in shown),
            ]
        )
        for prefix, pair in pairs
    ]
    return Table(numbers(*titles, *(more[key] for key in shown)), rows)


def pair_note(pairs: Sequence[Plain]) -> str:
    """How to read the table of pairs."""
    effect = next((number(pair.get("effect")) for pair in pairs), None)
    said = [captions.PAIRS]
    said += [] if effect is None else [captions.EQUIVALENT.format(effect=format_difference(effect))]
    said += [captions.MCNEMAR] if any(pair.get("p_examples") is not None for pair in pairs) else []
    return " ".join(said)


def routing_table(found: Mapping[str, Mapping[str, Any]]) -> Table | None:
    """The routing diagnostics of several arms side by side; None if none has any."""
    rows = []
    for key, name in ROUTING_ROWS.items():
        values = [number(means.get(key)) for means in found.values()]
        if any(value is not None for value in values):
            rows.append(Row([name, *(format_short(value) for value in values)]))
    return Table(numbers("", *found), rows) if rows else None


def run_facts(how: Plain, seeds: Sequence[int], sources: Iterable[Plain | None] = ()) -> list[tuple[str, str]]:
    """When, on what, with which versions and from which source."""
    versions = ", ".join(f"{name} {version}" for name, version in how["versions"].items())
    return [
        ("finished", how["date"].replace("T", " ")),
        ("took", format_duration(how["seconds"])),
        ("processes", f"{how['processes']}, each with {format_quantity(how['threads_per_process'], 'thread')}"),
        ("device", f"{how['device']} ({how['platform']})"),
        ("versions", versions),
        *source_facts(sources),
        ("seeds", ", ".join(map(str, seeds))),
    ]


def source_facts(sources: Iterable[Plain | None]) -> list[tuple[str, str]]:
    """The headwise that trained, as one fact; of runs from several sources each, as they may not be comparable."""
    said = dict.fromkeys(_source(source) for source in sources if source)
    return [("trained with", "; ".join(said))] if said else []


def _source(source: Plain) -> str:
    text = f"headwise {source.get('version', MISSING)}"
    if commit := source.get("commit"):
        text += f", commit {str(commit)[:12]}, {'with changes not committed' if source.get('dirty') else 'clean'}"
    return text
