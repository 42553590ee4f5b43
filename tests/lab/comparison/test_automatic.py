"""`seeds=auto`: stops when decided, futile or at its limit, goes on where it was, and refuses what has no end."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headwise.commands import compare as command
from headwise.errors import InputError
from headwise.lab.comparison.automatic import Limits, chance_to_decide, compare_until_decided
from headwise.lab.comparison.rules import Rule
from headwise.lab.mixed import Estimate
from headwise.lab.report.tables import markdown_table
from headwise.lab.report.write import write_report
from tests.lab.conftest import FakeTrain, run_config

NOISE = np.random.default_rng(0).normal(0, 1, 20)
BASELINE = (0.40 + 0.002 * np.random.default_rng(1).normal(0, 1, 20)).tolist()


def scores(lead: float, noise: float) -> dict[str, Sequence[float]]:
    """Twenty seeds of `looped`, ahead of the baseline by `lead` on average and by chance."""
    return {"baseline": BASELINE, "looped": (np.array(BASELINE) + lead + noise * NOISE).tolist()}


def automatic(output: Path, train: FakeTrain, names: Sequence[str] = ("baseline", "looped"), **limits: Any) -> Any:
    return compare_until_decided(
        [(name, run_config(name)) for name in names], Limits(**limits), output=output, jobs=1, train=train
    )


def test_a_large_difference_ends_it_early(tmp_path: Path) -> None:
    train = FakeTrain(scores(lead=0.05, noise=0.001))
    result = automatic(tmp_path, train, effect=0.01, max_seeds=10)
    assert result["pairs"][0]["kind"] == "better"
    assert len(result["seeds"]) < 10
    assert result["looks"]["seeds"] == list(range(3, len(result["seeds"]) + 1))
    assert result["looks"]["ended"] == "every pair is decided"
    assert len(train.calls) == 2 * len(result["seeds"])
    assert json.loads((tmp_path / "comparison.json").read_text()) == result
    said = f"looked at after each of 3 to {len(result['seeds'])} seeds"
    assert said in markdown_table(result)
    assert said in write_report(tmp_path).read_text()


def test_arms_that_are_alike_end_it_as_equivalent(tmp_path: Path) -> None:
    result = automatic(tmp_path, FakeTrain(scores(lead=0.0, noise=0.001)), effect=0.02, max_seeds=10)
    assert result["pairs"][0]["kind"] == "equivalent"
    assert len(result["seeds"]) < 10


def test_noise_too_large_for_any_decision_ends_it_before_its_limit(tmp_path: Path) -> None:
    result = automatic(tmp_path, FakeTrain(scores(lead=0.0, noise=0.05)), effect=0.0001, max_seeds=12)
    assert result["pairs"][0]["kind"] == "too few seeds"
    assert result["looks"]["ended"] == "what is open would stay open"
    assert len(result["seeds"]) < 12


def test_it_ends_at_its_seeds_and_all_of_the_level_is_spent_there(tmp_path: Path) -> None:
    result = automatic(tmp_path, FakeTrain(scores(lead=0.0, noise=0.004)), effect=0.0005, max_seeds=4)
    assert (len(result["seeds"]), result["looks"]["ended"]) == (4, "the limit is reached")
    assert 0.95 < result["pairs"][0]["confidence"] < 0.96


def test_hours_become_seeds_after_the_first_three(tmp_path: Path) -> None:
    # A run of the baseline takes 5 s and one of `looped` 10 s, one after the other: 15 s a seed, 5.3 seeds in 80 s.
    train = FakeTrain(scores(lead=0.01, noise=0.02))
    result = automatic(tmp_path, train, effect=0.005, max_hours=80 / 3600)
    assert result["looks"]["most"] == 5
    assert len(result["seeds"]) <= 5
    short = automatic(tmp_path / "short", train, effect=0.005, max_hours=1 / 3600)
    assert (short["looks"]["most"], len(short["seeds"])) == (3, 3)


def test_one_that_was_stopped_goes_on_and_ends_as_one_that_was_not(tmp_path: Path) -> None:
    class Interrupted(FakeTrain):
        def __call__(self, config: Any, *args: Any, **settings: Any) -> Path:
            if config.seed == 4:
                raise KeyboardInterrupt
            return super().__call__(config, *args, **settings)

    limits = {"effect": 0.005, "max_seeds": 6}
    whole = automatic(tmp_path / "whole", FakeTrain(scores(0.01, 0.02)), **limits)
    with pytest.raises(KeyboardInterrupt):
        automatic(tmp_path / "part", Interrupted(scores(0.01, 0.02)), **limits)
    rest = FakeTrain(scores(0.01, 0.02))
    resumed = automatic(tmp_path / "part", rest, **limits)
    assert min(seed for _, seed, _ in rest.calls) == 4
    for key in ("looks", "pairs", "seeds", "headline"):
        assert resumed[key] == whole[key]
    again = FakeTrain(scores(0.01, 0.02))
    assert automatic(tmp_path / "part", again, **limits)["pairs"] == whole["pairs"]
    assert again.calls == []


def test_limits_may_not_be_moved_once_data_have_been_seen(tmp_path: Path) -> None:
    automatic(tmp_path, FakeTrain(scores(0.01, 0.02)), effect=0.005, max_seeds=4)
    with pytest.raises(InputError, match="holds a comparison with max_seeds=4, now 8; choose another output"):
        automatic(tmp_path, FakeTrain(scores(0.01, 0.02)), effect=0.005, max_seeds=8)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"effect": None, "max_seeds": 5}, "seeds=auto: says with effect="),
        ({"effect": 0.01}, "seeds=auto: needs an end, max_hours= or max_seeds="),
        ({"effect": 0.01, "max_hours": 0.0}, "max_hours=0: choose more than 0"),
        ({"effect": 0.01, "max_seeds": 2}, "max_seeds=2: choose 3 or more"),
        ({"effect": 0.0, "max_seeds": 5}, "effect=0: the smallest difference of interest, above 0"),
    ],
)
def test_what_has_no_end_or_no_question_is_refused(tmp_path: Path, limits: dict[str, Any], said: str) -> None:
    train = FakeTrain(scores(0.0, 0.01))
    with pytest.raises(InputError, match=said):
        automatic(tmp_path / "out", train, **limits)
    assert train.calls == []
    assert not (tmp_path / "out").exists()


def test_a_limit_without_seeds_auto_is_refused() -> None:
    for limit in ({"max_hours": 1.0}, {"max_seeds": 5}):
        with pytest.raises(InputError, match=r"max_(hours|seeds)=.* limits seeds=auto; with seeds=3 leave it out"):
            command.run(command.Options(arms=("baseline", "hrm"), settings=("task=sorting",), **limit))


def test_the_chance_to_decide_follows_from_what_more_seeds_can_change() -> None:
    rule = Rule(effect=0.1, looks=(5,), most=20)
    clear = Estimate(5.0, seeds=5, scatter=0.1)
    assert chance_to_decide(clear, rule, 1) > 0.99
    # The test set that all seeds share is what is too small, and seeds do not make it larger.
    shared = Estimate(0.3, seeds=5, examples=100, scatter=0.0001, shared=0.1, shared_df=99)
    assert chance_to_decide(shared, rule, 1) < 0.01
    assert chance_to_decide(Estimate(0.3, seeds=2), rule, 1) == 1.0
