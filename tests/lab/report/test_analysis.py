"""What a task found in its runs, on the page: shown whatever the task, folded where it is long, harmless whatever it
holds."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from headwise.lab.comparison.compare import compare
from headwise.lab.records import Run
from headwise.lab.report.analysis import analyses
from headwise.lab.report.page import FEW
from headwise.lab.report.write import write_report
from tests.lab.conftest import SCORES, FakeTrain, run_config
from tests.lab.report.test_pages import assert_self_contained

DRAWING = '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="9"><path d="M0 0h9" stroke="#1c2128"/></svg>'
ANALYSIS: dict[str, Any] = {
    "metrics": {"agreement": 0.5},
    "tables": [
        {
            "title": "By length",
            "caption": "Longer is <harder>.",
            "columns": ["length", "examples", "score", "remark"],
            "rows": [["1-5", 1200, 0.91234, "easy"], ["6-10", 3, None, ""]],
        }
    ],
    "figures": [{"title": "One example", "caption": "A line.", "svg": DRAWING}],
}


def page_of(run: Path, analysis: object) -> str:
    (run / "analysis.json").write_text(analysis if isinstance(analysis, str) else json.dumps(analysis))
    text = write_report(run).read_text(encoding="utf-8")
    assert_self_contained(text)
    return text


@pytest.fixture
def run(comparison: Path, tmp_path: Path) -> Path:
    shutil.copytree(comparison / "runs" / "hrm" / "seed1", tmp_path / "run")
    return tmp_path / "run"


def test_tables_and_drawings_of_a_run_are_shown(run: Path) -> None:
    text = page_of(run, ANALYSIS)
    for shown in (
        "By length",
        "1-5",
        "1\N{NARROW NO-BREAK SPACE}200",
        "0.9123",
        "easy",
        "–",
        "Longer is &lt;harder&gt;.",
    ):
        assert shown in text
    assert 'stroke="var(--ink)"' in text, "the drawing follows light and dark"
    assert 'width="90"' in text, "and keeps its width"


def test_transforms_and_colours_are_no_danger(run: Path) -> None:
    drawing = DRAWING.replace("<path", '<path transform="translate(3, 4) rotate(90)" style="fill:rgb(1,2,3)"')
    assert "One example" in page_of(run, ANALYSIS | {"figures": [{**ANALYSIS["figures"][0], "svg": drawing}]})


def test_the_page_forbids_whatever_comes_from_outside(run: Path) -> None:
    head = write_report(run).read_text(encoding="utf-8").partition("<style>")[0]
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in head


def test_a_long_table_is_folded(run: Path) -> None:
    long = {**ANALYSIS["tables"][0], "rows": [[str(n), n, 0.5, ""] for n in range(FEW + 1)]}
    assert f"<summary>{FEW + 1} rows</summary>" in page_of(run, ANALYSIS | {"tables": [long]})


def test_a_task_without_an_analysis_has_no_such_section(run: Path) -> None:
    assert "A closer look" not in write_report(run).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "inside",
    [
        "<script>alert(1)</script>",
        '<path d="M0 0" onclick="alert(1)"/>',
        '<a href="https://example.org"><text>x</text></a>',
        '<image href="https://example.org/x.png"/>',
        "<foreignObject><p>x</p></foreignObject>",
        "<style>@import 'https://example.org/x.css'</style>",
        '<rect style="fill:url(https://example.org/x)"/>',
        '<rect id="curve-axes_1"/>',
        '<rect style="fill:U\\52L(https://example.org/x)"/>',
        '<rect style="background:image-set(&quot;https://example.org/x.png&quot; 1x)"/>',
        "<rect style=\"background:-webkit-image-set('https://example.org/x.png' 1x)\"/>",
        '<rect fill="URL(https://example.org/x)"/>',
        '<rect fill="u/**/rl(https://example.org/x)"/>',
        '<text style="font-family:@import &quot;https://example.org/x&quot;">x</text>',
        '<rect style="fill:src(&quot;https://example.org/x&quot;)"/>',
    ],
)
def test_a_drawing_that_is_more_than_shapes_and_text_stays_outside(run: Path, inside: str) -> None:
    figure = {**ANALYSIS["figures"][0], "svg": DRAWING.replace("<path", inside + "<path")}
    text = page_of(run, ANALYSIS | {"figures": [figure]})
    assert "example.org" not in text
    assert "alert(1)" not in text


@pytest.mark.parametrize(
    "damage",
    [
        "{",
        "[]",
        {"tables": [{"title": "no rows"}]},
        {"tables": 5},
        {"tables": [{**ANALYSIS["tables"][0], "rows": [["a", 1, 2, 3, 4]]}]},
        {"tables": [{**ANALYSIS["tables"][0], "rows": [[]]}]},
        {"figures": [{"title": "x", "caption": "x", "svg": "<svg"}]},
        {"figures": [{"title": "x", "caption": "x", "svg": None}]},
    ],
)
def test_a_damaged_analysis_leaves_the_rest_of_the_page(run: Path, damage: object) -> None:
    text = page_of(run, damage)
    assert "A closer look" not in text
    assert "Learning curve" in text


def test_a_comparison_shows_the_first_seed_of_each_arm_folded(comparison: Path, tmp_path: Path) -> None:
    shutil.copytree(comparison, tmp_path / "c")
    for arm in ("baseline", "hrm"):
        for seed in (0, 1):
            tables = [{**ANALYSIS["tables"][0], "title": f"of {arm}, seed {seed}"}]
            file = tmp_path / "c" / "runs" / arm / f"seed{seed}" / "analysis.json"
            file.write_text(json.dumps(ANALYSIS | {"tables": tables}))
    text = write_report(tmp_path / "c").read_text(encoding="utf-8")
    assert_self_contained(text)
    for arm in ("baseline", "hrm"):
        assert f"<summary>{arm}, seed 0</summary>" in text
        assert f"of {arm}, seed 0" in text
    assert ", seed 1</h3>" not in text
    assert "<summary>looped" not in text


def test_pairs_beyond_the_first_few_are_folded(tmp_path: Path) -> None:
    many = {f"arm{n}": SCORES["hrm"] for n in range(4)}
    names = ("baseline", *many)  # 10 pairs
    arms = [(name, run_config("hrm" if name in many else name)) for name in names]
    compare(arms, seeds=2, output=tmp_path, jobs=1, train=FakeTrain(SCORES | many))
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert_self_contained(text)
    assert f"<summary>{10 - FEW} more pairs</summary>" in text
    assert "<summary>10 rows</summary>" in text
    pairs = json.loads((tmp_path / "comparison.json").read_text())["pairs"]
    assert all(pair["verdict"] in text for pair in pairs)


def test_few_pairs_are_not_folded(comparison: Path) -> None:
    text = (comparison / "report.html").read_text(encoding="utf-8")
    assert "more pairs" not in text
    assert text.count("<details>") == 1, "the settings alone"


def test_whole_numbers_are_counts_and_others_are_scores() -> None:
    (found,) = analyses({"x": Run(Path(), analysis=ANALYSIS)})
    table = found.tables[0].table
    assert [column.number for column in table.columns] == [False, True, True, False]
    assert [list(row.cells) for row in table.rows] == [
        ["1-5", "1\N{NARROW NO-BREAK SPACE}200", "0.9123", "easy"],
        ["6-10", "3", "–", ""],
    ]
