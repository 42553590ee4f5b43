"""The finished runs that are measured: those of a comparison, or run directories that belong together."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from headwise.errors import InputError
from headwise.files import open_regular
from headwise.lab.outputs import COMPARISON, run_directory
from headwise.lab.records import is_run, number, read_comparison, readable_mapping
from headwise.models.checkpoint import WEIGHTS
from headwise.training.config import RunConfig, differences
from headwise.training.evaluation import saved
from headwise.training.files import SUMMARY


@dataclass(frozen=True)
class Trained:
    """A run with its weights.

    Attributes:
        label: of its arm.
        seed: of its training.
        facts: of the data that it was trained on.
    """

    label: str
    seed: int
    directory: Path
    config: RunConfig
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.label}, seed {self.seed}"

    @cached_property
    def value(self) -> float | None:
        """What it scored on its test examples when it was trained."""
        return number(readable_mapping(self.directory / SUMMARY).get("value"))

    @cached_property
    def weights(self) -> str:
        """Digest of its weights.

        Raises:
            InputError: there are none.
        """
        seen = hashlib.sha256()
        with open_regular(self.directory / WEIGHTS) as file:
            while block := file.read(2**20):
                seen.update(block)
        return seen.hexdigest()[:16]


@dataclass(frozen=True)
class Runs:
    """Runs on one task, of one or several arms.

    Attributes:
        runs: arm by arm, in the order of the comparison.
        left_out: those that cannot be measured, each in one line with the reason.
    """

    runs: tuple[Trained, ...]
    left_out: tuple[str, ...]

    @property
    def first(self) -> RunConfig:
        return self.runs[0].config

    @property
    def labels(self) -> list[str]:
        return list(dict.fromkeys(run.label for run in self.runs))

    @property
    def seeds(self) -> list[int]:
        return sorted({run.seed for run in self.runs})

    @property
    def heads(self) -> int:
        """The most that a run has."""
        return max(run.config.model.heads for run in self.runs)


def find(directories: Sequence[Path]) -> Runs:
    """The runs in these directories.

    Args:
        directories: each that of a run or of a comparison.

    Raises:
        InputError: a directory that is neither; runs that do not belong together, or an arm twice with the same seed;
            or none that could be measured, with the reason.
    """
    if not directories:
        raise InputError("ood: which runs? give the directory of a comparison, or of runs")
    found: list[Trained] = []
    left_out: list[str] = []
    for directory in directories:
        for label, path in _places(directory):
            try:
                config, facts = saved(path)
            except InputError as error:
                left_out.append(str(error))
                continue
            found.append(Trained(label or config.name, config.seed, path, config, facts))
    if not found:
        raise InputError(f"nothing to measure: {left_out[0]}")
    _check_together(found)
    order = list(dict.fromkeys(run.label for run in found))
    found.sort(key=lambda run: (order.index(run.label), run.seed))
    return Runs(tuple(found), tuple(left_out))


def _places(directory: Path) -> list[tuple[str | None, Path]]:
    """Label, where a comparison says it, and directory of each run."""
    if (directory / COMPARISON).is_file():
        result = read_comparison(directory)
        return [(label, run_directory(directory, label, seed)) for label in result["arms"] for seed in result["seeds"]]
    if is_run(directory):
        return [(None, directory)]
    there = "holds neither a run nor a comparison" if directory.is_dir() else "no such directory"
    raise InputError(f"{directory}: {there}; give the directory of a finished run, or of `headwise compare`")


def _check_together(found: Sequence[Trained]) -> None:
    first, seen = found[0], dict[tuple[str, int], Path]()
    for run in found:
        ours, theirs = first.config.to_plain()["task"], run.config.to_plain()["task"]
        for key, before, after in differences(ours, theirs, "task."):
            raise InputError(
                f"{run.directory}: trained with {key}={after}, {first.directory} with {before}; give runs of one task "
                "with the same settings"
            )
        if (other := seen.setdefault((run.label, run.seed), run.directory)) != run.directory:
            raise InputError(f"{run.directory}: arm {run.label} with seed {run.seed}, as {other}; give one of them")
