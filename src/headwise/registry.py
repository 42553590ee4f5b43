"""Registries: what there is of a kind, by name. Open to plugins, and names and summaries need no heavy import.

A member is declared as `name -> "module:attribute"` and imported when it is first asked for.
"""

import ast
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from headwise.errors import InputError

T = TypeVar("T")

loading: ContextVar[str | None] = ContextVar("loading", default=None)
"""The plugin that is being loaded, as the user named it; what registers itself meanwhile comes from there."""


class Registry(Mapping[str, T], Generic[T]):
    """A mapping from names to classes (or, of tasks and arms, objects).

    Args:
        kind: what a member is, for messages: "router".
        group: entry points of installed packages that add members; their values are "module:attribute", too.
        own: the members of headwise itself.
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, str]) -> None:
        self.kind, self.group = kind, group
        self._members: dict[str, T | str] = dict(own)
        self._plugins: dict[str, str] = {}
        self._imported: dict[str, T] = {}  # address -> member: checks ask for each of them thousands of times
        self._complete = False

    def __getitem__(self, name: str) -> T:
        if name not in self._members:
            self._add_entry_points()
        if name not in self._members:
            raise KeyError(f"unknown {self.kind} {name!r}; available: {', '.join(self)}")
        member = self._members[name]
        return self._resolved(name, member) if isinstance(member, str) else member

    def __iter__(self) -> Iterator[str]:
        self._add_entry_points()
        return iter(self._members)

    def __len__(self) -> int:
        self._add_entry_points()
        return len(self._members)

    def __contains__(self, name: object) -> bool:
        if name not in self._members:
            self._add_entry_points()
        return name in self._members

    @overload
    def register(self, name: str) -> Callable[[T], T]: ...
    @overload
    def register(self, name: str, member: T | str) -> T | str: ...
    def register(self, name: str, member: Any = None) -> Any:
        """Add a member: `register("mine", member)`, or `@register("mine")` above a class.

        A member may be given as "module:attribute", to be imported when it is asked for. The same class again takes
        its own place, as when a cell of a notebook is run twice.

        Raises:
            InputError: another member has that name.
        """
        origin = loading.get() or str(sys._getframe(1).f_globals["__name__"])
        if member is None:
            return lambda given: self._add(name, given, origin)
        return self._add(name, member, origin)

    def address(self, name: str) -> str:
        """Where a member is defined, "module:attribute"; of an object without a name, its class."""
        member = self._members.get(name)
        return _address(self[name] if member is None else member)

    def loaded(self) -> dict[str, T]:
        """The members whose module is imported."""
        homes = {name: _address(member).partition(":")[0] for name, member in self._members.items()}
        return {name: self[name] for name, home in homes.items() if home in sys.modules}

    def plugin(self, name: str) -> str | None:
        """The plugin that brought the member along, or the module that registered it; None for headwise's own."""
        return self._plugins.get(name)

    def summaries(self) -> dict[str, str]:
        """One line for each name: the first of its docstring, or its `summary`. Imports nothing but the parents of
        modules that are not yet loaded."""
        return {name: _summary(self._members[name]) or f"of {self.plugin(name)}" for name in self}

    def _add(self, name: str, member: Any, origin: str) -> Any:
        if not name.isidentifier():
            raise InputError(f"{self.kind} {name!r}: not a name; use letters, digits and underscores")
        before = _address(self._members[name]) if name in self else None
        if before is not None and (self.plugin(name), before) != (origin, _address(member)):
            raise InputError(f"{self.kind} {name!r} is there already ({before}); use another name")
        self._members[name], self._plugins[name] = member, origin
        return member

    def _add_entry_points(self) -> None:
        if self._complete:
            return
        self._complete = True
        for point in _entry_points(self.group):
            if point.name in self._members:
                raise InputError(
                    f"{self.kind} {point.name!r} of {point.value}: the name is taken by "
                    f"{_address(self._members[point.name])}"
                )
            self._members[point.name] = point.value
            self._plugins[point.name] = point.module

    def _resolved(self, name: str, address: str) -> T:
        if address in self._imported:
            return self._imported[address]
        module, _, attribute = address.partition(":")
        try:
            found: T = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            if name not in self._plugins:
                raise
            raise InputError(f"{self.kind} {name!r}: cannot be loaded from {address} ({error})") from error
        self._imported[address] = found
        return found


def name_of(registry: Mapping[str, Any], cls: type) -> str:
    """The name under which a class is registered.

    Raises:
        InputError: it is not.
    """
    name = next((name for name, member in registry.items() if member is cls), None)
    if name is None:
        kind = registry.kind if isinstance(registry, Registry) else "class"
        raise InputError(
            f"{cls.__module__}.{cls.__qualname__}: no registered {kind}; register it under a name "
            f"(there are: {', '.join(registry)})"
        )
    return name


def _entry_points(group: str) -> list[metadata.EntryPoint]:
    return [point for point in _all_entry_points() if point.group == group]


@cache
def _all_entry_points() -> list[metadata.EntryPoint]:
    """Those of headwise, read once for all registries: every reading opens a file of each installed package."""
    found = metadata.entry_points()
    return [point for group in found.groups if group.startswith("headwise.") for point in found.select(group=group)]


def _address(member: Any) -> str:
    """module:attribute of a member; of an object without a name, that of its class."""
    if isinstance(member, str):
        return member
    named = member if hasattr(member, "__qualname__") else type(member)
    return f"{named.__module__}:{named.__qualname__}"


def _summary(member: Any) -> str:
    if isinstance(member, str):
        module, _, attribute = member.partition(":")
        if module not in sys.modules:
            return _read_summary(module, attribute)
        member = getattr(sys.modules[module], attribute)
    text = getattr(member, "summary", "") or (inspect.getdoc(member) if isinstance(member, type) else "") or ""
    return str(text).partition("\n")[0]


def _read_summary(module: str, attribute: str) -> str:
    """The summary of a class, or of an object made with `summary=`, from the source of its module."""
    try:
        spec = importlib.util.find_spec(module)
    except ImportError:
        spec = None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return ""
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == attribute:
            return (ast.get_docstring(node) or "").partition("\n")[0]
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == attribute for t in node.targets):
            for keyword in getattr(node.value, "keywords", ()):
                if keyword.arg == "summary" and isinstance(keyword.value, ast.Constant):
                    return str(keyword.value.value)
    return ""
