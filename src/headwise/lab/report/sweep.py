"""The page of a sweep: settings, the effect of each key and of pairs of keys, what fresh seeds say of the best."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from headwise.lab.formatting import format_metric, format_quantity, join_words
from headwise.lab.outputs import CONFIRMATION, REPORT
from headwise.lab.records import number
from headwise.lab.report import captions
from headwise.lab.report.comparison import BADGES
from headwise.lab.report.descriptions import describe_arm, describe_task, spaced
from headwise.lab.report.drawing import Levels
from headwise.lab.report.page import Column, Page, PairVerdict, Picture, Row, Table, numbers, picture
from headwise.lab.report.page_tables import pair_note, pair_table, run_facts
from headwise.lab.report.sweep_plots import Interaction, effects_of, heat_maps, main_effects
from headwise.lab.report.sweep_tables import TITLES, failures, left_out, marked, setting_cells

Plain = Mapping[str, Any]


def sweep_page(directory: Path, result: Plain) -> Page:
    """The page for the sweep in `directory`, whose sweep.json holds `result`."""
    confirmed = result["confirmation"]
    pairs = [] if confirmed is None else [("fresh seeds: ", confirmed["pair"])]
    pairs += [("", pair) for pair in result["pairs"]]
    names = join_words(list(result["keys"].values()))
    seeds = format_quantity(len(result["seeds"]), "seed")
    facts = run_facts(result["how"], result["seeds"], result.get("sources") or ())
    if confirmed is not None:
        facts.append(("fresh seeds", ", ".join(map(str, confirmed["seeds"]))))
        if (directory / CONFIRMATION / REPORT).is_file():
            facts.append(("the confirmation by itself", f"{CONFIRMATION}/{REPORT}"))
    return Page(
        title=f"{result['task']}: {names}",
        kicker=f"A sweep of {names} on {result['task']}",
        headline=result["headline"],
        lead=result["lead"],
        banner=captions.QUICK if result.get("quick") else "",
        tiles=[
            ("measured in", spaced(result["metric"])),
            (
                "floor – ceiling",
                f"{format_metric(number(result['floor']))} – {format_metric(number(result['ceiling']))}",
            ),
            ("settings", str(len(result["arms"]))),
            ("paired seeds", str(len(result["seeds"]))),
            ("base", result["base"]),
            ("matched on", join_words(list(result["parity"]["matched"])) or "nothing"),
        ],
        task=[
            describe_task(result["task"], result.get("task_summary") or "", result["task_config"]),
            captions.SWEEP.format(seeds=seeds, base=result["base"]),
            *(f"Not trained, {line}" for line in left_out(result)),
        ],
        arms=Table(
            [Column("setting", number=False), Column("what it is", number=False)],
            [
                Row([marked(result, label), describe_arm(arm["arm"], arm["model"])])
                for label, arm in result["arms"].items()
            ],
        ),
        results=Table(numbers(*TITLES), [Row(setting_cells(result, label)) for label in result["arms"]]),
        result_notes=[captions.SWEEP_RESULTS],
        result_figures=_pictures(result),
        failures=failures(result),
        pairs=[
            PairVerdict(f"{where}{pair['kind']}", BADGES.get(pair["kind"], ""), pair["verdict"])
            for where, pair in pairs
        ],
        pair_numbers=pair_table(pairs),
        pair_note=pair_note([pair for _, pair in pairs]),
        caveats=[captions.SCOPE, captions.SWEEP_SCOPE],
        command=result["how"]["command"],
        how=facts,
        settings=json.dumps({"task": result["task_config"], "training": result["training"]}, indent=2),
        settings_title="Settings of the base in full",
    )


def figures(result: Plain) -> dict[str, Figure]:
    """The main effects, and the interactions of keys that have any; nothing where no run has a result."""
    metric = "normalised score" if result["normalised"] else spaced(result["metric"])
    ends = (0.0, 1.0) if result["normalised"] else (number(result["floor"]), number(result["ceiling"]))
    effects = effects_of({effect["name"]: _points(effect) for effect in result["effects"]})
    drawn = {"effects": main_effects(effects, Levels(*ends), metric)} if effects else {}
    maps = [
        Interaction(
            (one["names"][0], one["names"][1]),
            (one["values"][0], one["values"][1]),
            [[math.nan if value is None else value for value in row] for row in one["means"]],
        )
        for one in result["interactions"]
        if any(value is not None for row in one["means"] for value in row)
    ]
    return drawn | ({"interactions": heat_maps(maps, metric)} if maps else {})


def _points(effect: Plain) -> list[tuple[str, float, tuple[float, float] | None]]:
    """Value, mean and interval of a key's points that have a mean."""
    return [
        (point["shown"], point["mean"], None if point["interval"] is None else tuple(point["interval"]))
        for point in effect["points"]
        if point["mean"] is not None
    ]


def _pictures(result: Plain) -> list[Picture]:
    about = {
        "effects": ("What each key does", captions.MAIN_EFFECTS),
        "interactions": ("What pairs of keys do together", captions.INTERACTIONS),
    }
    return [picture(name, about[name][0], figure, about[name][1]) for name, figure in figures(result).items()]
