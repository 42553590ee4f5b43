"""A user's own graph: lines of head, relation and tail, and queries that walk along several of its relations.

Legend: M triples, N entities, K relations, B examples, T the most hops.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from headwise.errors import InputError
from headwise.files import read_text, user_path
from headwise.schema import short
from headwise.tasks.base import Batch
from headwise.tasks.walk.config import WalkConfig

MOST_EDGES = 2**28
"""Pairs of entities times relations, a byte each, that masks are made of: a quarter of a gibibyte."""
PATIENCE = 1000
"""Rounds of queries drawn after which those that are wanted are taken not to exist."""

Wanted = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Which of some queries are wanted: their instructions int64 [B, T], and whether their ways are new, bool [B]."""


@dataclass(frozen=True)
class Graph:
    """Entities joined by relations.

    Attributes:
        entities, relations: names, sorted.
        triples: int64 [M, 3], head, relation, tail, by place among them; with inverses those too.
        new: bool [M], those that only the test knows.
    """

    entities: tuple[str, ...]
    relations: tuple[str, ...]
    triples: np.ndarray
    new: np.ndarray

    @property
    def known(self) -> Graph:
        """Without what only the test knows."""
        return Graph(self.entities, self.relations, self.triples[~self.new], self.new[~self.new])

    def edges(self, chosen: np.ndarray | None = None) -> np.ndarray:
        """Bool [K, N, N], True where relation k leads from entity i (first) to entity j; of the chosen triples."""
        head, relation, tail = (self.triples if chosen is None else self.triples[chosen]).T
        found = np.zeros((len(self.relations), len(self.entities), len(self.entities)), dtype=bool)
        found[relation, head, tail] = True
        return found


def graph_of(config: WalkConfig) -> Graph:
    """The graph that the configuration names, with the triples of its test.

    Raises:
        InputError: a file that cannot be read or has a line of other than three columns; a relation or an entity in the
            test that training lacks; other relations than `task.relations` says; more than fit into masks.
    """
    assert config.graph is not None
    known = read_triples(user_path(config.graph))
    entities = sorted({name for head, _, tail in known.values() for name in (head, tail)})
    relations = sorted({relation for _, relation, _ in known.values()})
    _check_size(config, len(entities), len(relations))
    place = {name: number for number, name in enumerate(entities)}
    kind = {name: number for number, name in enumerate(relations)}
    later: dict[int, tuple[str, str, str]] = {}
    if config.test_graph is not None:
        path = user_path(config.test_graph)
        later = read_triples(path)
        for line, (head, relation, tail) in later.items():
            for what, name, there in (("entity", head, place), ("relation", relation, kind), ("entity", tail, place)):
                if name not in there:
                    raise InputError(f"{path}:{line}: {what} {short(name)!r}, which task.graph={config.graph} lacks")
    lines = dict.fromkeys([*known.values(), *later.values()])  # in their order, each once
    first = set(known.values())
    triples = np.array([(place[head], kind[relation], place[tail]) for head, relation, tail in lines], dtype=np.int64)
    new = np.array([line not in first for line in lines])
    if config.inverses:
        back = np.stack([triples[:, 2], triples[:, 1] + len(relations), triples[:, 0]], 1)
        triples, new = np.concatenate([triples, back]), np.concatenate([new, new])
        relations += [f"{name} backward" for name in relations]
    return Graph(tuple(entities), tuple(relations), triples, new)


def read_triples(path: Path) -> dict[int, tuple[str, str, str]]:
    """Number of the line -> head, relation, tail, separated by tabs; empty lines are left out.

    Raises:
        InputError: no such file, a line of other than three columns, or no line at all.
    """
    found = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        columns = tuple(column.strip() for column in line.split("\t"))
        if len(columns) != 3 or not all(columns):
            filled = sum(map(bool, columns))
            raise InputError(
                f"{path}:{number}: {short(line)!r} has {filled} column{'s' * (filled != 1)}; expected head, relation "
                "and tail, separated by tabs"
            )
        found[number] = columns
    if not found:
        raise InputError(f"{path}: holds no triples; expected lines of head, relation and tail, separated by tabs")
    return found


