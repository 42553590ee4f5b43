"""The tree decoder against the textbook's recursion, networkx, and every tree there is."""

import itertools

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from headwise.tasks.parsing.decoding import arborescence, decode_argmax, decode_tree, is_tree

Scores = dict[tuple[int, int], float]  # (head, dependent) -> score


def textbook(arcs: Scores, root: int) -> dict[int, int] | None:
    """Chu-Liu/Edmonds as in the textbooks, recursive: the head of every node but `root`, or None without a tree."""
    nodes = {node for arc in arcs for node in arc}
    best = {}
    for node in nodes - {root}:
        into = [arc for arc in arcs if arc[1] == node]
        if not into:
            return None
        best[node] = max(into, key=lambda arc: arcs[arc])[0]
    cycle = next((c for c in (cycle_from(node, best) for node in best) if c), None)
    if cycle is None:
        return best
    new = max(nodes) + 1
    smaller: Scores = {}
    stands_for: dict[tuple[int, int], tuple[int, int]] = {}
    for (u, v), score in arcs.items():
        if u in cycle and v in cycle:
            continue
        if v in cycle:
            arc, score = (u, new), score - arcs[best[v], v]
        elif u in cycle:
            arc = (new, v)
        else:
            arc = (u, v)
        if arc not in smaller or score > smaller[arc]:
            smaller[arc], stands_for[arc] = score, (u, v)
    solved = textbook(smaller, root) if any(v == new for _, v in smaller) else None
    if solved is None:
        return None
    heads = {node: best[node] for node in cycle}
    for v, u in solved.items():
        head, dependent = stands_for[u, v]
        heads[dependent] = head
    return heads


def cycle_from(node: int, best: dict[int, int]) -> set[int]:
    seen: list[int] = []
    while node in best and node not in seen:
        seen.append(node)
        node = best[node]
    return set(seen[seen.index(node) :]) if node in seen else set()


def finite_arcs(scores: np.ndarray, child: int) -> Scores:
    """The arcs of [n, n+1] scores in which only the word `child` may hang from the root."""
    n = len(scores)
    return {
        (head, word): float(scores[word - 1, head])
        for word in range(1, n + 1)
        for head in range(n + 1)
        if head != word and (head != 0 or word == child) and np.isfinite(scores[word - 1, head])
    }


def best_of_all_roots(scores: np.ndarray, solve) -> float:
    """The score of the best tree, every word tried as the root's only child; -inf where there is none."""
    n = len(scores)
    totals = [-np.inf]
    for child in range(1, n + 1):
        arcs = finite_arcs(scores, child)
        heads = solve(arcs, 0)
        if heads is not None and len(heads) == n:
            totals.append(sum(arcs[head, word] for word, head in heads.items()))
    return max(totals)


def networkx_heads(arcs: Scores, root: int) -> dict[int, int] | None:
    graph = nx.DiGraph()
    graph.add_weighted_edges_from((u, v, score) for (u, v), score in arcs.items())
    try:
        tree = nx.maximum_spanning_arborescence(graph)
    except nx.NetworkXException:
        return None
    return {v: u for u, v in tree.edges}


def total(scores: np.ndarray, heads: np.ndarray) -> float:
    return float(scores[np.arange(len(scores)), heads].sum())


def check_tree(heads: np.ndarray) -> None:
    """By walking up from every word, which shares nothing with `is_tree`."""
    assert (heads == 0).sum() == 1
    for word in range(1, len(heads) + 1):
        steps = 0
        while word:
            word = int(heads[word - 1])
            steps += 1
            assert steps <= len(heads), f"a cycle in {heads}"


def one(scores: np.ndarray) -> np.ndarray:
    """`decode_tree` on a batch of one."""
    n = len(scores)
    return decode_tree(torch.from_numpy(scores)[None], torch.ones(1, n, dtype=torch.bool))[0].numpy()


def every_tree(n: int) -> list[np.ndarray]:
    heads = torch.tensor(list(itertools.product(range(n + 1), repeat=n)))
    return [row.numpy() for row in heads[is_tree(heads, torch.ones_like(heads, dtype=torch.bool))]]


