"""report.html: needs nothing from outside, says the verdict first, and survives runs that failed or left nothing."""

import html
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from headwise.errors import InputError
from headwise.lab import plot_style
from headwise.lab.comparison.compare import compare
from headwise.lab.records import read_run
from headwise.lab.report.descriptions import (
    describe_arm,
    describe_task,
    diagnose,
    no_reference_reached,
    unequal_cost,
    unequal_examples,
)
from headwise.lab.report.page import DARK, breakable
from headwise.lab.report.tables import comparison_text, markdown_table
from headwise.lab.report.write import write_report
from headwise.models.arm import Arm
from headwise.reasoning.refinement import RefinementConfig
from headwise.routing.gates import Sigmoid
from headwise.routing.routers import LearnedRouter
from headwise.schema import to_plain
from tests.lab.conftest import MODEL, SCORES, FakeTrain, arm, run_comparison, run_config

VOID = {"meta", "link", "br", "img", "hr", "input", "wbr", "path", "use", "rect", "image"}


class Outside(HTMLParser):
    """Collects everything in a page that a browser would fetch, and whether its elements are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: dict[str, int] = {}
        self.ids: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        for name, value in attrs:
            inside = (value or "").startswith(("#", "data:"))
            if name in ("src", "href", "xlink:href", "srcset", "poster", "action") and not inside:
                self.fetched.append(f"{tag} {name}={value}")
            if name == "id":
                self.ids.append(value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="session")
def page(comparison: Path) -> str:
    return (comparison / "report.html").read_text(encoding="utf-8")


def assert_self_contained(text: str) -> Outside:
    seen = Outside(text)
    assert seen.fetched == []
    assert seen.open == []
    assert not {"script", "link", "iframe", "object", "embed"} & seen.tags.keys()
    assert "@import" not in text
    assert all(target.startswith(("#", "data:")) for target in re.findall(r"url\(\s*['\"]?([^)'\"]*)", text))
    assert len(seen.ids) == len(set(seen.ids)), "two plots share an id, so one would borrow the other's shapes"
    wanted = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    assert wanted <= set(seen.ids)
    return seen


def test_the_page_of_a_comparison_needs_nothing_from_outside(page: str) -> None:
    seen = assert_self_contained(page)
    assert seen.tags["svg"] == 6
    assert seen.tags["h1"] == 1


@pytest.mark.parametrize(
    "planted",
    ['<img src="https://example.org/a.png">', '<link href="//cdn.example/x.css">', "<script>1</script>"],
)
def test_the_check_of_the_page_catches_what_is_planted(page: str, planted: str) -> None:
    with pytest.raises(AssertionError):
        assert_self_contained(page.replace("</main>", planted + "</main>"))


def test_the_verdict_comes_first_and_every_number_of_the_table_is_there(page: str, comparison: Path) -> None:
    result = json.loads((comparison / "comparison.json").read_text())
    assert f"<h1>{result['headline']}</h1>" in page
    for name, entry in result["arms"].items():
        assert f"{entry['mean']:.4f}" in page, name
        assert f"{entry['interval'][0]:.4f} to {entry['interval'][1]:.4f}" in page
    for pair in result["pairs"]:
        assert pair["verdict"] in html.unescape(page)
    assert "taken on Wilson's scale, so that none leaves the metric's range, −1 to 1" in html.unescape(page)
    assert "headwise 0.9, commit 0123456789ab, clean; headwise 0.9, commit 0123456789ab, with changes not" in page
    for word in (
        "floor",
        "ceiling",
        "one line rule",
        "Learning curves",
        "What it costs",
        "Effective heads over training",
    ):
        assert word in page


def test_the_plots_take_the_colours_of_light_and_dark_from_the_page(page: str) -> None:
    drawings = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert not any(colour in drawings for colour in plot_style.PAGE_COLOURS)
    assert "var(--arm-1)" in drawings
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert len(DARK) == len(plot_style.COLOURS) == len(plot_style.MARKERS)


def test_labels_and_errors_are_text_not_markup(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>$x_1$"
    train = FakeTrain(SCORES | {evil: SCORES["hrm"]}, failing=frozenset({(evil, 1)}))
    arms = [("baseline", run_config("baseline")), (evil, run_config("hrm"))]
    compare(arms, seeds=2, output=tmp_path, jobs=1, train=train)
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert_self_contained(text)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;$x_1$" in text


def test_names_are_short_in_sentences_and_on_the_page_and_labels_stay_in_files(tmp_path: Path) -> None:
    names = {f"{name}:model.width=64": name for name in ("baseline", "looped", "hrm")}
    arms = [(label, replace(run_config(name), name=label)) for label, name in names.items()]
    result = compare(
        arms, output=tmp_path, jobs=1, train=FakeTrain({label: SCORES[name] for label, name in names.items()})
    )
    assert list(result["arms"]) == list(names)
    assert {(pair["a"], pair["b"]) for pair in result["pairs"]} <= {(a, b) for a in names for b in names}
    assert result["headline"].endswith("baseline, looped and hrm all reach it")
    assert not any("model.width" in pair["verdict"] for pair in result["pairs"])
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "Names leave out what arms share: model.width=64 in baseline, looped and hrm." in page
    assert page.count("model.width=64") == 1
    assert "Learning curves" in page, "the runs are found by their labels"


def test_a_failed_run_is_named_and_its_arm_shown_without_it(tmp_path: Path) -> None:
    run_comparison(tmp_path, FakeTrain(SCORES, failing=frozenset({("hrm", 1)})), ("baseline", "hrm"))
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert_self_contained(text)
    assert "hrm, seed 1: RuntimeError: update 31: loss nan" in text
    assert "Failed runs are left out" in text


def test_a_comparison_in_which_everything_failed_has_a_page(tmp_path: Path) -> None:
    everything = frozenset((name, seed) for name in SCORES for seed in range(2))
    run_comparison(tmp_path, FakeTrain(SCORES, failing=everything), ("baseline", "hrm"), seeds=2)
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert_self_contained(text)
    assert "<h1>No result for hrm</h1>" in text


def test_runs_that_are_gone_leave_the_numbers(comparison: Path, tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text((comparison / "comparison.json").read_text())
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert_self_contained(text)
    assert "Results with intervals" in text
    assert "Learning curves" not in text


def test_learning_rates_that_differ_are_said_aloud(comparison: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(comparison, copy)
    assert "the same recipe and" in write_report(copy).read_text()
    content = json.loads((copy / "comparison.json").read_text())
    next(iter(content["arms"].values()))["preset"] = {"name": "stable", "lr": 0.0003}
    (copy / "comparison.json").write_text(json.dumps(content))
    page = write_report(copy).read_text()
    assert "the same recipe but for the learning rates" in page
    assert "has stable (lr 0.0003)" in page


def test_a_quick_comparison_says_everywhere_that_it_is_one_and_gives_no_verdict(tmp_path: Path) -> None:
    arms = [(name, run_config(name, quick=True)) for name in ("baseline", "hrm")]
    result = compare(arms, seeds=3, output=tmp_path, jobs=1, train=FakeTrain(SCORES))
    assert result["headline"] == "A quick try with cut-down settings: no verdict"
    assert {pair["kind"] for pair in result["pairs"]} == {"no verdict"}
    printed = "\n".join(str(part) for part in comparison_text(result))
    page, rows = write_report(tmp_path).read_text(encoding="utf-8"), (tmp_path / "comparison.csv").read_text()
    for text in (printed, markdown_table(result), page):
        assert "its numbers are no results, and no verdict is given" in text
        assert "better" not in text.partition("<style>")[0]
    assert {row.split(",")[-2] for row in rows.splitlines()} == {"quick", "true"}


def test_one_run_has_a_page(comparison: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for file in (comparison / "runs" / "hrm" / "seed1").iterdir():
        (run / file.name).write_bytes(file.read_bytes())
    text = write_report(run).read_text(encoding="utf-8")
    assert_self_contained(text)
    assert "hrm reaches 0.4988 in rank tau, a normalised score of 99.5 %" in text
    assert "hrm controller, slow module every 4 steps" in text
    assert "Gates per head over refinement steps" in text


def test_a_run_that_was_killed_has_a_page_too(comparison: Path, tmp_path: Path) -> None:
    run = comparison / "runs" / "baseline" / "seed0"
    (tmp_path / "config.yaml").write_text((run / "config.yaml").read_text())
    (tmp_path / "metrics.jsonl").write_text((run / "metrics.jsonl").read_text()[:-25])
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert_self_contained(text)
    assert "baseline did not finish" in text
    assert "Learning curve" in text


def test_a_directory_that_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a comparison"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["{", "[]", '{"task": "sorting"}'])
def test_a_damaged_comparison_is_refused_with_a_remedy(tmp_path: Path, content: str) -> None:
    (tmp_path / "comparison.json").write_text(content)
    with pytest.raises(InputError, match=r"damaged: .*; run `headwise compare` again"):
        write_report(tmp_path)


def test_an_arm_is_described_in_words() -> None:
    plain, model = to_plain(arm("hrm")), to_plain(MODEL)
    assert describe_arm(plain, model) == (
        "1 block of width 64, 4 heads, FFN 256; applied 6 times, the embedding added again each time, every step "
        "supervised; hrm controller, slow module every 4 steps; learned router per sequence, soft gates"
    )
    assert describe_arm(to_plain(arm("baseline")), model).endswith("applied once; no router: all heads alike")
    gated = to_plain(Arm(LearnedRouter(reads=12), Sigmoid(), composition_rank=2, output_gate="elementwise"))
    assert describe_arm(gated, model).endswith(
        "learned router per token from 12 dimensions, sigmoid gates; heads lend each other attention at rank 2; "
        "elementwise output gates"
    )
    looped = to_plain(replace(arm("looped"), refinement=RefinementConfig(1, injection="input", segments=4)))
    assert describe_arm(looped, to_plain(replace(MODEL, structural_heads=2, relative=7))) == (
        "1 block of width 64, 4 heads (2 along relations of the tokens), FFN 256, bias by position up to 7 away; "
        "applied 1 time in each of 4 segments, from the state of the one before, the embedding added again each time; "
        "no router: all heads alike"
    )
    which = to_plain(replace(MODEL, structural_heads={"row": 2, "column": 1, "box": 0}, ffn=0))
    assert describe_arm(looped, which).startswith(
        "1 block of width 64, 4 heads (2 along row and 1 along column), no FFN;"
    )
    other = replace(MODEL, norm="rms_unscaled", norm_placement="post", activation="swiglu", bias=False, rotary=True)
    kind = "SwiGLU, RMS norms without weights, norm last, no biases, rotary positions"
    assert describe_arm(looped, to_plain(other)).startswith(f"1 block of width 64, 4 heads, FFN 256, {kind};")


def test_a_task_is_described_with_its_settings() -> None:
    text = describe_task("sorting", "", {"length": 20, "hints": 0, "hint_span": None})
    assert text.startswith("Sorting under partial observability")
    assert text.endswith("Settings: length 20.")


def test_gates_that_do_not_depend_on_the_input_are_called_what_they_are() -> None:
    hrm = to_plain(arm("hrm"))
    fixed = diagnose("hrm", hrm, {}, {"heads": 0.3, "steps": 0.2, "inputs": 0.01})
    assert len(fixed) == 1
    assert "a fixed weighting of its heads rather than a choice" in fixed[0]
    assert "hardly routes" in diagnose("hrm", hrm, {}, {"heads": 0.01, "steps": 0.01, "inputs": 0.01})[0]
    assert "alike at every refinement step" in diagnose("hrm", hrm, {}, {"heads": 0.3, "steps": 0.01, "inputs": 0.3})[0]
    sound = {"effective_heads_mean": 3.7, "heads_active_mean": 4.0}
    assert diagnose("hrm", hrm, sound, {"heads": 0.3, "steps": 0.2, "inputs": 0.2}) == []


SPREAD = {"heads": 1.0, "steps": 0.2, "inputs": 0.2}


def test_dead_heads_one_head_and_collapsed_halting_are_named() -> None:
    routing = {"effective_heads_mean": 1.1, "heads_active_mean": 4.0, "dead_heads": 2.0, "refinement_steps_mean": 1.05}
    said = " ".join(diagnose("hrm", to_plain(arm("hrm")), routing, SPREAD))
    assert "through one head: of 4.00 that are on, 1.10 count" in said
    assert "2 dead heads: no token of the test examples used them" in said
    assert "learned halting has collapsed" in said


def test_gates_that_look_open_but_lean_on_a_few_heads_are_named() -> None:
    linear = to_plain(arm("linear"))
    # Gates of 1.86 on the shared head, 0.04 to 0.10 on three routed ones: an undecided router, and yet no mixture.
    mixture = {"entropy_mean": 1.0, "effective_heads_mean": 1.56, "heads_active_mean": 4.0}
    (said,) = diagnose("moh", linear, mixture | {"shared_heads": 1.0, "shared_weight": 0.9}, SPREAD)
    assert said.startswith("moh gives 90 % of its weight to the 1 head that every token shares, where equal gates")
    (said,) = diagnose("moh", linear, mixture | {"effective_heads_mean": 2.1}, SPREAD)
    assert said == "moh has 4.00 heads on, but weighs them so unequally that 2.10 count."
    assert diagnose("moh", linear, mixture | {"effective_heads_mean": 3.9}, SPREAD) == []
    # One head by order is no collapse.
    assert diagnose("one", linear, {"effective_heads_mean": 1.0, "heads_active_mean": 1.0}, SPREAD) == []


def test_unequal_flops_are_said_aloud() -> None:
    arms = {
        "baseline": {"flops_ratio": 1.0, "parameter_ratio": 1.0},
        "hrm": {"flops_ratio": 4.41, "parameter_ratio": 1.0},
    }
    assert (unequal_cost(arms) or "").startswith("hrm has 4.4 times the FLOPs of baseline")
    assert unequal_cost({"baseline": arms["baseline"]}) is None


def test_fewer_examples_in_equal_updates_are_said_aloud() -> None:
    arms = {"looped": {"examples": 640.0}, "segments": {"examples": 160.0}}
    assert (unequal_examples(arms) or "").endswith("so it saw fewer examples: looped 640 and segments 160.")
    assert unequal_examples({"looped": arms["looped"], "gone": {}}) is None


def test_only_a_reference_beyond_every_interval_is_called_unreached() -> None:
    arms = [
        {"mean": 0.48, "interval": [0.46, 0.50]},
        {"mean": 0.47, "interval": None},
        {"mean": None, "interval": None},
    ]
    assert no_reference_reached({"one_line_rule": 0.499}, arms, True) == []
    assert no_reference_reached({"one_line_rule": 0.501}, arms, True) == ["one line rule"]
    assert no_reference_reached({"n_gram": 0.45}, arms, False) == ["n gram"]
    assert no_reference_reached({"one_line_rule": 0.5}, [], True) == []


def test_the_spread_of_gates_is_told_apart_by_heads_steps_and_inputs(tmp_path: Path) -> None:
    # Two steps, one layer, two heads; gates differ by input only in the second head of the first step.
    gates = [[[1.0, 2.0]], [[1.0, 1.0]]]
    examples = [[[[[1.0, 1.5]]], [[[1.0, 1.0]]]], [[[[1.0, 2.5]]], [[[1.0, 1.0]]]]]
    (tmp_path / "routing.jsonl").write_text(json.dumps({"update": 1, "gates": gates, "examples": examples}) + "\n")
    spread = read_run(tmp_path).gate_spread()
    assert spread["heads"] == pytest.approx((0.5 + 0.0) / 2)
    assert spread["steps"] == pytest.approx((0.5**2 / 2) ** 0.5)
    assert spread["inputs"] == pytest.approx((0.5**2 / 4) ** 0.5)


def test_a_long_label_may_break_behind_its_punctuation_and_is_escaped() -> None:
    assert breakable("hrm:gate.k=2") == "hrm:<wbr>gate.<wbr>k=<wbr>2"
    assert breakable("<b>") == "&lt;b&gt;"
