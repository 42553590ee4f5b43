"""Training, validation and test sets of puzzles, and what reference predictors reach on them.

Legend: M puzzles, B batch, C cells.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headwise.errors import InputError
from headwise.files import user_path
from headwise.schema import to_plain
from headwise.tasks.base import Batch, Source, TaskData
from headwise.tasks.sudoku import files, imports, references
from headwise.tasks.sudoku.board import Puzzles, joined
from headwise.tasks.sudoku.config import SudokuConfig
from headwise.tasks.sudoku.generate import BLOCK, generate
from headwise.tasks.sudoku.symmetries import apply, of_puzzles

_CACHE_FORMAT = 1  # part of the key: change it when the generator gives other puzzles than before
_SYMMETRIES = 2**31  # that `plan` draws among; a part of all


class SudokuSource(Source):
    """A set of puzzles. Index i is puzzle i % M under symmetry i // M, so the first M are the puzzles as they are.

    Args:
        puzzles: M of one board.
        symmetries: let `plan` draw one for each puzzle, in each epoch anew.
    """

    def __init__(self, puzzles: Puzzles, symmetries: bool = False) -> None:
        self.puzzles, self.symmetries = puzzles, symmetries
        self.examples = {
            "clues": torch.from_numpy(puzzles.clues.astype(np.int64)),
            "solution": torch.from_numpy(puzzles.solution.astype(np.int64)),
        }

    def __len__(self) -> int:
        return len(self.puzzles)

    def batch(self, index: Tensor) -> Batch:
        """`clues` and `solution`, int64 [B, C], digits 1..N, 0 a blank."""
        puzzle, symmetry = index % len(self), index.div(len(self), rounding_mode="floor")
        chosen = {name: array[puzzle] for name, array in self.examples.items()}
        if not bool(symmetry.any()):
            return chosen
        moved = apply(list(chosen.values()), self.puzzles.box, symmetry)
        return dict(zip(chosen, moved, strict=True))

    def plan(self, batch_size: int, seed: int, epoch: int, shuffle: bool) -> list[Tensor]:
        """Each puzzle once an epoch, shuffled under a random symmetry if there are to be any."""
        if not (shuffle and self.symmetries):
            return super().plan(batch_size, seed, epoch, shuffle)
        rng = np.random.default_rng([seed, epoch])
        index = rng.permutation(len(self)) + len(self) * rng.integers(1, _SYMMETRIES, size=len(self))
        return list(torch.split(torch.from_numpy(index), batch_size))


class SudokuData(TaskData):
    """Generated puzzles, or those of files. No puzzle is in two splits, nor is one that is symmetric to it. With a
    cache generated ones are kept there.

    A split is made when it is first asked for, so an evaluation does not generate training puzzles.

    Raises:
        InputError: from `split`: puzzles that cannot be had, or a file that is not right.
    """

    config: SudokuConfig

    def __init__(self, config: SudokuConfig, seed: int, cache: Path | None = None) -> None:
        super().__init__(config, seed, cache)
        self.facts = {"size": config.size}
        if config.positions == "absolute":
            self.facts["box"] = list(config.sides)
        self._sources: dict[str, SudokuSource] = {}

    def split(self, name: str) -> SudokuSource:
        if name not in self._sources:
            self._sources[name] = SudokuSource(self._puzzles(name), name == "train" and self.config.symmetries)
        return self._sources[name]

    def references(self, source: Source) -> dict[str, Tensor]:
        """In puzzles solved; see `references`."""
        return self.references_by_metric(source)["exact"]

    def references_by_metric(self, source: Source) -> dict[str, dict[str, Tensor]]:
        """In puzzles solved and in blanks that are right."""
        assert isinstance(source, SudokuSource)
        return references.by_metric(source.puzzles)

    def _puzzles(self, name: str) -> Puzzles:
        config, number = self.config, int(getattr(self.config, f"{name}_puzzles"))
        if name == "test" and config.test_file is not None:
            return _first(self._read("test_file", config.test_file), number, "test", config.test_file)
        if config.file is not None:
            return self._part_of_file(config.file, name)
        if config.test_file is None:
            return self._generated(name, number, 0)
        return self._without_test_file(name, number)

    def _generated(self, name: str, number: int, first: int) -> Puzzles:
        """Generated puzzles, from the cache if they are there. A file that cannot be read is replaced."""
        generator = self.config.generator
        about = {"format": _CACHE_FORMAT, **to_plain(generator), "box": list(generator.sides)}
        about |= {"number": number, "first": first, "seed": self.seed, "split": name}
        if self.cache is None:
            return generate(generator, number, self.seed, name, first)
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
        path = self.cache / f"sudoku-{digest}.npz"
        try:
            return files.read(path)[0]
        except InputError:
            with suppress(OSError):
                path.unlink()
        puzzles = generate(generator, number, self.seed, name, first)
        try:
            files.write(path, puzzles, about)
        except InputError:
            if not path.is_file():  # else another run was faster, with the same puzzles
                raise
        return puzzles

    def _without_test_file(self, name: str, number: int) -> Puzzles:
        """Generated training and validation puzzles, without those that are symmetric to one of the test file."""
        held_out, kept, first = set(_numbers(self.split("test").puzzles)), list[Puzzles](), 0
        while (missing := number - sum(map(len, kept))) > 0:
            kept.append(_without(self._generated(name, missing, first), held_out))
            first += missing
        return joined(kept)

    def _part_of_file(self, path: str, name: str) -> Puzzles:
        """Test, validation and training puzzles stand one after the other in a file."""
        config, rest = self.config, self._read("file", path)
        tested = 0
        if config.test_file is None:
            tested = config.test_puzzles
            test = _first(rest, tested, "test", path)
            if name == "test":
                return test
        number = config.validation_puzzles
        validation = _first(rest, number, "validation", path)
        held_out = set(_numbers(self.split("test").puzzles))
        validation = _without(validation, held_out)
        if not len(validation):
            raise InputError(f"task.file={path}: every validation puzzle is a test puzzle, too; repeat fewer of them")
        if name == "validation":
            return validation
        held_out |= set(_numbers(validation))
        number, kept = config.train_puzzles, list[Puzzles]()
        while (missing := number - sum(map(len, kept))) > 0:
            more = list(itertools.islice(rest, max(missing, BLOCK)))
            if not more:
                raise InputError(
                    f"task.train_puzzles={number}: behind the first {tested + config.validation_puzzles} {path} has "
                    f"{number - missing} that are symmetric to none of these; choose smaller numbers"
                )
            kept.append(_without(joined(more), held_out))
        return joined(kept)[:number]

    def _read(self, key: str, path: str) -> Iterator[Puzzles]:
        """The puzzles of a file that are of the grade asked for, one after the other."""
        config, place = self.config, user_path(path)
        by_rating = config.grade_by == "rating"
        found = _stored(key, place, config) if place.suffix == ".npz" else self._imported(place, by_rating)
        least, most = config.generator.guesses
        for puzzle in found:
            hard = puzzle.rating[0] if by_rating else puzzle.guesses[0]
            if by_rating and np.isnan(hard):
                raise InputError(f"task.{key}={path}: a puzzle without a rating; choose task.grade_by=guesses")
            if least <= hard <= most:
                yield puzzle

    def _imported(self, place: Path, rated: bool) -> Iterator[Puzzles]:
        return imports.read_puzzles(place, self.config.sides, rated)


def _stored(key: str, path: Path, config: SudokuConfig) -> Iterator[Puzzles]:
    puzzles = files.read(path)[0]
    if puzzles.box != config.sides:
        box = ",".join(map(str, puzzles.box))
        raise InputError(
            f"task.{key}={path}: its boxes are {puzzles.box[0]} x {puzzles.box[1]}, those of task.size={config.size} "
            f"{config.sides[0]} x {config.sides[1]}; choose task.size={puzzles.size} task.box=[{box}]"
        )
    return (puzzles[[place]] for place in range(len(puzzles)))


def _first(puzzles: Iterator[Puzzles], number: int, name: str, path: str) -> Puzzles:
    found = list(itertools.islice(puzzles, number))
    if len(found) < number:
        raise InputError(
            f"task.{name}_puzzles={number}: {path} has {len(found)} puzzles of task.grade left for it; choose smaller "
            "numbers, or another grade"
        )
    return joined(found)


def _without(puzzles: Puzzles, held_out: set[int]) -> Puzzles:
    """The puzzles that are symmetric to none of those with these numbers."""
    kept: NDArray[np.bool_] = np.array([number not in held_out for number in _numbers(puzzles)], dtype=bool)
    return puzzles[kept]


def _numbers(puzzles: Puzzles) -> list[int]:
    return [int(n) for n in of_puzzles(puzzles.clues, puzzles.solution, puzzles.box)]
