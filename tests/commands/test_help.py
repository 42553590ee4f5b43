"""`headwise help` and `headwise list settings`: what stands in docstrings and types, for every key there is."""

import dataclasses
import importlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from headwise import cli
from headwise.commands.settings import every, of_commands
from headwise.errors import InputError
from headwise.files import read_yaml
from headwise.sources import REQUIRED, ClassSource, Field, Instance, Unknown, class_of
from headwise.training.configuration import load
from headwise.training.presets import GROUPS, files, preset, presets

Captured = pytest.CaptureFixture[str]


@cache
def classes() -> dict[str, ClassSource]:
    """Every dataclass that a setting may lie in, by module and name."""
    found = [class_of("headwise.training.config:RunConfig")]
    for setting in (*every(), *every(of_commands())):
        found += [*(setting.field.choices or {}).values(), *([setting.field.nested] if setting.field.nested else [])]
    return {f"{cls.module}:{cls.name}": cls for cls in found}


def imported(value: object) -> object:
    """A default as it was read, and what it is when the code runs."""
    if isinstance(value, Instance):
        cls = getattr(importlib.import_module(value.of.module), value.of.name)
        return cls(**{key: imported(item) for key, item in value.arguments.items()})
    return value


@pytest.mark.parametrize("place", classes())
def test_what_is_read_from_the_source_is_what_the_class_says_when_it_is_imported(place: str) -> None:
    """Names, order and defaults of fields, through aliases, registries, inheritance and constants of other modules."""
    source = classes()[place]
    cls = getattr(importlib.import_module(source.module), source.name)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    assert list(source.fields) == list(fields)
    for name, field in fields.items():
        read = source.fields[name]
        assert read.meaning, f"{place}: {name} is not explained in the docstring"
        assert read.allowed or read.nested or name == "task", f"{place}: {name} does not say what it may be"
        assert not isinstance(read.default, Unknown), f"{place}: {name} has a default that cannot be read"
        if field.default is not dataclasses.MISSING:
            assert imported(read.default) == field.default
        elif field.default_factory is not dataclasses.MISSING:
            assert read.default == field.default_factory()
        else:
            assert read.default is REQUIRED


