"""What a sweep tries: from words with several values to labelled configurations, the base first.

A setting is one value of each swept key. The base is what the words say without the swept keys; where it is one of the
settings, it bears that label.
"""

import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from headwise.errors import InputError
from headwise.schema import short
from headwise.training.config import RunConfig
from headwise.training.configuration import load, paths_of
from headwise.training.overrides import Interval, Several, parse, several
from headwise.training.presets import preset
from headwise.training.quoting import key_of

MOST_RUNS = 500
"""Runs of a sweep without max_runs=: a day of small ones."""
LONGEST_LABEL = 120
MOST_DRAWS = 100
"""Draws for each setting that is wanted; where that does not do, a narrow interval has no more."""
NOT_SWEPT = {
    **dict.fromkeys(("task", "task.name"), "each task has its own metric; a sweep has one task, whose settings vary"),
    "seed": "seeds= says with which every setting is trained",
    **dict.fromkeys(("output", "cache", "device", "quick", "name"), "it is one for all runs"),
}
"""Keys of a run that a sweep does not vary, and why."""

Values = tuple[str, ...]
"""One value of each swept key, in their order, as words of the command line have them."""


@dataclass(frozen=True)
class Space:
    """The swept keys, and what all runs share.

    Attributes:
        words: of all runs; alone they are the base.
        swept: keys with their values.
        base: configuration that the words say.
    """

    words: tuple[str, ...]
    swept: tuple[Several, ...]
    base: RunConfig

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(one.key for one in self.swept)

    @property
    def names(self) -> tuple[str, ...]:
        """The keys as labels have them, without their group: `controller.period`."""
        return tuple(_without_group(key, self.keys) for key in self.keys)

    @property
    def size(self) -> float:
        """Settings of the whole grid; infinite with an interval."""
        counts = (math.inf if isinstance(one.values, Interval) else len(one.values) for one in self.swept)
        return math.prod(counts)

    def grid(self) -> Iterator[Values]:
        """Every combination.

        Raises:
            InputError: a key is swept over an interval.
        """
        for one in self.swept:
            if isinstance(one.values, Interval):
                raise InputError(
                    f"{one.key}: an interval has no end of values, which a grid would take; list them, or "
                    "sampler=random number=20"
                )
        return itertools.product(*(one.values for one in self.swept if not isinstance(one.values, Interval)))

    def sample(self, number: int) -> list[Values]:
        """So many different combinations, drawn with the base's seed; fewer where there are no more."""
        if self.size <= number:
            return list(self.grid())
        rng = np.random.default_rng(self.base.seed)
        draws = (tuple(_drawn(one.values, rng) for one in self.swept) for _ in range(MOST_DRAWS * number))
        return list(itertools.islice(dict.fromkeys(draws), number))

    def label(self, values: Values) -> str:
        """How a setting is called: `controller.period=4,preset.lr=0.001`."""
        pairs = zip(self.keys, self.names, values, strict=True)
        label = ",".join(f"{name}={shown(parse(f'{key}={text}').value)}" for key, name, text in pairs)
        return label if len(label) <= LONGEST_LABEL else f"setting-{hashlib.sha256(label.encode()).hexdigest()[:10]}"

    def words_of(self, values: Values) -> list[str]:
        """A setting as words of a command line."""
        return [f"{key}={text}" for key, text in zip(self.keys, values, strict=True)]

    def load(self, values: Values) -> RunConfig:
        """The configuration of a setting.

        Raises:
            InputError: as `headwise.training.configuration.load`.
        """
        return load([*self.words, *self.words_of(values)])


@dataclass(frozen=True)
class Settings:
    """What is trained, by label.

    Attributes:
        base: label of the base, which comes first.
        configs: of every setting.
        values: of the swept keys; the base has none where it is no combination of them.
        left_out: combinations that are refused, with the reason.
    """

    base: str
    configs: dict[str, RunConfig]
    values: dict[str, Values]
    left_out: dict[str, str]