def queries(
    graph: Graph,
    config: WalkConfig,
    count: int,
    seed: list[int],
    most: np.ndarray | int,
    wanted: Wanted,
    least: int = 1,
) -> Batch:
    """`count` queries, a function of the arguments alone: random walks along edges that there are.

    Args:
        graph: which they walk on.
        config: of the task.
        count: B.
        seed: of everything random.
        most: hops of the longest instruction, for all or for each example.
        least: hops of the shortest one.
        wanted: says which are taken; others are drawn again.

    Returns:
        As `graphs.generate`, without edges.

    Raises:
        InputError: what is wanted does not occur among so many random walks.
    """
    rng, T = np.random.default_rng(seed), config.hops
    edges, new = graph.edges(), graph.edges(graph.new)
    leads = np.asarray(edges.any(2))  # [K, N], whether a relation leads anywhere from an entity
    hops = rng.integers(least, np.broadcast_to(most, (count,)) + 1)
    start, instruction = np.zeros(count, dtype=np.int64), np.zeros((count, T), dtype=np.int64)
    missing = np.arange(count)
    for _ in range(PATIENCE):
        here = first = rng.integers(len(graph.entities), size=len(missing))
        way = np.full((len(missing), T), len(graph.relations))
        is_new = np.zeros(len(missing), dtype=bool)
        alive: np.ndarray = ~is_new
        for t in range(T):
            on = t < hops[missing]
            ahead = leads[:, here].T  # [b, K]
            alive = alive & (ahead.any(1) | ~on)
            relation = _one_of(ahead, rng)
            there = _one_of(edges[relation, here], rng)
            way[:, t] = np.where(on, relation, way[:, t])
            is_new |= new[relation, here, there] & on
            here = np.where(on, there, here)
        taken = np.logical_and(alive, wanted(way, is_new))
        start[missing[taken]] = first[taken]
        instruction[missing[taken]] = way[taken]
        missing = missing[~taken]
        if not len(missing):
            break
    else:
        raise InputError(
            f"task.graph={config.graph}: {PATIENCE} random walks found none of {hops[missing].max()} hops that can be "
            "asked for; choose another task.held_out, fewer task.hops or another task.test_graph"
        )
    reached = _reached(edges, start, instruction)
    arrays = {"start": start, "instruction": instruction, "hops": hops, "reached": reached}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def held_out(instruction: np.ndarray, relations: int, share: float, seed: int) -> np.ndarray:
    """Whether a composition of two or more relations is kept for the test, bool [B] of instructions int64 [B, T].

    So large a share of all compositions is, which ones follows from the seed alone.
    """
    code = np.full(len(instruction), np.uint64(seed % 2**63))
    with np.errstate(over="ignore"):
        for column in instruction.T:
            code = _mixed(code * np.uint64(relations + 2) + column.astype(np.uint64) + np.uint64(1))
    kept: np.ndarray = (code / 2.0**64 < share) & ((instruction < relations).sum(1) > 1)
    return kept


def _mixed(code: np.ndarray) -> np.ndarray:
    """splitmix64's finaliser (Steele, Lea and Flood, 2014): neighbouring numbers far apart."""
    code = (code ^ (code >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    code = (code ^ (code >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = code ^ (code >> np.uint64(31))
    return mixed


def _one_of(among: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Place of a random True in each row, int64 [B] of bool [B, n]; any where there is none."""
    chosen: np.ndarray = np.where(among, rng.random(among.shape), -1).argmax(1)
    return chosen


def _reached(edges: np.ndarray, start: np.ndarray, instruction: np.ndarray) -> np.ndarray:
    """Entities where one can be after 0, 1, ... T hops, bool [B, T + 1, N]."""
    (B, T), (K, N, _) = instruction.shape, edges.shape
    reached = np.zeros((B, T + 1, N), dtype=bool)
    reached[np.arange(B), 0, start] = True
    for t in range(T):
        reached[:, t + 1] = reached[:, t]
        for relation in range(K):
            rows = np.flatnonzero(instruction[:, t] == relation)
            reached[rows, t + 1] = reached[rows, t].astype(np.float32) @ edges[relation].astype(np.float32) > 0
    return reached


def _check_size(config: WalkConfig, entities: int, relations: int) -> None:
    if relations != config.relations:
        raise InputError(
            f"task.relations={config.relations}: task.graph={config.graph} has {relations}; choose task.relations="
            f"{relations} (and as many model.structural_heads, or a multiple)"
        )
    fit = math.isqrt(MOST_EDGES // len(config.names))
    if entities > fit:
        raise InputError(
            f"task.graph={config.graph}: {entities} entities are too many for dense masks; with {len(config.names)} "
            f"relations {fit} fit"
        )
