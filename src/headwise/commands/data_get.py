"""`headwise data get`: public data sets, fetched to where tasks look for them."""

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from headwise.commands.result import Result
from headwise.files import user_path
from headwise.schema import FilePath, argument
from headwise.tasks.data_sets import DATA_SETS, get


@dataclass(frozen=True)
class Options:
    """Fetch a public data set.

    The files of a published release, checked against its sha256 and resumed where an earlier call stopped, in a folder
    of its name.

    Args:
        name: of the data set; headwise list datasets has them.
        output: where the folder goes; null is HEADWISE_DATA, or else ./data.
    """

    kept: ClassVar[str] = "what came is kept"

    name: str = argument()
    output: FilePath | None = None


def run(options: Options) -> Result:
    """Download one data set into a folder of its name."""
    name = options.name
    folder = user_path(options.output or os.environ.get("HEADWISE_DATA") or "data")
    found = _shown(lambda progress: get(name, folder, progress))
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
