"""What a model reaches: all its test examples for a card, or a sample of them to see whether it still does."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from headwise.errors import InputError
from headwise.tasks.examined import Spread
from headwise.training.building import data_of, reproducible
from headwise.training.card import Figures, Measured
from headwise.training.config import RunConfig
from headwise.training.evaluation import adopt, analyse, overridden, restored, saved, score_on_device, summarise
from headwise.training.packing import neutral

ERRORS = 4.0
"""Standard errors by which a sample may miss the figure of a card; of 16,000 samples one misses by more."""


def measure(
    run: Path, name: str, settings: Mapping[str, Any], metrics: Sequence[str], cache: str | None = None
) -> Figures:
    """The model of a finished run on its whole test set, under some settings, which get this name.

    Args:
        run: its directory; on what device and beside which cache it was trained does not matter.
        name: of the settings.
        settings: key -> value.
        metrics: those that are kept.
        cache: a folder in which generated data are kept.

    Raises:
        InputError: no finished run, settings that its weights do not fit, or a metric that it has not.
    """
    config, facts = saved(run)
    changed = replace(RunConfig.from_plain(overridden(neutral(config).to_plain(), settings)), cache=cache)
    with reproducible(changed):
        data = data_of(changed)
        adopt(data, facts, run)
        model, test, at_once = restored(run, changed, facts), data.split("test"), changed.training.evaluation_batch_size
        result = score_on_device(changed, model, test, at_once)
        summary = summarise(changed, model, data, test, result, analyse(changed, model, data, test, at_once))
    found = {}
    for metric in metrics:
        if metric not in summary["metrics"] or metric not in result.metrics:
            raise InputError(f"{run}: no metric {metric} of each example; there are {', '.join(result.metrics)}")
        values = result.metrics[metric].double()
        values = values[~values.isnan()]
        found[metric] = Measured(summary["metrics"][metric], float(values.mean()), float(values.std(correction=0)))
    return Figures(name, dict(settings), len(test), found)


def shortfalls(run: Path, figures: Figures, examples: int) -> list[str]:
    """Where a sample of a test set is not what the figures of all of it say, within the error of sampling.

    Args:
        run: of the model that the figures are about.
        figures: of its card.
        examples: how many are scored.

    Returns:
        A line for each metric that is off.
    """
    config, facts = saved(run)
    changed = RunConfig.from_plain(overridden(neutral(config).to_plain(), figures.settings))
    with reproducible(changed):
        data = data_of(changed)
        adopt(data, facts, run)
        sample = Spread(data.split("test"), examples)
        result = score_on_device(changed, restored(run, changed, facts), sample, changed.training.evaluation_batch_size)
    lines = []
    for metric, said in figures.metrics.items():
        values = result.metrics[metric].double()
        values = values[~values.isnan()]
        if said.deviation is None or not len(values):
            continue
        # Two machines round differently, so that one example in the sample may turn over
        slack = max(1.0, abs(said.mean)) / len(values)
        allowed = ERRORS * said.deviation / len(values) ** 0.5 + slack
        if abs(float(values.mean()) - said.mean) > allowed:
            lines.append(
                f"{figures.name}: {metric} is {float(values.mean()):.4g} on {len(values)} examples, the card says "
                f"{said.mean:.4g}; {allowed:.2g} is the error of sampling"
            )
    return lines
