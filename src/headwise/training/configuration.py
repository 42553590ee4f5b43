"""From words on a command line to a `RunConfig`.

The words and the files that they choose are merged as plain data and only then become dataclasses, strictly, so every
mistake is one line of ours.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from headwise.errors import InputError
from headwise.files import read_yaml
from headwise.models.refusals import TaskFacts
from headwise.models.sizes import SIZES
from headwise.schema import paths, short, suggestion, to_plain
from headwise.tasks import TASKS, entry
from headwise.training.config import RunConfig, task_from_plain
from headwise.training.overrides import LONGEST, Override, composed, parse
from headwise.training.presets import defaults, files, known, preset, presets
from headwise.training.quoting import key_of

# Between the overrides of an arm's label: a colon or comma outside of brackets
_SEPARATOR = re.compile(r"[:,](?![^\[{(]*[\]})])")
# What an arm may be called: `mask` in `mask=baseline:router=learned`
_NAME = re.compile(r"\w[\w.+-]*")


Plain = Mapping[str, Any]


def load(overrides: Sequence[str], base: Plain | None = None) -> RunConfig:
    """The configuration of one run.

    Args:
        overrides: words such as `task=sorting`, `arm=hrm`, `arm.gate.k=2`, `seed=1`, `quick=true`, in any order: what
            lies deeper refines what lies above it. `quick=true` (or HEADWISE_QUICK=1 in the environment) puts in the
            values of `conf/quick/<task>.yaml`, for a run of about ten seconds.
        base: a resolved configuration, as in a run directory, to start from instead of the defaults.

    Raises:
        InputError: an unknown key, name or preset, a value that cannot be read or is out of range.
    """
    return RunConfig.from_plain(_plain(read(overrides, base), base))


def load_arms(
    arms: Sequence[str], overrides: Sequence[str] = (), base: Plain | None = None, recipe: Plain | None = None
) -> list[tuple[str, RunConfig]]:
    """The configurations of a comparison, by label: one for each arm, alike in everything that the arm does not name.

    Args:
        arms: names of arms, each with overrides of its own if it has some: `hrm:refinement.steps=12`, or several,
            `hrm:refinement.steps=12,gate.name=top_k`. Keys are relative to the arm, except those of `model.`
            (`baseline:model.depth=4`). The text is the label, or what stands before it: `deep=baseline:model.depth=4`
            is called deep.
        overrides: for all arms.
        base: as for `load`.
        recipe: values beside those of the task's own recipe, which quick=true and overrides go before.

    Raises:
        InputError: as for `load`; an arm twice; an arm that changes what a comparison keeps equal.
    """
    if not arms:
        raise InputError(f"arms=[]: name at least one arm; available: {', '.join(presets('arm'))}")
    called = [_called(arm) for arm in arms]
    labels = [label for label, _ in called]
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise InputError(f"arms: {twice} is named twice; name each arm once (seeds=5 repeats every arm)")
    shared = read(overrides, base)
    if any(override.key == "arm" for override in shared):
        raise InputError("arm: a comparison takes arms=[first,second], not arm=")
    return [
        (label, RunConfig.from_plain(_plain([*shared, *_arm(text)], base, label, recipe))) for label, text in called
    ]


def task_facts(overrides: Sequence[str], recipe: Plain | None = None) -> TaskFacts:
    """What the chosen task declares, whichever arm it is to meet; `recipe` as for `load_arms`.

    Raises:
        InputError: as for `load`, of the task's settings alone.
    """
    plain = _plain(read(overrides), None, None, recipe)
    config = task_from_plain(plain["task"])
    return entry(_task(plain)).task.declared(config)


def read(words: Sequence[str], base: Mapping[str, Any] | None = None) -> list[Override]:
    """Words of the command line; what is a path in the task that they choose, or `base` has, is taken as it is typed.

    Raises:
        InputError: a word that cannot be read.
    """
    typed = paths_of(words, base)
    return [parse(word, typed) for word in words]


def changed(words: Sequence[str], run: Mapping[str, Any]) -> dict[str, Any]:
    """Key -> value of what these words change in a run that is there, of this plain configuration.

    Raises:
        InputError: as `read`; or a key that is to go.
    """
    overrides = read(words, run)
    for override in overrides:
        if override.delete:
            raise InputError(f"~{override.key}: nothing to go back from; a run is as it is, but for key=value")
    return {override.key: override.value for override in overrides}


def paths_of(words: Sequence[str], base: Mapping[str, Any] | None = None) -> frozenset[str]:
    """The keys that are paths, in the task that the words choose, or `base` has."""
    chosen = [override.value for word in words if key_of(word) in ("task", "task.name") for override in [parse(word)]]
    names = [value.get("name") if isinstance(value, dict) else value for value in chosen]
    task = next((name for name in reversed(names) if isinstance(name, str)), None)
    if task in presets("task"):
        task = preset("task", str(task)).get("name")
    elif task is None:
        task = _task(base) if base else preset("task", defaults()["task"]).get("name")
    own = paths(entry(task).config, "task") if isinstance(task, str) and task in TASKS else frozenset()
    return paths(RunConfig) | own


def _plain(
    overrides: Sequence[Override], base: Plain | None, label: str | None = None, recipe: Plain | None = None
) -> dict[str, Any]:
    """The merged, not yet checked configuration: presets (or base), the task's recipe and the one given, then what
    quick=true changes, then values."""
    files = {o.key: o.value for o in overrides if o.chooses_file}
    values = [o for o in overrides if not o.chooses_file]
    for group, name in files.items():
        known(group, name)
    plain = composed(files)
    if base is not None:
        chosen = [*files, "name"] if "arm" in files else files
        plain = deepcopy(dict(base)) | {key: plain[key] for key in chosen}
    changes = list[Override]()
    if base is None or "task" in files:
        # A recipe that is chosen by name stands in the place of the task's own; a given one is of the chosen task.
        changes += [o for o in _of_task("recipe", plain, files.get("task")) if o.root not in files]
        changes += [o for o in _leaves(recipe or {}) if o.root not in files or o.root == "task"]
    if _quick(values, default=base is None and os.environ.get("HEADWISE_QUICK") == "1"):
        changes += [*_of_task("quick", plain), Override("quick", True)]
    for override in [*changes, *_size(values), *sorted(values, key=lambda o: o.depth)]:
        if override.key != "model.size":
            _apply(plain, override)
    return plain | ({"name": label} if label else {})


def _task(plain: Mapping[str, Any]) -> Any:
    """The name of the task, which is checked later."""
    task = plain.get("task")
    return task.get("name") if isinstance(task, Mapping) else task


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


def _of_task(group: str, plain: Mapping[str, Any], chosen: str | None = None) -> Iterator[Override]:
    """What `conf/<group>/` says of the task at hand: the file of the preset that was chosen, of the task, or else the
    default, as overrides of single values, so that they merge as those do."""
    offered = files(group)
    names = (name for name in (chosen, str(_task(plain)), "default") if name in offered)
    file = next((offered[name] for name in names if name is not None), None)
    yield from _leaves(read_yaml(file) if file else {})


def _leaves(node: Plain, prefix: str = "") -> Iterator[Override]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield Override(f"{prefix}{key}", value)


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


def _called(text: str) -> tuple[str, str]:
    """The label of an arm and what it is, `mask` and `baseline:router=learned`; without a name of its own both are the
    text.

    Raises:
        InputError: a name that is none.
    """
    head, colon, settings = text.partition(":")
    name, equals, arm = head.partition("=")
    if not equals or "/" in name:  # a file's path may have that sign
        return text, text
    if not _NAME.fullmatch(name := name.strip()):
        raise InputError(
            f"arms: {short(text)}: {short(name) or 'nothing'} before = is no name; use letters, digits, _ . + -"
        )
    return name, f"{arm.strip()}{colon}{settings}"


def split_label(label: str) -> tuple[str, list[str]]:
    """An arm's label, `hrm:refinement.steps=12,gate.name=top_k`, as the arm's name and its settings."""
    name, _, text = label.partition(":")
    return name.strip(), [word for part in _SEPARATOR.split(text) if (word := part.strip())]


def _arm(label: str) -> list[Override]:
    """An arm's label as overrides."""
    if len(label) > LONGEST:
        raise InputError(f"arms: {short(label)}: longer than {LONGEST} characters")
    name, words = split_label(label)
    overrides = [Override("arm", name)]
    for word in words:
        override = parse(word)
        root = override.root
        learning_rates = override.key == "training.preset" or override.key.startswith("training.preset.")
        if root in ("task", "training", "seed", "device", "output", "quick") and not learning_rates:
            raise InputError(
                f"arms: {word} in {label}: a comparison keeps it equal for all arms (but for training.preset, the "
                "learning rates); set it beside arms="
            )
        absolute = root in ("arm", "model", "training")
        overrides.append(override if absolute else replace(override, key=f"arm.{override.key}"))
    return overrides
