"""`headwise clean`: removes what runs have left that nobody needs, after a question."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from headwise.commands.result import Result
from headwise.errors import InputError
from headwise.files import user_path
from headwise.lab.formatting import format_magnitude, format_quantity
from headwise.schema import FilePath, argument
from headwise.training.on_disk import read_run, run_directories
from headwise.training.removal import Removable, foreign, half_removed, removable, remove


@dataclass(frozen=True)
class Options:
    """List quick tries, runs that diverged or failed, and old interrupted ones, with their sizes, and remove them

    It asks before it removes anything. Only run directories are touched, and of them none that a process uses, none
    that holds a file which is not of a run, and none behind a link. Finished runs that were no quick try keep
    everything but, with checkpoints=true, their checkpoints: the model is in model.safetensors, but training can then
    not be prolonged.

    Args:
        folder: in which the runs are, at any depth.
        days: since when an interrupted run has not changed; 0 takes all of them.
        checkpoints: also the checkpoints of finished runs.
        dry_run: only list.
        yes: remove without asking, for scripts.
    """

    folder: FilePath = argument("runs")
    days: float = 7.0
    checkpoints: bool = False
    dry_run: bool = False
    yes: bool = False

    def __post_init__(self) -> None:
        if self.days < 0:
            raise InputError(f"days={self.days:g}: choose 0 or more")


def run(options: Options) -> Result:
    """List, ask, remove. Exit code 1 where something could not be removed."""
    folder = user_path(options.folder)
    found, kept = _found(folder, options)
    if not found:
        return Result(_data(found, [], kept), [*_left(kept, folder), Text(f"nothing to remove in {folder}")])
    total = f"{format_quantity(len(found), 'directory').replace('ys', 'ies')}, {_bytes(found)}"
    if options.dry_run:
        text = [_table(found, folder), "", *_left(kept, folder), Text(f"would be removed: {total}")]
        return Result(_data(found, [], kept), text)
    if not options.yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InputError(
            f"clean {folder}: {total} to remove, and no terminal to ask in; yes=true removes them, "
            "dry_run=true lists them"
        )
    console = Console(stderr=True, highlight=False)
    for part in (_table(found, folder), "", *_left(kept, folder)):
        console.print(part)
    if not options.yes and not _agreed(f"Remove {total}? [y/N] "):
        return Result(_data(found, [], kept), [Text("nothing was removed")])
    removed: list[Removable] = []
    try:
        for each in found:
            if reason := remove(each):
                kept[each.path] = reason
                console.print(Text(f"kept {each.path}: {reason}"))
            else:
                removed.append(each)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped; {len(removed)} of {len(found)} removed, the others are as they were"
        ) from None
    failed = len(removed) < len(found)
    done = f"removed: {format_quantity(len(removed), 'directory').replace('ys', 'ies')}, {_bytes(removed)}"
    return Result(_data(found, removed, kept), [Text(done)], code=int(failed))


def _found(folder: Path, options: Options) -> tuple[list[Removable], dict[Path, str]]:
    """What may go, and what might but for a file in it, with the reason."""
    found, kept = [], {}
    for directory in run_directories(folder):
        one = removable(read_run(directory), options.days, options.checkpoints)
        if one is None:
            continue
        others = foreign(directory) if one.path == directory else []
        if others:
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            kept[directory] = f"holds {others[0]}{more}, which no run writes"
        else:
            found.append(one)
    return [*half_removed(folder), *found], kept  # in this order, as one may lie in another


def _agreed(question: str) -> bool:
    """Whether the answer is yes; whatever else is typed, or nothing, is no."""
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; nothing was removed") from None


def _table(found: Sequence[Removable], folder: Path) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("what", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("why", no_wrap=True)
    for each in found:
        name = os.path.relpath(each.path, folder) if each.path != folder else str(folder)
        table.add_row(Text(name), f"{format_magnitude(each.size)}B", Text(each.why))
    return table


def _left(kept: dict[Path, str], folder: Path) -> list[RenderableType]:
    return [Text(f"left alone: {os.path.relpath(path, folder)} {reason}") for path, reason in kept.items()]


def _bytes(found: Sequence[Removable]) -> str:
    return f"{format_magnitude(sum(each.size for each in found))}B"


def _data(found: Sequence[Removable], removed: Sequence[Removable], kept: dict[Path, str]) -> dict[str, object]:
    def rows(some: Sequence[Removable]) -> list[dict[str, object]]:
        return [{"path": str(each.path), "bytes": each.size, "why": each.why} for each in some]

    return {
        "found": rows(found),
        "removed": rows(removed),
        "kept": [{"path": str(path), "why": reason} for path, reason in kept.items()],
    }
