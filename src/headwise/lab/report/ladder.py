"""The page of a ladder: which rung is broken and why, every check of every rung, and the curves of the runs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headwise.lab.formatting import MISSING, format_count, format_duration, format_metric, format_quantity
from headwise.lab.records import Run, number, read_run, readable_settings
from headwise.lab.report import captions, plots
from headwise.lab.report.descriptions import describe_arm, describe_task, spaced
from headwise.lab.report.drawing import Levels
from headwise.lab.report.page import Column, Page, Picture, Row, Table, picture
from headwise.lab.report.page_tables import source_facts

Plain = Mapping[str, Any]


def ladder_page(directory: Path, result: Plain) -> Page:
    """The page for the ladder in `directory`, whose ladder.json holds `result`."""
    rungs: list[Plain] = result["rungs"]
    runs = {str(rung["arm"]): read_run(directory / str(rung["run"])) for rung in rungs}
    settings = {label: readable_settings(run.directory) for label, run in runs.items()}
    climbed = sum(bool(rung["passed"]) for rung in rungs)
    untried = [str(arm) for arm in result["arms"][len(rungs) :]]
    ends = [format_metric(number(result.get(end))) for end in ("floor", "ceiling")]
    return Page(
        title=f"{result['task']}: ladder of {', '.join(map(str, result['arms']))}",
        kicker=f"A ladder of {format_quantity(len(result['arms']), 'arm')} on {result['task']}",
        headline=str(result["verdict"]),
        lead=[f"Not tried, as a rung before failed: {', '.join(untried)}."] if untried else [],
        banner=captions.QUICK if result.get("quick") else "",
        tiles=[
            ("measured in", spaced(str(result["metric"]))),
            ("floor – ceiling", " – ".join(ends)),
            ("rungs passed", f"{climbed} of {len(result['arms'])}"),
            ("updates a rung", format_count(number(result.get("updates")))),
            ("seed", str(result["seed"])),
        ],
        task=[*_task(settings), captions.LADDER],
        arms=_arms(settings),
        results=check_table(rungs),
        result_notes=[*_samples(rungs), captions.CHECKS],
        training_figures=_curves(result, runs),
        caveats=[captions.LADDER_SCOPE],
        how=[
            ("took", format_duration(number(result.get("seconds")))),
            *source_facts(run.summary.get("headwise") for run in runs.values()),
        ],
        settings=json.dumps(result.get("limits"), indent=2),
        settings_title="What a rung may do",
    )


def check_table(rungs: list[Plain]) -> Table:
    """Every check but the samples, with what was found, what is allowed, and what it says where it failed."""
    titles = ("arm", "check", "found", "allowed", "", "what is wrong")
    columns = [Column(title, number=title in ("found", "allowed")) for title in titles]
    rows = [
        Row(
            [
                str(rung["arm"]),
                str(check["name"]),
                check_value(check["value"]),
                check_value(check["allowed"]),
                "passed" if check["passed"] else "failed",
                "" if check["passed"] else str(check["says"]),
            ],
            place,
        )
        for place, rung in enumerate(rungs)
        for check in rung["checks"]
        if check["name"] != "sample"
    ]
    return Table(columns, rows)


def check_value(value: Any) -> str:
    """What a check found or allows: a number with four figures, or words."""
    if isinstance(value, (int, float)):
        return f"{value:.2g}" if 0 < abs(value) < 1e-3 else f"{value:.4g}"
    return MISSING if value is None else str(value)


def _samples(rungs: list[Plain]) -> list[str]:
    return [
        f"{rung['arm']} writes: {check['value']} ({check['note']})"
        for rung in rungs
        for check in rung["checks"]
        if check["name"] == "sample"
    ]


def _task(settings: Mapping[str, Plain]) -> list[str]:
    tasks = [dict(own["task"]) for own in settings.values() if own]
    return [describe_task(str(task.pop("name")), "", task) for task in tasks[:1]]


def _arms(settings: Mapping[str, Plain]) -> Table:
    rows = [
        Row([label, describe_arm(own["arm"], own["model"]) if own else MISSING], place)
        for place, (label, own) in enumerate(settings.items())
    ]
    return Table([Column("arm", number=False), Column("what it is", number=False)], rows)


def _curves(result: Plain, runs: Mapping[str, Run]) -> list[Picture]:
    curves = {label: [run.curve(str(result["metric"]))] for label, run in runs.items()}
    if not any(x for ((x, _),) in curves.values()):
        return []
    levels = Levels(number(result.get("floor")), number(result.get("ceiling")))
    colours = {label: place for place, label in enumerate(runs)}
    figure = plots.learning_curves(curves, levels, spaced(str(result["metric"])), colours)
    return [picture("curves", "Learning curves", figure, captions.CURVE)]
