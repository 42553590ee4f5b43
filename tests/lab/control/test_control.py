"""A control with a stand-in for training: what is trained, what goes on, what is refused, and its page."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from headwise.errors import InputError
from headwise.files import read_mapping
from headwise.lab.comparison.compare import compare
from headwise.lab.comparison.parity import TOLERANCE
from headwise.lab.control.arms import choose
from headwise.lab.control.plan import prepare
from headwise.lab.records import read_control
from headwise.lab.report.control import control_page
from headwise.lab.report.control_tables import control_text
from headwise.lab.report.write import write_report
from headwise.lab.scaling.scale import scale
from tests.lab.conftest import FakeTrain, run_config
from tests.lab.control.conftest import ARMS, SCORES, SETTINGS, run


def test_arms_are_matched_and_the_curve_varies_the_ffn_alone(tmp_path: Path) -> None:
    chosen = choose(["looped", "gated", "oracle"], SETTINGS)
    planned = prepare(chosen, seeds=2, widths=[0, 16], output=tmp_path)
    assert all(abs(one.parameter_ratio - 1) <= TOLERANCE for one in planned.arms.sized.arms)
    assert list(planned.curve) == [0, 16]
    for width, pair in planned.curve.items():
        for (label, config), one in zip((chosen.reference, chosen.routed), pair, strict=True):
            expected = replace(config, name=label, model=replace(config.model, ffn=width))
            assert one.arms == {label: expected}
            assert one.output == tmp_path / f"ffn{width}" / label
    names = [run.name for run in planned.runs]
    assert names[:2] == ["looped, seed 0", "gated, seed 0"]
    assert names[-1] == "FFN 16 gated, seed 1"
    assert len(names) == 3 * 2 + 2 * 2 * 2
    assert list(tmp_path.iterdir()) == []


def test_the_result_has_the_comparison_and_the_curve_with_its_differences(finished: Path) -> None:
    result = read_control(finished)
    assert result["comparison"] == read_mapping(finished / "arms" / "comparison.json")
    assert [point["ffn"] for point in result["curve"]] == [0, 8]
    for point in result["curve"]:
        assert list(point["arms"]) == ["looped", "gated"]
        assert point["arms"]["gated"]["values"] == SCORES["gated"]
        assert point["pair"]["difference"] == pytest.approx(0.2007, abs=1e-4)
        assert point["pair"]["kind"] == "better"
        assert point["pair"]["interval"][0] > 0.18
    narrow, wide = (point["arms"]["gated"]["parameters"] for point in result["curve"])
    assert narrow < wide
    (lead,) = result["lead"]
    assert "no FFN of these widths does the router's job" in lead


def test_a_control_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    first = FakeTrain(SCORES)
    run(tmp_path, first, widths=[0], seeds=2)
    assert len(first.calls) == 2 * len(ARMS) + 2 * 2
    again = FakeTrain(SCORES)
    run(tmp_path, again, widths=[0], seeds=2)
    assert again.calls == []
    more = FakeTrain(SCORES)
    result = run(tmp_path, more, widths=[0, 8], seeds=3)
    assert len(more.calls) == len(ARMS) + 2 + 2 * 3
    assert result["outcome"] == "matters"


def test_a_run_that_failed_is_named_and_tried_again(tmp_path: Path) -> None:
    result = run(tmp_path, FakeTrain(SCORES, failing=frozenset({("hrm", 1), ("gated", 0)})))
    write_report(tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for where in ("hrm, seed 1 failed", "gated, seed 0 failed", "FFN 0 gated, seed 0 failed"):
        assert where in page
    assert result["curve"][0]["pair"]["n"] == 2
    assert run(tmp_path, FakeTrain(SCORES))["outcome"] == "matters"


def test_where_every_run_failed_there_is_still_a_page(tmp_path: Path) -> None:
    failing = frozenset((label, seed) for label in ARMS for seed in range(3))
    result = run(tmp_path, FakeTrain(SCORES, failing=failing))
    assert result["outcome"] == "no verdict"
    assert control_page(tmp_path, result).failures
    assert control_text(result)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            {"words": ["task.nodes=6"]},
            r"output=.*: holds runs of \w+ with task\.nodes=8, now 6; choose another output",
        ),
        ({"parity": "flops"}, r"holds runs of hrm with model\.width=\d+, now \d+; choose another output"),
    ],
)
def test_other_settings_do_not_go_into_the_same_output(tmp_path: Path, how: dict[str, Any], message: str) -> None:
    run(tmp_path, FakeTrain(SCORES), widths=[])
    train = FakeTrain(SCORES)
    with pytest.raises(InputError, match=message):
        run(tmp_path, train, **how)
    assert train.calls == []


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("comparison.json", "a comparison"),
        ("plan.json", "runs of a comparison or a ladder"),
        ("scaling.json", "a scaling"),
        ("summary.json", "a run"),
    ],
)
def test_an_output_that_holds_other_work_is_refused_and_left_as_it_is(tmp_path: Path, file: str, kind: str) -> None:
    (tmp_path / file).write_text("{}")
    train = FakeTrain(SCORES)
    with pytest.raises(InputError, match=rf"output=.*: holds {kind} \({file}\); choose another output"):
        run(tmp_path, train)
    assert train.calls == []
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_other_work_does_not_go_where_a_control_is(tmp_path: Path) -> None:
    run(tmp_path, FakeTrain(SCORES), widths=[])
    before = sorted(tmp_path.rglob("*"))
    arms, train = [("baseline", run_config("baseline"))], FakeTrain(SCORES)
    for work in (
        lambda: compare(arms, output=tmp_path, jobs=1, train=train),
        lambda: scale(arms, ["tiny"], output=tmp_path, jobs=1, train=train),
    ):
        with pytest.raises(InputError, match=r"holds a control \(control\.json\); choose another output"):
            work()
    assert train.calls == []
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"widths": [8, -1]}, r"widths=\[8,-1\]: choose different whole numbers, 0 or more; \[\] leaves the curve out"),
        ({"widths": [8, 8]}, r"widths=\[8,8\]: choose different"),
        ({"seeds": 0}, "seeds=0"),
        ({"parity": "none"}, "parity=none: the arms agree neither in parameters nor in FLOPs"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_written(tmp_path: Path, how: dict[str, Any], message: str) -> None:
    train = FakeTrain(SCORES)
    with pytest.raises(InputError, match=message):
        run(tmp_path / "out", train, ("looped", "hrm"), **how)
    assert train.calls == []
    assert not (tmp_path / "out").exists()


def test_the_page_has_the_sentence_the_arms_the_curve_and_its_lines(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert read_control(finished)["headline"] in page.replace("&#43;", "+")
    for part in ("FFN width", "floor", "ceiling", "oracle", "Width by width", "arms/report.html", "headwise"):
        assert part in page, part
    assert page.count("<svg") >= 3
    assert "<script" not in page
    assert (finished / "arms" / "report.html").is_file()


def test_the_terminal_shows_arms_curve_and_the_pairs_that_decide(finished: Path) -> None:
    result = read_control(finished)
    console = Console(width=200, record=True, file=io.StringIO())
    for part in control_text(result):
        console.print(part)
    text = console.export_text()
    assert result["headline"].rstrip(".") in " ".join(text.split())
    for part in (
        "gated is better than looped",
        "random is worse than gated",
        "With and without a router, by FFN width",
    ):
        assert part in " ".join(text.split()), part
    assert "oracle is better" not in text


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content.pop("curve"), "curve is missing"),
        (lambda content: content["curve"][0]["pair"].update(a="hrm"), r"curve\[0\]\.pairs\[0\]\.a is no arm"),
        (lambda content: content["comparison"].update(arms={}), "no arms"),
        (lambda content: content["comparison"]["arms"]["gated"]["arm"].update(router=3), r"arms\.gated\.arm\.router"),
    ],
)
def test_a_damaged_result_is_one_line(finished: Path, tmp_path: Path, damage: Any, said: str) -> None:
    file = tmp_path / "control.json"
    content = read_mapping(finished / "control.json")
    damage(content)
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"control\.json: .*{said}"):
        write_report(tmp_path)
