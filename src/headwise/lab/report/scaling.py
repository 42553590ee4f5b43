"""The page of a scaling: what each arm reaches and costs at each size, and how its advantage goes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from headwise.lab.formatting import (
    format_count,
    format_decimal,
    format_duration,
    format_interval,
    format_magnitude,
    format_metric,
    format_quantity,
    join_words,
)
from headwise.lab.names import left_out, sizes_with_short_names
from headwise.lab.outputs import REPORT
from headwise.lab.records import number
from headwise.lab.report import captions
from headwise.lab.report.comparison import BADGES
from headwise.lab.report.descriptions import describe_arm, describe_task, spaced
from headwise.lab.report.drawing import Levels
from headwise.lab.report.page import Column, Page, PairVerdict, Picture, Row, Table, numbers, picture
from headwise.lab.report.page_tables import pair_note, pair_table, run_facts
from headwise.lab.report.scaling_plots import Gap, Panel, Point, advantages, against_parameters
from headwise.lab.report.scaling_tables import advantage_sentences, size_in_bytes
from headwise.lab.statistics import mean_interval

Plain = Mapping[str, Any]


def scaling_page(directory: Path, result: Plain) -> Page:
    """The page for the scaling in `directory`, whose scaling.json holds `result`."""
    shared, result = left_out(result["arms"]), sizes_with_short_names(result)
    sizes: Mapping[str, Plain] = result["sizes"]
    first = next(iter(sizes.values()))
    metric = spaced(result["metric"])
    reports = [f"{size}/{REPORT}" for size in sizes if (directory / size / REPORT).is_file()]
    counts = f"{format_quantity(len(result['arms']), 'arm')} at {format_quantity(len(sizes), 'size')}"
    return Page(
        title=f"{result['task']}: {join_words(result['arms'])} at {join_words(list(sizes))}",
        kicker=f"{counts} on {result['task']}",
        headline=result["headline"],
        lead=advantage_sentences(result),
        banner=captions.QUICK if result.get("quick") else "",
        tiles=[
            ("measured in", metric),
            ("floor – ceiling", f"{format_metric(number(first['floor']))} – {format_metric(number(first['ceiling']))}"),
            ("sizes", str(len(sizes))),
            ("seeds", " / ".join(dict.fromkeys(str(len(size["seeds"])) for size in sizes.values()))),
            ("updates per run", format_count(number(first.get("updates")))),
            ("matched on", " and ".join(first["parity"]["matched"])),
        ],
        task=[
            describe_task(result["task"], result.get("task_summary") or "", result["task_config"]),
            captions.SCALING,
            *([shared] if shared else []),
        ],
        arms=_arm_table(result),
        results=_result_table(result),
        result_notes=[captions.SCALING_COSTS],
        result_figures=_pictures(result),
        failures=[
            f"{size}, {label}, seed {seed}: {error}"
            for size, content in sizes.items()
            for label, arm in content["arms"].items()
            for seed, error in arm["failures"].items()
        ],
        pairs=[
            PairVerdict(f"{size}: {pair['kind']}", BADGES.get(pair["kind"], ""), pair["verdict"])
            for size, content in sizes.items()
            for pair in content["pairs"]
        ],
        pair_numbers=pair_table([(f"{size}: ", pair) for size, content in sizes.items() for pair in content["pairs"]]),
        pair_note=pair_note([pair for content in sizes.values() for pair in content["pairs"]]),
        caveats=[captions.SCOPE, captions.SCALING_SCOPE],
        command=result["how"]["command"],
        how=[
            *run_facts(result["how"], first["seeds"], result.get("sources") or ()),
            ("each size by itself", ", ".join(reports)),
        ],
        settings=json.dumps({"task": result["task_config"], "training": result["training"]}, indent=2),
    )


def figures(result: Plain) -> dict[str, Figure]:
    """The four plots, two in a row each: both metrics against parameters, and the advantage in both at each size."""
    colours = {label: index for index, label in enumerate(result["arms"])}
    panels = [panel for metric in result["metrics"] if (panel := _panel(result, metric)).arms]
    gaps = [gap for metric in result["metrics"] if (gap := _gap(result, metric)).arms]
    drawn = {"parameters": against_parameters(panels, colours)} if panels else {}
    if gaps:
        drawn["advantages"] = advantages(gaps, list(result["sizes"]), result["arms"][0], colours)
    return drawn


def _pictures(result: Plain) -> list[Picture]:
    about = {
        "parameters": ("Against parameters", captions.AGAINST_PARAMETERS),
        "advantages": ("Advantage at each size", captions.ADVANTAGES),
    }
    return [picture(name, about[name][0], figure, about[name][1]) for name, figure in figures(result).items()]


def _panel(result: Plain, metric: str) -> Panel:
    points: dict[str, list[Point]] = {}
    for content in result["sizes"].values():
        for label, arm in content["arms"].items():
            values = [value for value in arm["metrics_by_seed"].get(metric, []) if value is not None]
            if values:
                mean = mean_interval(values)
                # Of the primary metric the noise of the test examples and the limits are known as well
                interval = _interval(arm) if metric == result["metric"] else mean.interval
                points.setdefault(label, []).append(Point(arm["parameters"], mean.mean, interval))
    arms = {label: sorted(own, key=lambda point: point.parameters) for label, own in points.items()}
    return Panel(spaced(metric), arms, _levels(result, metric))


def _levels(result: Plain, metric: str) -> Levels:
    """Floor and ceiling of a metric: those of the smallest size, as all sizes see the same examples."""
    first = next(iter(result["sizes"].values()))
    known = first if metric == result["metric"] else (first.get("references_by_metric") or {}).get(metric) or {}
    return Levels(number(known.get("floor")), number(known.get("ceiling")))


def _interval(arm: Plain) -> tuple[float, float] | None:
    return (arm["interval"][0], arm["interval"][1]) if arm["interval"] else None


def _gap(result: Plain, metric: str) -> Gap:
    arms = {
        label: {
            size: (entry["advantage"], tuple(entry["interval"]) if entry["interval"] else None)
            for size, entry in arm["by_size"].items()
        }
        for label, arm in result["advantage"].get(metric, {}).items()
    }
    return Gap(spaced(metric), arms)


def _arm_table(result: Plain) -> Table:
    colours = {label: index for index, label in enumerate(result["arms"])}
    rows = [
        Row([label, size, describe_arm(arm["arm"], arm["model"])], colours[label])
        for size, content in result["sizes"].items()
        for label, arm in content["arms"].items()
    ]
    titles = [Column("arm", number=False), Column("size", number=False), Column("what it is", number=False)]
    return Table(titles, rows)


def _result_table(result: Plain) -> Table:
    colours = {label: index for index, label in enumerate(result["arms"])}
    columns = [Column("arm", number=False), Column("size", number=False)]
    columns += numbers("", *map(spaced, result["metrics"]), "95 % interval", "parameters", "ratio")[1:]
    columns += numbers("", "FLOPs / example", "training", "memory")[1:]
    rows = [
        Row(
            [
                label,
                size,
                *(format_metric(number((arm["metrics"] or {}).get(name))) for name in result["metrics"]),
                format_interval(arm["interval"]),
                format_count(arm["parameters"]),
                format_decimal(arm["parameter_ratio"], 3),
                format_magnitude(number(arm["flops_per_example"])),
                format_duration(number(arm["train_seconds"])),
                size_in_bytes(number(arm["peak_memory"])),
            ],
            colours[label],
        )
        for size, content in result["sizes"].items()
        for label, arm in content["arms"].items()
    ]
    return Table(columns, rows)
