"""The doctor on comparisons: unequal budgets, seeds and arms that do not differ, other test examples."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headwise.lab.doctor.compared import Compared, rules
from headwise.lab.doctor.examine import diagnose
from headwise.lab.doctor.findings import Finding, apply

Result = dict[str, Any]
Runs = Path


def found(directory: Path) -> list[Finding]:
    content = json.loads((directory / "comparison.json").read_text(encoding="utf-8"))
    diagnosis = apply(rules, Compared(directory, content), str(directory))
    assert diagnosis.unexamined == {}
    return list(diagnosis.findings)


@pytest.fixture
def fair(comparison: Path, tmp_path: Path) -> Path:
    """A comparison whose runs differ; the stand-in for training gives all of them the same losses."""
    directory = shutil.copytree(comparison, tmp_path / "comparison")
    for number, file in enumerate(sorted(directory.glob("runs/*/*/metrics.jsonl"))):
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        lines = [line | {"task_loss": line["task_loss"] + 0.001 * number} for line in lines]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return directory


def test_a_fair_comparison_raises_no_alarm_and_tells_of_the_loop_s_flops(fair: Path) -> None:
    (flops,) = found(fair)
    assert (flops.what, flops.where, flops.confidence) == ("unequal budgets", "FLOPs", "possible")
    assert "looped 6 times" in flops.evidence


def fewer_updates(result: Result, runs: Runs) -> None:
    result["arms"]["hrm"]["updates"] = 30


def half_the_parameters(result: Result, runs: Runs) -> None:
    result["arms"]["hrm"]["parameter_ratio"] = 0.5
    result["parity"] |= {"mode": "none", "matched": []}


def one_seed_for_all(result: Result, runs: Runs) -> None:
    for seed in (1, 2):
        shutil.copy(runs / "hrm/seed0/metrics.jsonl", runs / f"hrm/seed{seed}/metrics.jsonl")


def an_option_without_effect(result: Result, runs: Runs) -> None:
    for seed in (0, 1, 2):
        shutil.copy(runs / f"looped/seed{seed}/metrics.jsonl", runs / f"hrm/seed{seed}/metrics.jsonl")


def other_test_examples(result: Result, runs: Runs) -> None:
    for arm, digest in (("baseline", "aaaa"), ("hrm", "bbbb")):
        file = runs / arm / "seed1/summary.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"test_fingerprint": digest}), encoding="utf-8")


PLANTED: dict[str, tuple[str, str, Callable[[Result, Runs], None]]] = {
    "fewer updates": ("unequal budgets", "updates", fewer_updates),
    "half the parameters": ("unequal budgets", "parameters", half_the_parameters),
    "one seed for all": ("seeds do not differ", "hrm, seeds 0 and 1, 0 and 2, 1 and 2", one_seed_for_all),
    "an option without effect": ("arms do not differ", "looped and hrm", an_option_without_effect),
    "other test examples": ("arms tested on different examples", "seed 1", other_test_examples),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_defect_is_found_and_named(name: str, fair: Path) -> None:
    rule, where, plant = PLANTED[name]
    result = json.loads((fair / "comparison.json").read_text(encoding="utf-8"))
    plant(result, fair / "runs")
    (fair / "comparison.json").write_text(json.dumps(result), encoding="utf-8")
    alarming = [(finding.what, finding.where) for finding in found(fair) if finding.alarming]
    assert (rule, where) in alarming
    assert {what for what, _ in alarming} == {rule}
    assert diagnose(fair).alarming


def test_the_runs_of_a_comparison_are_examined_by_their_records(fair: Path) -> None:
    (fair / "runs/hrm/seed2/error.txt").write_text("TrainingDiverged: update 31: loss nan", encoding="utf-8")
    assert ("loss is not finite", "hrm, seed 2: training") in [
        (finding.what, finding.where) for finding in diagnose(fair).findings
    ]
