"""What can be known: three ways to compute it, against enumeration, simulation and the published table."""

import itertools
import math

import numpy as np
import pytest
import torch

from headwise.tasks.sorting import SortingConfig, posterior
from headwise.tasks.sorting.arrays import LOWEST, POOL, generate
from headwise.tasks.sorting.evidence import evidence
from headwise.tasks.sorting.gibbs import sample
from headwise.tasks.sorting.hints import draw_hints, real_hints, smaller_larger
from headwise.tasks.sorting.metrics import agreement, rank_by


def off_diagonal_mean(table):
    n = table.shape[1]
    return table.sum((1, 2)) / (n * (n - 1))


def row_of(batch, row):
    return {name: array[row : row + 1] for name, array in batch.items()}


def told(batch, row):
    low, high = smaller_larger(batch)
    real = real_hints(batch)[row]
    return list(zip(low[row][real].tolist(), high[row][real].tolist(), strict=True))


def enumerate_orders(batch, row, weighted=True):
    """P(i < j) by listing every order of the elements that fits; an order counts as often as values can produce it."""
    values, visible = batch["values"][row].tolist(), batch["visible"][row].tolist()
    n, hints = len(values), told(batch, row)
    seen = sorted((i for i in range(n) if visible[i]), key=values.__getitem__)
    edges = [LOWEST - 1, *(values[i] for i in seen), LOWEST + POOL]
    widths = [b - a - 1 for a, b in itertools.pairwise(edges)]
    total, below = 0, np.zeros((n, n))
    for order in itertools.permutations(range(n)):
        if [i for i in order if visible[i]] != seen:
            continue
        place = {i: r for r, i in enumerate(order)}
        if any(place[i] > place[j] for i, j in hints):
            continue
        inside = [0]
        for i in order:
            inside = [*inside, 0] if visible[i] else [*inside[:-1], inside[-1] + 1]
        weight = math.prod(map(math.comb, widths, inside)) if weighted else 1
        total += weight
        for i, j in itertools.combinations(order, 2):
            below[i, j] += weight
    return below / total + np.eye(n) / 2


def enumerate_values(batch, row):
    """P(i < j) by listing every assignment of unused integers to the (two) masked elements."""
    values, visible = batch["values"][row].numpy(), batch["visible"][row].numpy()
    unused = sorted(set(range(LOWEST, LOWEST + POOL)) - set(values[visible].tolist()))
    drawn = np.array(list(itertools.permutations(unused, int((~visible).sum()))))
    full = np.tile(values, (len(drawn), 1))
    full[:, ~visible] = drawn
    fits = np.all([full[:, i] < full[:, j] for i, j in told(batch, row)], axis=0)
    return (full[fits, :, None] < full[fits, None, :]).mean(0) + np.eye(len(values)) / 2


@pytest.mark.parametrize(("length", "mask_rate", "hints"), [(4, 0.5, 2), (6, 0.5, 4), (7, 0.6, 9), (7, 0.3, 5)])
def test_counting_equals_the_list_of_all_orders(length, mask_rate, hints):
    batch = generate(SortingConfig(length=length, mask_rate=mask_rate, hints=hints), 6, [0])
    found = posterior.posterior(batch, seed=0)
    for row in range(6):
        expected = enumerate_orders(batch, row)
        assert found.below[row].numpy() == pytest.approx(expected, abs=1e-9)
        assert found.certainty[row].numpy() == pytest.approx(abs(2 * expected - 1), abs=1e-9)


def test_counting_equals_the_list_of_all_values():
    batch = generate(SortingConfig(length=4, hints=2), 3, [5])
    found = posterior.posterior(batch, seed=0)
    for row in range(3):
        assert found.below[row].numpy() == pytest.approx(enumerate_values(batch, row), abs=1e-9)


def test_orders_are_weighted_by_the_integers_that_fit():
    """The tempting shortcut, every order equally likely, is another distribution."""
    batch = generate(SortingConfig(length=6, hints=3), 6, [0])
    found = posterior.posterior(batch, seed=0).below.numpy()
    shortcut = np.stack([enumerate_orders(batch, row, weighted=False) for row in range(6)])
    assert np.abs(found - shortcut).max() > 0.1


def test_without_hints_counting_gives_the_closed_form():
    batch = generate(SortingConfig(length=9, hints=1), 20, [0])
    silent = {**batch, "mask": torch.ones(20, 10, dtype=torch.bool).index_fill(1, torch.tensor([9]), False)}
    plain = {name: batch[name] for name in ("values", "visible", "ranks")}
    counted, closed = posterior.posterior(silent, 0), posterior.posterior(plain, 0)
    assert torch.allclose(counted.below, closed.below)
    assert torch.allclose(counted.certainty, closed.certainty)


