"""A few of the sound runs that the driver examines, and that it would see an alarm."""

from pathlib import Path

import pytest

from headwise.models import ARMS
from headwise.routing.attention import RoutedAttention
from headwise.tasks import TASKS
from headwise.training.config import RunConfig
from headwise.training.presets import presets
from tests.drivers.sound_runs import configurations, examined
from tests.lab.ladder.test_ladder import combine_with_a_dense_backward


def sound(name: str) -> RunConfig:
    task, arm = name.split()
    ((_, config),) = configurations(24, [task], arms=[arm])
    return config


def test_all_arms_and_tasks_are_among_the_sound_runs() -> None:
    assert {name.split()[0] for name, _ in configurations(24, arms=["baseline"])} == set(TASKS)
    every = [*configurations(24, ["sorting"]), *configurations(24, ["walk"], arms=["oracle"])]  # which sorting refuses
    assert {name.split()[1] for name, _ in every} == {*presets("arm"), *ARMS}


@pytest.mark.parametrize("name", ["sorting pointer", "sorting gumbel", "language adaptive", "maze moh"])
def test_a_sound_run_raises_no_alarm(name: str, tmp_path: Path) -> None:
    found = examined(name, sound(name), tmp_path / "run")
    assert found.alarms == []
    assert found.unexamined == {}


def test_an_alarm_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RoutedAttention, "combine", combine_with_a_dense_backward)
    found = examined("sorting moh", sound("sorting moh"), tmp_path / "run")
    assert "backward pass ignores the gates" in [finding.what for finding in found.alarms]
