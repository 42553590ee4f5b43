"""Words of the command line, read, and files of `conf`, put together: the one file that knows Hydra.

Hydra's grammar reads the value of `key=value`, and its compose API puts the chosen files (`task=`, `arm=`,
`training=`) together. What comes out is plain data; `headwise.training.configuration` merges it.
"""

import itertools
import shlex
from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep
from hydra.core.override_parser.types import Override as Read
from hydra.errors import HydraException
from omegaconf import OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from headwise.errors import InputError, in_a_line
from headwise.schema import short
from headwise.training.presets import CONF, GROUPS, preset, presets
from headwise.training.quoting import depth, unclosed, with_quotes

LONGEST = 16_384
"""Characters of a word, and of an arm's label; the grammar takes a second for each 20,000."""
DEEPEST = 16
"""Brackets within brackets, and parts of a key."""


@dataclass(frozen=True)
class Override:
    """One `key=value`, or `~key`, which goes back to the default."""

    key: str
    value: Any = None
    delete: bool = False

    @property
    def root(self) -> str:
        """The first part of the key."""
        return self.key.partition(".")[0]

    @property
    def depth(self) -> int:
        """How deep the node lies that is set; `x.name` chooses what `x` is, so it counts as `x` itself."""
        path = self.key.split(".")
        return len(path) - (path[-1] == "name")

    @property
    def chooses_file(self) -> bool:
        """Whether it is of the kind `arm=hrm`."""
        return self.key in GROUPS and isinstance(self.value, str)


