"""The settings of the task `walk`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headwise.schema import FilePath

EPOCH = 2048
"""Examples that a training set without end calls an epoch: 32 batches of 64."""
MOST_BYTES = 2**30
"""What a set of examples may take: a byte for each pair of nodes and relation, and for each node and hop."""
MOST_HOPS = 100
RANDOM = {"nodes": 16, "successors": 1.0}
"""Settings of random relations, and their defaults."""


@dataclass(frozen=True)
class WalkConfig:
    """Which graphs, which instructions, and what a model is told of them.

    Args:
        nodes: N; default 16, so that chance is 6 %. No weight depends on it.
        relations: K, each drawn afresh for every example; default 6. Of a graph from a file: as many as it has.
        hops: T, the most relations that an instruction names; default 4. It names 1 to T, each number as often.
        train_hops: the most in training and validation, where that is to be less, so that tables go beyond the hops
            trained on; default null: `hops`.
        test_hops: relations that each test instruction names; default null: 1 to `hops`, each number as often.
        successors: how many a node has in a relation, on average. 1 (default): each relation is a permutation. Less: a
            permutation of which that share is left, never less than the walk needs. More: further ones drawn at random,
            and the answer is the set of all nodes where the walk may end.
        instruction: `nodes` (default): added to every node, as one embedding for each place in the instruction and
            relation there, or none any more. `tokens`: a token for each relation, behind the nodes, which heads that
            follow no relation can read. `steps`: at each refinement step the relation that is to be followed then is
            added to every node, so that longer instructions than those trained on mean something.
        targets: `answer` (default): where the walk ends is asked for after every supervised step; `hops`: after step t
            where it has come in t hops, or ended.
        train_examples: size of the training set; 0 (default) draws fresh examples for ever, `EPOCH` to an epoch.
        curriculum: fresh examples over which the most hops of a training instruction grow from 1 to `train_hops`;
            default 0: none.
        pauses: instructions of training and validation pause: their relations, in order, at random ones of the T
            places. So each step learns to move and to stand still, also those behind `train_hops`, which without
            pauses learn only the latter; default false.
        graph: a graph of the user's own in place of random ones: a file of lines head, relation, tail, separated by
            tabs. Its entities are the nodes, its relations r1, r2, ... in the order of their names. Queries are random
            walks on it; the answer is the set of all entities that the same relations lead to from the start.
        test_graph: further triples of these entities and relations, which heads see in the test alone; each test walk
            goes along at least one of them.
        inverses: each relation of the graph is there backwards, too; default false.
        held_out: share of the compositions of relations, each a sequence of two or more, that no training or validation
            query asks for; test queries of two or more hops ask for those alone. Default null: 0.2 of a graph.
        validation_examples: size of the validation set.
        test_examples: size of the test set; 5000, a quarter of them for each number of hops, give a standard error of
            at most 0.007 over all and 0.014 for each.

    Raises:
        ValueError: a value out of range, with what is allowed.
    """

    nodes: int = 16
    relations: int = 6
    hops: int = 4
    train_hops: int | None = None
    test_hops: int | None = None
    successors: float = 1.0
    instruction: Literal["nodes", "tokens", "steps"] = "nodes"
    targets: Literal["answer", "hops"] = "answer"
    train_examples: int = 0
    curriculum: int = 0
    pauses: bool = False
    graph: FilePath | None = None
    test_graph: FilePath | None = None
    inverses: bool = False
    held_out: float | None = None
    validation_examples: int = 1000
    test_examples: int = 5000

    def __post_init__(self) -> None:
        if self.nodes < 2:
            raise ValueError(f"task.nodes={self.nodes}: choose 2 or more")
        for key in ("relations", "hops", "validation_examples", "test_examples"):
            if getattr(self, key) < 1:
                raise ValueError(f"task.{key}={getattr(self, key)}: choose 1 or more")
        if self.train_hops is not None and not 1 <= self.train_hops <= self.hops:
            raise ValueError(f"task.train_hops={self.train_hops}: choose 1..{self.hops} (task.hops), or null")
        if self.test_hops is not None and not 1 <= self.test_hops <= self.hops:
            raise ValueError(f"task.test_hops={self.test_hops}: choose 1..{self.hops} (task.hops), or null")
        if not 0 < self.successors <= self.nodes:
            raise ValueError(
                f"task.successors={self.successors}: choose above 0, up to {self.nodes} (task.nodes); 1: permutations"
            )
        for key in ("train_examples", "curriculum"):
            if getattr(self, key) < 0:
                raise ValueError(f"task.{key}={getattr(self, key)}: choose 0 or more")
        if self.curriculum and self.train_examples:
            raise ValueError(
                f"task.curriculum={self.curriculum}: is about fresh examples, and task.train_examples="
                f"{self.train_examples} come again and again; choose train_examples=0, or curriculum=0"
            )
        if self.curriculum and self.most_trained == 1:
            raise ValueError(f"task.curriculum={self.curriculum}: with 1 hop nothing can grow; choose 0, or more hops")
        if self.pauses and self.hops == 1:
            raise ValueError("task.pauses=true: with task.hops=1 there is no place to pause at; choose 2 hops or more")
        if self.hops > MOST_HOPS:
            raise ValueError(f"task.hops={self.hops}: choose 1..{MOST_HOPS}")
        self._check_graph()
        self._check_size()

    def _check_graph(self) -> None:
        if self.graph is None:
            about = {"test_graph": self.test_graph, "inverses": "true" if self.inverses else None}
            for key, word in (about | {"held_out": self.held_out}).items():
                if word is not None:
                    raise ValueError(f"task.{key}={word}: is about task.graph, and there is none; name a file of it")
            return
        for key, default in RANDOM.items():
            if getattr(self, key) != default:
                raise ValueError(
                    f"task.{key}={getattr(self, key)}: is about random graphs, this one comes from task.graph; choose "
                    f"task.{key}={default}"
                )
        if not 0 <= self.share_held_out < 1:
            raise ValueError(f"task.held_out={self.held_out}: choose 0 <= held_out < 1, or null")

    def _check_size(self) -> None:
        each = self.nodes * (self.hops + 1) + (self.relations * self.nodes**2 if self.graph is None else 0)
        fit = MOST_BYTES // each
        if fit < EPOCH and not self.train_examples:
            raise ValueError(
                f"task.nodes={self.nodes} with task.relations={self.relations}: an epoch of {EPOCH} examples takes "
                f"more than {MOST_BYTES >> 30} GiB; choose fewer"
            )
        for key in ("train_examples", "validation_examples", "test_examples"):
            if getattr(self, key) > fit:
                raise ValueError(
                    f"task.{key}={getattr(self, key)}: of task.nodes={self.nodes} and task.relations={self.relations} "
                    f"{fit} fit into {MOST_BYTES >> 30} GiB; choose fewer"
                )

    @property
    def share_held_out(self) -> float:
        """`held_out`, or its default."""
        return 0.2 if self.held_out is None else self.held_out

    @property
    def most_trained(self) -> int:
        """The most hops of a training instruction."""
        return self.hops if self.train_hops is None else self.train_hops

    @property
    def many(self) -> bool:
        """Whether a walk can end at several nodes, so that answers are sets."""
        return self.successors > 1 or self.graph is not None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the relations."""
        forward = tuple(f"r{number}" for number in range(1, self.relations + 1))
        return (*forward, *(f"{name}_backward" for name in forward)) if self.inverses else forward
