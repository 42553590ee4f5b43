"""Plots from plain data: every one draws, also from very little, and keeps an arm's colour."""

import math
import re
from importlib import resources

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from headwise.lab import plot_style
from headwise.lab.report import mixture_plots, plots
from headwise.lab.report.drawing import Levels, apart, band_of, draw_levels, figure_row, stacked
from headwise.lab.report.page import DARK
from headwise.lab.report.plots import Estimate

LEVELS = Levels(0.0, 0.5, {"one_line_rule": 0.499, "half way": 0.25})
ONE = Estimate([0.41], 0.41)
THREE = Estimate([0.40, 0.42, 0.44], 0.42, (0.37, 0.47), 2e6, 1)
CURVE = ([10.0, 20.0, 30.0], [0.1, 0.3, 0.4])


def drawn(figure: Figure) -> str:
    text = plot_style.svg(figure, "plot")
    assert text.startswith("<svg")
    assert "viewBox" in text
    return text


@pytest.mark.parametrize(
    "figure",
    [
        plots.learning_curves({"a": [CURVE], "b": [([], [])]}, LEVELS, "rank tau", {"a": 0, "b": 1}),
        plots.learning_curves({"a": [([10.0], [0.3])]}, Levels(), "rank tau", {"a": 0}),
        plots.results({"a": ONE, "b": THREE}, LEVELS, "rank tau"),
        plots.results({"a": Estimate([0.5, 0.5], 0.5, (0.5, 0.5))}, Levels(0.5, 0.5), "rank tau"),
        plots.differences([("a - b", 0.0, (0.0, 0.0)), ("c - b", 0.01, None)], None, "rank tau"),
        plots.efficiency({"a": ONE, "b": THREE}, LEVELS, "rank tau"),
        plots.efficiency({"a": ONE}, LEVELS, "rank tau"),
        plots.gate_maps({"a": np.ones((1, 1, 2)), "b": np.full((12, 3, 16), 7.3)}),
        plots.effective_heads({"a": [CURVE, CURVE]}, 4, {"a": 2}),
        plots.losses({"train": [CURVE], "validation": [([], [])]}),
    ],
    ids=lambda figure: "",
)
def test_every_plot_draws_from_little(figure: Figure) -> None:
    drawn(figure)


def test_a_seed_that_stopped_early_does_not_bend_the_mean_before_its_end() -> None:
    mean, low, high, x = band_of([([10, 20, 30], [1.0, 2.0, 3.0]), ([10, 20], [3.0, 4.0])])
    assert x.tolist() == [10, 20, 30]
    assert mean.tolist() == [2.0, 3.0, 3.0]
    assert low.tolist() == [1.0, 2.0, 3.0]
    assert high.tolist() == [3.0, 4.0, 3.0]


def test_seeds_evaluated_at_different_updates_meet_by_interpolation() -> None:
    mean, *_, x = band_of([([0, 20], [0.0, 2.0]), ([0, 10, 20], [0.0, 3.0, 2.0])])
    assert x.tolist() == [0, 10, 20]
    assert mean.tolist() == [0.0, 2.0, 2.0]


def test_names_of_levels_move_apart_as_little_as_possible() -> None:
    assert apart([0.1, 0.5, 0.9], 0.1) == [0.1, 0.5, 0.9]
    assert apart([0.50, 0.52], 0.1) == pytest.approx([0.46, 0.56])
    # The third is pushed into the group by what moved before it.
    assert apart([0.50, 0.52, 0.60], 0.1) == pytest.approx([0.44, 0.54, 0.64])
    assert apart([], 0.1) == []


def test_names_above_a_frame_are_flags_that_cross_no_other_name_or_pole() -> None:
    assert stacked([0.1, 0.7], [0.2, 0.2]) == [(0, 1), (0, -1)]
    # Close together in the right half: the outer one's pole passes right of the inner one's name.
    assert stacked([0.85, 0.88, 0.90], [0.2, 0.3, 0.2]) == [(0, -1), (1, -1), (2, -1)]
    assert stacked([0.10, 0.12], [0.2, 0.3]) == [(1, 1), (0, 1)]
    # From both sides into the middle
    assert stacked([0.45, 0.55], [0.3, 0.3]) == [(0, 1), (1, -1)]


@pytest.mark.parametrize("vertical", [True, False])
def test_every_level_has_a_name_of_its_own_that_points_at_its_line(vertical: bool) -> None:
    """Three lines within a quarter of the frame: their names used to stand together at the first one."""
    levels = Levels(0.0, 1.0, {"one_line_rule": 0.86, "posterior_mean": 0.9})
    _, (axis,) = figure_row(3.0)
    (axis.set_ylim if vertical else axis.set_xlim)(0.0, 1.0)
    draw_levels(axis, levels, vertical=vertical)
    low, high = axis.get_ylim() if vertical else axis.get_xlim()
    names = {
        text.get_text(): text.xy[1 if vertical else 0] * (high - low) + low for text in axis.texts if text.get_text()
    }
    assert names == pytest.approx({"floor": 0.0, "ceiling": 1.0, "one line rule": 0.86, "posterior mean": 0.9})


