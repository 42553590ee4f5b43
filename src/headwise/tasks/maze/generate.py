"""Mazes by seed: exactly as many as asked for, each with a way that is long enough, none in two splits.

Candidates come in blocks, each from its own stream (seed, family, split, size, block), and are taken in order; so the
i-th maze depends on its configuration, seed and split alone, and a smaller set is the beginning of a larger one.

Splits. A maze with its start and goal belongs to exactly one of train, validation and test: a digest of the three
decides, and goals are drawn among those that make the digest right. The splits are therefore disjoint whatever their
sizes and seeds, and repeated mazes are dropped within each. Symmetric images, and the same walls with other ends, count
as different mazes; the latter meet at tiny sizes only.

Start and goal. The start is uniform among the cells from which some cell is at least `min_path_length` edges away, the
goal uniform among those cells (of which a greatest length leaves the nearer ones). Cells are meant that are not
blocked. With loops, where such starts are rare, some of them are overlooked: the farthest cells
are then found by two sweeps, which is exact in trees only.
Legend: M mazes, N side, C = N * N cells.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from headwise.errors import InputError
from headwise.tasks.base import SPLITS
from headwise.tasks.maze import families
from headwise.tasks.maze.lattice import Bools, Ints, Mazes, search, shortest_paths

LARGEST = 64
DEFAULT_LOOPS = 0.1

_BLOCK = 256  # candidates drawn together; a part of the format: another number gives other mazes
_JUDGED = 8 * _BLOCK  # candidates after which it may be said that it is hopeless
_LEAST = 0.002  # share of them long enough below which it is
_REPEATED = 2048  # accepted mazes, all seen before, after which there are no others
_FRUITLESS = 2**17  # candidates without a new maze among them, long enough or not, after which the search ends


class Drawn(Protocol):
    """What `generate` asks of a configuration: N cells on a side, the range of path lengths in moves, and mazes.

    Attributes:
        stream: tells the random streams of different kinds of mazes apart; a part of the format.
    """

    @property
    def size(self) -> int: ...
    @property
    def family(self) -> str: ...
    @property
    def min_path_length(self) -> int: ...
    @property
    def max_path_length(self) -> int | None: ...
    @property
    def stream(self) -> int: ...

    def passages(self, count: int, rng: np.random.Generator) -> Bools:
        """So many mazes, bool [count, N, N, 4]; all their cells are connected, but for blocked ones."""


@dataclass(frozen=True)
class GeneratorConfig:
    """Which mazes.

    Args:
        size: N, cells on a side.
        family: `depth_first` (default; long corridors), `spanning_tree` or `percolation` (with loops).
        min_path_length: edges of the shortest path, at least; default 1, any. The published protocol has 0.4 * N * N
            with `depth_first`; the other families practically never have paths so long.
        loops: of `percolation`: probability that a passage closed in the tree is opened; null: 0.1.

    Raises:
        ValueError: a value out of range, with what is allowed.
    """

    size: int = 8
    family: Literal["depth_first", "spanning_tree", "percolation"] = "depth_first"
    min_path_length: int = 1
    loops: float | None = None

    def __post_init__(self) -> None:
        if not 2 <= self.size <= LARGEST:
            raise ValueError(f"size={self.size}: choose 2..{LARGEST}")
        if self.family not in families.FAMILIES:
            raise ValueError(f"family={self.family}: choose one of {', '.join(families.FAMILIES)}")
        longest = self.size**2 - 1
        if not 1 <= self.min_path_length <= longest:
            raise ValueError(
                f"min_path_length={self.min_path_length}: choose 1..{longest}, a path through all of "
                f"size={self.size} times {self.size} cells"
            )
        if self.loops is not None and self.family != "percolation":
            raise ValueError(f"loops={self.loops}: family={self.family} has none; choose family=percolation, or null")
        if self.loops is not None and not 0 < self.loops <= 1:
            raise ValueError(f"loops={self.loops}: choose a number above 0, up to 1")

    @property
    def opened(self) -> float:
        """Probability that a passage closed in the tree is opened; 0 for perfect mazes."""
        if self.family != "percolation":
            return 0.0
        return DEFAULT_LOOPS if self.loops is None else self.loops

    @property
    def max_path_length(self) -> None:
        """Paths may be as long as they come."""
        return None

    @property
    def stream(self) -> int:
        return families.FAMILIES.index(self.family)

    def passages(self, count: int, rng: np.random.Generator) -> Bools:
        if self.family == "percolation":
            return families.percolation(count, self.size, rng, self.opened)
        return families.TREES[self.family](count, self.size, rng)


def generate(config: Drawn, number: int, seed: int, split: str = "train") -> Mazes:
    """The first `number` mazes of a split.

    Args:
        config: which mazes.
        number: how many, 1 or more.
        seed: 0 or more.
        split: `train`, `validation` or `test`; splits of whatever seeds share no maze.

    Raises:
        InputError: a value out of range; or mazes so long practically never occur, with the measured rate; or there
            are not so many different ones; or the search for another one went on for too long, with the accepted share.
    """
    if number < 1:
        raise InputError(f"number={number}: choose 1 or more")
    if seed < 0:
        raise InputError(f"seed={seed}: choose 0 or more")
    if split not in SPLITS:
        raise InputError(f"split={split}: choose one of {', '.join(SPLITS)}")
    found, tally, block = _Found(), _Tally(), 0
    while found.count < number:
        draw = _draw(config, [seed, config.stream, SPLITS.index(split), config.size, block])
        tally.add(config, draw, found.add(draw))
        if found.count < number:
            tally.give_up_if_hopeless(config, number, split, found.count)
        block += 1
    return Mazes.join(found.parts)[:number]


@dataclass
class _Draw:
    """A block of candidates: those accepted, with their digests, and what became of all."""

    mazes: Mazes
    digests: NDArray[np.uint64]
    longest: Ints  # [_BLOCK], edges of the longest shortest path seen in each candidate


def _draw(config: Drawn, seed: list[int]) -> _Draw:
    rng, split = np.random.default_rng(seed), seed[2]
    passages = config.passages(_BLOCK, rng)
    free = passages.any(-1).reshape(_BLOCK, -1)
    start = rng.integers(config.size**2, size=_BLOCK) if free.all() else _pick(free, rng)
    distance, parent = search(passages, start)
    longest = distance.max(1)
    short = np.flatnonzero(longest < config.min_path_length)
    if len(short):
        # Every start is equally likely before this, so drawing again among the possible ones keeps these uniform.
        reach = _reach(passages[short], distance[short].argmax(1))
        start[short] = _pick(reach >= config.min_path_length, rng)
        distance[short], parent[short] = search(passages[short], start[short])
        longest[short] = reach.max(1)
    digests = _digests(passages, start)  # [M, C]
    eligible = (distance >= config.min_path_length) & (digests % np.uint64(len(SPLITS)) == split)
    if config.max_path_length is not None:
        eligible &= distance <= config.max_path_length
    goal = _pick(eligible, rng)
    kept = np.flatnonzero(eligible.any(1))
    path = shortest_paths(distance[kept], parent[kept], goal[kept])
    return _Draw(Mazes(passages[kept], start[kept], goal[kept], path), digests[kept, goal[kept]], longest)


def _reach(passages: Bools, far: Ints) -> Ints:
    """How far the farthest cell is from each, int64 [M, C], given a cell far from some other.

    In a tree the cell farthest from `far` is the other end of a longest path, and the farthest cell from anywhere is
    one of the two ends; with loops this is a lower bound.
    """
    one, _ = search(passages, far)
    other, _ = search(passages, one.argmax(1))
    return np.maximum(one, other)


def _pick(allowed: Bools, rng: np.random.Generator) -> Ints:
    """One allowed column of each row [M, C], uniformly; a row without any gives a column that is not."""
    picked: Ints = np.where(allowed, rng.random(allowed.shape, dtype=np.float32), -1).argmax(1)
    return picked


def _digests(passages: Bools, start: Ints) -> NDArray[np.uint64]:
    """A digest of passages, start and each possible goal, uint64 [M, C]."""
    M, cells = len(passages), passages.shape[1] ** 2
    bits = np.packbits(passages.reshape(M, -1, 4)[..., 1:3].reshape(M, -1), axis=1)
    words = np.pad(bits, ((0, 0), (0, -bits.shape[1] % 8))).view("<u8")
    walls = _mix(_mix(words + _mix(np.arange(words.shape[1]))).sum(1, dtype=np.uint64))
    ends = _mix(start[:, None] * cells + np.arange(cells))
    return _mix(walls[:, None] ^ ends)


def _mix(values: NDArray[np.integer]) -> NDArray[np.uint64]:
    """SplitMix64: a bijection of 64-bit words that leaves no pattern."""
    z = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed


@dataclass
class _Found:
    """The mazes accepted so far, without repetition."""

    parts: list[Mazes] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)

    @property
    def count(self) -> int:
        return len(self.seen)

    def add(self, draw: _Draw) -> int:
        """Takes what is new, in order; how much that was."""
        digests, first = np.unique(draw.digests, return_index=True)
        new = np.sort(first[[digest not in self.seen for digest in digests.tolist()]])
        self.seen.update(digests.tolist())
        if len(new):
            self.parts.append(draw.mazes[new])
        return len(new)


@dataclass
class _Tally:
    """What became of the candidates: whether going on makes sense."""

    drawn: int = 0
    enough: int = 0  # long enough in any split
    accepted: int = 0  # long enough and of this split
    repeated: int = 0  # accepted since the last new maze
    fruitless: int = 0  # drawn since the last new maze
    first: list[Ints] = field(default_factory=list)  # `longest` of the candidates that are judged first

    def add(self, config: Drawn, draw: _Draw, new: int) -> None:
        accepted, drawn = len(draw.mazes), len(draw.longest)
        if self.drawn < _JUDGED:
            self.first.append(draw.longest)
        self.drawn += drawn
        self.enough += int((draw.longest >= config.min_path_length).sum())
        self.accepted += accepted
        self.repeated = 0 if new else self.repeated + accepted
        self.fruitless = 0 if new else self.fruitless + drawn

    def give_up_if_hopeless(self, config: Drawn, number: int, split: str, count: int) -> None:
        if self.drawn < _JUDGED:
            return
        least, which = config.min_path_length, f"size={config.size} family={config.family}"
        if self.enough < _LEAST * self.drawn:
            often = int(np.quantile(np.concatenate(self.first), 0.9))
            raise InputError(
                f"min_path_length={least}: {self.enough} of {self.drawn} mazes drawn with {which} have a path so long "
                f"({self.enough / self.drawn:.2%}); choose 1..{often}, which a tenth of them has"
            )
        most = f"at most {count}, or " if count else ""
        found = (
            f"number={number}: only {count} different mazes found with {which} min_path_length={least} in the {split}"
        )
        if self.repeated >= _REPEATED:
            raise InputError(f"{found} split; choose {most}a larger size")
        if self.fruitless >= _FRUITLESS:
            share = f"{self.accepted} of {self.drawn} drawn ({self.accepted / self.drawn:.2%})"
            raise InputError(
                f"{found} split: accepted {share}, of the last {self.fruitless} none that was new; "
                f"choose {most}a smaller min_path_length or a larger size"
            )
