"""The page of a measurement of heads: how well the measures guess what ablation costs, and a map of every head."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headwise.lab.formatting import (
    MISSING,
    format_count,
    format_decimal,
    format_difference,
    format_duration,
    format_magnitude,
    format_metric,
    format_quantity,
)
from headwise.lab.records import number
from headwise.lab.report import heads_plots
from headwise.lab.report.page import CaptionedTable, Column, Page, Picture, Row, Table, numbers, picture
from headwise.lab.report.page_tables import source_facts

Plain = Mapping[str, Any]
MEANINGS = {
    "contribution": "mean over tokens of the length of what it adds to the layer's output",
    "gradient": "mean over tokens of the size of the derivative by its gate at that token",
    "fisher": "the same squared",
    "first_order": "loss that closing it adds, to first order",
    "mean_gradient": "size of the derivative by its gate, one for all tokens",
    "second_order": "what closing it costs, to second order",
}
"""What each measure says of a head or group."""
ORDER = "gradient"
"""The measure by which heads are put in order."""
SHOWN = 10
KINDS = {"heads": "head", "groups": "key/value group"}
AGREEMENT = (
    "Spearman's rank correlation between the measure and the cost of leaving the unit out, over those that were; about "
    "95 %. Below zero the measure points the wrong way."
)
MAPS = (
    "A row is an attention layer, a column {unit}; darker is more, as a share of the map's largest, on a scale of "
    "factors."
)
TRUTH = "Each point is {unit} that was left out; the cost is the mean over the examples."
GATE_ONE = (
    "Every measure looks at one head, or group, with all others there: two that can stand in for each other both look "
    "unimportant, and leaving out both may cost much."
)
THIS_TEXT = "It holds for this text: on another, other heads may matter."


@dataclass(frozen=True)
class Unit:
    """A head or a group: its layer, its number there, its measures, and what leaving it out cost."""

    site: int
    unit: int
    measures: Mapping[str, float | None]
    change: float | None
    error: float | None


def units_of(found: Plain) -> list[Unit]:
    """Every head, or group, the most important by `ORDER` first."""
    ablated = {(one["site"], one["unit"]): one for one in found["ablation"]}
    some = next(iter(found["measures"].values()))
    units = [
        Unit(
            site,
            unit,
            {name: number(values[site][unit]) for name, values in found["measures"].items()},
            number(ablated.get((site, unit), {}).get("change")),
            number(ablated.get((site, unit), {}).get("error")),
        )
        for site, own in enumerate(some)
        for unit in range(len(own))
    ]
    return sorted(units, key=lambda one: -(one.measures.get(ORDER) or 0.0))


def heads_page(result: Plain) -> Page:
    """The page for the content of heads.json."""
    kinds = {kind: result[kind] for kind in KINDS if result[kind]}
    heads = units_of(result["heads"])
    causal = result["kind"] == "causal"
    return Page(
        title=f"{result['model']}: importance of heads",
        kicker=f"{format_quantity(len(heads), 'head')} of {result['model']} ({result['architecture']})",
        headline=headline(result),
        lead=[],
        tiles=[
            ("parameters", format_magnitude(result["parameters"])),
            ("layers", format_count(len(result["sites"]))),
            *(
                (kind if kind == "heads" else "key/value groups", format_count(len(units_of(own))))
                for kind, own in kinds.items()
            ),
            *([("loss, nats", format_metric(number(result["value"])))] if causal else []),
            ("examples", format_count(result["examples"])),
            ("tokens", format_count(result["tokens"])),
        ],
        task_title="What was measured",
        task=[
            f"On {format_quantity(result['examples'], 'block' if causal else 'line')} of {result['text']}, what each "
            + ("head does for the loss of the next token." if causal else "head does for the model's own embeddings.")
        ],
        arms=Table(
            [Column("measure", number=False), Column("what it says", number=False)],
            [Row([spaced(name), MEANINGS.get(name, "")]) for name in result["heads"]["measures"]],
        ),
        results=_extremes(heads, result),
        result_notes=[f"The {SHOWN} heads with the largest and with the smallest {ORDER}; all are in heads.json."],
        result_figures=[each for kind, own in kinds.items() for each in _pictures(kind, own, result["unit"])],
        result_tables=[
            CaptionedTable(f"Measures of {kind} against ablation", agreement_table(own), AGREEMENT)
            for kind, own in kinds.items()
            if own["agreement"]
        ],
        caveats=[GATE_ONE, THIS_TEXT],
        how=[("took", format_duration(number(result["seconds"]))), *source_facts([result["headwise"]])],
        settings=json.dumps(
            {key: result.get(key) for key in ("text", "examples", "context", "ablate", "seed")}, indent=2
        ),
    )


def headline(result: Plain) -> str:
    """What came out, in a sentence."""
    agreement = {
        name: one["correlation"]
        for name, one in result["heads"]["agreement"].items()
        if number(one["correlation"]) is not None
    }
    if agreement:
        best = max(agreement, key=lambda name: agreement[name])
        count = result["heads"]["agreement"][best]["number"]
        return (
            f"Of the measures, {spaced(best)} comes closest to what leaving a head out costs: rank correlation "
            f"{format_decimal(agreement[best], 2)} over {count} heads"
        )
    values = sorted((one.measures.get(ORDER) or 0.0) for one in units_of(result["heads"]))
    least = values[: len(values) // 4]
    total = sum(values)
    share = 100 * sum(least) / total if total else 0.0
    return f"A quarter of the heads makes up {format_decimal(share, 1)} % of all {ORDER}"


def agreement_table(found: Plain) -> Table:
    """Every measure with its rank correlation, the best first."""
    rows = sorted(found["agreement"].items(), key=lambda item: -(number(item[1]["correlation"]) or -2.0))
    return Table(
        numbers("measure", "rank correlation", "95 %", "left out"),
        [
            Row(
                [
                    spaced(name),
                    format_decimal(number(one["correlation"]), 2),
                    MISSING
                    if one["interval"] is None
                    else " to ".join(format_decimal(end, 2) for end in one["interval"]),
                    format_count(one["number"]),
                ]
            )
            for name, one in rows
        ],
    )


def spaced(name: str) -> str:
    """A measure as it is read."""
    return name.replace("_", " ")


def _extremes(heads: list[Unit], result: Plain) -> Table:
    ablated = any(one.change is not None for one in heads)
    shown = heads if len(heads) <= 2 * SHOWN else [*heads[:SHOWN], *heads[-SHOWN:]]
    titles = ["layer", "head", *map(spaced, result["heads"]["measures"])]
    rows = [
        Row(
            [
                str(result["sites"][one.site]),
                str(one.unit),
                *(format_difference(value) for value in one.measures.values()),
                *([_cost(one)] if ablated else []),
            ]
        )
        for one in shown
    ]
    return Table(numbers(*titles, *([f"left out, {result['unit']}"] if ablated else [])), rows)


def _cost(one: Unit) -> str:
    if one.change is None:
        return MISSING
    return f"{format_difference(one.change, signed=True)} ± {format_difference(one.error)}"


def _pictures(kind: str, found: Plain, unit: str) -> list[Picture]:
    said = {"unit": f"a {KINDS[kind]}"}
    measures = {name: found["measures"][name] for name in ("contribution", ORDER) if name in found["measures"]}
    pictures = [
        picture(f"map-{kind}", f"Every {KINDS[kind]}", heads_plots.maps(measures, KINDS[kind]), MAPS.format(**said))
    ]
    points = [one for one in units_of(found) if one.change is not None]
    if len(points) > 1:
        values = {name: [one.measures[name] for one in points] for name in measures}
        figure = heads_plots.against_ablation(values, [one.change for one in points], unit)
        pictures.append(picture(f"truth-{kind}", f"Leaving {kind} out", figure, TRUTH.format(**said)))
    return pictures
