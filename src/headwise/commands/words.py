"""The words behind a command's name, as the options that the command declares.

A command is a module with a dataclass `Options`, whose docstring says what each option means, and `run(options)`. All
commands share one grammar: `key=value`, read as `headwise.training.overrides` reads it, `--key` for `key=true`, and
words without a key by their place (`headwise.schema.argument`).
"""

import dataclasses
import glob
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from headwise.commands.catalogue import Command
from headwise.errors import InputError
from headwise.schema import build, paths, short, unknown_key
from headwise.training.quoting import key_of, refuse_parted

Options = TypeVar("Options")
Fields = Mapping[str, "dataclasses.Field[Any]"]

_SETTING = re.compile(r"~?[\w.]+=|~[\w.]+$")
_FLAG = re.compile(r"--?[A-Za-z][\w-]*$")


def read(command: Command, options: type[Options], words: Sequence[str]) -> Options:
    """The options that the words behind the name of a command give; `options` is the dataclass of its module.

    Raises:
        InputError: a word that is missing, too many, unknown, or cannot be read.
    """
    fields = {field.name: field for field in dataclasses.fields(options)}  # type: ignore[arg-type]
    places = [name for name, field in fields.items() if "argument" in field.metadata]
    rest = next((name for name, field in fields.items() if "settings" in field.metadata), None)
    keys = [name for name in fields if name not in places and name != rest]
    refuse_parted([word for word in words if not _FLAG.match(word)])
    required = sum(fields[name].default is dataclasses.MISSING for name in places)
    placed: list[str] = []
    values: dict[str, Any] = {}
    settings: list[str] = []
    for word in words:
        key = key_of(word)
        if _FLAG.match(word):
            values[_flag(command, fields, word)] = True
        elif not _SETTING.match(word) or (rest is None and _is_place(key, keys, len(placed) < required)):
            placed.append(word)
        elif key in keys:
            from headwise.training.overrides import parse  # Hydra, which `help` and `list` do without

            values[key] = parse(word, paths(options)).value
        elif rest is not None:
            settings.append(word)
        else:
            raise InputError(f"{command.name} {short(word)}: {unknown_key(key, keys, command.name)}")
    if rest is not None:
        values[rest] = settings
    values |= _by_place(command, options, fields, places, placed)
    for key in keys:
        if key not in values and fields[key].default is dataclasses.MISSING:
            raise InputError(f"{command.name}: {key}= is missing; write {command.usage}")
    return build(options, values, "")


def _is_place(key: str, keys: Sequence[str], required: bool) -> bool:
    """Whether a `key=value` is meant by its place: where a word is still required (a prompt), or there are no keys."""
    return not keys or (required and key not in keys)


def _flag(command: Command, fields: Fields, word: str) -> str:
    """The key that `--key` sets to true."""
    key = word.lstrip("-").replace("-", "_")
    if key not in fields or fields[key].type not in (bool, "bool"):
        raise InputError(f"{word}: unknown option (see headwise {command.name} --help)")
    return key


def _by_place(
    command: Command, options: type, fields: Fields, places: Sequence[str], placed: Sequence[str]
) -> dict[str, Any]:
    """The words without a key, by the fields that they fill."""
    values: dict[str, Any] = {}
    left = list(placed)
    for name in places:
        if fields[name].default == ():
            values[name], left = left, []
        elif left:
            values[name] = left.pop(0)
            if glob.has_magic(values[name]) and name in paths(options) and not os.path.lexists(values[name]):
                raise InputError(f"{command.name} {short(values[name])}: no {name} met the pattern")
        elif fields[name].default is dataclasses.MISSING:
            raise InputError(f"{command.name}: which {name}? write {command.usage}")
    if not left:
        return values
    if not places:
        raise InputError(f"{command.name} {short(left[0])}: not a setting; write key=value: {command.usage}")
    taken = placed[len(placed) - len(left) - 1]
    if "/" in taken and "/" in left[0]:
        met = short(" ".join([taken, *left]))
        raise InputError(
            f"{command.name}: takes one {places[-1]}, got {len(left) + 1}: {met}; if a pattern met them, name one: "
            f"headwise {command.name} {shlex.quote(taken)}"
        )
    raise InputError(f"{command.name} {short(left[0])}: a word too many; write {command.usage}, a text in quotes")
