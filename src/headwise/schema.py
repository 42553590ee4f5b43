"""Plain mappings to frozen dataclasses, strictly: an unknown key, name or a wrong type is an `InputError`."""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, TypeVar

from headwise.errors import InputError
from headwise.files import user_path
from headwise.registry import name_of

T = TypeVar("T")

FilePath = Annotated[str, "path"]
"""Type of a field that holds a path, or a name that may be one, as it was typed; a leading ~ becomes the home."""

WHOLE_NUMBERS = range(-(2**63), 2**63)
"""Whole numbers that a setting may hold: those of 64 bits, as tensors and seeds have them."""

SYNONYMS = {"gpu": "cuda", "nvidia": "cuda", "metal": "mps", "apple": "mps"}
"""Words that users of other libraries type -> what it is called here."""


def named(registry: Mapping[str, type], default: Any) -> Any:
    """A dataclass field that holds `{name: ..., ...}`: the name picks a dataclass of `registry`, the rest fills it.

    `default` is the value of the field, an instance of one of the registry's classes.
    """
    return dataclasses.field(default=default, metadata={"registry": registry})


def argument(default: Any = dataclasses.MISSING) -> Any:
    """A field of a command's options that a word fills by its place, not by `key=value`; a tuple takes all that follow.

    `default` is the value where the word is left out; without one it is required.
    """
    return dataclasses.field(default=default, kw_only=True, metadata={"argument": True})


def run_settings() -> Any:
    """A field of a command's options for the `key=value` words that are not its own: the settings of the runs."""
    return dataclasses.field(default=(), kw_only=True, metadata={"settings": True})


def paths(cls: type, where: str = "") -> frozenset[str]:
    """Dotted keys of the fields of `cls`, and of what its fields may hold, that are paths; `where` is put before."""
    return frozenset(_paths(cls, where))


def suggestion(word: str, allowed: Iterable[str]) -> str:
    """`; did you mean ...?` if one of the allowed words is close, else nothing."""
    allowed = list(allowed)
    known = SYNONYMS.get(word)
    close = [known] if known in allowed else difflib.get_close_matches(word, allowed, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def short(value: Any) -> str:
    """A value as a message quotes it: at most 60 characters, on one line."""
    try:
        text = " ".join(str(value).split())
    except ValueError:  # a number of more digits than Python writes
        text = "a number of thousands of digits"
    except RecursionError:
        text = "a value nested too deep"
    return text if len(text) <= 60 else text[:57] + "..."


def build(cls: type[T], values: Any, where: str) -> T:
    """An instance of the dataclass `cls` from a plain mapping; `where` is its dotted key, for the message.

    Raises:
        InputError: an unknown key, a value of the wrong type, or whatever `cls.__post_init__` refuses.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{where}={short(values)}: expected keys and values ({', '.join(_keys(cls))})")
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, cls)) if field.init}
    arguments = {}
    for key, value in values.items():
        at = f"{where}.{short(key)}" if where else short(key)
        if key not in fields:
            raise InputError(f"{at}={short(value)}: {unknown_key(str(key), _keys(cls), where)}")
        registry = fields[key].metadata.get("registry")
        arguments[key] = _choose(registry, value, at) if registry else _convert(hints[key], value, at)
    missing = [name for name, f in fields.items() if name not in arguments and _required(f)]
    if missing:
        raise InputError(f"{f'{where}.' if where else ''}{missing[0]}: missing; it has no default")
    try:
        return cls(**arguments)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{error}{f' ({where})' if where else ''}") from error


def unknown_key(key: str, allowed: Iterable[str], where: str) -> str:
    """What a message says of a key that `where` (empty: the configuration of a run) does not have, with the remedy."""
    allowed = list(allowed)
    there = ", ".join(allowed) or "none"
    return (
        f"unknown key; allowed in {where or 'the configuration'}: {there}{suggestion(key, allowed)}; "
        f"headwise help{f' {where}' if where else ' settings'} says what each means"
    )


def to_plain(value: Any, registry: Mapping[str, type] | None = None) -> Any:
    """The reverse of `build`: dataclasses to dictionaries, a registry's members with their `name`, tuples to lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain: dict[str, Any] = {}
        if registry is not None:
            plain["name"] = name_of(registry, type(value))
        for field in dataclasses.fields(value):
            if field.init:
                plain[field.name] = to_plain(getattr(value, field.name), field.metadata.get("registry"))
        return plain
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value


def _choose(registry: Mapping[str, type], value: Any, where: str) -> Any:
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping) or "name" not in value:
        raise InputError(f"{where}={short(value)}: expected a name, one of {', '.join(registry)}")
    name = value["name"]
    if not isinstance(name, str) or name not in registry:
        near = suggestion(name, registry) if isinstance(name, str) else ""
        raise InputError(f"{where}.name={short(name)}: unknown; allowed: {', '.join(registry)}{near}")
    return build(registry[name], {key: item for key, item in value.items() if key != "name"}, where)


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if hint == FilePath:
        return _path(value, where)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in args:
            return None
        return _convert_any([arg for arg in args if arg is not type(None)], value, where)
    if origin is typing.Literal:
        if value in args and not (isinstance(value, bool) and True not in args and False not in args):
            return value
        allowed = list(map(str, args))
        near = suggestion(value, allowed) if isinstance(value, str) else ""
        raise InputError(f"{where}={short(value)}: choose one of {', '.join(allowed)}{near}")
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value, where)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_convert(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return {str(key): _convert(args[1], item, f"{where}.{short(key)}") for key, item in value.items()}
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _finite(value, where)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        if hint is int and value not in WHOLE_NUMBERS:
            raise InputError(f"{where}={short(value)}: out of range; a whole number has at most 64 bits")
        return value
    remedy = f"; write '{where}=[{value}]'" if origin is tuple and isinstance(value, (str, int)) else ""
    raise InputError(f"{where}={short(value)}: expected {_name_of(hint)}{remedy}")


def _convert_any(hints: list[Any], value: Any, where: str) -> Any:
    for hint in hints:
        try:
            return _convert(hint, value, where)
        except InputError as error:
            last = error
    if len(hints) > 1:
        raise InputError(f"{where}={short(value)}: expected {' or '.join(map(_name_of, hints))}")
    raise last


def _finite(value: float, where: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InputError(f"{where}={short(value)}: expected a finite number")
    return number


def _path(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise InputError(f"{where}={short(value)}: expected a path")
    return str(user_path(value))


def _paths(cls: type, where: str) -> Iterator[str]:
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(typing.cast(Any, cls)):
        at = f"{where}.{field.name}" if where else field.name
        for hint in (hints[field.name], *typing.get_args(hints[field.name])):
            if hint == FilePath:
                yield at
            elif dataclasses.is_dataclass(hint):
                yield from _paths(typing.cast(type, hint), at)
        for choice in (field.metadata.get("registry") or {}).values():
            yield from _paths(choice, at)


def _required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _keys(cls: type) -> list[str]:
    return [field.name for field in dataclasses.fields(typing.cast(Any, cls)) if field.init]


def _name_of(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", FilePath: "a path"}
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return f"a list of {_plural(args[0])}"
    if origin is typing.Literal:
        return " or ".join(map(str, args))
    return names.get(hint) or {dict: "keys and values"}.get(origin, str(hint))


def _plural(hint: Any) -> str:
    return {int: "whole numbers", float: "numbers", str: "words"}.get(hint, "values")
