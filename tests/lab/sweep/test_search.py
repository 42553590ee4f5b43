"""Searches by Optuna over settings with made-up values: what is tried, given up, remembered and refused."""

from pathlib import Path
from typing import Any

import pytest

from headwise.errors import InputError
from headwise.lab.comparison.train import Stopped
from headwise.lab.outputs import SEARCH
from headwise.lab.sweep.search import FILE, UNDECIDED
from headwise.lab.sweep.sweep import search_and_sweep
from headwise.training.config import RunConfig
from tests.lab.sweep.conftest import PERIOD, SweepTrain, by_period, space_of

pytest.importorskip("optuna")
RATE = "training.preset.lr=tag(log,interval(1e-5,1e-1))"
WIDTH = "training.batch_size=int(interval(8,64))"


def value(config: RunConfig) -> float:
    """Best at the largest rate; a rate decides more than all noise."""
    return 0.2 + 2 * config.training.preset.learning_rates()["backbone"]


def searched(output: Path, train: Any, number: int, words: tuple[str, ...] = (RATE, WIDTH), **how: Any) -> Any:
    given = {"seeds": 3, "confirm": 0, "output": output, "jobs": 1, "train": train, **how}
    return search_and_sweep(space_of(*words), number, **given)


def test_settings_that_do_badly_are_given_up_before_their_last_seed(tmp_path: Path) -> None:
    result = searched(tmp_path, SweepTrain(value), 12)
    arms = result["arms"]
    assert len(arms) == 12 + 1
    assert result["given_up"]
    for label, arm in arms.items():
        done = sum(value is not None for value in arm["values"])
        assert done < 3 if label in result["given_up"] else done == 3
        assert arm["failures"] == {}
    whole = [arm["validation_mean"] for label, arm in arms.items() if label not in result["given_up"]]
    assert arms[result["best"]]["validation_mean"] == max(whole)
    assert any(line.startswith("Given up on validation before their last seed") for line in result["lead"])
    for arm in arms.values():
        if arm["keys"]:
            assert 1e-5 <= float(arm["keys"]["training.preset.lr"]) <= 1e-1
            assert 8 <= int(arm["keys"]["training.batch_size"]) <= 64
    assert (tmp_path / SEARCH / FILE).is_file()


def test_the_first_settings_are_not_given_up(tmp_path: Path) -> None:
    assert searched(tmp_path, SweepTrain(value), UNDECIDED)["given_up"] == []


def test_a_search_goes_on_where_it_was_and_trains_nothing_twice(tmp_path: Path) -> None:
    class Interrupted(SweepTrain):
        def __call__(self, config: RunConfig, *args: Any, **how: Any) -> Path:
            if len(self.calls) == 10:
                raise KeyboardInterrupt
            return super().__call__(config, *args, **how)

    first, second, third = Interrupted(value), SweepTrain(value), SweepTrain(value)
    with pytest.raises(Stopped) as stopped:
        searched(tmp_path, first, 6)
    assert stopped.value.output == tmp_path
    result = searched(tmp_path, second, 6)
    assert not set(first.calls) & set(second.calls)
    assert len(result["arms"]) == 6 + 1
    assert searched(tmp_path, third, 6)["arms"].keys() == result["arms"].keys()
    assert third.calls == []
    assert len(searched(tmp_path, third, 8)["arms"]) == 8 + 1


def test_the_best_of_a_search_is_confirmed_on_fresh_seeds(tmp_path: Path) -> None:
    result = searched(tmp_path, SweepTrain(by_period), 3, ("arm.controller.period=2,5",), confirm=3)
    assert result["best"] == "controller.period=5"
    assert result["confirmation"]["seeds"] == [3, 4, 5]
    assert result["confirmation"]["pair"]["kind"] == "better"


def test_a_run_that_failed_counts_as_tried_and_is_named(tmp_path: Path) -> None:
    failing = frozenset(("controller.period=2", seed) for seed in range(3))
    result = searched(tmp_path, SweepTrain(by_period, failing=failing), 4, ("arm.controller.period=2,3",))
    tried = result["arms"].keys() - {"base"}
    assert tried <= {"controller.period=2", "controller.period=3"}
    if "controller.period=2" in tried:
        assert "loss nan" in result["arms"]["controller.period=2"]["failures"]["0"]
        assert result["arms"]["controller.period=2"]["values"] == [None, None, None]


def test_a_combination_that_the_lab_refuses_is_passed_over(tmp_path: Path) -> None:
    result = searched(tmp_path, SweepTrain(by_period), 6, ("arm.controller.period=3,9", "training.updates=30,40"))
    assert all("controller.period=9" not in label for label in result["arms"])


def test_a_search_over_other_values_does_not_go_into_the_same_output(tmp_path: Path) -> None:
    searched(tmp_path, SweepTrain(by_period), 2, (PERIOD,))
    train = SweepTrain(by_period)
    with pytest.raises(InputError, match="holds a search over other values"):
        searched(tmp_path, train, 2, ("arm.controller.period=2,3,5",))
    assert train.calls == []


def test_a_damaged_storage_is_one_line(tmp_path: Path) -> None:
    (tmp_path / SEARCH).mkdir()
    (tmp_path / SEARCH / FILE).write_bytes(b"no database" * 100)
    with pytest.raises(
        InputError, match=r"optuna\.db: no storage that optuna can use .*choose another output"
    ) as error:
        searched(tmp_path, SweepTrain(by_period), 2, (PERIOD,))
    assert "\n" not in str(error.value)


def test_without_optuna_the_command_that_installs_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"sampler=optuna: not installed; pip install 'headwise\[optuna\]'"):
        searched(tmp_path / "here", SweepTrain(by_period), 2, (PERIOD,))
    assert not (tmp_path / "here").exists()
