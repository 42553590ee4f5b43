"""`headwise train`: one run, or the rest of one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from headwise.commands.result import Result, key_values
from headwise.errors import InputError
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
        dry_run: print parameters, FLOPs and time, and train nothing.
        teraflops: with dry_run: the rate at which another machine would train, in 10^12 FLOPs a second as it really
            reaches; null (default) times some passes on this one.
        settings: of the run.
    """

    waits: ClassVar[str] = "preparing data and model"

    resume: FilePath | None = None
    show: bool = False
    dry_run: bool = False
    teraflops: float | None = None
    settings: tuple[str, ...] = run_settings()


def run(options: Options) -> Result:
    """Train, or go on; with `show` only resolve the settings, with `dry_run` only plan."""
    if options.teraflops is not None and not options.dry_run:
        raise InputError(f"teraflops={options.teraflops:g}: is about dry_run=true; leave it out")
    resume = None if options.resume is None else user_path(options.resume)
    base = None if resume is None else config.read(resume).to_plain()
    settings = configuration.load(options.settings, base)
    if options.show:
        return Result(settings.to_plain(), [key_values(settings.to_plain())])

    if options.dry_run:
        from headwise.lab.scaling.one_run import plan_run

        plan = plan_run(settings, options.teraflops)
        return Result(plan, [key_values(planned(plan))])

    from headwise.training.run import train

    directory = train(settings, resume)
    summary = read_mapping(directory / SUMMARY)
    where = f"\nrun directory: {directory} (all numbers in {SUMMARY}; a page: headwise report {directory})"
    return Result(summary, [key_values(rows(summary)), where])


def planned(plan: Mapping[str, Any]) -> dict[str, str]:
    """The plan of a run by the names that people read."""
    from headwise.lab.formatting import format_count, format_duration, format_magnitude

    return {
        "run": f"{plan['arm']} on {plan['task']}, {format_count(plan['tokens'])} tokens an example",
        "parameters": format_count(plan["parameters"]),
        "FLOPs/example": f"{format_magnitude(plan['flops_per_example'])}, an evaluation",
        "FLOPs/update": f"{format_magnitude(plan['flops_per_update'])}, {format_count(plan['batch_size'])} examples",
        "FLOPs in all": f"{format_magnitude(plan['flops'])}, {format_count(plan['updates'])} updates",
        "memory": f"{plan['bytes'] / 1e9:.2g} GB for weights, gradients and optimiser state",
        "time": f"{format_duration(plan['seconds'])}; {plan['how']}",
    }


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
