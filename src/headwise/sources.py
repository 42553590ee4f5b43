"""Dataclasses as their source text describes them, read without importing it.

`headwise list` and `headwise help` say what settings mean, what they may be and what they are by default. Dataclass
and docstring hold that, but importing them would import torch, a second for a line of text. So the text is parsed:
names are followed through imports and assignments, and what only running the code would tell stays as it is written.
"""

import ast
import importlib
import importlib.util
import inspect
import operator
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from headwise.errors import InputError
from headwise.files import read_text

OPEN = ("headwise.routing", "headwise.reasoning")
"""Modules of registries that plugins add to; they import nothing heavy, and are asked instead of read."""

REQUIRED = object()
"""Default of a field that has none."""

_ENTRY = re.compile(r"(?P<names>\w+(?:, \w+)*): (?P<text>.*)")
_SIMPLE = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a word", "None": "null"}
_PLURAL = {"a whole number": "whole numbers", "a number": "numbers", "a word": "words", "a path": "paths"}
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Pow: operator.pow}


@dataclass(frozen=True)
class Unknown:
    """An expression whose value only running it would tell, as it is written."""

    text: str


@dataclass(frozen=True)
class ClassSource:
    """A class, by the module and the name under which it is defined."""

    module: str
    name: str

    @property
    def node(self) -> ast.ClassDef:
        found = _bindings(self.module)[self.name]
        assert isinstance(found, ast.ClassDef)
        return found

    @property
    def docstring(self) -> str:
        return ast.get_docstring(self.node) or ""

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return self.docstring.partition("\n")[0]

    @property
    def about(self) -> str:
        """The paragraphs of its docstring between the first line and the sections."""
        return re.split(r"^(?:Args|Attributes|Raises|Returns):$", self.docstring.partition("\n")[2], flags=re.M)[
            0
        ].strip()

    @property
    def meanings(self) -> dict[str, str]:
        """What its docstring says of each field, the bases' included, as one line of text."""
        found: dict[str, str] = {}
        for base in self.bases:
            found |= base.meanings
        section = re.search(r"^(?:Args|Attributes):\n(?P<entries>(?:[ ]+.*\n?|\n)+)", self.docstring, flags=re.M)
        names: list[str] = []
        for line in inspect.cleandoc(section["entries"]).splitlines() if section else []:
            if entry := _ENTRY.fullmatch(line):
                names = entry["names"].split(", ")
                found |= dict.fromkeys(names, entry["text"])
            else:
                found |= {name: f"{found[name]} {line.strip()}" for name in names}
        return found

    @property
    def bases(self) -> list["ClassSource"]:
        values = [_value(self.module, base) for base in self.node.bases]
        return [value for value in values if isinstance(value, ClassSource)]

    @property
    def fields(self) -> dict[str, "Field"]:
        """The fields that its constructor takes, those of its bases first."""
        found: dict[str, Field] = {}
        for base in self.bases:
            found |= base.fields
        meanings = self.meanings
        is_dataclass = any("dataclass" in ast.unparse(decorator) for decorator in self.node.decorator_list)
        for line in self.node.body if is_dataclass else ():
            if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name):
                continue
            if "ClassVar" not in ast.unparse(line.annotation) and (made := _field(self.module, line)) is not None:
                found[made.name] = made
        return {name: Field(**{**vars(each), "meaning": meanings.get(name, "")}) for name, each in found.items()}


@dataclass(frozen=True)
class Instance:
    """A class called with arguments, in the source text."""

    of: ClassSource
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Field:
    """One field of a dataclass.

    Attributes:
        name: of the field.
        allowed: what it may be, in words.
        default: a plain value, an `Instance`, an `Unknown`, or `REQUIRED`.
        meaning: what the docstring says of it.
        choices: name -> class of the registry that the field takes its values from; None without one.
        nested: the dataclass that it holds, if it is always the same.
        kind: `option` (key=value), `argument` (a word by its place) or `settings` (those of the runs).
    """

    name: str
    allowed: str
    default: Any
    meaning: str = ""
    choices: Mapping[str, ClassSource] | None = None
    nested: ClassSource | None = None
    kind: str = "option"

    @property
    def shown_default(self) -> str | None:
        """The default as it is typed on the command line; None where there is none, or where it is a group of keys."""
        if self.default is REQUIRED or self.nested is not None:
            return None
        return _typed(self.default, self.choices or {})


