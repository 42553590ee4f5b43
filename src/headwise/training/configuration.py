"""From words on a command line to a `RunConfig`: the one file that knows Hydra.

Hydra composes the groups (`task=`, `arm=`, `training=`: files of `headwise/conf`) and its grammar reads the values.
They are merged as plain data and only then become dataclasses, strictly, so every mistake is one line of ours.
"""

import difflib
import math
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf, open_dict

from headwise.errors import InputError
from headwise.models.sizes import SIZES
from headwise.schema import to_plain
from headwise.training import folders
from headwise.training.config import RunConfig
from headwise.training.folders import CONF

GROUPS = ("task", "arm", "training")
# Between the overrides of an arm's label: a colon or comma outside of brackets
_SEPARATOR = re.compile(r"[:,](?![^\[{(]*[\]})])")
# What `headwise.schema` says of a word that it does not know
_UNKNOWN = re.compile(
    r"(?P<key>[\w.]+)=(?P<value>.*): (?P<of_key>unknown key)?.*?"
    r"(?:(?:allowed|available)[^:]*: |choose one of )(?P<allowed>.+)"
)
# Taken as typed: a path may hold characters that Hydra's grammar gives a meaning to.
PATHS = (
    "output",
    "resume",
    "cache",
    "task.corpus",
    "task.root",
    "task.pretraining",
    "task.treebank",
    "task.train",
    "task.validation",
    "task.test",
    "task.encoder.model",
    "task.file",
    "task.test_file",
)


@dataclass(frozen=True)
class Override:
    """One `key=value`, or `~key`, which goes back to the default."""

    key: str
    value: Any = None
    delete: bool = False

    @property
    def depth(self) -> int:
        """How deep the node lies that is set; `x.name` chooses what `x` is, so it counts as `x` itself."""
        path = self.key.split(".")
        return len(path) - (path[-1] == "name")

    @property
    def chooses_file(self) -> bool:
        """Whether it is of the kind `arm=hrm`."""
        return self.key in GROUPS and isinstance(self.value, str)


def load(overrides: Sequence[str], base: Mapping[str, Any] | None = None) -> RunConfig:
    """The configuration of one run.

    Args:
        overrides: words such as `task=sorting`, `arm=hrm`, `arm.gate.k=2`, `seed=1`, `quick=true`, in any order: what
            lies deeper refines what lies above it. `quick=true` (or HEADWISE_QUICK=1 in the environment) puts in the
            values of `conf/quick/<task>.yaml`, for a run of about ten seconds.
        base: a resolved configuration, as in a run directory, to start from instead of the defaults.

    Raises:
        InputError: an unknown key, name or preset, a value that cannot be read or is out of range.
    """
    return _build(_plain([parse(word) for word in overrides], base))


def load_arms(
    arms: Sequence[str], overrides: Sequence[str] = (), base: Mapping[str, Any] | None = None
) -> list[tuple[str, RunConfig]]:
    """The configurations of a comparison, by label: one for each arm, alike in everything that the arm does not name.

    Args:
        arms: names of arms, each with overrides of its own if it has some: `hrm:refinement.steps=12`, or several,
            `hrm:refinement.steps=12,gate.name=top_k`. Keys are relative to the arm, except those of `model.`
            (`baseline:model.depth=4`). The text is the label.
        overrides: for all arms.
        base: as for `load`.

    Raises:
        InputError: as for `load`; an arm twice; an arm that changes what a comparison keeps equal.
    """
    labels = list(arms)
    if not labels:
        raise InputError(f"arms=[]: name at least one arm; available: {', '.join(presets('arm'))}")
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise InputError(f"arms: {twice} is named twice; name each arm once (seeds=5 repeats every arm)")
    shared = [parse(word) for word in overrides]
    if any(override.key == "arm" for override in shared):
        raise InputError("arm: a comparison takes arms=[first,second], not arm=")
    return [(label, _build(_plain([*shared, *_arm(label)], base, label))) for label in labels]


