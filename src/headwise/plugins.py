"""Plugins: modules and files of a user's own that register tasks, arms, routers, gate functions, controllers, halting.

A plugin is code, so it is loaded when the user names it (`--plugin`, HEADWISE_PLUGINS, `load`) or has installed it with
an entry point, and never because a file of a run asks for it. A run only remembers what it needs.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from headwise.errors import InputError
from headwise.files import user_path
from headwise.registry import loading

VARIABLE = "HEADWISE_PLUGINS"
"""Names the plugins in the environment, separated as in PATH: those of every command, and of processes it starts."""

_files: dict[str, Path] = {}
"""Modules that were loaded from a file, by name."""


def load(plugin: str) -> ModuleType:
    """Load a plugin once, here and in processes that this one starts.

    Args:
        plugin: a module's dotted name, or the path of a .py file, which becomes a module of the file's name.

    Raises:
        InputError: it is not there, its name is taken, or it fails.
    """
    file = user_path(plugin).absolute() if plugin.endswith(".py") or os.sep in plugin else None
    word = plugin if file is None else str(file)
    token = loading.set(word)
    try:
        module = importlib.import_module(word) if file is None else _from_file(file)
    except InputError:
        raise
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == word:
            raise InputError(f"plugin {word}: no such module; give one that can be imported, or a .py file") from None
        raise InputError(f"plugin {word}: fails with {type(error).__name__}: {error}") from error
    finally:
        loading.reset(token)
    others = [other for other in named() if other not in (plugin, word)]
    os.environ[VARIABLE] = os.pathsep.join([*others, word])  # whole paths, whatever folder a process starts in
    return module


def loadnamed() -> None:
    """Load what the environment names.

    Raises:
        InputError: as `load`.
    """
    for word in named():
        load(word)


def taken(words: Iterable[str]) -> list[str]:
    """The words of a command without `--plugin <plugin>`, once these are loaded and those of the environment.

    Raises:
        InputError: as `load`, or nothing follows the option.
    """
    rest, given = [], []
    follows = iter(words)
    for word in follows:
        option, equals, plugin = word.partition("=")
        if option != "--plugin":
            rest.append(word)
        elif plugin := plugin if equals else next(follows, ""):
            given.append(plugin)
        else:
            raise InputError("--plugin: which? give a module or a .py file")
    loadnamed()
    for plugin in given:
        load(plugin)
    return rest


def missing(needed: Iterable[object]) -> list[str]:
    """Those of the plugins that something needs which are not loaded; a file may have moved, its name counts."""
    names = {str(plugin): Path(str(plugin)).stem if str(plugin).endswith(".py") else str(plugin) for plugin in needed}
    return [plugin for plugin, name in names.items() if name not in sys.modules]


def named() -> list[str]:
    """The plugins that every command and process started from here loads, in the words that name them."""
    return [word for word in os.environ.get(VARIABLE, "").split(os.pathsep) if word]


def _from_file(file: Path) -> ModuleType:
    name = file.stem
    if name in sys.modules:
        if _files.get(name) != file:
            other = _files.get(name) or getattr(sys.modules[name], "__file__", None) or "Python"
            raise InputError(f"plugin {file}: a module {name} is loaded already, from {other}; rename the file")
        return sys.modules[name]
    if not file.is_file():
        raise InputError(f"plugin {file}: not found")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    _files[name] = file
    return module
