"""Training, validation and test sets of mazes, and what reference walkers reach on them.

Legend: M mazes, B batch.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headwise.errors import InputError
from headwise.files import user_path
from headwise.schema import to_plain
from headwise.tasks.base import Batch, Source, TaskData
from headwise.tasks.maze import files, imports, references
from headwise.tasks.maze.batch import tensors
from headwise.tasks.maze.config import MazeConfig, SetsConfig
from headwise.tasks.maze.generate import generate
from headwise.tasks.maze.lattice import Mazes
from headwise.tasks.maze.read_outs import NextCell
from headwise.tasks.maze.symmetries import COUNT, Symmetries

_CACHE_FORMAT = 1  # part of the key: change it when a generator gives other mazes than before


class MazeSource(Source):
    """A set of mazes. Index i is maze i % M under symmetry i // M, so the first M are the mazes as they are.

    Args:
        mazes: M of one size.
        symmetries: let `plan` draw one for each maze, in each epoch anew.
    """

    def __init__(self, mazes: Mazes, symmetries: bool = False) -> None:
        self.mazes, self.symmetries = mazes, symmetries
        self.examples = tensors(mazes)
        self._tables = Symmetries.of(mazes.size)

    def __len__(self) -> int:
        return len(self.mazes)

    def batch(self, index: Tensor) -> Batch:
        """As `batch.tensors`, which says what is in it."""
        maze = index % len(self)
        chosen = {name: array[maze] for name, array in self.examples.items()}
        symmetry = index.div(len(self), rounding_mode="floor")
        return self._tables.apply(chosen, symmetry) if bool(symmetry.any()) else chosen

    def plan(self, batch_size: int, seed: int, epoch: int, shuffle: bool) -> list[Tensor]:
        """Each maze once an epoch, shuffled under a random symmetry if there are to be any."""
        if not (shuffle and self.symmetries):
            return super().plan(batch_size, seed, epoch, shuffle)
        rng = np.random.default_rng([seed, epoch])
        index = rng.permutation(len(self)) + len(self) * rng.integers(COUNT, size=len(self))
        return list(torch.split(torch.from_numpy(index), batch_size))


class MazeSets(TaskData):
    """Generated mazes, or those of files. No maze is in two splits. With a cache generated ones are kept there.

    A split is made when it is first asked for, so an evaluation does not generate training mazes.

    Raises:
        InputError: from `split`: mazes that cannot be had, or a file that is not right.
    """

    config: SetsConfig

    def __init__(self, config: SetsConfig, seed: int, cache: Path | None = None) -> None:
        super().__init__(config, seed, cache)
        # Weights that know rows and columns fit one size; the others fit all.
        self.facts = {"size": config.size} if config.positions == "absolute" else {}
        self._sources: dict[str, MazeSource] = {}
        self._files: dict[str, Mazes] = {}

    def split(self, name: str) -> MazeSource:
        if name not in self._sources:
            mazes = self._mazes(name)
            self.check(name, mazes)
            self._sources[name] = MazeSource(mazes, name == "train" and self.config.symmetries)
        return self._sources[name]

    def check(self, name: str, mazes: Mazes) -> None:
        """Refuse mazes of a split that the task's settings do not go with; by default there are none.

        Raises:
            InputError: what of them, where, and the remedy.
        """

    def _mazes(self, name: str) -> Mazes:
        config, number = self.config, int(getattr(self.config, f"{name}_mazes"))
        if name == "test" and config.test_file is not None:
            mazes = self._read("test_file", config.test_file)
            return _first(mazes, number, f"task.test_mazes={number}: {config.test_file} has {len(mazes)} mazes")
        if config.file is None:
            return self._without_test_file(name, number)
        return self._part_of_file(config.file, name)

    def _generated(self, name: str, number: int) -> Mazes:
        """Generated mazes, from the cache if they are there. A file that cannot be read is replaced."""
        generator = self.config.generator
        about = {"format": _CACHE_FORMAT, **to_plain(generator), "number": number, "seed": self.seed, "split": name}
        if self.cache is None:
            return generate(generator, number, self.seed, name)
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
        path = self.cache / f"mazes-{digest}.npz"
        try:
            return files.read(path)[0]
        except InputError:
            with suppress(OSError):
                path.unlink()
        mazes = generate(generator, number, self.seed, name)
        try:
            files.write(path, mazes, about)
        except InputError:
            if not path.is_file():  # else another run was faster, with the same mazes
                raise
        return mazes

    def _without_test_file(self, name: str, number: int) -> Mazes:
        """Generated training and validation mazes, without those that the test file happens to hold."""
        if self.config.test_file is None:
            return self._generated(name, number)
        wanted, test = number, self.split("test").mazes
        while len(kept := _without(self._generated(name, wanted), test)) < number:
            wanted += number - len(kept)
        return kept[:number]

    def _part_of_file(self, path: str, name: str) -> Mazes:
        config, mazes = self.config, self._read("file", path)
        test = config.test_mazes if config.test_file is None else 0
        held_out = test + config.validation_mazes
        if len(mazes) < test or (name != "test" and len(mazes) <= held_out):
            raise InputError(
                f"task.file={path}: has {len(mazes)} mazes, of which task.test_mazes={test} and "
                f"task.validation_mazes={config.validation_mazes} leave none to train on; choose smaller numbers"
            )
        if name == "test":
            return mazes[len(mazes) - test :]
        tested, rest = self.split("test").mazes, len(mazes) - held_out
        validation = _without(mazes[rest : rest + config.validation_mazes], tested)
        if not len(validation):
            raise InputError(f"task.file={path}: every validation maze is a test maze, too; repeat fewer of them")
        if name == "validation":
            return validation
        train, number = _without(_without(mazes[:rest], tested), validation), config.train_mazes
        return _first(train, number, f"task.train_mazes={number}: {path} has {len(train)} that are not held out")

    def _read(self, key: str, path: str) -> Mazes:
        if path not in self._files:
            place = user_path(path)
            mazes = imports.read_maze_hard(place) if place.suffix.lower() == ".csv" else files.read(place)[0]
            if mazes.size != self.config.size:
                raise InputError(
                    f"task.{key}={path}: its mazes are {mazes.size} cells wide, but task.size={self.config.size}; "
                    f"choose task.size={mazes.size}"
                )
            self._files[path] = mazes
        return self._files[path]


class MazeData(MazeSets):
    """Mazes for the task `maze`."""

    config: MazeConfig

    def references(self, source: Source) -> dict[str, Tensor]:
        """`random`, `toward_goal` and `breadth_first` walkers: the share of mazes solved optimally. See `references`.

        `floor` is the better one of the first two, `ceiling` the last.
        """
        return self.references_by_metric(source)["optimal"]

    def references_by_metric(self, source: Source) -> dict[str, dict[str, Tensor]]:
        """The same in mazes reached, too."""
        assert isinstance(source, MazeSource)
        return references.by_metric(source.mazes, self.seed)

    def check(self, name: str, mazes: Mazes) -> None:
        """A horizon beyond every path that is trained on is refused."""
        read_out, longest = self.config.read_out, int(mazes.length.max())
        if name == "train" and isinstance(read_out, NextCell) and read_out.horizon > longest:
            raise InputError(
                f"task.read_out.horizon={read_out.horizon}: the longest path of the training mazes has {longest} "
                f"moves, so the scores of a later one would never be trained; choose 1..{longest}"
            )


def _first(mazes: Mazes, number: int, otherwise: str) -> Mazes:
    if len(mazes) < number:
        raise InputError(f"{otherwise}; choose at most {len(mazes)}")
    return mazes[:number]


def _without(mazes: Mazes, others: Mazes) -> Mazes:
    """The mazes that are not among the others: same walls, start and goal."""
    known = set(_keys(others))
    return mazes[np.array([key not in known for key in _keys(mazes)], dtype=bool)]


def _keys(mazes: Mazes) -> list[bytes]:
    walls = np.packbits(mazes.open.reshape(len(mazes), -1), axis=1)
    ends = np.stack([mazes.start, mazes.goal], axis=1)
    return [wall.tobytes() + end.tobytes() for wall, end in zip(walls, ends, strict=True)]
