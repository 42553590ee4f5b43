"""`headwise ood` as a user meets it: what is printed and written, the page again, and one line for a mistake."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headwise import cli
from headwise.lab.records import read_ood
from headwise.lab.report.ood_tables import decided, left_out
from tests.lab.report.test_pages import Outside

Captured = pytest.CaptureFixture[str]
Copied = Callable[[], Path]


def ended(words: list[str], capsys: Captured) -> tuple[int, str, str]:
    code = cli.main(words)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_comparison_in_tables_files_and_a_page_that_needs_nothing(copied: Copied, capsys: Captured) -> None:
    directory = copied()
    code, out, err = ended(["ood", str(directory), "axes={length: [8], steps: [0.5, 2]}"], capsys)
    assert code == 0
    assert "length: integers to sort (rank tau)" in out
    assert "0.5 not measured of baseline: steps=0.5: it was trained on 1 refinement step, and fewer are none" in out
    assert "gated is better than baseline at" in out
    assert "length 8: baseline" in err
    written = directory / "ood"
    assert {path.name for path in written.iterdir()} == {"ood.json", "ood.csv", "report.html", "measured"}
    with (written / "ood.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    result = read_ood(written)
    assert [row["value"] for row in rows[::6]] == ["6", "8", "0.5", "1", "2"]
    first = result["axes"]["length"]["points"][0]["arms"]["baseline"]
    assert [float(row["score"]) for row in rows[:3]] == first["values"]
    html = (written / "report.html").read_text(encoding="utf-8")
    page = Outside(html)
    assert page.fetched == []
    assert page.open == []
    assert page.tags["svg"] == 2
    assert len(page.ids) == len(set(page.ids))
    assert "kept of the normalised score" in html
    before = html
    assert ended(["report", str(written)], capsys)[0] == 0
    assert (written / "report.html").read_text(encoding="utf-8") == before
    assert (directory / "comparison.json").is_file()


def test_json_is_the_content_of_the_file(copied: Copied, capsys: Captured) -> None:
    directory = copied()
    code, out, _ = ended(["ood", str(directory), "axes=[length]", "--json", "output=elsewhere"], capsys)
    assert code == 0
    assert json.loads(out) == json.loads(Path("elsewhere/ood.json").read_text())


def test_settings_are_those_of_every_point(copied: Copied, capsys: Captured) -> None:
    run = str(copied() / "runs/gated/seed0")
    code, out, _ = ended(["ood", run, "axes={noise: [1]}", "arm.refinement.steps=5", "--json"], capsys)
    assert code == 0
    assert json.loads(out)["settings"] == {"arm.refinement.steps": 5}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test works in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def no_such_directory(directory: Path) -> list[str]:
    return ["nowhere"]


def nothing_in_it(directory: Path) -> list[str]:
    (directory / "empty").mkdir()
    return [str(directory / "empty")]


def unknown_axis(directory: Path) -> list[str]:
    return [str(directory), "axes=[depth]"]


def values_of_another_kind(directory: Path) -> list[str]:
    return [str(directory), "axes={length: [long]}"]


def unknown_setting(directory: Path) -> list[str]:
    return [str(directory), "axes=[length]", "task.lenght=8"]


def output_of_other_work(directory: Path) -> list[str]:
    return [str(directory), f"output={directory}"]


def the_same_arm_and_seed_twice(directory: Path) -> list[str]:
    shutil.copytree(directory / "runs/gated/seed0", directory / "again")
    return [str(directory / "runs/gated/seed0"), str(directory / "again")]


def other_settings_of_the_task(directory: Path) -> list[str]:
    run = Path(shutil.copytree(directory / "runs/gated/seed0", directory / "again"))
    file = run / "model.json"
    file.write_text(file.read_text().replace('"mask_rate": 0.5', '"mask_rate": 0.3'))
    return [str(directory / "runs/gated/seed1"), str(run)]


def another_version(directory: Path) -> list[str]:
    """A key that this version does not have, in every run."""
    for file in directory.glob("runs/*/*/model.json"):
        file.write_text(file.read_text().replace('"mask_rate": 0.5', '"mask_rate": 0.5, "twist": 1'))
    return [str(directory)]


def another_output_settings(directory: Path) -> list[str]:
    assert cli.main(["ood", str(directory), "axes={noise: [1]}"]) == 0
    return [str(directory), "axes={noise: [1]}", "task.mask_rate=0.3"]


def no_runs(directory: Path) -> list[str]:
    return []


MISTAKES: dict[Callable[[Path], list[str]], str] = {
    no_runs: "ood: which runs? give the directory of a comparison, or of runs",
    no_such_directory: "nowhere: no such directory; give the directory of a finished run, or of `headwise compare`",
    nothing_in_it: "holds neither a run nor a comparison",
    unknown_axis: "axes: depth: unknown; there are: length, mask_rate, steps, heads, random_heads, noise",
    values_of_another_kind: "axes.length=long: expected a number, as 8",
    unknown_setting: "task.lenght=8: unknown key",
    output_of_other_work: "holds a comparison (comparison.json); choose another output",
    the_same_arm_and_seed_twice: "arm gated with seed 0, as",
    other_settings_of_the_task: "trained with task.mask_rate=0.3, ",
    another_version: "nothing to measure: task.twist=1: unknown key",
    another_output_settings: "measured with settings as trained, now task.mask_rate=0.3; choose another output",
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_mistake_is_one_line_and_writes_nothing(
    mistake: Callable[[Path], list[str]], copied: Copied, capsys: Captured
) -> None:
    directory = copied()
    words = mistake(directory)
    before = sorted(path for path in directory.rglob("*"))
    capsys.readouterr()
    code, out, err = ended(["ood", *words], capsys)
    assert (code, out) == (2, "")
    assert MISTAKES[mistake] in err.splitlines()[-1]
    assert sorted(path for path in directory.rglob("*")) == before


def test_where_no_point_fits_it_is_said_why(copied: Copied, capsys: Captured) -> None:
    directory = copied()
    code, out, err = ended(["ood", str(directory), "axes={mask_rate: [0.9, 1]}"], capsys)
    assert (code, out) == (2, "")
    assert "nothing to measure: mask_rate 0.9: task.mask_rate=0.9 leaves 1" in err
    assert not (directory / "ood" / "ood.json").exists()


def test_a_run_of_another_version_is_named_and_the_others_are_measured(copied: Copied, capsys: Captured) -> None:
    directory = copied()
    file = directory / "runs/gated/seed1/model.json"
    file.write_text(file.read_text().replace('"mask_rate": 0.5', '"mask_rate": 0.5, "twist": 1'))
    (directory / "runs/baseline/seed0/model.safetensors").write_bytes(b"nothing of the kind")
    code, out, _ = ended(["ood", str(directory), "axes={noise: [1]}"], capsys)
    assert code == 0
    assert "task.twist=1: unknown key" in out
    assert "Not measured: baseline, seed 0" in out
    found = read_ood(directory / "ood")["axes"]["noise"]["points"][1]["arms"]
    assert [value is None for value in found["baseline"]["values"]] == [True, False, False]
    assert [value is None for value in found["gated"]["values"]] == [False, True, False]


def test_a_damaged_result_is_named_and_made_again_from_what_was_measured(copied: Copied, capsys: Captured) -> None:
    directory = copied()
    words = ["ood", str(directory), "axes={noise: [1]}"]
    assert ended(words, capsys)[0] == 0
    file = directory / "ood" / "ood.json"
    whole = file.read_text()
    file.write_text(whole.replace('"is_neutral": true', '"is_neutral": 7', 1))
    code, _, err = ended(["report", str(file.parent)], capsys)
    assert code == 2
    assert "is_neutral is a whole number, expected true or false; run `headwise ood` again with the same output" in err
    assert ended(words, capsys)[0] == 0
    assert json.loads(file.read_text())["axes"] == json.loads(whole)["axes"]


def of(kind: str, a: str = "gated", mean: float | None = 1.0) -> dict[str, Any]:
    return {
        "label": "8",
        "arms": {"baseline": {"mean": 1.0}, "gated": {"mean": mean}},
        "pairs": [{"a": a, "b": "baseline", "kind": kind}],
        "left_out": {"gated, seed 0": "too long", "gated, seed 1": "too long"},
    }


def test_what_was_decided_is_said_in_signs() -> None:
    assert decided(of("better")) == "gated > baseline"
    assert decided(of("worse")) == "gated < baseline"
    assert decided(of("no room")) == "–"


def test_runs_that_were_left_out_are_named_by_their_arm_where_all_of_it_were() -> None:
    assert left_out({"points": [of("better", mean=None)]}) == ["8 not measured of gated: too long"]
    assert left_out({"points": [of("better")]}) == ["8 not measured of gated, seed 0 and gated, seed 1: too long"]
