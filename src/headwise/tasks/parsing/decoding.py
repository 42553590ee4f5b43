"""From arc scores to heads: each word's best head, or the best tree with exactly one child of the root.

The tree is the maximum spanning arborescence (Chu and Liu 1965, Edmonds 1967) in the dense form of Tarjan 1977: follow
best heads until they close a cycle, contract it to one node, go on; then break every cycle where an arc enters it.

Exactly one child of the root: "fewest arcs from the root first, then the highest score" is a spanning arborescence
problem too, with pairs (-arcs from the root, score) as weights. The algorithm only adds, subtracts and compares
weights, and pairs in lexicographic order allow all three, so it stays exact. Stanojevic and Cohen 2021, "A Root of a
Problem", take a large number off every arc from the root instead; here that number is a component of its own, and the
scores keep their digits. In effect **the root is nobody's best head as long as another node is left**: contraction goes
on until one node holds all words, and the root's arc enters it where that costs least.

Differs from the common repairs, which try the root's children in turn, or repair the best of several: O(L) times the
work, or not always the best tree (Zmigrod, Vieira and Cotterell 2020, "Please Mind the Root"). Most sentences need none
of it: where the best heads are a tree already, they are the best tree.

Legend: B batch, L length, n words of one sentence.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Weights = NDArray[np.complexfloating[Any, Any]]


def decode_argmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Each word's best head, int64 [B, L]; 0 is the root, and padding. The result need not be a tree.

    Args:
        scores: [B, L, L+1], dependent by candidate head; candidate 0 is the root, candidate j is word j (1-based).
            -inf (or NaN) forbids an arc. No word is its own head, whatever the diagonal says; nor is padding.
        mask: bool [B, L], True for words.
    """
    L = mask.shape[1]
    itself = torch.eye(L, L + 1, dtype=torch.bool, device=scores.device).roll(1, dims=1)  # word i is candidate i + 1
    padding = torch.nn.functional.pad(~mask, (1, 0))  # [B, L+1]; the root is never padding
    heads = scores.masked_fill(itself | padding[:, None, :] | scores.isnan(), -torch.inf).argmax(-1)
    return heads.masked_fill(~mask, 0)


def decode_tree(scores: Tensor, mask: Tensor) -> Tensor:
    """The heads of the highest-scoring tree with exactly one child of the root, int64 [B, L] (0 root, and padding).

    A tree always comes out: an arc at -inf is used only where no tree does without, and then as few of them as
    possible. Ties go to the earlier head. Arguments as in `decode_argmax`, on any device and of any precision.
    """
    heads = decode_argmax(scores, mask)
    others = ~is_tree(heads, mask)
    arcs = scores[others].detach().double().cpu().numpy()
    trees = np.zeros(arcs.shape[:2], dtype=np.int64)
    for tree, arc, real in zip(trees, arcs, mask[others].cpu().numpy(), strict=True):
        words = real.nonzero()[0]
        candidates = np.concatenate([[0], words + 1])
        tree[words] = candidates[arborescence(arc[words[:, None], candidates])]
    heads[others] = torch.from_numpy(trees).to(heads.device)
    return heads


def is_tree(heads: Tensor, mask: Tensor) -> Tensor:
    """Whether the heads [B, L] of the words are a tree with one child of the root, bool [B]; true without words."""
    ancestor = torch.nn.functional.pad(heads.masked_fill(~mask, 0), (1, 0))  # [B, L+1]; the root's is the root
    for _ in range(heads.shape[1].bit_length()):  # pointer doubling: after k rounds the ancestor 2^k arcs up
        ancestor = ancestor.gather(1, ancestor)
    roots = ((heads == 0) & mask).sum(1)
    return (ancestor == 0).all(1) & ((roots == 1) | ~mask.any(1))


def arborescence(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """The heads [n] (0 root, j word j) of the best single-root tree of one sentence without padding.

    Args:
        scores: [n, n+1], as in `decode_argmax`.

    O(n^2): at most 2n - 1 nodes are looked at, and 2n - 2 are contracted, each in O(n).
    """
    n = len(scores)
    nodes, every = 2 * n - 1, np.arange(n + 1)
    # A node is a word (0..n-1) or a contracted cycle. Arcs into it are kept by the word that they come from (n: root).
    into = np.empty((nodes, n + 1), dtype=np.complex128)  # the best arc into the node from each word
    into[:n] = _weights(scores)
    head = np.zeros(nodes, dtype=np.int64)  # the word that the best arc of all comes from
    words = [[word] for word in range(n)]  # inside each node
    cycles: list[list[int]] = []  # the members that node n, n + 1, ... was contracted from
    enters: list[NDArray[np.int64]] = []  # [n+1] for each of them: the place in the cycle that the arc enters
    outermost = list(range(n))  # the node that holds each word now

    path = [0]  # of nodes, each the best head of the one before
    while len(words[path[-1]]) < n:
        node = path[-1]
        head[node] = into[node, :n].argmax()
        above = outermost[head[node]]
        if above not in path:
            path.append(above)
            continue
        start, new = path.index(above), len(words)
        path[start:], cycle = [new], path[start:]
        inside = [word for member in cycle for word in words[member]]
        # What is gained by entering the cycle at a member in place of that member's arc of the cycle.
        gain = into.take(cycle, axis=0) - into[cycle, head.take(cycle)][:, None]  # [cycle, n+1]
        place = gain.argmax(0)
        into[new] = gain[place, every]
        into[new, inside] = -np.inf
        cycles.append(cycle)
        enters.append(place)
        words.append(inside)
        for word in inside:
            outermost[word] = new

    # Break the cycles from the outside in: the arc that enters one replaces the arc of the member that it enters; the
    # other members keep theirs.
    heads = np.zeros(n, dtype=np.int64)
    entered = [(path[0], n)]  # nodes and the word that an arc comes from: first of all the root's arc
    while entered:
        node, source = entered.pop()
        while node >= n:
            cycle = cycles[node - n]
            member = cycle[enters[node - n][source]]
            entered += [(other, int(head[other])) for other in cycle if other != member]
            node = member
        heads[node] = (source + 1) % (n + 1)
    return heads


def _weights(scores: NDArray[np.float64]) -> Weights:
    """Scores [n, n+1] as weights of arcs from each word and, last, the root: complex, -(forbidden arcs) + i score.

    Complex numbers add by components and numpy compares them by the real part first: the fewest forbidden arcs, then
    the highest score. Exact, where a large negative score in place of -inf would cost digits.
    """
    scores = np.roll(scores, -1, axis=1)
    forbidden = np.isneginf(scores) | np.isnan(scores)
    weight = np.empty(scores.shape, dtype=np.complex128)
    weight.real = np.where(forbidden, -1, 0)
    # +inf is cut to what still can be added up.
    weight.imag = np.where(forbidden, 0, np.minimum(scores, np.finfo(np.float32).max))
    np.fill_diagonal(weight, -np.inf)  # no word is its own head
    return weight