def value(place: str) -> Any:
    """The value that `module:name` has by its source text: plain data, `ClassSource`, `Instance` or `Unknown`."""
    module, _, name = place.partition(":")
    return _named(module, name)


def argument_of(place: str, name: str) -> Any:
    """The keyword argument `name` of the call at `module:name`, its other arguments left unread: of an entry of a
    task, they lie in three more modules. None if the call does not have it, `Unknown` if there is no call."""
    module, _, target = place.partition(":")
    if not _foreign(module):
        call = _bindings(module).get(target)
        if isinstance(call, ast.Call):
            given = {keyword.arg: keyword.value for keyword in call.keywords}
            return _value(module, given[name]) if name in given else None
    return Unknown(target)


def class_of(place: str) -> ClassSource:
    """The class at `module:name`.

    Raises:
        InputError: there is no class of that name.
    """
    found = value(place)
    if not isinstance(found, ClassSource):
        raise InputError(f"{place}: not a class that can be read from its source")
    return found


@cache
def _bindings(module: str) -> dict[str, ast.expr | ast.ClassDef | str]:
    """What the names at the top of a module stand for: an expression, a class, or `module:name` from elsewhere."""
    found: dict[str, ast.expr | ast.ClassDef | str] = {}
    lines = list(ast.parse(read_text(_file(module))).body)
    while lines:
        line = lines.pop(0)
        match line:
            case ast.ClassDef():
                found[line.name] = line
            case ast.Assign(targets=[ast.Name(id=name)]):
                found[name] = line.value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as assigned):
                found[name] = assigned
            case ast.ImportFrom(module=str(source), level=0):
                found |= {alias.asname or alias.name: f"{source}:{alias.name}" for alias in line.names}
            case ast.If():
                lines[:0] = line.body
    return found


@cache
def _file(module: str) -> Path:
    """The file of a module; only the package at its top is looked up, as finding what is inside would import it."""
    top, *inside = module.split(".")
    found = importlib.util.find_spec(top)
    if found is None or found.origin is None:
        raise InputError(f"{module}: not found")
    if not inside:
        return Path(found.origin)
    path = Path(found.origin).parent.joinpath(*inside)
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _named(module: str, name: str) -> Any:
    if _foreign(module):
        return Unknown(name)
    match _bindings(module).get(name):
        case None:
            return Unknown(name)
        case str(place):
            source, _, original = place.partition(":")
            return _named(source, original)
        case ast.ClassDef():
            return ClassSource(module, name)
        case expression:
            return _value(module, expression)


def _foreign(module: str) -> bool:
    """Whether a module is of the standard library, or has no source text."""
    try:
        return module.partition(".")[0] in sys.stdlib_module_names or not os.path.isfile(_file(module))
    except (InputError, ValueError):
        return True


def _value(module: str, node: ast.expr) -> Any:
    try:
        return _evaluated(module, node)
    except (LookupError, TypeError, ValueError, ArithmeticError):
        return Unknown(ast.unparse(node))


def _evaluated(module: str, node: ast.expr) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return _named(module, node.id)
        case ast.Tuple() | ast.List() | ast.Set():
            return tuple(_value(module, item) for item in node.elts)
        case ast.Dict():
            found: dict[Any, Any] = {}
            for key, item in zip(node.keys, node.values, strict=True):
                found |= {_evaluated(module, key): _value(module, item)} if key else _evaluated(module, item)
            return found
        case ast.UnaryOp(op=ast.USub()):
            return -_evaluated(module, node.operand)
        case ast.BinOp(op=ast.BitOr()):
            return _evaluated(module, node.left) | _evaluated(module, node.right)
        case ast.BinOp():
            return _OPERATORS[type(node.op)](_evaluated(module, node.left), _evaluated(module, node.right))
        case ast.Subscript():
            return _evaluated(module, node.value)[_evaluated(module, node.slice)]
        case ast.Attribute():
            owner = _evaluated(module, node.value)
            if isinstance(owner, Instance):
                return {**{f.name: f.default for f in owner.of.fields.values()}, **owner.arguments}[node.attr]
        case ast.Call(func=ast.Name(id="tuple" | "list"), args=[inner]):
            return tuple(_evaluated(module, inner))
        case ast.Call():
            called = _value(module, node.func)
            if isinstance(called, ClassSource):
                placed = dict(zip(called.fields, (_value(module, item) for item in node.args), strict=False))
                return Instance(called, placed | {k.arg: _value(module, k.value) for k in node.keywords if k.arg})
    return Unknown(ast.unparse(node))


