"""The part of a report about heads that go on and off."""

from collections.abc import Mapping, Sequence

from headwise.lab.records import Run
from headwise.lab.report import captions, mixture_plots
from headwise.lab.report.drawing import Curve
from headwise.lab.report.page import Picture, picture


def mixture_figures(runs: Mapping[str, Sequence[Run]], colours: Mapping[str, int]) -> list[Picture]:
    """Choices over training and loads per head, of the arms that switch heads off; none where no arm does.

    Args:
        runs: arm -> its runs.
        colours: each arm's place in the report, which decides its colour.
    """
    found = {label: next((x for run in own if (x := run.head_loads) is not None), None) for label, own in runs.items()}
    loads = {label: load for label, load in found.items() if load is not None}
    if not loads:
        return []
    series = {key: _recorded({label: runs[label] for label in loads}, key) for key in mixture_plots.SERIES}
    series = {key: by_arm for key, by_arm in series.items() if by_arm}
    figures = []
    if series:
        figure = mixture_plots.choices(series, colours)
        figures.append(picture("choices", "Heads active and what decides it, over training", figure, captions.CHOICES))
    figure = mixture_plots.head_loads(loads)
    return [*figures, picture("loads", "Load of each head", figure, captions.LOADS)]


def _recorded(runs: Mapping[str, Sequence[Run]], key: str) -> dict[str, list[Curve]]:
    """The curves of the arms that recorded this number at all."""
    curves: dict[str, list[Curve]] = {label: [run.routing_curve(key) for run in own] for label, own in runs.items()}
    return {label: own for label, own in curves.items() if any(x for x, _ in own)}
