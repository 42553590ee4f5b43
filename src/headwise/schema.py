"""Plain mappings to frozen dataclasses, strictly: an unknown key, name or a wrong type is an `InputError`."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from headwise.errors import InputError
from headwise.registry import name_of

T = TypeVar("T")


def named(registry: Mapping[str, type], default: Any) -> Any:
    """A dataclass field that holds `{name: ..., ...}`: the name picks a dataclass of `registry`, the rest fills it.

    `default` is the value of the field, an instance of one of the registry's classes.
    """
    return dataclasses.field(default=default, metadata={"registry": registry})


def build(cls: type[T], values: Any, where: str) -> T:
    """An instance of the dataclass `cls` from a plain mapping; `where` is its dotted key, for the message.

    Raises:
        InputError: an unknown key, a value of the wrong type, or whatever `cls.__post_init__` refuses.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{where}={values!r}: expected keys and values ({', '.join(_keys(cls))})")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, cls)) if field.init}
    arguments = {}
    for key, value in values.items():
        at = f"{where}.{key}" if where else str(key)
        if key not in fields:
            allowed = ", ".join(_keys(cls)) or "none"
            raise InputError(f"{at}={_short(value)}: unknown key; allowed in {where or 'the configuration'}: {allowed}")
        registry = fields[key].metadata.get("registry")
        arguments[key] = _choose(registry, value, at) if registry else _convert(hints[key], value, at)
    missing = [name for name, f in fields.items() if name not in arguments and _required(f)]
    if missing:
        raise InputError(f"{where}.{missing[0]}: missing; it has no default")
    try:
        return cls(**arguments)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{error} ({where})") from error


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
        raise InputError(f"{where}={_short(value)}: expected a name, one of {', '.join(registry)}")
    name = value["name"]
    if not isinstance(name, str) or name not in registry:
        raise InputError(f"{where}.name={name}: unknown; allowed: {', '.join(registry)}")
    return build(registry[name], {key: item for key, item in value.items() if key != "name"}, where)


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in args:
            return None
        return _convert_any([arg for arg in args if arg is not type(None)], value, where)
    if origin is typing.Literal:
        if value in args and not (isinstance(value, bool) and True not in args and False not in args):
            return value
        raise InputError(f"{where}={_short(value)}: choose one of {', '.join(map(str, args))}")
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value, where)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_convert(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return {str(key): _convert(args[1], item, f"{where}.{key}") for key, item in value.items()}
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise InputError(f"{where}={_short(value)}: expected {_name_of(hint)}")


def _convert_any(hints: list[Any], value: Any, where: str) -> Any:
    for hint in hints:
        try:
            return _convert(hint, value, where)
        except InputError as error:
            last = error
    if len(hints) > 1:
        raise InputError(f"{where}={_short(value)}: expected {' or '.join(map(_name_of, hints))}")
    raise last


def _required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _keys(cls: type) -> list[str]:
    return [field.name for field in dataclasses.fields(typing.cast(Any, cls)) if field.init]


def _name_of(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
    origin = typing.get_origin(hint)
    return names.get(hint) or {tuple: "a list", dict: "keys and values"}.get(origin, str(hint))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
