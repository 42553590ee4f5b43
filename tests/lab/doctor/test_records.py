"""The doctor on records of runs: each planted defect is named, and alone; sound records raise no alarm."""

from collections.abc import Callable
from pathlib import Path

import pytest

from headwise.lab.doctor import recorded
from headwise.lab.doctor.findings import Finding, apply
from headwise.lab.doctor.recorded import Recorded
from tests.lab.doctor.planted_records import PLANTED, POSSIBLE, gates, sound


def findings(records: Recorded) -> list[Finding]:
    diagnosis = apply(recorded.rules, records, "runs/one")
    assert diagnosis.unexamined == {}
    return list(diagnosis.findings)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_defect_is_found_and_named_and_no_other(name: str, tmp_path: Path) -> None:
    rule, make = PLANTED[name]
    assert {finding.what for finding in findings(make(tmp_path)) if finding.alarming} == {rule}


@pytest.mark.parametrize("what", POSSIBLE)
def test_what_sound_runs_show_too_is_possible_only(what: str, tmp_path: Path) -> None:
    assert {(finding.what, finding.confidence) for finding in findings(POSSIBLE[what](tmp_path))} == {
        (what, "possible")
    }


SOUND: dict[str, Callable[[Path], Recorded]] = {
    "one arm": sound,
    "steering that has arrived": lambda folder: sound(folder, "arm=relu", "arm.balance.target=2"),
    "a static choice of heads": lambda folder: sound(
        folder, "arm=static", "arm.router.k=2", routing=lambda done: gates(load=[1.0, 0.0, 1.0, 0.0])
    ),
    "a router frozen to the end": lambda folder: sound(
        folder,
        "arm=linear",
        "training.freeze_controller=0.999",
        routing=lambda done: gates(predictor_norms={"heads": 0.0}),
    ),
    "a solved task beside a small routing loss": lambda folder: sound(
        folder, "arm=moh", "arm.gate.k=2", train=lambda done: {"task_loss": 3e-3 ** (2 * done), "load_balance": 2.0}
    ),
    "a budget that is strong at first": lambda folder: sound(
        folder, "arm=relu", "arm.balance.target=2", train=lambda done: {"budget": 40.0}
    ),
    "a published preset": lambda folder: sound(folder, "training.preset=differentiated"),
    "a run that wrote nothing yet": lambda folder: Recorded(recorded.Run(folder), sound(folder).config),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_records_raise_no_alarm(name: str, tmp_path: Path) -> None:
    assert [finding for finding in findings(SOUND[name](tmp_path)) if finding.alarming] == []