@dataclass(frozen=True)
class Interval:
    """Numbers from `low` to `high` that a key may take.

    Attributes:
        log: whether numbers of equal ratio, not of equal difference, are equally likely: `tag(log, interval(...))`.
        whole: whether they are whole numbers: `int(interval(...))`.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Several:
    """A key that is to take several values, in turn.

    Attributes:
        values: as a word of the command line has them behind its `=`; or an interval.
    """

    key: str
    values: tuple[str, ...] | Interval


def parse(word: str, paths: Collection[str] = ()) -> Override:
    """Read one word, its value with Hydra's grammar: numbers, words, [lists], {key: value}, null, 'anything quoted'.

    Args:
        word: `key=value`, or `~key`.
        paths: keys whose value is a path, taken as it was typed: no character of it means anything but itself.

    Raises:
        InputError: it cannot be read; with what to type instead, where that can be told.
    """
    key, equals, text = word.partition("=")
    key = key.strip()
    if key in paths and equals:
        return Override(key, None if text == "null" else text)
    read, value = _read(word)
    if read.is_sweep_override():
        raise InputError(f"{short(word)}: several values; a run takes one (a list is written '{key}=[1,2]')")
    if isinstance(value, float) and value - value != 0:
        raise InputError(f"{short(word)}: expected a finite number")
    return Override(read.key_or_group, value, delete=read.is_delete())


def several(word: str, most: int) -> Several | None:
    """The values of a word that gives several, in Hydra's grammar of sweeps; None if it gives one.

    Args:
        word: `key=1,2`, `key=choice(1,2)`, `key=range(1,9,2)`, `key=interval(0,1)`, or `arm=glob(hrm*)` for all presets
            of that kind.
        most: values that there may be.

    Raises:
        InputError: it cannot be read, or gives no value, more than `most`, or one twice.
    """
    read, _ = _read(word)
    if not read.is_sweep_override():
        return None
    key, swept = read.key_or_group, cast(Any, read.value())
    if isinstance(swept, IntervalSweep):
        return Several(key, _interval(word, swept))
    if isinstance(swept, Glob):
        if key not in GROUPS:
            raise InputError(f"{short(word)}: a pattern stands for presets, of {', '.join(GROUPS)}; list the values")
        values = swept.filter(list(presets(key)))
    else:
        try:
            # A range of floats adds up what a step of 0.1 lacks to a tenth
            each = map(_rounded, read.sweep_iterator()) if read.is_range_sweep() else read.sweep_string_iterator()
            values = list(itertools.islice(each, most + 1))
        except (HydraException, ValueError) as error:  # a step of 0
            raise InputError(f"{short(word)}: cannot be read ({short(error)})") from None
    if not values:
        raise InputError(f"{short(word)}: no values")
    if len(values) > most:
        raise InputError(f"{short(word)}: more than {most} values; fewer, or a larger max_runs=")
    if twice := next((value for value in values if values.count(value) > 1), None):
        raise InputError(f"{short(word)}: {short(twice)} stands there twice; name each value once")
    return Several(key, tuple(values))


def _rounded(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _interval(word: str, swept: IntervalSweep) -> Interval:
    low, high = cast(float, swept.start), cast(float, swept.end)
    found = Interval(low, high, "log" in swept.tags, isinstance(low, int) and isinstance(high, int))
    if not -float("inf") < low < high < float("inf") or (found.log and low <= 0):
        above = " above 0, as it is on a log scale" if found.log else ""
        raise InputError(f"{short(word)}: an interval goes from a number to a larger one{above}")
    return found


def _read(word: str) -> tuple[Read, Any]:
    """One word as Hydra reads it, and its value; None where there are several.

    Raises:
        InputError: it cannot be read; with what to type instead, where that can be told.
    """
    if "=" not in word and not word.startswith("~"):
        raise InputError(f"{short(word)}: not a setting; write key=value")
    if len(word) > LONGEST or word.partition("=")[0].count(".") >= DEEPEST or depth(word) > DEEPEST:
        raise InputError(f"{short(word)}: too long, or nested too deep ({LONGEST} characters, {DEEPEST} brackets)")
    try:
        read = OverridesParser.create().parse_override(word)
        value = None if read.is_sweep_override() else read.value()
    except (HydraException, ValueError) as error:  # ValueError: a number of thousands of digits
        reason = str(error).partition("\n")[0]
        raise InputError(f"{short(word)}: cannot be read ({short(reason)}){_remedy(word)}") from None
    if read.package is not None or not all(read.key_or_group.split(".")):
        raise InputError(f"{short(word)}: not a key; write key=value, dots between the parts of the key")
    return read, value


def composed(files: Mapping[str, str]) -> dict[str, Any]:
    """`conf/config.yaml` with the chosen file of each group, as plain data; `name` is that of the arm's file.

    Raises:
        InputError: no such file, or one that cannot be read or put together with the others.
    """
    # A file that cannot be read is refused here in one line, as Hydra does not.
    values = {group: preset(group, name) for group, name in files.items()}
    ours = [f"{group}={name}" for group, name in files.items() if (CONF / group / f"{name}.yaml").is_file()]
    try:
        plain, name = deepcopy(_by_hydra(CONF, tuple(ours)))
    except (HydraException, OmegaConfBaseException, ValueError, TypeError, RecursionError) as error:
        chosen = " ".join(f"{group}={name}" for group, name in files.items())
        raise InputError(f"{chosen or CONF}: cannot be put together ({in_a_line(error)})") from None
    # What lies elsewhere is plain YAML: nothing in it is interpolated.
    others = {group: value for group, value in values.items() if f"{group}={files[group]}" not in ours}
    return {**plain, "name": Path(files["arm"]).stem if "arm" in others else name, **others}


@lru_cache(maxsize=256)
def _by_hydra(conf: Path, ours: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    """What files of `conf` make together, and the name of the arm's; kept, since Hydra takes a tenth of a second."""
    with initialize_config_dir(str(conf), version_base="1.3"):
        config = compose("config", list(ours), return_hydra_config=True)
    name = config.hydra.runtime.choices["arm"]
    with open_dict(config):
        del config["hydra"]
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True)), name


def _remedy(word: str) -> str:
    """What to type instead, tried before it is said; empty if nothing helps."""
    if len(word) > 160:  # which nobody types again
        return ""
    closed = word + "".join(reversed(unclosed(word)))
    key, _, text = word.partition("=")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    for candidate in (closed, with_quotes(closed), f'{key}="{escaped}"'):
        try:
            read = OverridesParser.create().parse_override(candidate)
        except (HydraException, ValueError):
            continue
        if not read.is_sweep_override():
            return f"; write {shlex.quote(candidate)}"
    return ""