def test_the_closed_form_is_what_simulation_finds():
    batch = generate(SortingConfig(length=8), 3, [0])
    rng = np.random.default_rng(0)
    for row in range(3):
        values, visible = batch["values"][row].numpy(), batch["visible"][row].numpy()
        unused = np.setdiff1d(np.arange(LOWEST, LOWEST + POOL), values[visible])
        full = np.tile(values, (20_000, 1))
        full[:, ~visible] = unused[rng.random((20_000, len(unused))).argsort(1)[:, : (~visible).sum()]]
        simulated = (full[:, :, None] < full[:, None, :]).mean(0) + np.eye(8) / 2
        found = posterior.posterior(row_of({n: batch[n] for n in ("values", "visible")}, row), 0).below[0].numpy()
        assert found == pytest.approx(simulated, abs=0.015)


def test_sampling_agrees_with_counting(monkeypatch):
    batch = generate(SortingConfig(length=10, mask_rate=0.5, hints=8), 12, [2])
    exact = posterior.posterior(batch, 0)
    monkeypatch.setattr(posterior, "MOST_COUNTED", 0)
    sampled = posterior.posterior(batch, 0)
    assert (sampled.below - exact.below).abs().max() < 0.05
    assert (sampled.below - exact.below).square().mean().sqrt() < 0.01
    difference = off_diagonal_mean(sampled.certainty) - off_diagonal_mean(exact.certainty)
    assert difference.mean().abs() < 2e-3
    again = posterior.posterior(batch, 0)
    assert torch.equal(again.below, sampled.below)


def test_sampled_certainty_is_not_inflated_by_noise(monkeypatch):
    """With few samples |2 P - 1| of coin tosses comes out far above 0; the split estimate does not."""
    monkeypatch.setattr("headwise.tasks.sorting.gibbs.SWEEPS", 4)
    monkeypatch.setattr(posterior, "MOST_COUNTED", 0)
    batch = generate(SortingConfig(length=12, mask_rate=0.8, hints=1), 40, [0])
    sampled = posterior.posterior(batch, 0)
    naive = off_diagonal_mean((2 * sampled.below - 1).abs()).mean()
    monkeypatch.setattr(posterior, "MOST_COUNTED", 10)
    exact = off_diagonal_mean(posterior.posterior(batch, 0).certainty).mean()
    assert naive > exact + 0.03
    assert off_diagonal_mean(sampled.certainty).mean() == pytest.approx(exact.item(), abs=0.01)


def test_chains_keep_to_the_hints_and_to_distinct_integers():
    batch = generate(SortingConfig(length=10, hints=20), 20, [0])
    found = evidence(batch)
    order = found.place.argsort(1)
    start = (batch["values"].gather(1, order)[:, :5, None] > batch["values"].gather(1, order)[:, None, 5:]).sum(2)
    start = batch["values"].gather(1, order)[:, :5] - LOWEST - start
    below, under = sample(found, start, seed=0)
    assert (below[:, found.less] == 1).all()
    assert (under[:, found.under] == 1).all()
    assert (under[:, found.above] == 0).all()
    both = below + below.transpose(2, 3) + torch.eye(5)
    assert torch.allclose(both, torch.ones_like(both)), "of two distinct values exactly one is smaller"


def test_where_hints_settle_the_order_nothing_is_left_to_chance():
    batch = generate(SortingConfig(length=20, hint_span=1), 50, [0])
    found = posterior.posterior(batch, 0)
    assert torch.equal(rank_by(found.below.sum(1)), batch["ranks"])
    assert (off_diagonal_mean(found.certainty) == 1).all()


def realised(batch, beliefs):
    """Mean over pairs of how often the better guess was right, as an agreement; and the expectation that P promises."""
    truth = agreement(batch["ranks"], batch["ranks"]) * (batch["ranks"][:, None, :] - batch["ranks"][:, :, None]).sign()
    return off_diagonal_mean((2 * beliefs.below - 1).sign() * truth), off_diagonal_mean(beliefs.certainty)


def test_guesses_come_true_as_often_as_the_ceiling_says():
    batch = generate(SortingConfig(length=12, hints=10), 2000, [4])
    scored, promised = realised(batch, posterior.posterior(batch, 0))
    error = (scored - promised).std() / 2000**0.5
    assert (scored - promised).mean().abs() < 4 * error


def test_hints_drawn_from_near_pairs_would_break_the_ceiling():
    """Why `hint_span` reveals all near pairs: with some, P of the comparisons promises 0.84 where 0.75 comes true."""
    plain = generate(SortingConfig(length=12), 2000, [4])
    ranks, visible = plain["ranks"].numpy(), plain["visible"].numpy()
    hints, _ = draw_hints(ranks, visible, 6, 1, np.random.default_rng(0))
    outcomes = np.take_along_axis(ranks[:, None], hints, axis=2)
    batch = {
        **plain,
        "hints": torch.from_numpy(hints),
        "outcomes": torch.from_numpy(outcomes[..., 0] < outcomes[..., 1]),
    }
    scored, promised = realised(batch, posterior.posterior(batch, 0))
    error = (scored - promised).std() / 2000**0.5
    assert scored.mean() < promised.mean() - 10 * error
