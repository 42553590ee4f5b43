"""`headwise init`: a project to start from, with a task of one's own."""

import importlib.util
import keyword
import re
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from headwise.commands.result import Result
from headwise.errors import InputError
from headwise.files import make_folder, read_text, user_path, write_text
from headwise.schema import FilePath, argument
from headwise.tasks import TASKS

TEMPLATES = Path(__file__).parent / "project"
FILES = {
    "{name}.py": "task.py.j2",
    "gated_loop.yaml": "gated_loop.yaml.j2",
    "training.yaml": "training.yaml.j2",
    "tests/test_task.py": "test_task.py.j2",
    "pyproject.toml": "pyproject.toml.j2",
    "README.md": "README.md.j2",
    ".gitignore": "gitignore.j2",
}
"""File of the project -> what it is written from."""


@dataclass(frozen=True)
class Options:
    """Write a project to start from: a task of your own, an arm, a recipe and tests, which train and pass at once

    Nothing that is there is overwritten. What to type next stands in its README.md, and is printed.

    Args:
        directory: of the project; made if it is not there.
        name: of the task and of its module; null takes the directory's.
    """

    directory: FilePath = argument()
    name: str | None = None


def run(options: Options) -> Result:
    """Write the files, or none if one of them is there."""
    from jinja2 import Environment, StrictUndefined

    directory = user_path(options.directory)
    name = _name(options.name, directory)
    files = {directory / file.format(name=name): TEMPLATES / template for file, template in FILES.items()}
    for above in (directory, *directory.parents):
        if above.exists() and not above.is_dir():
            raise InputError(f"init {directory}: {above} is a file; choose another directory")
    if there := [file for file in files if file.exists() or file.is_symlink()]:
        raise InputError(f"init {directory}: {there[0]} is there already, and nothing is overwritten; choose another")
    language = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    values = {"name": name, "title": directory.resolve().name or name}
    for file, template in files.items():
        make_folder(file.parent)
        write_text(file, language.from_string(read_text(template)).render(values))
    train = f"headwise train --plugin {name}.py task={name} arm=gated_loop.yaml training=training.yaml"
    shape = "model.width=64 model.heads=4 model.ffn=128"
    then = {
        "directory": str(directory),
        "task": name,
        "files": [str(file) for file in files],
        "train": f"{train} {shape}",
    }
    steps = [f"cd {directory}", f"{train} {shape}", "python -m pytest"]
    text = [Text(f"wrote {file}") for file in files]
    return Result(then, [*text, "\nto train it, and to test it:", *(f"  {step}" for step in steps)])


def _name(given: str | None, directory: Path) -> str:
    """The name of the task: that given, or the directory's with what no name of a module may hold taken out.

    Raises:
        InputError: it is no name, or is taken.
    """
    name = given if given is not None else re.sub(r"\W+", "_", directory.resolve().name.lower(), flags=re.A).strip("_")
    remedy = "choose another with name=..."
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        raise InputError(f"init: {name or directory}: not a name of a Python module; {remedy}")
    if name in TASKS:
        raise InputError(f"init: {name}: a task of that name is there; {remedy}")
    found = importlib.util.find_spec(name)
    if found is not None and found.origin is not None:  # a mere folder has none
        raise InputError(f"init: {name}: Python has a module of that name, which the task's would hide; {remedy}")
    return name
