"""Plots from plain data: every one draws, also from very little, and keeps an arm's colour."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from headwise.lab import plot_style
from headwise.lab.report import mixture_plots, plots
from headwise.lab.report.plots import Estimate, Levels

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
        plots.gate_entropy({"a": [CURVE, CURVE]}, {"a": 2}),
        plots.losses({"train": [CURVE], "validation": [([], [])]}),
    ],
    ids=lambda figure: "",
)
def test_every_plot_draws_from_little(figure: Figure) -> None:
    drawn(figure)


def test_a_seed_that_stopped_early_does_not_bend_the_mean_before_its_end() -> None:
    mean, low, high, x = plots.band_of([([10, 20, 30], [1.0, 2.0, 3.0]), ([10, 20], [3.0, 4.0])])
    assert x.tolist() == [10, 20, 30]
    assert mean.tolist() == [2.0, 3.0, 3.0]
    assert low.tolist() == [1.0, 2.0, 3.0]
    assert high.tolist() == [3.0, 4.0, 3.0]


def test_seeds_evaluated_at_different_updates_meet_by_interpolation() -> None:
    mean, *_, x = plots.band_of([([0, 20], [0.0, 2.0]), ([0, 10, 20], [0.0, 3.0, 2.0])])
    assert x.tolist() == [0, 10, 20]
    assert mean.tolist() == [0.0, 2.0, 2.0]


def test_levels_too_close_to_be_read_apart_share_a_label() -> None:
    merged = plots._merged([("floor", 0.0), ("ceiling", 0.5), ("one line rule", 0.499)], 0.02)
    assert merged == [("floor", 0.0), ("ceiling\none line rule", 0.5)]


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