def take(overrides: Sequence[str], names: Collection[str]) -> tuple[dict[str, Any], list[str]]:
    """The values of the keys in `names`, which belong to a command and not to a run, and the other words."""
    taken, rest = {}, []
    for word in overrides:
        if word.partition("=")[0].strip() in names:
            override = parse(word)
            taken[override.key] = override.value
        else:
            rest.append(word)
    return taken, rest


def presets(group: str) -> dict[str, str]:
    """What a group of `conf` offers, plugins and folders of the user's own included, each with one line."""
    return folders.summaries(group)


def suggestion(word: str, allowed: Iterable[str]) -> str:
    """`; did you mean ...?` if one of the allowed words is close, else nothing."""
    close = difflib.get_close_matches(word, list(allowed), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def parse(word: str) -> Override:
    """Read one word of the command line, its value with Hydra's grammar: numbers, words, [lists], {key: value}."""
    key, equals, text = word.partition("=")
    key = key.strip()
    if key in PATHS and equals:
        return Override(key, None if text == "null" else text)
    if not equals and not word.startswith("~"):
        raise InputError(f"{word}: not an override; write key=value")
    try:
        read = OverridesParser.create().parse_override(word)
        value = None if read.is_sweep_override() else read.value()
    except HydraException as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{word}: cannot be read ({reason}); quote special characters: '{key}=\"...\"'") from None
    if read.is_sweep_override():
        raise InputError(f"{word}: several values; a run takes one (a list is written [1,2])")
    if read.package is not None or not all(read.key_or_group.split(".")):
        raise InputError(f"{word}: not a key; write key=value, dots between the parts of the key")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{word}: expected a finite number")
    return Override(read.key_or_group, value, delete=read.is_delete())


def _plain(overrides: Sequence[Override], base: Mapping[str, Any] | None, label: str | None = None) -> dict[str, Any]:
    """The merged, not yet checked configuration: presets (or base), then what quick=true changes, then values."""
    files = {o.key: o.value for o in overrides if o.chooses_file}
    values = [o for o in overrides if not o.chooses_file]
    for group, name in files.items():
        _known(group, name)
    plain = _composed(files)
    if base is not None:
        chosen = [*files, "name"] if "arm" in files else files
        plain = deepcopy(dict(base)) | {key: plain[key] for key in chosen}
    changes = _size(values)
    if _quick(values, default=base is None and os.environ.get("HEADWISE_QUICK") == "1"):
        changes = [*_quick_values(plain), *changes, Override("quick", True)]
    for override in [*changes, *sorted(values, key=lambda o: o.depth)]:
        if override.key != "model.size":
            _apply(plain, override)
    return plain | ({"name": label} if label else {})


def _composed(files: Mapping[str, str]) -> dict[str, Any]:
    """`conf/config.yaml` with the chosen file of each group, as plain data; `name` is that of the arm's file."""
    ours = {group: name for group, name in files.items() if (CONF / group / f"{name}.yaml").is_file()}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [f"{group}={name}" for group, name in ours.items()], return_hydra_config=True)
    name = config.hydra.runtime.choices["arm"]
    with open_dict(config):
        del config["hydra"]
    plain = {**cast(dict[str, Any], OmegaConf.to_container(config, resolve=True)), "name": name}
    # What is not of headwise's own folder is plain YAML: nothing in it is interpolated.
    others = {group: folders.values(group, name) for group, name in files.items() if group not in ours}
    return {**plain, **others} | ({"name": Path(files["arm"]).stem} if "arm" in others else {})


def _known(group: str, name: str) -> None:
    available = presets(group)
    if name not in available and not folders.is_path(name):
        raise InputError(f"{group}={name}: unknown; available: {', '.join(available)}{suggestion(name, available)}")


