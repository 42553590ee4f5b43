"""Hints: what they say, and how long the chains are that follow from them."""

import heapq
import itertools

import pytest
import torch

from headwise.tasks.sorting import SortingConfig
from headwise.tasks.sorting.arrays import generate
from headwise.tasks.sorting.hints import CODES, chain_depth, pairs_within, real_hints, smaller_larger
from headwise.tasks.sorting.metrics import measure


def shortest_derivations(visible, ranks, hints):
    """Dijkstra from every element, written for one array: {(smaller, larger): number of hints}."""
    n = len(ranks)
    links = dict.fromkeys(hints, 1)
    links |= {(i, j): 0 for i in range(n) for j in range(n) if visible[i] and visible[j] and ranks[i] < ranks[j]}
    found = {}
    for source in range(n):
        queue, done = [(0, source)], {}
        while queue:
            cost, i = heapq.heappop(queue)
            if i in done:
                continue
            done[i] = cost
            for (a, b), step in links.items():
                if a == i and b not in done:
                    heapq.heappush(queue, (cost + step, b))
        found |= {(source, i): cost for i, cost in done.items() if i != source}
    return found


@pytest.mark.parametrize("settings", [{"hints": 7}, {"hints": 51}, {"hint_span": 1}, {"hint_span": 3}])
def test_every_hint_is_true_and_involves_a_masked_element(settings):
    batch = generate(SortingConfig(length=12, **settings), 200, [0])
    low, high = smaller_larger(batch)
    row, column = real_hints(batch).nonzero(as_tuple=True)
    i, j = low[row, column], high[row, column]
    assert (batch["ranks"][row, i] < batch["ranks"][row, j]).all()
    assert not (batch["visible"][row, i] & batch["visible"][row, j]).any()
    pairs = {(r, *sorted(pair)) for r, *pair in zip(row.tolist(), i.tolist(), j.tolist(), strict=True)}
    assert len(pairs) == len(row), "no pair is compared twice"


def test_a_fixed_number_of_hints_is_drawn_uniformly_from_the_pairs_that_qualify():
    """Also from distant ranks: hints drawn by nearness would tell more than who is smaller."""
    batch = generate(SortingConfig(length=6, hints=3), 6000, [0])
    low, high = smaller_larger(batch)
    gap = (batch["ranks"].gather(1, high) - batch["ranks"].gather(1, low)).flatten()
    first_is_smaller = batch["outcomes"].double().mean().item()
    assert gap.bincount(minlength=6)[1:].double() / len(gap) == pytest.approx(
        [d / 15 for d in (5, 4, 3, 2, 1)], abs=0.015
    )
    assert first_is_smaller == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("span", [1, 2, 11])
def test_a_span_reveals_exactly_the_near_pairs_with_a_masked_element(span):
    config = SortingConfig(length=12, hint_span=span)
    batch = generate(config, 100, [0])
    assert batch["hints"].shape[1] == pairs_within(12, span) == config.hint_tokens
    assert batch["mask"].shape == (100, 12 + config.hint_tokens)
    assert batch["mask"][:, :12].all()
    for row in range(100):
        ranks, visible = batch["ranks"][row], batch["visible"][row]
        expected = {
            frozenset(pair)
            for pair in itertools.combinations(range(12), 2)
            if abs(ranks[pair[0]] - ranks[pair[1]]) <= span and not visible[list(pair)].all()
        }
        told = batch["hints"][row][real_hints(batch)[row]]
        assert {frozenset(pair) for pair in told.tolist()} == expected


@pytest.mark.parametrize("settings", [{"hints": 4}, {"hints": 14}, {"hint_span": 1}])
def test_chain_depth_is_the_shortest_derivation(settings):
    batch = generate(SortingConfig(length=9, **settings), 30, [0])
    depth = chain_depth(batch)
    low, high = smaller_larger(batch)
    for row in range(30):
        real = real_hints(batch)[row]
        hints = list(zip(low[row][real].tolist(), high[row][real].tolist(), strict=True))
        derived = shortest_derivations(batch["visible"][row].tolist(), batch["ranks"][row].tolist(), hints)
        for i, j in itertools.combinations(range(9), 2):
            assert depth[row, i, j] == derived.get((i, j), derived.get((j, i), torch.inf))
    assert torch.equal(depth, depth.transpose(1, 2))


def test_a_chain_through_visible_elements_counts_only_its_hints():
    """a < V1 is a hint, V1 < V2 is seen, V2 < b is a hint: a < b takes two."""
    batch = {
        "values": torch.tensor([[-50, 0, 10, 70]]),
        "ranks": torch.tensor([[0, 1, 2, 3]]),
        "visible": torch.tensor([[False, True, True, False]]),
        "hints": torch.tensor([[[1, 0], [2, 3]]]),
        "outcomes": torch.tensor([[False, True]]),
    }
    assert chain_depth(batch)[0].tolist() == [[0, 1, 1, 2], [1, 0, 0, 1], [1, 0, 0, 1], [2, 1, 1, 0]]


def test_near_hints_determine_the_order_and_smaller_spans_make_longer_chains():
    deepest = []
    for span in (1, 2, 4, 11):
        depth = chain_depth(generate(SortingConfig(length=12, hint_span=span), 300, [0]))
        assert depth.isfinite().all()
        deepest.append(depth.amax((1, 2)).mean().item())
    assert deepest == sorted(deepest, reverse=True)
    assert deepest[0] > 4
    assert deepest[-1] == 1


def test_the_pairs_of_each_depth_partition_those_with_a_masked_element():
    batch = generate(SortingConfig(length=12, hints=12), 300, [0])
    depth = chain_depth(batch)[:, *torch.triu_indices(12, 12, 1)]
    counts = [(depth == d).sum(1) for d in (1, 2, 3)] + [((depth >= 4) & depth.isfinite()).sum(1), depth.isinf().sum(1)]
    assert (sum(counts) == 51).all()
    found = measure(batch["ranks"].flip(1), batch)
    names = [
        "rank_tau_depth_1",
        "rank_tau_depth_2",
        "rank_tau_depth_3",
        "rank_tau_depth_4plus",
        "rank_tau_undetermined",
    ]
    for name, count in zip(names, counts, strict=True):
        assert torch.equal(found[name].isnan(), count == 0)
    total = sum(torch.nan_to_num(found[name]) * count for name, count in zip(names, counts, strict=True))
    whole = 66 * found["rank_tau"] - 15 * found["rank_tau_visible"]
    assert total == pytest.approx(whole, abs=1e-4)


@pytest.mark.parametrize("codes", [None, 30, CODES])
def test_codes_are_distinct_and_say_nothing_about_rank(codes):
    batch = generate(SortingConfig(length=12, hints=1, hint_codes=codes), 5000, [0])
    assert (batch["codes"].sort(dim=1).values.diff(dim=1) > 0).all()
    assert batch["codes"].max() == (codes or 12) - 1
    for code in (0, 7, (codes or 12) - 1):
        assert batch["ranks"][batch["codes"] == code].double().mean().item() == pytest.approx(5.5, abs=0.5)
