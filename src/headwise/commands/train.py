"""`headwise train`: one run, or the rest of one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headwise.commands.result import Result, key_values
from headwise.files import read_mapping, user_path
from headwise.schema import FilePath, run_settings
from headwise.training import config, configuration
from headwise.training.files import SUMMARY


@dataclass(frozen=True)
class Options:
    """Train one arm on one task.

    task=, arm= and training= choose a file of values; keys with dots, such as arm.gate.k=2, set single ones. The result
    is the run's summary.

    Args:
        resume: directory of a run that stopped; it goes on from there, with its own settings.
        show: print the resolved settings, and train nothing.
        settings: of the run.
    """

    resume: FilePath | None = None
    show: bool = False
    settings: tuple[str, ...] = run_settings()


def run(options: Options) -> Result:
    """Train, or go on; with `show` only resolve the settings."""
    resume = None if options.resume is None else user_path(options.resume)
    base = None if resume is None else config.read(resume).to_plain()
    settings = configuration.load(options.settings, base)
    if options.show:
        return Result(settings.to_plain(), [key_values(settings.to_plain())])

    from headwise.training.run import train

    directory = train(settings, resume)
    summary = read_mapping(directory / SUMMARY)
    where = f"\nrun directory: {directory} (all numbers in {SUMMARY}; a page: headwise report {directory})"
    return Result(summary, [key_values(rows(summary)), where])


def rows(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The ten numbers of a run that matter, by the names that people read; the rest stands in summary.json.

    The task's loss is what was minimised on each term; where it is the metric, that alone is shown under this name.
    """
    from headwise.lab.formatting import format_count, format_duration, format_magnitude, format_metric
    from headwise.lab.records import number

    metric = str(summary["metric"])
    best = f"{format_count(number(summary['selected_update']))} of {format_count(number(summary['updates']))}"
    shown = {
        "run": f"{summary['arm']} on {summary['task']}, seed {summary['seed']}",
        f"test {metric.replace('_', ' ')}": format_metric(number(summary["value"])),
        "floor": format_metric(number(summary["floor"])),
        "ceiling": format_metric(number(summary["ceiling"])),
        "task loss": format_metric(number(summary["task_loss"])),
        "best update": best,
        "parameters": format_count(number(summary["parameters"])),
        "FLOPs/example": format_magnitude(number(summary["flops_per_example"])),
        "training time": format_duration(number(summary["train_seconds"])),
        "samples/s": format_count(number(summary["samples_per_second"])),
    }
    return {name: value for name, value in shown.items() if not (name == "task loss" and metric == "loss")}
