"""The page of one run: where its score stands, how it got there, and what its router did. A failed run has one too."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headwise.lab.comparison.verdicts import MetricBounds
from headwise.lab.formatting import (
    MISSING,
    format_count,
    format_duration,
    format_magnitude,
    format_metric,
    format_normalised,
)
from headwise.lab.records import Run, number, read_run, readable_settings, readable_text
from headwise.lab.report import captions, plots
from headwise.lab.report.analysis import analyses
from headwise.lab.report.descriptions import describe_arm, describe_task, diagnose, spaced
from headwise.lab.report.drawing import Levels
from headwise.lab.report.examples import watchable
from headwise.lab.report.mixtures import mixture_figures
from headwise.lab.report.page import CaptionedTable, Column, Page, Picture, Row, Table, numbers, picture
from headwise.lab.report.page_tables import routing_table, source_facts
from headwise.tasks import TASKS, entry
from headwise.training.files import FAILURE


def run_page(directory: Path) -> Page:
    """The page for a run directory, finished or not."""
    return _RunPage(read_run(directory), readable_settings(directory)).page()


class _RunPage:
    def __init__(self, run: Run, config: dict[str, Any]) -> None:
        self.run, self.config = run, config
        self.summary = summary = run.summary
        task = config.get("task", {}).get("name", summary.get("task", "unknown task"))
        self.task, self.label = str(task), str(summary.get("arm", config.get("name", "run")))
        known = entry(self.task) if self.task in TASKS else None
        self.key = str(summary.get("metric") or (known.task.metric if known else "loss"))
        self.about = known.summary if known else self.task
        self.metric = spaced(self.key)
        higher = summary.get("higher_is_better", known.task.higher_is_better if known else True)
        self.bounds = MetricBounds(number(summary.get("floor")), number(summary.get("ceiling")), bool(higher))
        references = {name: number(value) for name, value in (summary.get("references") or {}).items()}
        self.others = {n: v for n, v in references.items() if v is not None and n not in ("floor", "ceiling")}
        self.levels = Levels(self.bounds.floor, self.bounds.ceiling, self.others)

    def page(self) -> Page:
        seed = self.summary.get("seed", self.config.get("seed"))
        arm, spread = self.config.get("arm"), self.run.gate_spread()
        last = {**self.run.routing[-1], **spread} if spread else {}
        examples, missing = watchable(self.run.directory)
        return Page(
            title=f"{self.task}: {self.label}, seed {seed}",
            kicker=f"One run on {self.task}",
            headline=self.headline(),
            lead=[],
            banner=captions.QUICK if self.config.get("quick") else "",
            tiles=[
                ("arm", self.label),
                ("seed", str(seed)),
                ("updates", format_count(number(self.summary.get("updates")))),
                ("training time", format_duration(number(self.summary.get("train_seconds")))),
                ("parameters in all", format_count(number(self.summary.get("parameters")))),
                ("FLOPs / example", format_magnitude(number(self.summary.get("flops_per_example")))),
            ],
            task=[describe_task(self.task, self.about, _without_name(self.config.get("task", {})))],
            arms=self.arm_table(),
            results=self.result_table(),
            failures=self.failures(),
            training_figures=self.training_figures(),
            diagnosis=diagnose(self.label, arm, last, spread) if arm and last else [],
            routing=routing_table({self.label: last}),
            routing_figures=self.routing_figures(),
            routing_note=captions.ROUTING_OF_ONE,
            metrics=self.metric_table(),
            metrics_note=captions.METRICS_OF_ONE,
            examples=examples,
            examples_note=missing or (captions.EXAMPLES if examples else ""),
            profile=profile_table(self.run.profile),
            analyses=analyses({self.label: self.run}),
            caveats=[captions.ONE_RUN],
            how=self.how(),
            settings=json.dumps(self.config, indent=2) if self.config else self.run.config,
        )

    def headline(self) -> str:
        value = number(self.summary.get("value"))
        if value is None:
            return f"{self.label} did not finish" if not self.summary else f"{self.label} has no score"
        normalised = self.bounds.normalised(value)
        relative = f", a normalised score of {format_normalised(normalised)}" if normalised is not None else ""
        return f"{self.label} reaches {format_metric(value)} in {self.metric}{relative}"

    def arm_table(self) -> Table:
        arm, model = self.config.get("arm"), self.config.get("model")
        text = describe_arm(arm, model) if arm and model else "its configuration is missing"
        return Table([Column("arm", number=False), Column("what it is", number=False)], [Row([self.label, text], 1)])

    def result_table(self) -> Table:
        levels = [(self.label, number(self.summary.get("value"))), ("ceiling", self.bounds.ceiling)]
        levels += [(spaced(name), value) for name, value in self.others.items()] + [("floor", self.bounds.floor)]
        rows = [
            Row(
                [name, format_metric(level), ""],
                None if place else 1,
                self.bounds.normalised(level),
                reference=place > 0,
            )
            for place, (name, level) in enumerate(levels)
            if level is not None or place == 0
        ]
        return Table([*numbers("", self.metric), Column("normalised score", number=False, bar=True)], rows)

    def failures(self) -> list[str]:
        if traceback := readable_text(self.run.directory / FAILURE).strip():
            return [traceback.splitlines()[-1]]
        return [] if self.summary else ["The run has no summary: it was stopped, or is still going on."]

    def training_figures(self) -> list[Picture]:
        figures = []
        curve = self.run.curve(self.key)
        if curve[0]:
            figure = plots.learning_curves({self.label: [curve]}, self.levels, self.metric, {self.label: 1})
            figures.append(picture("curve", "Learning curve", figure, captions.CURVE))
        losses = {split: [self.run.curve("task_loss", split)] for split in ("train", "validation")}
        if any(x for ((x, _),) in losses.values()):
            figure = plots.losses(losses)
            figures.append(picture("loss", "Loss", figure, captions.LOSS))
        return figures

    def routing_figures(self) -> list[Picture]:
        gates, figures = self.run.gates, []
        if gates is not None:
            figure = plots.gate_maps({self.label: gates})
            figures.append(picture("gates", "Gates per head over refinement steps", figure, captions.GATES))
        effective = self.run.routing_curve("effective_heads_mean")
        if effective[0] and gates is not None:
            figure = plots.effective_heads({self.label: [effective]}, gates.shape[-1], {self.label: 1})
            figures.append(picture("effective", "Effective heads over training", figure, captions.EFFECTIVE))
        return figures + mixture_figures({self.label: [self.run]}, {self.label: 1})

    def metric_table(self) -> Table | None:
        metrics = self.summary.get("metrics") or {}
        rows = [Row([spaced(name), format_metric(number(value))]) for name, value in metrics.items()]
        return Table(numbers("metric", "value"), rows) if len(rows) > 1 else None

    def how(self) -> list[tuple[str, str]]:
        speed = number(self.summary.get("samples_per_second"))
        facts = [("directory", self.run.directory.name), ("device", str(self.config.get("device", MISSING)))]
        facts += source_facts([self.summary.get("headwise") or {}])
        return facts + ([("samples per second", format_count(speed))] if speed else [])


def profile_table(profile: Mapping[str, Any]) -> CaptionedTable | None:
    """Where an update's time goes, of a run that was profiled."""
    if not profile:
        return None
    columns = numbers("part", "calls", "forward, ms", "backward, ms", "share", "kept, MB")
    rows = [
        Row(
            [
                part["part"],
                format_count(round(part["calls"])),
                f"{part['forward_ms']:.2f}",
                f"{part['backward_ms']:.2f}",
                f"{part['share']:.1%}",
                f"{part['kept_mb']:.1f}",
            ]
        )
        for part in profile["parts"]
    ]
    peak = profile.get("peak_memory_mb")
    on_device = "" if peak is None else f" At most {format_count(peak)} MB of its memory were in use."
    caption = captions.PROFILE.format(updates=profile["updates"], device=profile["device"]) + on_device
    return CaptionedTable("Where an update's time goes", Table(columns, rows), caption)


def _without_name(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "name"}