def read_space(words: Sequence[str], name: str | None = None, most: int = MOST_RUNS) -> Space:
    """The space that words of a command line span, on top of a preset.

    Args:
        words: settings of a run, of which some have several values.
        name: of a preset, `conf/sweep/<name>.yaml`, which holds such words by key; what is typed goes before it.
        most: values that a key may have.

    Raises:
        InputError: no key with several values, one that a sweep does not vary, or a base that cannot be.
    """
    if most < 1:
        raise InputError(f"max_runs={most}: choose 1 or more")
    typed = {key_of(word) for word in words}
    offered = {} if name is None else preset("sweep", name)
    ours = [(word, several(word, most)) for word in _as_words(offered, name)]
    every = [pair for pair in ours if pair[1] is None or key_of(pair[0]) not in typed]
    # A word such as task.file=a,b is one path
    paths = paths_of([word for word in words if key_of(word) != "task" or several(word, most) is None])
    every += [(word, None if key_of(word) in paths else several(word, most)) for word in words]
    swept = [found for _, found in every if found is not None]
    for one in swept:
        if one.key in NOT_SWEPT:
            raise InputError(f"{one.key}: {NOT_SWEPT[one.key]}; give one value")
    if not swept:
        raise InputError(
            "no setting has several values; write one, as 'arm.controller.period=2,3,4', or choose a preset, as "
            "sweep=period"
        )
    keys = [one.key for one in swept]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise InputError(f"{twice}: swept twice; list its values once")
    shared = tuple(word for word, found in every if found is None)
    return Space(shared, tuple(swept), load(shared))


def settings_of(space: Space, chosen: Sequence[Values]) -> Settings:
    """The configurations of the chosen combinations, the base first.

    A combination that is refused is left out, unless all are, or in a whole grid every one that has a certain value:
    then something is wrong with that value.

    Raises:
        InputError: such a value, or two combinations that are the same configuration.
    """
    configs: dict[str, RunConfig] = {}
    values: dict[str, Values] = {}
    left_out: dict[str, str] = {}
    errors: dict[Values, InputError] = {}
    for one in chosen:
        label = space.label(one)
        try:
            config = space.load(one)
        except InputError as error:
            errors[one], left_out[label] = error, str(error)
            continue
        if label in values:
            raise InputError(f"{label}: the same setting twice; name each value once")
        configs[label], values[label] = replace(config, name=label), one
    for refused, reason in errors.items():
        if not values:
            raise reason
        for place, key in enumerate(space.keys if len(chosen) == space.size else ()):
            if not any(one[place] == refused[place] for one in values.values()):
                alone = f"{key}={refused[place]}: refused in every setting: {reason}"
                raise reason if len(refused) == 1 else InputError(alone)
    same = {label: _identity(config) for label, config in configs.items()}
    for label, other in itertools.combinations(same, 2):
        if same[label] == same[other]:
            raise InputError(f"{label} and {other} are the same setting; leave one out")
    base = next((label for label, own in same.items() if own == _identity(space.base)), "base")
    first = configs.pop(base, replace(space.base, name=base))
    return Settings(base, {base: first, **configs}, values, left_out)


def shown(value: Any) -> str:
    """A value as labels and axes have it: `top_k:k=2` for a choice with settings of its own."""
    if isinstance(value, Mapping):
        rest = ",".join(f"{key}={shown(inner)}" for key, inner in value.items() if key != "name")
        return ":".join(filter(None, [str(value.get("name", "")), rest]))
    if isinstance(value, list):
        return "+".join(map(shown, value))
    if value is None or isinstance(value, bool):
        return str(value).lower() if value is not None else "null"
    return f"{value:g}" if isinstance(value, float) else short(value)


def value_of(key: str, text: str) -> Any:
    """A value of a key, read from a word."""
    return parse(f"{key}={text}").value


def as_text(value: float, interval: Interval) -> str:
    """A number of an interval as a word: four figures tell settings apart, and more make no difference."""
    return str(round(value)) if interval.whole else f"{value:.4g}"


def _as_words(offered: Mapping[str, Any], name: str | None) -> list[str]:
    """The words of a preset: a key with the text that stands behind its `=`."""
    for key, value in offered.items():
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            raise InputError(f"sweep={name}: {key} is {short(value)}; write it as on the command line, in quotes")
    return [f"{key}={value}" for key, value in offered.items()]


def _drawn(values: Values | Interval, rng: np.random.Generator) -> str:
    if not isinstance(values, Interval):
        return values[int(rng.integers(len(values)))]
    if values.whole:
        low, high = values.low, values.high
        drawn = math.exp(rng.uniform(math.log(low), math.log(high + 1))) if values.log else rng.uniform(low, high + 1)
        return as_text(min(math.floor(drawn), high), values)
    if values.log:
        return as_text(math.exp(rng.uniform(math.log(values.low), math.log(values.high))), values)
    return as_text(rng.uniform(values.low, values.high), values)


def _identity(config: RunConfig) -> str:
    return str({key: value for key, value in config.to_plain().items() if key != "name"})


def _without_group(key: str, among: Sequence[str]) -> str:
    """`controller.period` of `arm.controller.period`, unless another key would be called the same."""
    name = key.partition(".")[2] or key
    return name if sum((other.partition(".")[2] or other) == name for other in among) == 1 else key
