"""Which of several answers is taken: every rule against a loop in plain Python."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from headwise.lab.thinking.selection import RULES, Candidates, bounds, select, taken

K, N = 5, 200


def drawn(seed: int) -> Candidates:
    """Answers of which several are the same, costs of which several are."""
    rng = np.random.default_rng(seed)
    return Candidates(
        rng.integers(4, size=(K, N)) / 4,
        rng.integers(4, size=(K, N)) / 4 - 0.5,
        rng.integers(3, size=(K, N)),
        rng.random((K, N)) < 0.2,
    )


def plain(rule: str, one: list[dict[str, Any]]) -> int:
    """The rule's choice among the restarts of one example."""
    places = range(len(one))
    if rule == "majority":
        counts = Counter(restart["answer"] for restart in one)
        return next(k for k in places if counts[one[k]["answer"]] == max(counts.values()))
    if rule == "halting":
        return max(places, key=lambda k: one[k]["halting"])
    if rule == "valid" and any(restart["valid"] for restart in one):
        places = [k for k in places if one[k]["valid"]]
    return min(places, key=lambda k: one[k]["residual"])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_rule_takes_what_a_loop_takes(rule: str, number: int) -> None:
    among = drawn(0)
    chosen = select(rule, among.first(number))
    for n in range(N):
        names = ("residual", "halting", "answer", "valid")
        one = [{name: getattr(among, name)[k, n] for name in names} for k in range(number)]
        assert chosen[n] == plain(rule, one)


def test_a_state_that_has_grown_without_bound_is_the_last_choice() -> None:
    residual = np.array([[np.nan, np.nan], [0.5, np.inf], [0.7, 0.1]])
    assert select("residual", Candidates(residual)).tolist() == [1, 2]
    valid = np.array([[True, True], [False, False], [False, False]])
    assert select("valid", Candidates(residual, valid=valid)).tolist() == [0, 0]


def test_a_rule_lies_between_a_random_restart_and_the_best_where_what_it_goes_by_means_something() -> None:
    rng = np.random.default_rng(1)
    right = (rng.random((K, N)) < 0.4).astype(float)
    residual = 1 - right + 2 * rng.random((K, N))  # small where the answer is right, mostly
    random, best = bounds(right, higher_is_better=True)
    own = taken(right, select("residual", Candidates(residual)))
    assert random.mean() + 0.1 < own.mean() < best.mean()
    assert (best == right.max(0)).all()
    assert (bounds(right, higher_is_better=False)[1] == right.min(0)).all()


def test_what_one_restart_could_not_measure_counts_for_neither_bound() -> None:
    random, best = bounds(np.array([[1.0, np.nan], [np.nan, np.nan], [3.0, np.nan]]), higher_is_better=False)
    assert (random[0], best[0]) == (2, 1)
    assert np.isnan([random[1], best[1]]).all()
