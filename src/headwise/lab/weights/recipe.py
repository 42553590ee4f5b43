"""A recipe, as its file in `conf/weights/` states it: the command that trains a model, and what is measured on it."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwise.errors import InputError
from headwise.files import read_yaml
from headwise.schema import build, short, suggestion
from headwise.training import configuration
from headwise.training.config import RunConfig, differences, read
from headwise.training.loadable import GROUP
from headwise.training.presets import files, presets
from headwise.training.resuming import CHANGEABLE

ELSEWHERE = (*CHANGEABLE, "task.root")
"""Keys in which a run may differ from its recipe: where it was trained, and what it wrote beside."""


@dataclass(frozen=True)
class Recipe:
    """How a model is made.

    Args:
        train: the words behind `headwise train`, as they are typed.
        metrics: of those that its task has, the ones on the card.
        settings: name -> words behind `headwise evaluate <run>`; the card has the metrics under each of them. The first
            are those that it was trained with.
        licence: of the weights, an SPDX identifier.
        data: what it is trained on, and under which licence.
        use: a command that shows the model at work.
    """

    train: str
    metrics: tuple[str, ...]
    settings: dict[str, str]
    licence: str
    data: str
    use: str

    def __post_init__(self) -> None:
        if not self.metrics:
            raise ValueError("metrics: none; name those that the card is to have")
        if next(iter(self.settings.values()), None) != "":
            raise ValueError('settings: the first must be those trained with, as trained: ""')
        for text in (self.train, *self.settings.values()):
            try:
                shlex.split(text)
            except ValueError as error:
                raise ValueError(f"{short(text)}: {error}") from None

    @property
    def words(self) -> list[str]:
        """Behind `headwise train`."""
        return shlex.split(self.train)

    @property
    def command(self) -> str:
        """As it is typed."""
        return f"headwise train {' '.join(self.train.split())}"

    def overrides(self, name: str, base: RunConfig) -> dict[str, Any]:
        """The settings of that name, key -> value."""
        return {each.key: each.value for each in configuration.read(shlex.split(self.settings[name]), base.to_plain())}


def chosen(names: Sequence[str]) -> dict[str, Recipe]:
    """Recipes by name; all of them where none is named.

    Raises:
        InputError: an unknown name, or a damaged file.
    """
    offered = files(GROUP)
    for name in names:
        if name not in offered:
            known = f"there are {', '.join(offered)}{suggestion(name, offered)}"
            raise InputError(f"weights {short(name)}: no recipe of that name; {known}")
    return {name: _read(offered[name]) for name in names or offered}


def title(name: str) -> str:
    """What the model is, in one line."""
    return presets(GROUP)[name]


def refuse_other(path: Path, config: RunConfig, name: str) -> None:
    """Refuse a run that was not trained as its recipe, whose configuration this is, says.

    Raises:
        InputError: with the first setting that differs.
    """
    for key, theirs, ours in differences(read(path).to_plain(), config.to_plain()):
        if key not in ELSEWHERE:
            raise InputError(f"{path}: {key} is {short(theirs)}, the recipe of {name} has {short(ours)}; train it anew")


def _read(file: Path) -> Recipe:
    try:
        return build(Recipe, read_yaml(file), "")
    except InputError as error:
        raise error if str(error).startswith(str(file)) else InputError(f"{file}: {error}") from None
