"""The page of a ladder: the broken rung first, every check, and the curves of its runs."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from headwise.errors import InputError
from headwise.lab.report.ladder_table import ladder_text
from headwise.lab.report.write import write_report
from tests.lab.report.test_pages import assert_self_contained


def check(name: str, passed: bool, value: float | str, **more: str) -> dict[str, Any]:
    return {"name": name, "passed": passed, "value": value, "allowed": 0.001, "says": "", "note": ""} | more


RUNGS = [
    {"arm": "baseline", "passed": True, "run": "runs/baseline/seed0", "checks": [check("gradient", True, 1e-5)]},
    {
        "arm": "hrm",
        "passed": False,
        "run": "runs/hrm/seed0",
        "checks": [
            check("gradient", False, 0.9, says="the gates get no <gradient>"),
            check("sample", True, "b a", note="given a b"),
        ],
    },
]
LADDER = {
    "task": "sorting",
    "metric": "rank_tau",
    "floor": 0.0,
    "ceiling": 0.5,
    "seed": 0,
    "updates": 200,
    "quick": False,
    "limits": {"tolerance": 0.25},
    "arms": ["baseline", "hrm", "adaptive"],
    "rungs": RUNGS,
    "passed": False,
    "verdict": "hrm: the gates get no <gradient>",
    "seconds": 12.0,
}


def ladder(directory: Path, comparison: Path, **changes: object) -> dict[str, Any]:
    for name in ("baseline", "hrm"):
        shutil.copytree(comparison / "runs" / name / "seed0", directory / "runs" / name / "seed0")
    content = LADDER | {"directory": str(directory)} | changes
    (directory / "ladder.json").write_text(json.dumps(content), encoding="utf-8")
    return content


def test_a_ladder_has_a_page_with_its_verdict_checks_and_curves(comparison: Path, tmp_path: Path) -> None:
    ladder(tmp_path, comparison)
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert_self_contained(text)
    assert "<h1>hrm: the gates get no &lt;gradient&gt;</h1>" in text
    for shown in ("1 of 3", "Not tried, as a rung before failed: adaptive.", "1e-05", "hrm writes: b a (given a b)"):
        assert shown in text
    assert "Learning curves" in text
    assert "commit 0123456789ab, clean" in text


def test_a_ladder_whose_runs_are_gone_keeps_its_checks(tmp_path: Path) -> None:
    (tmp_path / "ladder.json").write_text(json.dumps(LADDER), encoding="utf-8")
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert_self_contained(text)
    assert "gradient" in text
    assert "Learning curves" not in text


def test_a_quick_ladder_says_so_on_page_and_in_the_terminal(comparison: Path, tmp_path: Path) -> None:
    content = ladder(tmp_path, comparison, quick=True)
    said = "no verdict is given"
    assert said in write_report(tmp_path).read_text(encoding="utf-8")
    assert said in "\n".join(str(part) for part in ladder_text(content))


@pytest.mark.parametrize("damage", ["{", "[]", {"rungs": 3}, {"rungs": [{}]}])
def test_a_damaged_ladder_is_refused_with_a_remedy(tmp_path: Path, damage: object) -> None:
    content = damage if isinstance(damage, str) else json.dumps(LADDER | damage)  # type: ignore[operator]
    (tmp_path / "ladder.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"damaged: .*; run `headwise ladder` again"):
        write_report(tmp_path)