def test_every_key_that_a_run_writes_down_is_explained(capsys: Captured) -> None:
    assert cli.main(["list", "settings", "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)["settings"]
    keys = {line.partition(" ")[0] for line in lines}

    def leaves(node: dict[str, object], prefix: str = "") -> set[str]:
        found = set()
        for key, value in node.items():
            inner = isinstance(value, dict) and key != "losses"
            found |= leaves(value, f"{prefix}{key}.") if inner else {prefix + key} if key != "name" else set()
        return found

    for task in presets("task"):
        assert leaves(load([f"task={task}", "arm=adaptive"]).to_plain()) <= keys


def test_a_group_shows_its_keys_and_a_key_its_meaning_default_and_values(capsys: Captured) -> None:
    assert cli.main(["help", "arm.gate"]) == 0
    out = capsys.readouterr().out
    for part in ("arm.gate=soft", "one of soft, top_k", "arm.gate=top_k:", "arm.gate.k=2", "the k largest heads on"):
        assert part in out
    assert cli.main(["help", "training.schedule", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["default"] == "cosine"
    assert said["allowed"] == "constant, cosine, linear"
    assert "warm-up" in said["meaning"]
    assert cli.main(["help", "arm.controller.period"]) == 0
    assert "(with arm.controller=hrm)" in capsys.readouterr().out


def test_a_chosen_name_shows_what_it_stands_for(capsys: Captured) -> None:
    assert cli.main(["help", "arm=hrm", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["values"]["refinement"] == {"steps": 6, "injection": "input"}
    assert cli.main(["help", "task=language_chat"]) == 0
    out = capsys.readouterr().out
    assert "pretraining_batch_size" in out
    assert "task.tokenizer=word" in out
    assert cli.main(["help", "arm.gate=top_k"]) == 0
    assert "arm.gate.k=2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("trainin", ["no such key", "training", "did you mean training?"]),
        ("arm.gaet", ["arm has: router, gate", "did you mean gate?"]),
        ("arm.gaet.k", ["arm has: router, gate", "did you mean gate?"]),
        ("arm.gate.kk", ["arm.gate has: k,"]),
        ("arm=hmr", ["arm takes", "hrm"]),
        ("arm.gate=topk", ["arm.gate takes soft, top_k"]),
    ],
)
def test_a_wrong_key_is_answered_with_the_keys_of_its_group(word: str, parts: list[str], capsys: Captured) -> None:
    assert cli.main(["help", word]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    for part in parts:
        assert part in line


def test_a_wrong_key_of_a_run_names_the_help_that_explains_the_group(capsys: Captured) -> None:
    assert cli.main(["train", "arm.gaet.k=2"]) == 2
    line = capsys.readouterr().err
    assert "allowed in arm: router, gate" in line
    assert cli.main(["help", line.partition("headwise help ")[2].split()[0]]) == 0


def test_what_is_shown_of_a_default_reads_back_as_that_default() -> None:
    plain = load([])
    for setting in every():
        default = setting.field.shown_default
        if setting.key.count(".") == 1 and setting.under is None and default is not None:
            assert load([f"{setting.key}={default}"]) == plain, setting.key


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in GROUPS for name in presets(group)])
def test_a_file_of_conf_does_not_repeat_defaults(group: str, name: str) -> None:
    """It names the parts of what it stands for, and says the values that are others than the dataclass has."""

    def values(node: dict[str, Any], prefix: str) -> Iterator[str]:
        for key, value in node.items():
            if isinstance(value, dict):
                yield from values(value, f"{prefix}.{key}")
            elif key != "name":
                yield f"{prefix}.{key}"

    beside = ["task=walk"] if name == "oracle" else []  # which needs to be told the way
    chosen = load([*beside, f"{group}={name}"])
    for key in values(preset(group, name), group):
        try:
            repeated = load([*beside, f"{group}={name}", f"~{key}"]) == chosen
        except InputError:  # what is left would not do
            continue
        assert not repeated, f"{group}/{name}.yaml repeats the default of {key}"


@pytest.mark.parametrize("name", files("recipe"))
def test_a_recipe_does_not_repeat_defaults(name: str) -> None:
    plain, own = load([]).to_plain(), read_yaml(files("recipe")[name])

    def leaves(node: dict[str, Any], default: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
        for key, value in node.items():
            yield from leaves(value, default[key]) if isinstance(value, dict) else [(value, default[key])]

    assert set(own) <= {"model", "training"}
    assert [value for value, default in leaves(own, plain) if value == default] == []


def test_a_source_that_cannot_be_evaluated_is_shown_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "someone.py").write_text(
        "from dataclasses import dataclass\nfrom nowhere import made\nDEFAULTS = {'a': 2 ** 3}\n"
        "@dataclass(frozen=True)\nclass Config:\n"
        '    """A thing.\n\n    Args:\n        a, b: counts.\n        c: what\n            is made.\n    """\n'
        "    a: int = DEFAULTS['a']\n    b: int = -1\n    c: made.Kind = made(3)\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    fields = class_of("someone:Config").fields
    assert fields["a"] == Field("a", "a whole number", 8, "counts.")
    assert fields["b"].default == -1
    assert fields["c"] == Field("c", "", Unknown("made(3)"), "what is made.")


def test_the_settings_of_a_launcher_are_explained(capsys: Captured) -> None:
    assert cli.main(["help", "launcher", "--json"]) == 0
    choices = json.loads(capsys.readouterr().out)["choices"]
    assert list(choices) == ["local", "ray", "dask", "slurm"]
    assert cli.main(["help", "launcher=slurm", "--json"]) == 0
    minutes = json.loads(capsys.readouterr().out)["keys"]["launcher.minutes (launcher=slurm)"]
    assert minutes["default"] == "60"
    assert minutes["allowed"] == "a whole number"
    assert cli.main(["help", "launcher.address"]) == 0
    assert "(with launcher=dask)" in capsys.readouterr().out