def _field(module: str, line: ast.AnnAssign) -> Field | None:
    """One line of a dataclass's body; None where the constructor does not take it."""
    assert isinstance(line.target, ast.Name)
    name = line.target.id
    allowed, nested = _hint(module, line.annotation)
    default: Any = REQUIRED if line.value is None else _value(module, line.value)
    if not isinstance(line.value, ast.Call) or not isinstance(line.value.func, ast.Name):
        return Field(name, allowed, default, nested=nested)
    given = {keyword.arg: keyword.value for keyword in line.value.keywords}
    first = line.value.args[0] if line.value.args else given.get("default")
    match line.value.func.id:
        case "named":
            choices = _choices(module, line.value.args[0])
            if choices is not None:
                default = _value(module, line.value.args[1])
                return Field(name, f"one of {', '.join(choices)}", default, choices=choices)
        case "argument":
            return Field(name, allowed, REQUIRED if first is None else _value(module, first), kind="argument")
        case "run_settings":
            return Field(name, allowed, (), kind="settings")
        case "field":
            if ast.unparse(given.get("init", ast.Constant(True))) == "False":
                return None
            made: Any = {"dict": {}, "list": (), "tuple": ()}.get(
                ast.unparse(given.get("default_factory", ast.Constant("")))
            )
            default = REQUIRED if first is None and made is None else made if first is None else _value(module, first)
            return Field(name, allowed, default, nested=nested)
    return Field(name, allowed, default, nested=nested)


def _choices(module: str, node: ast.expr) -> Mapping[str, ClassSource] | None:
    """The classes of a registry, by name: of an open one, plugins' included, or of a plain mapping."""
    place = _bindings(module).get(node.id) if isinstance(node, ast.Name) else None
    if isinstance(place, str) and place.partition(":")[0] in OPEN:
        home, _, name = place.partition(":")
        registry = getattr(importlib.import_module(home), name)
        choices = {name: value(registry.address(name)) for name in registry}
    else:
        choices = _value(module, node)
    return choices if isinstance(choices, Mapping) else None


def _hint(module: str, node: ast.expr) -> tuple[str, ClassSource | None]:
    """What an annotation allows, in words, and the dataclass that it is, if it is one."""
    match node:
        case ast.Constant(value=str(text)):
            return _hint(module, ast.parse(text, mode="eval").body)
        case ast.Constant(value=None):
            return "null", None
        case ast.Name(id=name) if name in _SIMPLE:
            return _SIMPLE[name], None
        case ast.Name(id="FilePath"):
            return "a path", None
        case ast.Name(id=name):
            bound = _bindings(module).get(name)
            if isinstance(bound, str) and not _foreign(bound.partition(":")[0]):
                source, _, original = bound.partition(":")
                return _hint(source, ast.Name(original))
            if isinstance(bound, ast.ClassDef):
                return "keys and values", ClassSource(module, name)
            return _hint(module, bound) if isinstance(bound, ast.expr) else ("", None)
        case ast.BinOp(op=ast.BitOr()):
            return " or ".join(text for text, _ in (_hint(module, node.left), _hint(module, node.right)) if text), None
        case ast.Subscript(value=ast.Name(id="Literal")):
            inside = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            return ", ".join(_typed(_value(module, item), {}) for item in inside), None
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=[item, *_])):
            text = _hint(module, item)[0]
            return f"a list of {_PLURAL.get(text, text)}", None
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[_, item])):
            return f"{{name: {_hint(module, item)[0] or 'a value'}, ...}}", None
    return "", None


def _typed(plain: Any, choices: Mapping[str, ClassSource]) -> str:
    """A value as it is typed on the command line."""
    match plain:
        case None:
            return "null"
        case bool():
            return str(plain).lower()
        case tuple() | list():
            return f"[{','.join(_typed(item, choices) for item in plain)}]"
        case Mapping():
            return f"{{{','.join(f'{key}: {_typed(item, choices)}' for key, item in plain.items())}}}"
        case Instance(of=of, arguments=arguments):
            name = next((name for name, choice in choices.items() if choice == of), of.name)
            inside = ", ".join(f"{key}: {_typed(item, {})}" for key, item in arguments.items())
            return f"{{name: {name}, {inside}}}" if inside else name
        case Unknown(text=text):
            return text
    return str(plain)