def test_there_are_as_many_single_root_trees_as_cayley_counted() -> None:
    """n^(n-1) rooted labelled trees on n words: the check for trees is neither too strict nor too kind."""
    for n in range(1, 6):
        trees = every_tree(n)
        assert len(trees) == n ** (n - 1)
        for tree in trees:
            check_tree(tree)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_no_tree_scores_higher(n: int) -> None:
    trees = every_tree(n)
    generator = np.random.default_rng(n)
    for _ in range(40):
        scores = generator.normal(size=(n, n + 1))
        best = max(trees, key=lambda tree: total(scores, tree))
        np.testing.assert_array_equal(one(scores), best)


@pytest.mark.parametrize("solve", [textbook, networkx_heads], ids=["textbook", "networkx"])
@pytest.mark.parametrize("kind", ["normal", "ties", "near a tree"])
def test_the_score_is_that_of_the_best_of_all_roots(kind: str, solve) -> None:
    generator = np.random.default_rng(0)
    for n in (1, 2, 3, 6, 9, 13):
        for _ in range(4):
            scores = generator.normal(size=(n, n + 1))
            if kind == "ties":
                scores = generator.integers(-2, 3, size=(n, n + 1)).astype(float)
            if kind == "near a tree":
                scores[np.arange(n), np.arange(n)] += 2  # the word before
            heads = one(scores)
            check_tree(heads)
            assert total(scores, heads) == pytest.approx(best_of_all_roots(scores, solve), abs=1e-9)


def words_and_scores(elements: st.SearchStrategy[float]) -> st.SearchStrategy[np.ndarray]:
    return st.integers(1, 7).flatmap(lambda n: arrays(np.float64, (n, n + 1), elements=elements))


@settings(max_examples=150, deadline=None)
@given(words_and_scores(st.one_of(st.floats(-50, 50, width=32), st.integers(-3, 3).map(float))))
def test_whatever_the_scores_the_tree_is_the_best(scores: np.ndarray) -> None:
    heads = one(scores)
    check_tree(heads)
    assert total(scores, heads) == pytest.approx(best_of_all_roots(scores, textbook), abs=1e-9)


@settings(max_examples=150, deadline=None)
@given(words_and_scores(st.one_of(st.just(-np.inf), st.integers(-3, 3).map(float))))
def test_forbidden_arcs_are_used_only_where_no_tree_does_without(scores: np.ndarray) -> None:
    heads = one(scores)
    check_tree(heads)
    best = best_of_all_roots(scores, textbook)
    if np.isfinite(best):
        assert total(scores, heads) == best
    else:
        # As few as possible: the same as the best tree where a forbidden arc costs 1 and any other nothing.
        cost = np.where(np.isfinite(scores), 0.0, -1.0)
        assert total(cost, heads) == best_of_all_roots(cost, textbook)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(0, 2**31))
