"""`headwise help`: what commands do and settings mean, read from docstrings without importing what they document."""

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from headwise.commands.catalogue import Command, commands
from headwise.commands.result import Result, key_values
from headwise.commands.settings import Setting, find
from headwise.errors import InputError
from headwise.schema import argument
from headwise.sources import Field
from headwise.training.presets import GROUPS, preset, presets

EXAMPLES = """\
  headwise train task=sorting arm=hrm task.length=20 arm.controller.period=4
  headwise train arm=hrm quick=true                  a try of ten seconds
  headwise train resume=runs/sorting-hrm-seed0-...   go on where a run stopped
  headwise evaluate runs/sorting-hrm-seed0-... task.mask_rate=0.2
  headwise compare task=sorting 'arms=[baseline,looped,hrm,"hrm:refinement.steps=12"]' seeds=5
  headwise scale 'sizes=[tiny,small]' 'arms=[baseline,hrm]' dry_run=true
  headwise control task=sorting                      does routing matter there? without task=: does this lab see it?
  headwise sweep task=sorting arm=hrm 'arm.controller.period=2,3,4'   which value is best, confirmed on fresh seeds
  headwise init my-rows                              a project to start from, with a task of your own
  headwise list                                      what arms, tasks, gates, controllers there are
  headwise help arm.gate                             what a setting means, and what it may be
"""
OF_RUNS = (
    "and the settings of the runs: task=, arm= and training= choose a file of values (headwise list), quick=true makes "
    "it a try of about ten seconds, keys with dots set single values (headwise help arm, headwise list settings)."
)


@dataclass(frozen=True)
class Options:
    """Say what a command does, or what a setting means, is by default and may be.

    For example headwise help train, help training, help arm.gate, help arm.gate.k, help task=maze, help arm=hrm.

    Args:
        words: a command, a key or a group of keys, or a name that is chosen (arm=hrm, arm.gate=top_k).
    """

    words: tuple[str, ...] = argument(())


def run(options: Options) -> Result:
    """Explain each of the words; without any, the program."""
    if not options.words:
        return Result({name: command.summary for name, command in commands().items()}, [program()])
    name = " ".join(options.words)
    if name in commands():
        return Result(commands()[name].plain, command_help(commands()[name]))
    if same := [command for command in commands().values() if command.name.startswith(f"{name} ")]:
        return Result({each.name: each.plain for each in same}, [part for each in same for part in command_help(each)])
    data: dict[str, Any] = {}
    text: list[RenderableType] = []
    for word in options.words:
        data[word], parts = _chosen(word) if "=" in word else _explained(word)
        text += ["", *parts] if text else parts
    return Result(data if len(data) > 1 else data[options.words[0]], text)


def program() -> str:
    """`headwise --help`."""
    width = max(map(len, commands()))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in commands().items()]
    return "\n".join(
        [
            "usage: headwise <command> [words] [--json]",
            "\nTransformers that choose which attention heads to use: train, compare, report.",
            "\ncommands (headwise <command> --help says more):",
            *lines,
            "\noptions:",
            "  --json     print the result as JSON on standard output; progress goes to standard error",
            "  --version  print the version",
            f"\nexamples:\n{EXAMPLES}",
        ]
    )


def command_help(command: Command) -> list[RenderableType]:
    """`headwise <command> --help`."""
    fields = command.options.fields
    parts: list[RenderableType] = [f"usage: {command.usage}", f"\n{command.summary}."]
    if about := command.options.about:
        parts.append("\n" + "\n\n".join(textwrap.fill(part, 1000) for part in about.split("\n\n")))
    rows = {
        kind: [(_named(field), _said(field)) for field in fields.values() if field.kind == kind]
        for kind in ("argument", "option")
    }
    if rows["argument"]:
        parts += ["\nwords:", _table(rows["argument"])]
    parts += ["\noptions:", _table([*rows["option"], ("--json", "Print the result as JSON on standard output.")])]
    if any(field.kind == "settings" for field in fields.values()):
        parts.append(OF_RUNS)
    return parts


def _explained(key: str) -> tuple[dict[str, Any], list[RenderableType]]:
    """A key, or a group with its keys: as data, and as text."""
    found = find(key)
    data: dict[str, Any] = {}
    text: list[RenderableType] = []
    for setting in found:
        data |= setting.plain if len(found) == 1 else {setting.under or "": setting.plain}
    text.append(_table((_named(each.field, each.key), _said(each.field, each.under)) for each in found))
    (group, *_) = (setting for setting in found)
    if group.field.choices is not None:
        data["choices"] = {name: choice.summary for name, choice in group.field.choices.items()}
        text += [f"\n{key} is one of:", _table(data["choices"].items())]
    if key in GROUPS:
        data["files"] = presets(key)
        text += [f"\n{key}=... chooses a file of values:", _table(data["files"].items())]
    data |= {"keys": _keys(group.group)} if group.group else {}
    for under in dict.fromkeys(setting.under for setting in group.group):
        own = [setting for setting in group.group if setting.under == under]
        text += [f"\n{under if under and under.startswith(f'{key}=') else 'keys'}:", _table(map(_line, own))]
    return data, text


def _chosen(word: str) -> tuple[dict[str, Any], list[RenderableType]]:
    """What a name stands for: the values of a file, `arm=hrm`, or the keys that come with it, `arm.gate=top_k`."""
    key, _, name = word.partition("=")
    if key == "sweep":  # not a setting of runs, but of the command
        values = preset(key, name)
        return {"meaning": presets(key)[name], "values": values}, [f"{word}: {presets(key)[name]}", key_values(values)]
    (setting, *_) = find(key)
    choices = setting.field.choices or {}
    data: dict[str, Any] = {}
    text: list[RenderableType] = []
    if key in GROUPS and name in presets(key):
        values = preset(key, name)
        data |= {"meaning": presets(key)[name], "values": values}
        text += [f"{word}: {presets(key)[name]}" if presets(key)[name] else word, key_values({key: values})]
        name = str(values.get("name", name))
    elif name not in choices:
        raise InputError(f"help {word}: unknown; {key} takes {', '.join(dict.fromkeys([*_files(key), *choices]))}")
    if name in choices:
        own = [each for each in setting.group if each.under == f"{key}={name}"]
        data |= {"summary": choices[name].summary, "keys": _keys(own)}
        text += [f"\n{key}={name}: {choices[name].summary}", _table(map(_line, own))]
    return data, text


def _files(key: str) -> list[str]:
    return list(presets(key)) if key in GROUPS else []


def _keys(group: Iterable[Setting]) -> dict[str, Any]:
    """Key, and what it depends on if the group has another at the same place, -> what there is to say of it."""
    return {f"{each.key} ({each.under})" if each.under else each.key: each.plain for each in group}


def _line(setting: Setting) -> tuple[str, str]:
    return _named(setting.field, setting.key), _said(setting.field)


def _named(field: Field, key: str | None = None) -> str:
    """A field with its default, as it is typed."""
    if field.kind == "argument":
        return field.name
    default = field.shown_default
    return f"{key or field.name}{'.' if field.nested else '='}{default or ''}"


def _said(field: Field, under: str | None = None) -> str:
    """Meaning and allowed values; of a key that comes with a name, which."""
    parts = [f"{field.meaning.rstrip('.')}." if field.meaning else ""]
    parts.append(f"[{field.allowed}]" if field.allowed and not field.nested else "")
    parts.append(f"(with {under})" if under else "")
    return " ".join(filter(None, parts))


def _table(rows: Iterable[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(Text(f"  {name}"), Text(text))
    return table
