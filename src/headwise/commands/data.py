"""`headwise data`: public data sets, fetched to where tasks look for them, and mazes in files."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path

from headwise.commands.result import Result
from headwise.errors import InputError


def run(words: list[str]) -> Result:
    """Do what the first of `words` says with the others."""
    if not words or words[0] not in ACTIONS:
        known = "; ".join(f"headwise data {name} {usage}" for name, (usage, _) in ACTIONS.items())
        raise InputError(f"data{' ' + words[0] + ': unknown' if words else ': what?'}; write {known}")
    return ACTIONS[words[0]][1](words[1:])


def _get(words: list[str]) -> Result:
    """Download one data set into a folder of its name."""
    from headwise.tasks.data_sets import DATA_SETS, get
    from headwise.training import configuration

    own, names = configuration.take(words, ["output"])
    if len(names) != 1:
        raise InputError(f"data get: takes one name, got {len(names)}; choose one of {', '.join(DATA_SETS)}")
    name = names[0]
    folder = Path(own.get("output") or os.environ.get("HEADWISE_DATA") or "data").expanduser()
    try:
        found = _shown(lambda progress: get(name, folder, progress))
    except KeyboardInterrupt:
        again = shlex.join(["headwise", "data", "get", *words])
        raise KeyboardInterrupt(f"stopped; what came is kept, continue with: {again}") from None
    data_set = DATA_SETS[name]
    files = {file: "downloaded" if new else "there already" for file, new in found.items()}
    result = {"name": name, "folder": str(folder / name), "files": files, "licence": data_set.licence}
    text = [f"{folder / name / file}: {state}" for file, state in files.items()]
    text.append(f"licence: {data_set.licence}")
    text.append(f"to use it: HEADWISE_DATA={shlex.quote(str(folder))} headwise train {data_set.setting}")
    return Result(result, text)


def _shown(work: Callable[[Callable[[str, int, int | None], None]], dict[str, bool]]) -> dict[str, bool]:
    """Do the work under a bar per file on standard error, if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar: dict[str, TaskID] = {}

        def progress(file: str, done: int, total: int | None) -> None:
            if file not in bar:
                bar[file] = bars.add_task(file)
            bars.update(bar[file], completed=done, total=total)

        return work(progress)


def _mazes(words: list[str]) -> Result:
    """Generate a file of mazes, or convert one from elsewhere."""
    from headwise.commands.result import key_values
    from headwise.tasks.maze.command import command

    result = command(words)
    return Result(result, [key_values(result)])


# Word -> what follows it, and what does it
ACTIONS: dict[str, tuple[str, Callable[[list[str]], Result]]] = {
    "get": ("<name> [output=DIR]", _get),
    "mazes": ("output=FILE.npz [key=value ...]", _mazes),
}