def test_a_sentence_decodes_alike_alone_and_padded_in_a_batch(lengths: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    B, L = len(lengths), max(1, *lengths) + 1
    mask = torch.arange(L) < torch.tensor(lengths)[:, None]
    scores = torch.randn(B, L, L + 1, generator=generator)
    scores[:, :, 1:] += 9.0 * ~mask[:, None, :]  # padding is tempting
    for decode in (decode_tree, decode_argmax):
        heads = decode(scores, mask)
        assert (heads[~mask] == 0).all()
        for row, n in enumerate(lengths):
            alone = decode(scores[row : row + 1, :n, : n + 1], mask[row : row + 1, :n])
            assert heads[row, :n].tolist() == alone[0].tolist()
    heads = decode_tree(scores.masked_fill(~torch.nn.functional.pad(mask, (1, 0), value=True)[:, None], -np.inf), mask)
    assert torch.equal(heads, decode_tree(scores, mask))


def test_padding_may_stand_anywhere() -> None:
    scores = torch.randn(1, 6, 7)
    mask = torch.tensor([[True, False, True, True, False, True]])
    words = mask[0].nonzero().flatten()
    candidates = torch.cat([torch.zeros(1, dtype=torch.int64), words + 1])
    alone = decode_tree(scores[:, words][:, :, candidates], torch.ones(1, 4, dtype=torch.bool))
    assert torch.equal(decode_tree(scores, mask)[0, words], candidates[alone[0]])


def test_a_tree_of_best_heads_is_left_as_it_is() -> None:
    scores = torch.full((1, 3, 4), -1.0)
    scores[0, [0, 1, 2], [2, 0, 2]] = 1.0
    mask = torch.ones(1, 3, dtype=torch.bool)
    assert decode_argmax(scores, mask).tolist() == decode_tree(scores, mask).tolist() == [[2, 0, 2]]


def test_keeping_the_best_of_two_roots_is_not_always_best() -> None:
    """The common repair keeps the best arc from the root and hangs the other roots elsewhere: here the worse tree."""
    scores = np.array([[10.0, -np.inf, 8.0], [9.0, 0.0, -np.inf]])
    assert scores[:, 0].argmax() == 0, "the best arc from the root goes to word 1, total 10"
    assert one(scores).tolist() == [2, 0], "9 + 8 = 17"


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6, 1e30])
def test_the_choice_of_root_does_not_depend_on_the_size_of_single_precision_scores(size: float) -> None:
    """A penalty on arcs from the root, added in float32, swallows the digits that decide."""
    scores = torch.tensor([[[0.0, -9.0, 1.0], [1e-4, 1.0, -9.0]]]) * size  # both words want each other and the root
    mask = torch.ones(1, 2, dtype=torch.bool)
    assert decode_tree(scores, mask).tolist() == [[2, 0]]
    penalised = scores.clone()
    penalised[:, :, 0] -= 1e4 * size
    assert (penalised[0, 0, 0] == penalised[0, 1, 0]).item(), "what a penalty does here"


def test_a_large_shift_of_one_words_scores_changes_nothing() -> None:
    """Each word has one head: what is added to all its arcs cannot matter, unless digits are lost."""
    scores = torch.randn(4, 12, 13).double()
    mask = torch.ones(4, 12, dtype=torch.bool)
    assert torch.equal(decode_tree(scores + 1e7 * torch.randn(4, 12, 1), mask), decode_tree(scores, mask))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_every_precision_is_decoded(dtype: torch.dtype) -> None:
    scores, mask = torch.randn(3, 5, 6).to(dtype), torch.ones(3, 5, dtype=torch.bool)
    assert torch.equal(decode_tree(scores, mask), decode_tree(scores.double(), mask))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_broken_models_scores_still_give_trees(value: float) -> None:
    scores = torch.randn(8, 6, 7)
    scores[torch.rand(scores.shape) < 0.4] = value
    scores[0] = value
    heads = decode_tree(scores, torch.ones(8, 6, dtype=torch.bool))
    for row in heads.numpy():
        check_tree(row)


def test_a_gradient_and_the_scores_are_left_alone() -> None:
    scores = torch.randn(2, 5, 6, requires_grad=True)
    before = scores.detach().clone()
    decode_tree(scores, torch.ones(2, 5, dtype=torch.bool))
    assert torch.equal(scores.detach(), before)


def test_a_word_alone_hangs_from_the_root_and_a_batch_without_words_decodes_to_nothing() -> None:
    alone = torch.tensor([[[-5.0, 9.0]]])
    assert decode_tree(alone, torch.ones(1, 1, dtype=torch.bool)).tolist() == [[0]]
    assert decode_argmax(alone, torch.ones(1, 1, dtype=torch.bool)).tolist() == [[0]]
    nothing: Tensor = decode_tree(torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool))
    assert nothing.tolist() == [[0, 0, 0]] * 2


def test_a_hundred_words_that_all_must_be_contracted() -> None:
    """Each word's best head is the next one's, in one cycle; and nested cycles, one inside another."""
    n = 100
    scores = np.full((n, n + 1), -1.0)
    scores[np.arange(n), np.arange(1, n + 1) % n + 1] = 1.0
    scores[7, 0] = 0.5
    heads = arborescence(scores)
    check_tree(heads)
    assert heads[7] == 0
    assert total(scores, heads) == n - 1 + 0.5
    nested = -np.abs(np.arange(n)[:, None] - np.arange(-1, n)[None]).astype(float)
    heads = arborescence(nested)
    check_tree(heads)
    assert total(nested, heads) == -n, "the chain from the root, each arc of length 1"
