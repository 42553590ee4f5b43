"""The table at the end of a comparison in a terminal."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from headwise.lab.report.tables import comparison_text


def printed(result: dict[str, Any], width: int = 160) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        for part in comparison_text(result):
            console.print(part)
    return capture.get()


@pytest.fixture
def result(comparison: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((comparison / "comparison.json").read_text())
    return content


def test_the_table_puts_every_arm_between_ceiling_and_floor(result: dict[str, Any]) -> None:
    lines = printed(result).splitlines()
    names = ["ceiling", "one line rule", "baseline", "looped", "hrm", "floor"]
    places = [next(i for i, line in enumerate(lines) if line.strip().startswith(name)) for name in names]
    assert places == sorted(places)


def test_the_table_has_score_interval_size_flops_and_speed(result: dict[str, Any]) -> None:
    text = printed(result)
    row = next(line for line in text.splitlines() if line.strip().startswith("looped"))
    cells = ["looped", "0.4988", "0.4977 to 0.5000", "99.5 %", "50\u202f048", "12.0 M", "256"]
    assert [cell.strip() for cell in row.split("  ") if cell.strip()] == cells


def test_every_pair_has_its_verdict_and_the_report_its_path(result: dict[str, Any]) -> None:
    text = " ".join(printed(result).split())
    assert result["headline"] in text
    for pair in result["pairs"]:
        assert pair["verdict"] in text
    assert text.endswith("report.html")


def test_a_failed_run_and_brackets_in_a_label_are_printed_as_they_are(result: dict[str, Any]) -> None:
    result["arms"]["[bold]"] = result["arms"].pop("hrm") | {"failures": {"2": "RuntimeError: loss nan"}}
    text = printed(result)
    assert "[bold], seed 2 failed: RuntimeError: loss nan" in text
    assert any(line.strip().startswith("[bold]") for line in text.splitlines())