def contrast(one: str, other: str) -> float:
    light, dark = sorted((plot_style.luminance(to_rgb(colour)) for colour in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_every_colour_has_a_contrast_of_4_5_on_its_paper() -> None:
    page = resources.files("headwise.lab.report").joinpath("head.html.j2").read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for block in page.partition("@media print")[0].split("prefers-color-scheme: dark", 1)
    )
    for colours, arms in ((light, plot_style.COLOURS), (dark, DARK)):
        pairs = [(arm, colours["paper"]) for arm in arms]
        pairs += [(colours[name], colours[on]) for name in ("ink", "muted") for on in ("paper", "page")]
        pairs += [(colours[name], colours[f"{name}-soft"]) for name in ("good", "bad", "open")]
        pairs += [(colours["accent"], colours["soft"]), (colours["accent"], colours["paper"])]
        assert {pair: round(contrast(*pair), 2) for pair in pairs if contrast(*pair) < 4.5} == {}
    for place in np.linspace(0, 1, 50):
        background = plot_style.GATE_COLOURS(float(place))
        assert contrast(plot_style.readable_on(background), to_hex(background)) >= 4.5


def test_arms_that_end_close_to_each_other_are_enlarged_seed_by_seed() -> None:
    seeds = [([10.0, 20, 30, 40], [0.1, 0.4, 0.480 + end, 0.481 + end]) for end in (0.0, 0.002, 0.004)]
    close = plots.learning_curves({"a": seeds, "b": seeds}, LEVELS, "rank tau", {"a": 0, "b": 1})
    assert len(close.axes) == 2
    assert len(close.axes[0].collections) == 2, "a band for each arm"
    assert len(close.axes[1].collections) == 0, "and none where they would be one grey band"
    assert len(close.axes[1].lines) >= 2 * (3 + 1)
    far = [(x, [0.05, 0.1, 0.12, 0.13]) for x, _ in seeds]
    assert len(plots.learning_curves({"a": seeds, "b": far}, LEVELS, "rank tau", {"a": 0, "b": 1}).axes) == 1


def test_an_arm_keeps_its_colour_when_another_has_no_result() -> None:
    text = drawn(plots.efficiency({"b": THREE}, LEVELS, "rank tau"))
    assert "var(--arm-1)" in text
    assert "var(--arm-0)" not in text


def test_a_gate_above_the_scale_of_two_is_not_cut_off() -> None:
    figure = plots.gate_maps({"a": np.array([[[0.0, 1.0, 5.2]]])})
    mesh = figure.axes[0].collections[0]
    assert mesh.norm.vmax == pytest.approx(5.5)
    assert mesh.norm(1.0) == pytest.approx(0.5), "plain attention is the middle of the colours"


def test_ids_of_two_plots_on_a_page_differ_and_equal_data_give_equal_drawings() -> None:
    def draw(name: str) -> str:
        return plot_style.svg(plots.results({"a": THREE}, LEVELS, "rank tau"), name)

    assert draw("x") == draw("x")
    assert 'id="x-' in draw("x")
    assert 'id="x-' not in draw("y")


def test_the_two_panels_share_their_data_and_the_second_is_enlarged() -> None:
    figure = plots.results({"b": THREE}, LEVELS, "rank tau")
    whole, enlarged = (axes.get_xlim() for axes in figure.axes)
    assert whole[0] < 0 < 0.5 < whole[1]
    assert math.dist(*[[end] for end in enlarged]) < math.dist(*[[end] for end in whole])
    assert enlarged[0] < 0.37
    assert enlarged[1] > 0.47


def test_choices_have_a_panel_for_each_number_that_was_recorded() -> None:
    curve = ([10.0, 20.0], [3.0, 4.0])
    series = {"heads_active_mean": {"moh": [curve], "adaptive": [curve]}, "threshold_mean": {"adaptive": [curve]}}
    figure = mixture_plots.choices(series, {"moh": 0, "adaptive": 1})
    assert [axis.get_title(loc="left") or axis.get_title() for axis in figure.axes] == ["heads active", "threshold"]


def test_loads_are_drawn_layer_by_layer_with_dead_heads_white() -> None:
    figure = mixture_plots.head_loads({"adaptive": np.array([[1.0, 0.0, 0.5], [0.2, 0.3, 0.5]])})
    image = figure.axes[0].images[0]
    assert image.get_array().shape == (2, 3)
    assert (image.norm.vmin, image.norm.vmax) == (0, 1)
