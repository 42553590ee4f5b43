"""The settings of a run as far as a command line has chosen them: which keys there are depends on it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from headwise.commands.settings import ROOT
from headwise.commands.typed import Candidate
from headwise.errors import InputError
from headwise.files import read_yaml, user_path
from headwise.sources import ClassSource, Field, Instance, argument_of, class_of, value
from headwise.tasks import TASKS
from headwise.training.files import CONFIG
from headwise.training.presets import GROUPS, defaults, preset

LOSSES = "headwise.training.config:ROUTING_LOSSES"
_NAME = re.compile(r"\{\s*name:\s*(?P<name>\w+)")


class Chosen:
    """What the words of a command line choose, and the keys and fields that are there with it.

    Args:
        words: of the line, those without `=` and those that are no settings among them.
        run: a run whose settings these words change.
    """

    def __init__(self, words: Sequence[str], run: str | None = None) -> None:
        pairs = (word.partition("=") for word in words)
        self.given = {key: text for key, equals, text in pairs if equals}
        self.run = run
        self._classes: dict[str, ClassSource | None] = {}
        self._fields: dict[ClassSource | None, dict[str, Field]] = {None: {}}
        self._values: dict[str, Mapping[str, Any]] = {}

    def keys(self, start: str) -> Iterator[Candidate]:
        """The keys that begin with `start`, down to the next point: `arm.gate=` and, as there are keys below it,
        `arm.gate.`."""
        group = start.rpartition(".")[0]
        where = f"{group}." if group else ""
        if group == "training.losses":
            yield from (Candidate(f"{where}{name}=", ends=False) for name in dict(value(LOSSES)))
            return
        for name, field in self._fields_of(group).items():
            key = where + name
            if (key not in self.given and not field.nested) or key in GROUPS:
                yield Candidate(f"{key}=", field.meaning, ends=False)
            # Only of what is chosen by name one has to look, as `none` has no keys
            always = field.nested is not None or key in (*GROUPS, "training.losses")
            if always or (field.choices is not None and self._fields_of(key)):
                yield Candidate(f"{key}.", field.meaning, ends=False)
        if group == "model":
            yield Candidate("model.size=", "a shape by name", ends=False)

    def field(self, key: str) -> Field | None:
        """The field that a key sets; None if there is no such key."""
        group, _, last = key.rpartition(".")
        return self._fields_of(group).get(last)

    def _fields_of(self, group: str) -> dict[str, Field]:
        cls = self._class_at(group)
        if cls not in self._fields:
            self._fields[cls] = {} if cls is None else cls.fields
        return self._fields[cls]

    def _class_at(self, group: str) -> ClassSource | None:
        """The dataclass whose fields are the keys of a group; of a run, without a group. None if there is none."""
        if group not in self._classes:
            self._classes[group] = self._found(group)
        return self._classes[group]

    def _found(self, group: str) -> ClassSource | None:
        if not group:
            return class_of(ROOT)
        if group == "task":
            return self._task()
        field = self.field(group)
        if field is None or field.choices is None:
            return field.nested if field is not None else None
        return field.choices.get(self.name(group) or _default(field))

    def name(self, key: str) -> str | None:
        """The name that is chosen at a key, by the words, the run, or the file that they choose; None if by none."""
        text = self.given.get(f"{key}.name", self.given.get(key))
        if text is not None:
            inside = _NAME.match(text)
            return inside["name"] if inside else text
        root, *path = key.split(".")
        node: Any = self.values(root) if root in GROUPS else {}
        for part in path:
            node = node.get(part) if isinstance(node, Mapping) else None
        return _named(node)

    def values(self, group: str) -> Mapping[str, Any]:
        """What the file, or the run, says of a group; empty where neither can be read."""
        if group not in self._values:
            self._values[group] = self._read(group)
        return self._values[group]

    def _read(self, group: str) -> Mapping[str, Any]:
        try:
            if self.run is not None and group not in self.given:
                found = self._run.get(group, {})
                return found if isinstance(found, Mapping) else {}
            return preset(group, self.given.get(group) or defaults()[group])
        except (InputError, KeyError):
            return {}

    @cached_property
    def _run(self) -> Mapping[str, Any]:
        assert self.run is not None
        found = read_yaml(Path(user_path(self.run)) / CONFIG)
        return found if isinstance(found, Mapping) else {}

    def _task(self) -> ClassSource | None:
        name = self.given.get("task", self.given.get("task.name"))
        if name is None or name not in TASKS:
            found = self.values("task").get("name")
            name = found if isinstance(found, str) else None
        config = argument_of(TASKS.address(name), "config") if name is not None and name in TASKS else None
        return config if isinstance(config, ClassSource) else None


def _named(node: Any) -> str | None:
    """The name in `{name: soft, ...}`, or `soft` itself."""
    found = node.get("name") if isinstance(node, Mapping) else node
    return found if isinstance(found, str) else None


def _default(field: Field) -> str:
    """The name of the class that a field holds where nothing else is said."""
    made = field.default.of if isinstance(field.default, Instance) else field.default
    return next((name for name, choice in (field.choices or {}).items() if choice == made), "")
