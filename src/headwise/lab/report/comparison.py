"""The page of a comparison: verdict, what was compared, numbers, plots, and what they do not show."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headwise.lab.comparison.headlines import best_arm
from headwise.lab.comparison.verdicts import MEANINGFUL, MetricBounds
from headwise.lab.formatting import (
    MINUS,
    format_count,
    format_interval,
    format_magnitude,
    format_metric,
    format_normalised,
    format_percent,
    format_quantity,
    format_short,
    join_words,
)
from headwise.lab.names import left_out, with_short_names
from headwise.lab.outputs import run_directory
from headwise.lab.records import Run, number, read_run
from headwise.lab.report import captions, plots
from headwise.lab.report.analysis import analyses
from headwise.lab.report.descriptions import (
    describe_arm,
    describe_task,
    diagnose,
    no_reference_reached,
    spaced,
    unequal_cost,
    unequal_examples,
)
from headwise.lab.report.drawing import Levels
from headwise.lab.report.mixtures import mixture_figures
from headwise.lab.report.page import Column, Page, PairVerdict, Picture, Row, Table, numbers, picture
from headwise.lab.report.page_tables import ROUTING_KEYS, pair_note, pair_table, routing_table, run_facts
from headwise.lab.report.tables import looks_sentence

Plain = Mapping[str, Any]
BADGES = {"better": "better", "worse": "worse"} | dict.fromkeys(
    ("too few seeds", "no result", "no verdict", "at the floor"), "open"
)
SPREADS = ("heads", "steps", "inputs")


def comparison_page(directory: Path, result: Plain) -> Page:
    """The page for the comparison in `directory`, whose comparison.json holds `result`."""
    return _Comparison(directory, result).page()


class _Comparison:
    def __init__(self, directory: Path, result: Plain) -> None:
        self.labels = list(result["arms"])
        self.result = result = with_short_names(result)
        self.arms: dict[str, Plain] = result["arms"]
        self.metric = spaced(result["metric"])
        self.bounds = MetricBounds(
            number(result["floor"]), number(result["ceiling"]), result.get("higher_is_better", True)
        )
        self.others = {
            name: value
            for name, entry in (result.get("references") or {}).items()
            if name not in ("floor", "ceiling") and (value := number(entry)) is not None
        }
        self.levels = Levels(self.bounds.floor, self.bounds.ceiling, self.others)
        self.colours = {label: index for index, label in enumerate(self.arms)}
        self.runs: dict[str, list[Run]] = {
            name: [read_run(run_directory(directory, label, seed)) for seed in result["seeds"]]
            for label, name in zip(self.labels, self.arms, strict=True)
        }

    def page(self) -> Page:
        result, seeds = self.result, self.result["seeds"]
        routing, diagnosis = self.routing()
        return Page(
            title=f"{result['task']}: {join_words(list(self.arms))}",
            kicker=f"A comparison of {format_quantity(len(self.arms), 'arm')} on {result['task']}",
            headline=result["headline"],
            lead=self.lead(),
            banner=captions.QUICK if result.get("quick") else "",
            tiles=[
                ("measured in", self.metric),
                ("floor – ceiling", f"{format_metric(self.bounds.floor)} – {format_metric(self.bounds.ceiling)}"),
                ("paired seeds", str(len(seeds))),
                ("updates per run", format_count(result.get("updates"))),
                ("examples per run", format_count(result.get("examples"))),
                ("matched on", " and ".join(result["parity"]["matched"]) or "nothing"),
            ],
            task=self.task(),
            arms=self.arm_table(),
            results=self.result_table(),
            result_notes=self.result_notes(),
            result_figures=self.result_figures(),
            failures=[
                f"{label}, seed {seed}: {error}"
                for label, arm in self.arms.items()
                for seed, error in arm["failures"].items()
            ],
            pairs=[PairVerdict(p["kind"], BADGES.get(p["kind"], ""), p["verdict"]) for p in result["pairs"]],
            pair_figures=self.pair_figures(),
            pair_numbers=pair_table([("", pair) for pair in result["pairs"]]),
            pair_note=pair_note(result["pairs"]),
            training_figures=self.training_figures(),
            diagnosis=diagnosis,
            routing=routing,
            routing_figures=self.routing_figures(),
            routing_note=captions.ROUTING,
            metrics=self.metric_table(),
            metrics_note=captions.METRICS,
            analyses=analyses({f"{label}, seed {seeds[0]}": runs[0] for label, runs in self.runs.items()}),
            caveats=self.caveats(),
            command=result["how"]["command"],
            how=run_facts(result["how"], seeds, result.get("sources") or ()),
            settings=json.dumps({"task": result["task_config"], "training": result["training"]}, indent=2),
        )

    def lead(self) -> list[str]:
        means = {label: number(arm["mean"]) for label, arm in self.arms.items()}
        best = best_arm(means, self.bounds.higher_is_better)
        if best is None:
            return []
        which = "Highest" if self.bounds.higher_is_better else "Lowest"
        controls = [label for label, arm in self.arms.items() if arm.get("control") and label != best]
        reached = [f"{best} {self.reached(means[best])}"]
        reached += [f"the control {label} {self.reached(means[label])}" for label in controls]
        return [f"{which} mean {self.metric}: {'; '.join(reached)}. {self.cost()}"]

    def reached(self, mean: float | None) -> str:
        """A mean, and its normalised score where there is one."""
        normalised = self.bounds.normalised(mean)
        relative = f" (normalised score {format_normalised(normalised)})" if normalised is not None else ""
        return f"{format_metric(mean)}{relative}"

    def cost(self) -> str:
        labels = list(self.arms)
        costs = {label: arm["flops_ratio"] for label, arm in self.arms.items()}
        dearer = [f"{label} {ratio:.1f}" for label, ratio in costs.items() if ratio > 1.05]
        if not dearer:
            return "All arms cost about the same FLOPs per example."
        return f"In FLOPs per example, with {labels[0]} as 1: {join_words(dearer)}."

    def task(self) -> list[str]:
        result, bounds = self.result, self.bounds
        direction = "higher" if bounds.higher_is_better else "lower"
        score = f"The score is {self.metric}; {direction} is better."
        if bounds.floor is not None:
            score += f" On the same test examples a trivial predictor reaches {format_metric(bounds.floor)} (the floor)"
            score += (
                f", and the best possible one {format_metric(bounds.ceiling)} (the ceiling)" if bounds.ceiling else ""
            )
            score += "."
        if self.others:
            score += (
                " Also shown: " + join_words([f"{spaced(n)} {format_metric(v)}" for n, v in self.others.items()]) + "."
            )
        times, updates = format_quantity(len(result["seeds"]), "time"), format_count(result.get("updates"))
        matched = " and ".join(result["parity"]["matched"])
        varied = ["the learning rates"] if self.presets_differ() else []
        varied += dict.fromkeys(key for arm in self.arms.values() for key in arm.get("varied") or ())
        recipe = "the same recipe" + (f" but for {join_words(varied)}" if varied else "")
        sized = f"the size of {next(iter(self.arms))} within 1 %: {matched}" if matched else "sizes of their own"
        sized += " of backbone and controller, embedding and read-out not counted" if matched else ""
        fair = (
            f"Every arm was trained {times} with the same data in the same order, {recipe} and {updates} "
            f"updates; seed k is one data set for all arms. Arms have {sized}."
        )
        said = [describe_task(result["task"], result.get("task_summary", ""), result["task_config"]), score, fair]
        return said + [text for text in (left_out(self.labels),) if text]

    def arm_table(self) -> Table:
        rows = [
            Row([label, describe_arm(arm["arm"], arm["model"])], self.colours[label])
            for label, arm in self.arms.items()
        ]
        return Table([Column("arm", number=False), Column("what it is", number=False)], rows)

    def result_table(self) -> Table:
        columns = numbers("arm", self.metric, "95 % interval")
        columns += [Column("normalised score", number=False, bar=True)]
        columns += numbers("", "parameters", "FLOPs / example", "samples / s")[1:]
        rows = [
            Row(
                [
                    label,
                    format_metric(number(arm["mean"])),
                    format_interval(arm["interval"]),
                    "",
                    format_count(arm["parameters"]),
                    format_magnitude(number(arm["flops_per_example"])),
                    format_count(number(arm["samples_per_second"])),
                ],
                self.colours[label],
                self.bounds.normalised(number(arm["mean"])),
            )
            for label, arm in self.arms.items()
        ]
        ends = [
            ("ceiling", self.bounds.ceiling),
            *((spaced(n), v) for n, v in self.others.items()),
            ("floor", self.bounds.floor),
        ]
        rows += [
            Row(
                [name, format_metric(level), "", "", "", "", ""],
                normalised=self.bounds.normalised(level),
                reference=True,
            )
            for name, level in ends
            if level is not None
        ]
        return Table(columns, rows)

    def result_notes(self) -> list[str]:
        notes = [self.intervals(), captions.COSTS]
        notes += [looks_sentence(self.result)] if self.result.get("looks") else []
        missed = no_reference_reached(self.others, list(self.arms.values()), self.bounds.higher_is_better)
        if missed:
            notes.append(f"No arm reaches the {join_words(missed)}, which needs no training.")
        if self.presets_differ():
            presets = {label: arm["preset"] for label, arm in self.arms.items()}
            named = [f"{label} has {preset['name']} (lr {preset['lr']:g})" for label, preset in presets.items()]
            notes.append(f"Learning rates are part of what is compared: {join_words(named)}.")
        return notes

    def intervals(self) -> str:
        """How the intervals are made, and on which scale."""
        low, high = (number(end) for end in self.result.get("metric_range") or (None, None))
        ends = {"low": format_short(low), "high": format_short(high)}
        scale = captions.INTERVALS_WITHIN[(low is not None) + (high is not None)]
        return f"{captions.INTERVALS}{scale.format(**ends)}."

    def presets_differ(self) -> bool:
        return len({json.dumps(arm.get("preset")) for arm in self.arms.values()}) > 1

    def estimates(self) -> dict[str, plots.Estimate]:
        return {
            label: plots.Estimate(
                [value for entry in arm["values"] if (value := number(entry)) is not None],
                mean,
                tuple(arm["interval"]) if arm["interval"] else None,
                number(arm["flops_per_example"]),
                self.colours[label],
            )
            for label, arm in self.arms.items()
            if (mean := number(arm["mean"])) is not None
        }

    def result_figures(self) -> list[Picture]:
        estimates = self.estimates()
        if not estimates:
            return []
        return [
            picture(
                "results",
                "Results with intervals",
                plots.results(estimates, self.levels, self.metric),
                captions.RESULTS,
            ),
            picture(
                "efficiency",
                "What it costs",
                plots.efficiency(estimates, self.levels, self.metric),
                captions.EFFICIENCY,
            ),
        ]

    def pair_figures(self) -> list[Picture]:
        shown = [
            (
                f"{pair['a']} {MINUS} {pair['b']}",
                difference,
                tuple(pair["interval"]) if pair["interval"] else None,
            )
            for pair in self.result["pairs"]
            if (difference := number(pair["difference"])) is not None
        ]
        if not shown:
            return []
        matters = None if self.bounds.length is None else MEANINGFUL * abs(self.bounds.length)
        caption = captions.DIFFERENCES
        caption += f"; {captions.DIFFERENCES_ZONE.format(share=format_percent(MEANINGFUL))}." if matters else "."
        return [picture("differences", "Differences", plots.differences(shown, matters, self.metric), caption)]

    def training_figures(self) -> list[Picture]:
        curves = {label: [run.curve(self.result["metric"]) for run in runs] for label, runs in self.runs.items()}
        if not any(x for curve in curves.values() for x, _ in curve):
            return []
        figure = plots.learning_curves(curves, self.levels, self.metric, self.colours)
        return [picture("curves", "Learning curves", figure, captions.CURVES)]

    def routing(self) -> tuple[Table | None, list[str]]:
        found: dict[str, dict[str, float | None]] = {}
        diagnosis = []
        for label, runs in self.runs.items():
            records = [{**run.routing[-1], **run.gate_spread()} for run in runs if run.gates is not None]
            if records:
                found[label] = means = {key: _mean([record.get(key) for record in records]) for key in ROUTING_KEYS}
                spread = {key: mean for key in SPREADS if (mean := means[key]) is not None}
                diagnosis += diagnose(label, self.arms[label]["arm"], means, spread)
        without = [label for label in self.arms if label not in found]
        if found and without:
            diagnosis.append(f"Without a router: {join_words(without)}.")
        return routing_table(found), diagnosis

    def routing_figures(self) -> list[Picture]:
        figures = []
        gates = {label: g for label, runs in self.runs.items() if (g := _first(run.gates for run in runs)) is not None}
        if gates:
            caption = f"{captions.GATES} {captions.GATES_FIRST_SEED}"
            figures.append(picture("gates", "Gates per head over refinement steps", plots.gate_maps(gates), caption))
        effective = {label: [run.routing_curve("effective_heads_mean") for run in self.runs[label]] for label in gates}
        if any(x for curves in effective.values() for x, _ in curves):
            heads = max(gate.shape[-1] for gate in gates.values())
            figure = plots.effective_heads(effective, heads, self.colours)
            figures.append(picture("effective", "Effective heads over training", figure, captions.EFFECTIVE))
        return figures + mixture_figures(self.runs, self.colours)

    def metric_table(self) -> Table | None:
        names = list(dict.fromkeys(name for arm in self.arms.values() for name in arm.get("metrics") or {}))
        if len(names) < 2:
            return None
        ceilings = self.result.get("references_by_metric") or {}
        rows = []
        for name in names:
            cells = [format_metric(number((arm.get("metrics") or {}).get(name))) for arm in self.arms.values()]
            known = self.result if name == self.result["metric"] else ceilings.get(name) or {}
            ends = [format_metric(number(known.get(end))) for end in ("floor", "ceiling")]
            rows.append(Row([spaced(name), *cells, *ends]))
        return Table(numbers("metric", *self.arms, "floor", "ceiling"), rows)

    def caveats(self) -> list[str]:
        seeds, how = self.result["seeds"], self.result["how"]
        said = [captions.SCOPE]
        if any(arm["failures"] for arm in self.arms.values()):
            said.append(captions.FAILED)
        if len(seeds) < 10:
            said.append(captions.FEW_SEEDS.format(seeds=format_quantity(len(seeds), "seed")))
        said += [text for text in (unequal_cost(self.arms), unequal_examples(self.arms)) if text]
        if self.result["parity"]["matched"] == ["parameters"] or self.result["parity"]["mode"] != "none":
            said.append(captions.WIDTHS)
        if how["processes"] > 1:
            said.append(captions.SPEED.format(processes=how["processes"]))
        return said


def _first(values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _mean(values: Sequence[Any]) -> float | None:
    known = [x for value in values if (x := number(value)) is not None]
    return sum(known) / len(known) if known else None