def _size(values: Sequence[Override]) -> list[Override]:
    """`model.size=small` as the shape that it stands for; what is set beside it refines it."""
    name = next((o.value for o in reversed(values) if o.key == "model.size"), None)
    if name is None:
        return []
    if not isinstance(name, str) or name not in SIZES:
        raise InputError(f"model.size={name}: unknown; available: {', '.join(SIZES)}{suggestion(str(name), SIZES)}")
    return [Override(f"model.{key}", value) for key, value in to_plain(SIZES[name]).items()]


def _quick(values: Sequence[Override], default: bool) -> bool:
    given = [o.value for o in values if o.key == "quick"]
    return given[-1] is True if given else default


def _quick_values(plain: Mapping[str, Any]) -> Iterator[Override]:
    """What `quick=true` changes for the task at hand, as overrides of single values, so that they merge as those do."""
    offered = folders.files("quick")
    file = offered.get(plain["task"]["name"], offered["default"])

    def leaves(node: Mapping[str, Any], prefix: str) -> Iterator[Override]:
        for key, value in node.items():
            if isinstance(value, dict):
                yield from leaves(value, f"{prefix}{key}.")
            else:
                yield Override(f"{prefix}{key}", value)

    yield from leaves(cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(file))), "")


def _apply(plain: dict[str, Any], override: Override) -> None:
    """Set one value; a node that is only a name, `gate: soft`, becomes `{name: soft}` when something is set in it."""
    *path, last = override.key.split(".")
    node = plain
    for part in path:
        child = node.get(part)
        if not isinstance(child, dict):
            child = {"name": child} if isinstance(child, str) else {}
        node[part] = child
        node = child
    if not override.delete:
        _put(node, last, override.value, ".".join(path))
    elif node.pop(last, None) is None:
        raise InputError(f"~{override.key}: it is not set, so there is nothing to go back from")


def _put(node: dict[str, Any], key: str, value: Any, where: str) -> None:
    """`node[key] = value`, where {mappings} merge, and another name takes the settings of the old one away.

    `where` is the dotted key of the node, empty for the whole configuration (whose `name` is only a name).
    """
    old = node.get(key)
    at = f"{where}.{key}" if where else key
    if isinstance(old, dict) and "name" in old and isinstance(value, str):
        value = {"name": value}
    if isinstance(old, dict) and isinstance(value, dict):
        for inner in sorted(value, key=lambda inner: inner != "name"):
            _put(old, inner, value[inner], at)
        return
    if key == "name" and isinstance(value, (list, dict)):
        raise InputError(f"{at}={value}: expected a word")
    if key == "name" and where and value != old:
        node.clear()
    node[key] = value


def _arm(label: str) -> list[Override]:
    """An arm's label, `hrm:refinement.steps=12,gate.name=top_k`, as overrides."""
    name, _, text = label.partition(":")
    overrides = [Override("arm", name.strip())]
    for word in filter(None, (part.strip() for part in _SEPARATOR.split(text))):
        override = parse(word)
        root = override.key.partition(".")[0]
        learning_rates = override.key == "training.preset" or override.key.startswith("training.preset.")
        if root in ("task", "training", "seed", "device", "output", "quick") and not learning_rates:
            raise InputError(
                f"arms: {word} in {label}: a comparison keeps it equal for all arms (but for training.preset, the "
                "learning rates); set it beside arms="
            )
        absolute = root in ("arm", "model", "training")
        overrides.append(override if absolute else replace(override, key=f"arm.{override.key}"))
    return overrides


def _build(plain: Mapping[str, Any]) -> RunConfig:
    try:
        return RunConfig.from_plain(plain)
    except InputError as error:
        raise InputError(f"{error}{_close_match(str(error))}") from None


def _close_match(message: str) -> str:
    """The suggestion for a message of `headwise.schema`, `<key>=<value>: unknown ...: <what is allowed>`."""
    found = _UNKNOWN.match(message)
    if found is None:
        return ""
    word = found["key"].rpartition(".")[2] if found["of_key"] else found["value"]
    return suggestion(word, found["allowed"].split(", "))
